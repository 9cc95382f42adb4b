// Checks the options that callers give. A wrong one throws a TypeError at once, which says what to write.

/** What a channel can be called. */
export const CHANNEL = /^[A-Za-z0-9._-]{1,64}$/;

/** @typedef {[string, (value: any) => boolean]} Rule what an option must be, in words and as a test */

/** Half a surrogate pair would be published as another character. @param {any} value */
const isText = (value) => typeof value === 'string' && !/\p{Surrogate}/u.test(value);

/** @type {Rule} */
const TEXT = ['a text of whole characters', isText];
/** @type {Rule} */
const TEXT_OR_NULL = [`${TEXT[0]}, or null`, (value) => value === null || isText(value)];
/** @type {Rule} */
const COUNT = ['a whole number', (value) => Number.isInteger(value) && value >= 0];
/** @type {Rule} */
const SOME = ['a whole number, 1 or more', (value) => COUNT[1](value) && value > 0];
/** @type {Rule} */
const FUNCTION = ['a function', (value) => typeof value === 'function'];
/** @type {Rule} */
const FLAG = ['true or false', (value) => typeof value === 'boolean'];

const NAME = '1 to 64 characters out of A-Z a-z 0-9 . _ -';

/** @param {any} value */
const isChannel = (value) => isText(value) && CHANNEL.test(value);

/** @param {any} value */
function areChannels(value) {
  if (!value || typeof value !== 'object') return false;
  const [names, cursors] = Array.isArray(value) ? [value, []] : [Object.keys(value), Object.values(value)];
  const distinct = new Set(names).size === names.length && names.length > 0;
  return distinct && names.every(isChannel) && cursors.every((cursor) => TEXT_OR_NULL[1](cursor ?? null));
}

/** @type {Record<string, Rule>} */
const RULES = {
  base: ['a text, such as url.href', isText],
  channel: [NAME, isChannel],
  channels: [`['news', 'ops'] or { news: cursor, ops: null }, none twice, each ${NAME}`, areChannels],
  signal: ['an AbortSignal, such as controller.signal', (value) => 'aborted' in Object(value)],
  fetch: FUNCTION,
  token: ['a text, or a function that gives one (it may be async)', (value) => FUNCTION[1](value) || (isText(value) && value !== '')],
  clock: ['a clock', (value) => FUNCTION[1](value?.now)],
  message: [`${TEXT[0]}; of other values write JSON.stringify(value)`, isText],
  nick: TEXT_OR_NULL,
  key: TEXT,
  timeout: ['a number of milliseconds', (value) => typeof value === 'number' && value >= 0],
  cursor: TEXT_OR_NULL,
  last: COUNT,
  before: TEXT,
  limit: SOME,
  onMessages: FUNCTION,
  onState: FUNCTION,
  share: FLAG,
  rest: FLAG,
};

const EVERYWHERE = ['channel', 'base', 'token', 'signal', 'fetch', 'clock'];

/** How each function is called, the option that it needs, if any, and its other options. */
const CALLS = {
  publish: ["{ channel: 'news', message: 'hello' }", 'message', 'nick', 'key', 'timeout'],
  subscribe: ['{ onMessages(messages) {} }', '', 'channels', 'cursor', 'last', 'onMessages', 'onState', 'share', 'rest'],
  history: ['{ before: message.id }', 'before', 'limit'],
};

/**
 * Checks the arguments of a function of the client.
 *
 * @param {keyof typeof CALLS} name the function
 * @param {IArguments} given its arguments
 * @throws {TypeError}
 */
export function check(name, given) {
  const [call, must, ...may] = CALLS[name];
  const [options = {}] = given;
  const write = `write ${name}(${call})`;
  if (given.length > 1 || !options || typeof options !== 'object') {
    throw new TypeError(`${name} takes one object: ${write}`);
  }
  const known = [...EVERYWHERE, must, ...may];
  for (const [option, value] of Object.entries(options)) {
    if (!known.includes(option)) {
      throw new TypeError(`${name} has no option ${option}, but ${known.filter(Boolean).join(', ')}`);
    }
    const [words, holds] = RULES[option];
    if (value !== undefined && !holds(value)) throw new TypeError(`${option} must be ${words}`);
  }
  if (must && options[must] === undefined) throw new TypeError(`${must} is missing: ${write}`);
  if (options.channels && (options.channel || options.cursor)) {
    throw new TypeError('channels stands instead of channel and cursor: write { channels: { news: cursor } }');
  }
  if (options.onState && !options.onMessages) {
    throw new TypeError('onState needs onMessages; with a loop, set it on what subscribe() returns');
  }
}

/**
 * An address with a host, or a path. A word without a scheme would be a path below the page. A URL drops what is empty, blanks
 * and line ends without a word, and takes backslashes for slashes and more slashes than two for two. fetch refuses a password.
 */
const BASE = /^((https?:)?\/\/[^\s\p{Cc}\\/?#@]+(\/[^\s\p{Cc}\\?#]*)?|\.{0,2}\/(?!\/)[^\s\p{Cc}\\?#]*)?$/iu;

/**
 * The whole address of an API, without a slash at its end.
 *
 * @param {string} base as it was given: absolute, or relative to the page
 * @throws {TypeError} nothing can be asked there
 */
export function server(base = '') {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  /** @type {URL | undefined} */
  let url;
  try {
    url = new URL(base || '/', page);
  } catch {
    // Said below.
  }
  if (!BASE.test(base) || !url || !/^http/.test(url.protocol) || url.username || url.password) {
    throw new TypeError("base must be like 'https://api.example.com', or in a page like '/api', without password and query");
  }
  return url.href.replace(/\/+$/, '');
}
