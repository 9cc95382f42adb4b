// The conversation: what was said, older parts as one scrolls up, and what is new to the reader.

/** @import { Message } from '../client/types.js' */
/** @import { Own } from './own.js' */

import { history } from '../client.js';
import { element, made } from './dom.js';
import { Item } from './message.js';
import { untilMidnight } from './words.js';

/** Messages kept in the page: at its end, and when one reads further up. The oldest go, and can be had again. */
const KEPT_AT_END = 1000;
const KEPT_MAX = 10_000;

/** So much older ones come at once, when one is so near to the top. */
const OLDER = 100;
const NEAR_PX = 400;

/** Whoever is so near to the end is at the end. */
const END_PX = 40;

export class Conversation {
  /** @type {Item[]} */
  items = [];
  unread = 0;
  /** @type {HTMLElement | undefined} */
  newLine;
  atEnd = true;
  /** Where the list was scrolled to, and how high it was, when that was found. */
  top = 0;
  height = 0;
  /** Whether there is nothing older. */
  complete = false;
  begun = false;
  loading = false;

  /** @param {string} base @param {string} channel @param {Own} own */
  constructor(base, channel, own) {
    this.base = base;
    this.channel = channel;
    this.own = own;
    this.scroller = element('scroller', HTMLElement);
    this.list = element('conversation', HTMLOListElement);
    this.beginning = element('beginning', HTMLParagraphElement);
    this.again = element('again', HTMLButtonElement);
    this.toEnd = element('to-end', HTMLButtonElement);
    this.scroller.addEventListener('scroll', () => this.moved(), { passive: true });
    this.again.addEventListener('click', () => this.older());
    this.toEnd.addEventListener('click', () => this.goToNew());
    document.addEventListener('visibilitychange', () => this.look());
    // The window, or the keyboard of a phone.
    if (globalThis.ResizeObserver) new ResizeObserver(() => this.moved()).observe(this.scroller);
    // What was unfolded may have put the end out of sight.
    this.list.addEventListener('click', () => this.scrolled());
    own.onOther(() => {
      for (const { message } of this.items.filter((item) => !item.own)) if (own.has(message)) this.mark(message.id, true);
    });
    this.look();
    this.renameDays();
  }

  /**
   * Shows what came. `wrote` says whether a message is one that this page is just sending.
   *
   * @param {Message[]} messages
   * @param {boolean} missed
   * @param {(message: Message) => boolean} wrote
   */
  append(messages, missed, wrote) {
    const quiet = !this.begun;
    // The event may be still to come.
    this.moved();
    const seen = document.visibilityState === 'visible' && this.atEnd;
    if (missed) this.list.append(made('li', 'gap', 'Some messages may be missing here.'));
    const items = this.made(messages, this.items[this.items.length - 1], missed, wrote);
    if (this.begun && this.items.length === 0) this.beginning.hidden = true;
    this.items.push(...items);
    const others = items.filter((item) => !item.own);
    if (!quiet && !seen && others.length > 0) this.unseen(others);
    this.quietly(quiet, () => this.list.append(...items.map(({ node }) => node)));
    this.trim();
    if (this.atEnd) this.goToEnd();
    if (quiet) this.begin(messages.length);
    this.look();
  }

  /**
   * @param {Message[]} messages
   * @param {Item | undefined} before
   * @param {boolean} gap whether something is missing before them
   * @param {(message: Message) => boolean} wrote
   */
  made(messages, before, gap, wrote) {
    let latest = before;
    return messages.map((message, index) => {
      const item = new Item(message);
      item.own = wrote(message) || this.own.has(message);
      item.follow(latest, gap && index === 0);
      latest = item;
      return item;
    });
  }

  /**
   * Shows whose a message is, if it is here.
   *
   * @param {string} id
   * @param {boolean} own
   */
  mark(id, own) {
    let at = this.items.length - 1;
    while (at >= 0 && this.items[at].message.id !== id) at -= 1;
    if (at < 0) return false;
    this.items[at].own = own;
    for (const index of [at, at + 1]) this.refollow(index);
    return true;
  }

  /** @param {number} index */
  refollow(index) {
    const item = this.items[index];
    const gap = item?.node.previousElementSibling?.classList.contains('gap');
    item?.follow(this.items[index - 1], gap);
  }

