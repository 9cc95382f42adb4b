// What this window says: each message is sent after the one before it, stays in sight until it has come back with the
// conversation, and keeps its key, so that it is said once however often it is sent, also across a reload.

/** @import { Message } from '../client/types.js' */
/** @import { Channel } from './channel.js' */

import { newKey, publish } from '../client.js';
import { mine, where } from './access.js';
import { button, made } from './dom.js';
import { read, write } from './memory.js';
import { bubble } from './message.js';

/** How long to go on trying before saying so. */
const TRY_MS = 20_000;

/** What is older than this when the page comes back is not sent without being asked. */
const FRESH_MS = 5 * 60_000;

/**
 * @typedef {{nick: string, text: string, key: string, at: number}} Draft as it is kept; `at` is when it was written
 * @typedef {Draft & {node: HTMLLIElement, state: 'waiting' | 'unsure' | 'stale' | 'refused', seen?: string}} Entry `unsure`
 *   and `stale` may have been sent; `seen` is the id of the message that seems to be this one
 */

/**
 * What was kept, as far as it is drafts: other pages of this origin may write there, too.
 *
 * @param {unknown} drafts
 * @returns {Draft[]}
 */
function kept(drafts) {
  const isDraft = (/** @type {any} */ draft) =>
    ['nick', 'text', 'key'].every((name) => typeof Object(draft)[name] === 'string');
  return Array.isArray(drafts) ? drafts.filter(isDraft) : [];
}

/** A text in which half a character, which nobody can publish, is shown as what it is. @param {string} text */
const whole = (text) => text.replace(/\p{Surrogate}/gu, '\ufffd');

export class Outbox {
  /** @type {Entry[]} */
  entries = [];
  /** What was sent, and has not come with the conversation yet, by its id. @type {Map<string, HTMLElement>} */
  awaited = new Map();
  sending = false;
  /** Gives a text back to be changed. */
  edit = (/** @type {string} */ _text) => {};

  /** @param {Channel} channel */
  constructor(channel) {
    this.channel = channel;
    this.name = mine(`linger unsent ${channel.name}`);
    this.list = made('ol', '');
    this.list.id = 'outbox';
    this.list.setAttribute('aria-label', 'Not sent yet');
    for (const draft of kept(read('sessionStorage', this.name))) {
      const entry = this.add(draft);
      const age = Date.now() - draft.at;
      // Nobody knows how old it is when the clock was set back meanwhile.
      if (!(age >= 0 && age <= FRESH_MS)) this.fail(entry, 'stale', 'the page was closed meanwhile');
    }
    this.send();
  }

  /** @param {string} nick @param {string} text */
  say(nick, text) {
    this.add({ nick: whole(nick), text: whole(text), key: newKey(), at: Date.now() });
    // First what it is to stand after: an attempt that seemed to fail may still land.
    this.retry('unsure');
  }

  /** @param {Draft} draft */
  add(draft) {
    /** @type {Entry} */
    const entry = { ...draft, node: made('li', ''), state: 'waiting' };
    this.show(entry, 'pending', 'Sending');
    this.entries.push(entry);
    this.list.append(entry.node);
    this.keep();
    return entry;
  }

  keep() {
    write('sessionStorage', this.name, this.entries.map(({ nick, text, key, at }) => ({ nick, text, key, at })));
  }

  /** @param {Entry} entry @param {'pending' | 'failed'} look @param {...(string | Node)} fate */
  show({ node, nick, text }, look, ...fate) {
    node.hidden = false;
    node.className = `message own ${look}`;
    node.replaceChildren(bubble(nick || null, text), made('p', 'fate', ...fate));
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    for (let entry = this.next(); entry; entry = this.next()) {
      const channel = this.channel.name;
      const { nick, text: message, key } = entry;
      try {
        const { id } = await publish({ ...where, channel, nick, message, key, timeout: TRY_MS });
        this.sent(entry, id);
      } catch (error) {
        const { message: reason = String(error), mayPass = false } = /** @type {any} */ (error);
        // What was to stand after it waits with it.
        const waiting = mayPass ? this.entries.filter(({ state }) => state === 'waiting') : [entry];
        for (const each of waiting) this.fail(each, mayPass ? 'unsure' : 'refused', reason);
      }
    }
    this.sending = false;
  }

  next() {
    return this.entries.find(({ state }) => state === 'waiting');
  }

  /** Sends again what may have been sent, in its order. @param {Entry['state'][]} states */
  retry(...states) {
    for (const entry of this.entries.filter(({ state }) => states.includes(state))) {
      entry.state = 'waiting';
      this.show(entry, 'pending', 'Sending');
    }
    this.send();
  }

  /** @param {Entry} entry @param {string} id */
  sent(entry, id) {
    this.drop(entry);
    this.channel.own.add(id);
    if (entry.seen && entry.seen !== id) this.channel.mark(entry.seen, false);
    if (this.channel.mark(id, true)) return;
    this.show(entry, 'pending', 'Sent');
    this.list.prepend(entry.node);
    this.awaited.set(id, entry.node);
  }

  /** @param {Entry} entry */
  drop(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    this.keep();
    entry.node.remove();
  }

  /** @param {Entry} entry @param {'unsure' | 'stale' | 'refused'} state @param {string} reason */
  fail(entry, state, reason) {
    entry.state = state;
    if (entry.seen) this.channel.mark(entry.seen, false);
    entry.seen = undefined;
    const retry = button('Retry', () => this.retry('unsure', 'stale'));
    const edit = button('Edit', () => {
      this.drop(entry);
      this.edit(entry.text);
    });
    const discard = button('Discard', () => this.drop(entry));
    const refused = state === 'refused';
    const says = made('span', '', `${refused ? 'Not sent' : 'Perhaps not sent'}: ${reason}. `);
    says.setAttribute('role', 'alert');
    this.show(entry, 'failed', says, refused ? edit : retry, discard);
  }

  /**
   * Whether a message that came is one of this window's. While the answer to a publication is out, it may only seem so;
   * what the answer says then decides.
   *
   * @param {Message} message
   */
  wrote({ id, nick, message }) {
    const awaited = this.awaited.get(id);
    if (awaited) {
      awaited.remove();
      return this.awaited.delete(id);
    }
    const entry = this.next();
    if (!entry || entry.seen || entry.text !== message || (entry.nick || null) !== nick) return false;
    entry.seen = id;
    entry.node.hidden = true;
    return true;
  }

  /** Some messages will not come, maybe what was sent among them. */
  missed() {
    for (const node of this.awaited.values()) node.remove();
    this.awaited.clear();
  }
}
