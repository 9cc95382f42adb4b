// Elements, found and made.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${id}`);
}

/**
 * An element with text in it: as text, never as markup, for it comes from anybody.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {...(string | Node)} content
 */
export function made(tag, className, ...content) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...content);
  return node;
}

/** Lets an error be seen by whoever looks after errors, and goes on. @param {unknown} error */
export function uncaught(error) {
  setTimeout(() => {
    throw error;
  });
}

/** A button. @param {string} text @param {() => void} call */
export function button(text, call) {
  const node = made('button', '', text);
  node.type = 'button';
  node.addEventListener('click', call);
  return node;
}