  /** @param {number} joinedWith */
  begin(joinedWith) {
    this.begun = true;
    if (joinedWith === 0) this.finish('Nobody has said anything here yet.');
    this.scrolled();
  }

  /** @param {string} words */
  finish(words) {
    this.complete = true;
    this.beginning.textContent = words;
    this.beginning.hidden = false;
  }

  /** Gets what is older than the oldest here, and keeps what one reads where it is. */
  async older() {
    const [oldest] = this.items;
    if (this.complete || this.loading || !oldest) return;
    this.loading = true;
    this.again.hidden = true;
    this.beginning.hidden = false;
    this.beginning.textContent = 'Getting older messages';
    try {
      const { base, channel } = this;
      const { messages } = await history({ base, channel, before: oldest.message.id, limit: OLDER });
      // What was oldest may have gone meanwhile.
      if (this.items[0] === oldest) this.prepend(messages);
      this.beginning.hidden = true;
      if (messages.length === 0) this.finish('Nothing older is kept.');
    } catch {
      this.beginning.textContent = 'Older messages can not be had just now.';
      this.again.hidden = false;
      return;
    } finally {
      this.loading = false;
    }
    this.scrolled();
  }

  /** @param {Message[]} messages */
  prepend(messages) {
    const items = this.made(messages, undefined, false, () => false);
    const [oldest] = this.items;
    // Its bottom: at its top there may be a day line, which goes.
    const { bottom } = oldest.node.getBoundingClientRect();
    this.items.unshift(...items);
    this.quietly(true, () => this.list.prepend(...items.map(({ node }) => node)));
    oldest.follow(items[items.length - 1]);
    this.scroller.scrollTop += oldest.node.getBoundingClientRect().bottom - bottom;
  }

  /** Changes the list; what is not new is not read out. @param {boolean} quiet @param {() => void} change */
  quietly(quiet, change) {
    if (quiet) this.scroller.setAttribute('aria-live', 'off');
    change();
    // Not before the change was noticed.
    if (quiet) setTimeout(() => this.scroller.setAttribute('aria-live', 'polite'), 500);
  }

  trim() {
    const most = this.atEnd ? KEPT_AT_END : KEPT_MAX;
    if (this.items.length <= most) return;
    this.items.splice(0, this.items.length - most);
    const [oldest] = this.items;
    while (this.list.firstElementChild && this.list.firstElementChild !== oldest.node) this.list.firstElementChild.remove();
    oldest.follow(undefined);
    this.complete = false;
    this.beginning.hidden = true;
  }

  /** The reader has scrolled; or there is more or less room than before, and whoever was at the end is to stay there. */
  moved() {
    const { scrollTop, clientHeight } = this.scroller;
    if (this.atEnd && clientHeight !== this.height) this.goToEnd();
    else if (scrollTop !== this.top) this.scrolled();
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.atEnd = scrollHeight - scrollTop - clientHeight < END_PX;
    this.top = scrollTop;
    this.height = clientHeight;
    this.look();
    if (this.begun && this.again.hidden && scrollTop < NEAR_PX) this.older();
  }

  goToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.scrolled();
  }

  /** To the first new message, if it is still below; from there on to the end. */
  goToNew() {
    const { top, bottom } = this.scroller.getBoundingClientRect();
    const line = this.newLine?.getBoundingClientRect().top ?? 0;
    if (this.unread === 0 || line < bottom) this.goToEnd();
    else this.scroller.scrollTop += line - top;
  }

  /** @param {Item[]} items */
  unseen(items) {
    if (this.unread === 0) {
      this.newLine?.remove();
      this.newLine = made('p', 'new', 'New');
      items[0].node.prepend(this.newLine);
    }
    this.unread += items.length;
  }

  /** The reader looks, or not: says how much is unread, and where. */
  look() {
    if (document.visibilityState === 'visible' && this.atEnd) this.unread = 0;
    document.title = `${this.unread > 0 ? `(${this.unread}) ` : ''}#${this.channel} · linger`;
    const news = `${this.unread} new ${this.unread === 1 ? 'message' : 'messages'}`;
    this.toEnd.textContent = this.unread > 0 ? `${news} ↓` : 'To the end ↓';
    this.toEnd.hidden = this.atEnd;
  }

  /** What was today is yesterday at midnight. */
  renameDays() {
    const now = new Date();
    for (const item of this.items) item.nameDay(now);
    setTimeout(() => this.renameDays(), untilMidnight(now) + 1000);
  }
}
