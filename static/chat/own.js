// Which messages are one's own: what this window said, and what other windows of this browser said under the name that
// this one has. So one can be two people in two windows.

/** @import { Message } from '../client/types.js' */

import { mine } from './access.js';
import { read, write } from './memory.js';

/** So many are remembered of a channel. */
const OWN_MAX = 500;

export class Own {
  /** @param {string} channel @param {() => string} nick the name in this window */
  constructor(channel, nick) {
    this.name = mine(`linger own ${channel}`);
    this.nick = nick;
    this.window = this.ids('sessionStorage');
    this.browser = this.ids('localStorage');
  }

  /** @param {'localStorage' | 'sessionStorage'} store @returns {Set<string>} */
  ids(store) {
    const ids = read(store, this.name);
    return new Set(Array.isArray(ids) ? ids : []);
  }

  /** @param {string} id */
  add(id) {
    this.window.add(id);
    this.browser = this.ids('localStorage').add(id);
    write('sessionStorage', this.name, [...this.window].slice(-OWN_MAX));
    write('localStorage', this.name, [...this.browser].slice(-OWN_MAX));
  }

  /** @param {Message} message */
  has({ id, nick }) {
    return this.window.has(id) || (this.browser.has(id) && nick !== null && nick === this.nick());
  }

  /** Calls back when another window has said something. @param {() => void} call @param {AbortSignal} signal */
  onOther(call, signal) {
    const heard = (/** @type {StorageEvent} */ { key }) => {
      if (key !== this.name) return;
      this.browser = this.ids('localStorage');
      call();
    };
    addEventListener('storage', heard, { signal });
  }
}
