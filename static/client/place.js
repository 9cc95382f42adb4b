// A position in a channel, and what is known of what comes after it.

/** @import { Answer } from './types.js' */

/** How many positions are remembered. An answer that leads back to one of them is an old one. */
const POSITIONS_MAX = 500;

export class Place {
  /** Whether to ask at once what is there, before waiting for more. */
  looking = true;
  /** Whether the caller has had its first batch. */
  begun = false;
  /** The latest answer for this channel that was not delivered yet. @type {Answer | undefined} */
  dealt;
  /** Where the leader was when nothing came after this position. @type {string | undefined} */
  compared;
  /** The latest positions, oldest first. @type {string[]} */
  positions = [];

  /** @param {string} channel @param {string | null} [cursor] @param {number} [last] where to begin without a cursor */
  constructor(channel, cursor, last) {
    this.channel = channel;
    this.cursor = cursor || undefined;
    this.last = cursor ? 0 : last;
  }

  /** Its cursor, or without one the words for where it begins. */
  get after() {
    return this.cursor ?? (this.last ? `last=${this.last}` : 'latest');
  }

  /** Its item in the parameter `channels` of a poll. */
  get asked() {
    return this.last ? this.channel : `${this.channel}:${encodeURIComponent(this.after)}`;
  }

  /** Whether this answer was received before: then a cache kept it. @param {Answer} answer */
  had({ after, messages, cursor, missed }) {
    return cursor === after ? messages.length > 0 : !missed && this.positions.includes(cursor);
  }

  /**
   * Moves to the end of an answer for this channel, and returns what is new in it. Returns nothing if that can't be known:
   * cursors can only be compared for equality.
   *
   * @param {Answer} answer
   * @returns {Answer | undefined}
   */
  advance(answer) {
    const { after, messages, cursor, missed } = answer;
    const had = messages.findIndex(({ id }) => id === this.cursor);
    if (had < 0 && after !== this.after) return undefined;
    const rest = { ...answer, messages: messages.slice(had + 1), missed: missed && had < 0 };
    const ids = rest.messages.map(({ id }) => id);
    this.positions = [...(missed ? [] : this.positions), ...ids, cursor].slice(-POSITIONS_MAX);
    this.cursor = cursor;
    this.last = 0;
    return rest;
  }
}

/** The cursors of those places that have one, by channel. @param {Iterable<Place>} places */
export function positions(places) {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const { channel, cursor } of places) if (cursor) found.set(channel, cursor);
  return found;
}
