// A place in a channel: up to where messages were had, and what is known of what comes after.

/** @import { Answer } from './types.js' */

/** So many of the latest positions are remembered: an answer that leads back to one of them is an old one. */
const POSITIONS_MAX = 500;

export class Place {
  /** Whether to ask at once what is there, before waiting for more. */
  looking = true;
  /** Whether the first batch from here was passed on. */
  begun = false;
  /** What was answered last about this channel, and was not looked at yet. @type {Answer | undefined} */
  dealt;
  /** Where the leader stood when this place was last found to be elsewhere. @type {string | undefined} */
  compared;
  /** The latest positions, oldest first. @type {string[]} */
  positions = [];

  /** @param {string} channel @param {string | null} [cursor] @param {number} [last] where to begin without a cursor */
  constructor(channel, cursor, last) {
    this.channel = channel;
    this.cursor = cursor || undefined;
    this.last = cursor ? 0 : last;
  }

  /** Where it stands; or in words that are no cursor, where it is to begin. */
  get after() {
    return this.cursor ?? (this.last ? `last=${this.last}` : 'latest');
  }

  /** As a poll asks for it. */
  get asked() {
    return this.last ? this.channel : `${this.channel}:${encodeURIComponent(this.after)}`;
  }

  /** Whether an answer from here is one that was had before: some cache kept it. @param {Answer} answer */
  had({ after, messages, cursor, missed }) {
    return cursor === after ? messages.length > 0 : !missed && this.positions.includes(cursor);
  }

  /**
   * What is new here of an answer about this channel, and moves to its end. Nothing, where that can't be known: cursors
   * can only be compared for equality.
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

/** Where places stand, by channel; those that stand somewhere. @param {Iterable<Place>} places */
export function positions(places) {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const { channel, cursor } of places) if (cursor) found.set(channel, cursor);
  return found;
}
