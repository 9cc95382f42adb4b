// Where the API is: on the page's own origin. A deployment writes another address here.
export const base = '';
