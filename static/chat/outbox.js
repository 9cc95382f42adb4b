// What this page says: each message is sent after the one before it, stays in sight until it has come back with the
// conversation, and keeps its key until then, so that it is said once however often it is sent.

/** @import { Message } from '../client/types.js' */
/** @import { Conversation } from './conversation.js' */

import { newKey, publish } from '../client.js';
import { button, element, made } from './dom.js';
import { addOwn, readUnsent, writeUnsent } from './memory.js';
import { bubble } from './message.js';

/** How long to go on trying before a person has to. */
const TRY_MS = 20_000;

/**
 * @typedef {object} Entry
 * @property {string} nick
 * @property {string} text
 * @property {string} key
 * @property {HTMLLIElement} node
 * @property {string} [seen] the id of the message that seems to be this one
 * @property {boolean} failed
 */

export class Outbox {
  /** @type {Entry[]} */
  entries = [];
  /** What was sent, and has not come with the conversation yet, by its id. @type {Map<string, HTMLElement>} */
  awaited = new Map();
  sending = false;
  /** Gives a text back to be changed. */
  edit = (/** @type {string} */ _text) => {};

  /** @param {string} base @param {string} channel @param {Conversation} conversation */
  constructor(base, channel, conversation) {
    this.base = base;
    this.channel = channel;
    this.conversation = conversation;
    this.list = element('outbox', HTMLOListElement);
    for (const { nick, text, key } of readUnsent(channel)) {
      this.fail(this.add(nick, text, key), 'the page was closed before it was sent', true);
    }
  }

  /** @param {string} nick @param {string} text */
  say(nick, text) {
    this.add(nick, text, newKey());
    this.conversation.goToEnd();
    this.send();
  }

  /** @param {string} nick @param {string} text @param {string} key */
  add(nick, text, key) {
    /** @type {Entry} */
    const entry = { nick, text, key, node: made('li', 'message own'), failed: false };
    this.show(entry, 'pending', made('p', 'fate', 'Sending'));
    this.entries.push(entry);
    this.list.append(entry.node);
    writeUnsent(this.channel, this.entries);
    return entry;
  }

  /** @param {Entry} entry @param {string} state @param {...Node} fate */
  show(entry, state, ...fate) {
    entry.node.hidden = false;
    entry.node.className = `message own ${state}`;
    entry.node.replaceChildren(bubble(entry.nick || null, entry.text), ...fate);
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    for (;;) {
      const entry = this.entries.find(({ failed }) => !failed);
      if (!entry) break;
      try {
        const { base, channel } = this;
        const { nick, text: message, key } = entry;
        const { id } = await publish({ base, channel, nick, message, key, timeout: TRY_MS });
        this.sent(entry, id);
      } catch (error) {
        const { message = String(error), mayPass = false } = /** @type {any} */ (error);
        this.fail(entry, message, mayPass);
      }
    }
    this.sending = false;
  }

  /** @param {Entry} entry @param {string} id */
  sent(entry, id) {
    addOwn(this.channel, id);
    this.drop(entry);
    if (entry.seen && entry.seen !== id) this.conversation.mark(entry.seen, false);
    if (this.conversation.mark(id, true)) return;
    this.show(entry, 'pending', made('p', 'fate', 'Sent'));
    this.list.prepend(entry.node);
    this.awaited.set(id, entry.node);
  }

  /** @param {Entry} entry */
  drop(entry) {
    this.entries.splice(this.entries.indexOf(entry), 1);
    writeUnsent(this.channel, this.entries);
    entry.node.remove();
  }

  /**
   * @param {Entry} entry
   * @param {string} reason
   * @param {boolean} mayPass whether it can be sent as it is
   */
  fail(entry, reason, mayPass) {
    entry.failed = true;
    if (entry.seen) this.conversation.mark(entry.seen, false);
    entry.seen = undefined;
    const retry = button('Retry', () => {
      entry.failed = false;
      this.show(entry, 'pending', made('p', 'fate', 'Sending'));
      this.send();
    });
    const edit = button('Edit', () => {
      this.drop(entry);
      this.edit(entry.text);
    });
    const discard = button('Discard', () => this.drop(entry));
    const fate = made('p', 'fate', `Not sent: ${reason}. `, ...(mayPass ? [retry] : [edit]), discard);
    fate.setAttribute('role', 'alert');
    this.show(entry, 'failed', fate);
  }

  /**
   * Whether a message that came is one of this page's. While the answer to a publication is out, it may only seem so;
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
    const entry = this.entries.find(({ failed }) => !failed);
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
