// What the page remembers of its user, where the browser lets it: else it does without.

/**
 * @param {'localStorage' | 'sessionStorage'} store the browser's, or this window's
 * @param {string} name
 * @returns {any} null where there is nothing
 */
export function read(store, name) {
  try {
    return JSON.parse(globalThis[store].getItem(name) ?? 'null');
  } catch {
    return null;
  }
}

/**
 * A text that was kept. Other pages of this origin may write there, too.
 *
 * @param {'localStorage' | 'sessionStorage'} store
 * @param {string} name
 * @returns {string | undefined}
 */
export function readText(store, name) {
  const value = read(store, name);
  return typeof value === 'string' ? value : undefined;
}

/** @param {'localStorage' | 'sessionStorage'} store @param {string} name @param {unknown} value */
export function write(store, name, value) {
  try {
    globalThis[store].setItem(name, JSON.stringify(value));
  } catch {
    // Full, or forbidden.
  }
}
