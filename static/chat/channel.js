// A channel that one has joined: what was said in it lately, how much of that is unread, and what this window says there.

/** @import { Batch, Message, State } from '../client/types.js' */

import { subscribe } from '../client.js';
import { refused, where } from './access.js';
import { Outbox } from './outbox.js';
import { Own } from './own.js';
import { mentions } from './words.js';

/** So much of what was said is there when one joins, and so much is kept while one is elsewhere. */
const JOIN_WITH = 50;
const KEPT_MAX = 200;

/**
 * @typedef {object} Entry
 * @property {Message} message
 * @property {boolean} own
 * @property {boolean} gap whether something is missing before it
 * @property {boolean} mention whether it speaks of the reader
 *
 * @typedef {object} World what a channel is in
 * @property {() => string} nick the name in this window
 * @property {(channel: Channel, entries: Entry[], first: boolean) => void} came what was said; `first` is what was there
 * @property {(channel: Channel) => void} counted what is unread has changed, or what was said last
 * @property {(channel: Channel) => void} seen everything was read
 * @property {(channel: Channel) => void} told the state of the connection has changed
 * @property {(channel: Channel, entry: Entry) => void} marked whose a message is
 */

export class Channel {
  /** The latest, oldest first. @type {Entry[]} */
  entries = [];
  unread = 0;
  mentions = 0;
  /** The first that was unread, by its id. @type {string | undefined} */
  newFrom;
  begun = false;
  /** Whether something is missing before what comes next. */
  gap = false;
  /** @type {State} */
  state = { state: 'connecting' };
  /** Where the conversation stands. @type {string | undefined} */
  cursor;
  /** Ends the subscription. */
  stop = new AbortController();

  /**
   * @param {string} name
   * @param {{read?: string, at: number}} known the id of the last message that was read; when something was said last
   * @param {World} world
   */
  constructor(name, { read, at }, world) {
    this.name = name;
    this.read = read;
    this.at = at;
    this.world = world;
    this.own = new Own(name, world.nick);
    this.outbox = new Outbox(this);
    this.own.onOther(() => {
      const others = this.entries.filter(({ message, own }) => !own && this.own.has(message));
      for (const { message } of others) this.mark(message.id, true);
    }, this.stop.signal);
  }

  start() {
    const { name: channel, cursor } = this;
    this.following = subscribe({
      ...{ ...where, channel, cursor, last: JOIN_WITH, signal: this.stop.signal },
      onMessages: (messages, batch) => this.came(messages, batch),
      onState: (state) => this.told(state),
    });
  }

  /** Asks now; or starts again what the server had refused. */
  retry() {
    if (this.state.state === 'stopped') this.start();
    else this.following?.retry();
  }

  leave() {
    this.stop.abort();
  }

  /** @param {State} state */
  told(state) {
    this.state = state;
    if (state.state === 'live') this.outbox.retry('unsure');
    if (state.state === 'stopped' && state.code === 'unauthorized') refused();
    this.world.told(this);
  }

  /** @param {Message[]} messages @param {Batch} batch */
  came(messages, { cursor, missed }) {
    const first = !this.begun;
    this.begun = true;
    this.cursor = cursor;
    if (missed) this.outbox.missed();
    this.gap ||= missed;
    const entries = messages.map((message, index) => {
      const own = this.outbox.wrote(message) || this.own.has(message);
      return this.entry(message, own, this.gap && index === 0);
    });
    if (entries.length > 0) this.gap = false;
    this.entries = [...this.entries, ...entries].slice(-KEPT_MAX);
    const latest = messages[messages.length - 1];
    this.at = Date.parse(latest?.time) || this.at;
    // Whoever has never been here begins here.
    if (first && this.read === undefined) this.readTo(latest?.id ?? '');
    else this.count(first ? this.after(this.read) : entries);
    this.world.came(this, entries, first);
    this.world.counted(this);
  }

  /** @param {Message} message @param {boolean} own @param {boolean} gap @returns {Entry} */
  entry(message, own, gap) {
    return { message, own, gap, mention: !own && mentions(message.message, this.world.nick()) };
  }

  /** What stands after a message; everything, if that is not among it. @param {string | undefined} id */
  after(id) {
    return this.entries.slice(this.entries.findIndex(({ message }) => message.id === id) + 1);
  }

  /** @param {Entry[]} entries what is not read yet, besides what was unread */
  count(entries) {
    const others = entries.filter(({ own }) => !own);
    if (this.unread === 0) this.newFrom = others[0]?.message.id;
    this.unread += others.length;
    this.mentions += others.filter(({ mention }) => mention).length;
  }

  /** @param {Entry} entry what was unread, and is one's own */
  discount(entry) {
    this.unread = Math.max(0, this.unread - 1);
    if (entry.mention) this.mentions = Math.max(0, this.mentions - 1);
    if (this.newFrom !== entry.message.id) return;
    this.newFrom = this.after(entry.message.id).find(({ own }) => !own)?.message.id;
  }

  /** Everything was read. */
  seen() {
    const id = this.entries[this.entries.length - 1]?.message.id ?? this.read;
    if (id !== undefined && (this.unread > 0 || this.read !== id)) this.readTo(id);
  }

  /** @param {string} id */
  readTo(id) {
    this.read = id;
    this.unread = 0;
    this.mentions = 0;
    this.world.seen(this);
    this.world.counted(this);
  }

  /** Another window has read up to here, maybe further than this one. @param {string | undefined} id */
  seenElsewhere(id) {
    if (!this.after(this.read).some(({ message }) => message.id === id)) return;
    this.read = id;
    this.unread = 0;
    this.mentions = 0;
    this.count(this.after(id));
    this.world.counted(this);
  }

  /** Whose a message is; whether it is here. @param {string} id @param {boolean} own */
  mark(id, own) {
    const entry = this.entries.find(({ message }) => message.id === id);
    if (!entry) return false;
    if (entry.own === own) return true;
    const unread = this.after(this.read).includes(entry);
    if (unread && own) this.discount(entry);
    Object.assign(entry, this.entry(entry.message, own, entry.gap));
    if (unread && !own) this.count([entry]);
    this.world.marked(this, entry);
    this.world.counted(this);
    return true;
  }
}
