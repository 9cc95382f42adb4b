// The channels that one has joined: kept across visits, and the same in all windows of a browser.

/** @import { World } from './channel.js' */

import { mine } from './access.js';
import { Channel } from './channel.js';
import { read, write } from './memory.js';
import { isChannelName } from './words.js';

const KEPT = mine('linger channels');

/** @typedef {Record<string, {read?: string, at: number}>} Kept by name: what was read, and when something was said last */

/** What was kept, as far as it makes sense: other pages of this origin may write there, too. @returns {Kept} */
function kept() {
  const entries = Object.entries(Object(read('localStorage', KEPT))).filter(([name]) => isChannelName(name));
  return Object.fromEntries(
    entries.map(([name, { read, at } = /** @type {any} */ ({})]) => [
      name,
      { read: typeof read === 'string' ? read : undefined, at: Number(at) || 0 },
    ]),
  );
}

export class Channels {
  /** @type {Map<string, Channel>} */
  joined = new Map();
  /** The one that is shown. @type {Channel | undefined} */
  open;

  /** @param {World} world @param {() => void} changed called when there are others than before */
  constructor(world, changed) {
    this.world = world;
    this.changed = changed;
    addEventListener('storage', ({ key }) => key === KEPT && this.share());
  }

  /** Follows what was joined before. */
  begin() {
    for (const [name, known] of Object.entries(kept())) this.add(name, known);
  }

  /** What another window has joined, left and read. */
  share() {
    const now = kept();
    for (const [name, known] of Object.entries(now)) {
      this.joined.get(name)?.seenElsewhere(known.read);
      this.add(name, known);
    }
    for (const channel of this.joined.values()) if (!now[channel.name] && channel !== this.open) this.drop(channel);
    this.changed();
  }

  /** @param {string} name @param {{read?: string, at: number}} known */
  add(name, known) {
    if (this.joined.has(name)) return;
    const channel = new Channel(name, known, this.world);
    this.joined.set(name, channel);
    channel.start();
  }

  /** @param {Channel} channel */
  drop(channel) {
    channel.leave();
    this.joined.delete(channel.name);
  }

  /** @param {string} name */
  join(name) {
    if (!this.joined.has(name)) {
      const known = { at: Date.now() };
      this.keep(name, known);
      this.add(name, known);
    }
    return /** @type {Channel} */ (this.joined.get(name));
  }

  /** @param {string} name */
  leave(name) {
    const channel = this.joined.get(name);
    if (channel) this.drop(channel);
    this.keep(name);
    this.changed();
  }

  /**
   * Remembers one channel, or forgets it, and leaves the others as another window may have them.
   *
   * @param {string} name
   * @param {Kept[string]} [known]
   */
  keep(name, known) {
    const { [name]: _, ...others } = kept();
    write('localStorage', KEPT, known ? { ...others, [name]: known } : others);
  }

  /**
   * Another window may have read what was said before this one had it. Nothing is kept here: this window may not know yet
   * what that one has just kept, and would put back what was there before.
   *
   * @param {Channel} channel
   */
  counted({ name }) {
    this.joined.get(name)?.seenElsewhere(kept()[name]?.read);
  }

  /** @param {Channel} channel */
  seen({ name, at, read }) {
    if (kept()[name]) this.keep(name, { read, at });
  }

  /** In the order in which something was said last. */
  get sorted() {
    return [...this.joined.values()].sort((one, other) => other.at - one.at || (one.name < other.name ? -1 : 1));
  }

  get unread() {
    return this.sorted.reduce((sum, { unread }) => sum + unread, 0);
  }
}
