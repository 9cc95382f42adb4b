// What callers hand in. What can't be meant is a TypeError at once, which says what to write.

const CHANNEL = /^[A-Za-z0-9._-]{1,64}$/;

/** @param {unknown} value */
const isText = (value) => typeof value === 'string';

/** Half a surrogate pair would be published as another character. @param {unknown} value */
const isWellFormed = (value) => isText(value) && !/\p{Surrogate}/u.test(String(value));

/** @param {unknown} value */
const isFlag = (value) => typeof value === 'boolean';

/** @param {unknown} value */
const isFunction = (value) => typeof value === 'function';

/** @param {unknown} value */
const isCount = (value) => Number.isInteger(value) && Number(value) >= 0;

/** What each option must be, in words and as a test. @type {Record<string, [string, (value: any) => boolean]>} */
const RULES = {
  base: ["a text, such as 'https://api.example.com'; of a URL write url.href", isText],
  channel: ['1 to 64 characters out of A-Z a-z 0-9 . _ -', (value) => isText(value) && CHANNEL.test(value)],
  signal: ['an AbortSignal; of an AbortController write controller.signal', (value) => isFunction(value?.addEventListener)],
  fetch: ['a function like fetch', isFunction],
  clock: ['an object with now, setTimeout and clearTimeout', (value) => isFunction(value?.now)],
  message: [
    'a text of whole characters; of anything else write JSON.stringify(value), and of a text that was cut text.toWellFormed()',
    isWellFormed,
  ],
  nick: ['a text of whole characters, or null', (value) => value === null || isWellFormed(value)],
  key: ['a text, such as newKey() gives', (value) => isText(value) && value !== ''],
  timeout: ['a number of milliseconds', (value) => typeof value === 'number' && value >= 0],
  cursor: ['the cursor of a batch, or the id of a message', (value) => value === null || isWellFormed(value)],
  last: ['a number of messages', isCount],
  before: ['the id of a message', (value) => isWellFormed(value) && value !== ''],
  limit: ['a number of messages', (value) => isCount(value) && value > 0],
  onMessages: ['a function', isFunction],
  onState: ['a function', isFunction],
  share: ['true or false', isFlag],
  rest: ['true or false', isFlag],
};

const EVERYWHERE = ['base', 'channel', 'signal', 'fetch', 'clock'];

/** The functions that take options: how each is called, what it must have, and what it may have besides. */
const CALLS = {
  publish: { call: "publish({ channel: 'news', message: 'hello' })", must: ['message'], may: ['nick', 'key', 'timeout'] },
  subscribe: {
    call: "subscribe({ channel: 'news', onMessages(messages) {} })",
    must: [],
    may: ['cursor', 'last', 'onMessages', 'onState', 'share', 'rest'],
  },
  history: { call: "history({ channel: 'news', before: message.id })", must: ['before'], may: ['limit'] },
};

/**
 * Checks what was handed to a function of the client.
 *
 * @param {keyof typeof CALLS} name the function
 * @param {IArguments | unknown[]} given its arguments
 * @throws {TypeError}
 */
export function check(name, given) {
  const { call, must, may } = CALLS[name];
  const [options, ...more] = given;
  const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
  if (more.length > 0 || !isObject) throw new TypeError(`${name} takes one object: write ${call}`);
  const known = [...EVERYWHERE, ...must, ...may];
  for (const [option, value] of Object.entries(options)) {
    if (!known.includes(option)) throw new TypeError(`${name} has no option ${option}, but ${known.join(', ')}`);
    const [words, holds] = RULES[option];
    if (value !== undefined && !holds(value)) throw new TypeError(`${option} must be ${words}`);
  }
  for (const option of must) {
    if (options[option] === undefined) throw new TypeError(`${name} needs ${option}: write ${call}`);
  }
  if (options.onState && !options.onMessages) {
    throw new TypeError('onState needs onMessages. With a loop, set onState on what subscribe() returns, before the loop.');
  }
}

/**
 * The whole address of an API, without a slash at its end.
 *
 * @param {string} base as it was given: absolute, or relative to the page
 * @throws {TypeError} nothing can be asked there
 */
export function server(base = '') {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (!/^(https?:\/\/|\.{0,2}\/|$)/i.test(base)) {
    throw new TypeError(`base must begin with https:// or http://, or with / for a path of this page's server: '${base}'`);
  }
  /** @type {URL | undefined} */
  let url;
  try {
    url = new URL(base || '/', page);
  } catch {
    // Said below.
  }
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(`base is needed here, such as 'https://api.example.com'${base && `: '${base}' is no address`}`);
  }
  if (url.username || url.password) throw new TypeError('base must have no name or password: fetch refuses them');
  if (url.search || url.hash) throw new TypeError('base must have no query and no fragment');
  return url.href.replace(/\/+$/, '');
}
