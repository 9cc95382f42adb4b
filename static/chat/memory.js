// What the page remembers of its user, where the browser lets it: else it does without.

/** Own messages remembered of a channel. */
const OWN_MAX = 500;

/**
 * @param {'localStorage' | 'sessionStorage'} store
 * @param {string} name
 * @returns {any}
 */
function read(store, name) {
  try {
    return JSON.parse(globalThis[store].getItem(name) ?? 'null');
  } catch {
    return null;
  }
}

/** @param {'localStorage' | 'sessionStorage'} store @param {string} name @param {unknown} value */
function write(store, name, value) {
  try {
    globalThis[store].setItem(name, JSON.stringify(value));
  } catch {
    // Full, or forbidden.
  }
}

/** @returns {string} */
export function readNick() {
  return String(read('localStorage', 'linger nick') ?? '');
}

/** @param {string} nick */
export function writeNick(nick) {
  write('localStorage', 'linger nick', nick);
}

/** The ids of what this browser said, in any of its tabs. @param {string} channel @returns {string[]} */
export function readOwn(channel) {
  const own = read('localStorage', `linger own ${channel}`);
  return Array.isArray(own) ? own : [];
}

/** @param {string} channel @param {string} id */
export function addOwn(channel, id) {
  write('localStorage', `linger own ${channel}`, [...readOwn(channel).slice(1 - OWN_MAX), id]);
}

/** Calls back when another tab has said something. @param {string} channel @param {() => void} call */
export function onOwn(channel, call) {
  addEventListener('storage', ({ key }) => key === `linger own ${channel}` && call());
}

/**
 * What this tab has not sent yet: it outlives a reload, and its keys with it.
 *
 * @param {string} channel
 * @returns {{nick: string, text: string, key: string}[]}
 */
export function readUnsent(channel) {
  const unsent = read('sessionStorage', `linger unsent ${channel}`);
  return Array.isArray(unsent) ? unsent : [];
}

/** @param {string} channel @param {{nick: string, text: string, key: string}[]} unsent */
export function writeUnsent(channel, unsent) {
  write('sessionStorage', `linger unsent ${channel}`, unsent.map(({ nick, text, key }) => ({ nick, text, key })));
}
