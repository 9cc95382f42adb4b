// The conversation of the open channel: its messages, older ones as one scrolls up, and new ones.

/** @import { Channel, Entry } from './channel.js' */

import { history } from '../client.js';
import { where } from './access.js';
import { element, made } from './dom.js';
import { Item } from './message.js';
import { GONE, untilMidnight } from './words.js';

/** How many messages the page has: at its end, and further up. The oldest are dropped, and can be fetched again. */
const KEPT_AT_END = 1000;
const KEPT_MAX = 10_000;

/** So much older ones come at once, when one is so near to the top. */
const OLDER = 100;
const NEAR_PX = 400;

/** A reader this near to the end counts as being there, in pixels. */
const END_PX = 40;

/** How long old messages are hidden from screen readers, which look at the page only after it has changed. */
const QUIET_MS = 500;

export class Conversation {
  /** @type {Channel | undefined} */
  channel;
  /** @type {Item[]} */
  items = [];
  /** @type {HTMLElement | undefined} */
  newLine;
  atEnd = true;
  /** The scroll position and height of the list when it was last measured. */
  top = 0;
  height = 0;
  /** Whether there is nothing older. */
  complete = false;
  loading = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  quiet;

  /** @param {(channel: Channel) => Node[]} welcome what an empty channel says */
  constructor(welcome) {
    this.welcomes = welcome;
    this.scroller = element('scroller', HTMLElement);
    this.list = element('conversation', HTMLOListElement);
    this.welcome = element('welcome', HTMLElement);
    this.unsent = element('unsent', HTMLElement);
    this.beginning = element('beginning', HTMLParagraphElement);
    this.again = element('again', HTMLButtonElement);
    this.toEnd = element('to-end', HTMLButtonElement);
    this.scroller.addEventListener('scroll', () => this.moved(), { passive: true });
    this.again.addEventListener('click', () => this.older());
    this.toEnd.addEventListener('click', () => this.goToNew());
    document.addEventListener('visibilitychange', () => this.look());
    // The window was resized, or a phone's keyboard opened.
    if (globalThis.ResizeObserver) new ResizeObserver(() => this.moved()).observe(this.scroller);
    // An unfolded text may have moved the end out of sight.
    this.list.addEventListener('click', () => this.scrolled());
    this.renameDays();
  }

  /**
   * Shows a channel; without one, what there is to say about that.
   *
   * @param {Channel | undefined} channel
   * @param {...Node} says
   */
  open(channel, ...says) {
    this.channel = channel;
    this.items = [];
    this.newLine = undefined;
    this.complete = false;
    this.loading = false;
    this.atEnd = true;
    this.list.replaceChildren();
    this.beginning.hidden = true;
    this.again.hidden = true;
    this.unsent.replaceChildren(...(channel ? [channel.outbox.list] : []));
    this.welcome.replaceChildren(...says);
    this.welcome.hidden = channel !== undefined;
    if (channel?.begun) this.begin(channel);
    this.look();
  }

  /** Shows what was there already. @param {Channel} channel */
  begin(channel) {
    this.quietly(() => this.add(channel.entries));
    if (channel.entries.length === 0) {
      this.complete = true;
      this.welcome.replaceChildren(...this.welcomes(channel));
      this.welcome.hidden = false;
    }
    if (this.welcome.hidden) this.goToEnd(false);
    if (channel.unread > 0) {
      const from = this.items.find(({ message }) => message.id === channel.newFrom);
      this.lineBefore(from);
      if (from) this.goTo(from.node);
    }
    this.scrolled();
  }

  /** What came just now. @param {Channel} channel @param {Entry[]} entries @param {boolean} first */
  came(channel, entries, first) {
    if (channel !== this.channel) return;
    if (first) return this.begin(channel);
    // The scroll event may still be to come.
    this.moved();
    const before = this.items.length;
    this.add(entries);
    for (const { node } of this.items.slice(before)) node.classList.add('arrives');
    const [unread] = channel.after(channel.read).filter(({ own }) => !own);
    const seen = document.visibilityState === 'visible' && this.atEnd;
    if (!seen && unread && channel.newFrom === unread.message.id) {
      this.lineBefore(this.items.find(({ message }) => message.id === channel.newFrom));
    }
    this.trim();
    if (this.atEnd) this.goToEnd();
    this.look();
  }

  /** @param {Entry[]} entries */
  add(entries) {
    this.welcome.hidden = this.welcome.hidden || entries.length > 0;
    const items = this.made(entries, this.items[this.items.length - 1]);
    this.items.push(...items);
    this.list.append(...items.map(({ node }) => node));
  }

  /** @param {Entry[]} entries @param {Item | undefined} before */
  made(entries, before) {
    let latest = before;
    return entries.map((entry) => {
      const item = new Item(entry);
      item.follow(latest);
      latest = item;
      return item;
    });
  }

  /** Where what is unread begins. @param {Item | undefined} item */
  lineBefore(item) {
    if (!item || this.newLine?.parentElement === item.node) return;
    this.newLine?.remove();
    this.newLine = made('p', 'new', 'New');
    item.node.prepend(this.newLine);
  }

  /** Shows whose a message is, if it is here. @param {Channel} channel @param {Entry} entry */
  mark(channel, entry) {
    const at = channel === this.channel ? this.items.findIndex(({ message }) => message.id === entry.message.id) : -1;
    if (at < 0) return;
    this.items[at].mark(entry);
    for (const index of [at, at + 1]) this.items[index]?.follow(this.items[index - 1]);
    this.look();
  }

  /** Fetches messages older than the oldest here, and keeps what one reads where it is. */
  async older() {
    const { channel } = this;
    const [oldest] = this.items;
    if (this.complete || this.loading || !oldest || !channel) return;
    this.loading = true;
    this.again.hidden = true;
    try {
      const asked = { ...where, channel: channel.name, before: oldest.message.id, limit: OLDER };
      const { messages, missed } = await history(asked);
      // The oldest message may have been dropped meanwhile, or another channel been opened.
      if (this.channel !== channel) return;
      if (this.items[0] === oldest) this.prepend(channel, messages);
      this.complete = messages.length === 0;
      this.say(missed ? GONE : this.complete ? 'The conversation begins here' : '');
    } catch {
      if (this.channel !== channel) return;
      this.say('Older messages can not be had just now.');
      this.again.hidden = false;
      return;
    } finally {
      if (this.channel === channel) this.loading = false;
    }
    this.scrolled();
  }

  /** At the beginning. @param {string} words */
  say(words) {
    this.beginning.textContent = words;
    this.beginning.hidden = words === '';
  }

  /** @param {Channel} channel @param {import('../client/types.js').Message[]} messages */
  prepend(channel, messages) {
    const entries = messages.map((message) => channel.entry(message, channel.own.has(message), false));
    const items = this.made(entries, undefined);
    const [oldest] = this.items;
    // The bottom, because a day line at the top may go away.
    const { bottom } = oldest.node.getBoundingClientRect();
    this.items.unshift(...items);
    this.quietly(() => this.list.prepend(...items.map(({ node }) => node)));
    oldest.follow(items[items.length - 1]);
    this.scroller.scrollTop += oldest.node.getBoundingClientRect().bottom - bottom;
  }

  /** Changes the list by what is not new, and so is not read out. @param {() => void} change */
  quietly(change) {
    this.scroller.setAttribute('aria-live', 'off');
    change();
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.scroller.setAttribute('aria-live', 'polite'), QUIET_MS);
  }

  trim() {
    const most = this.atEnd ? KEPT_AT_END : KEPT_MAX;
    if (this.items.length <= most) return;
    this.items.splice(0, this.items.length - most);
    const [oldest] = this.items;
    while (this.list.firstElementChild && this.list.firstElementChild !== oldest.node) this.list.firstElementChild.remove();
    oldest.follow(undefined);
    this.complete = false;
    this.say('');
  }

  /** The reader scrolled, or there is more or less room: then a reader at the end stays there. */
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
    if (this.channel?.begun && this.again.hidden && scrollTop < NEAR_PX) this.older();
  }

  /** @param {boolean} [looked] whether the reader has seen what is there */
  goToEnd(looked = true) {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    if (looked) this.scrolled();
  }

  /** Scrolls to the first new message if it is further down, and from there on to the end. */
  goToNew() {
    const { bottom } = this.scroller.getBoundingClientRect();
    const line = this.newLine?.getBoundingClientRect().top ?? 0;
    if (this.channel?.unread && this.newLine && line > bottom) this.goTo(this.newLine);
    else this.goToEnd();
  }

  /** Brings something to the top, unless what is below it is less than fills the page. @param {HTMLElement} node */
  goTo(node) {
    this.scroller.scrollTop += node.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top;
  }

  /** Whether the reader looks at the page. Reports how much is unread, and where. */
  look() {
    const { channel } = this;
    if (channel?.begun && document.visibilityState === 'visible' && this.atEnd) channel.seen();
    const unread = channel?.unread ?? 0;
    const news = `${unread} new ${unread === 1 ? 'message' : 'messages'}`;
    this.toEnd.textContent = unread > 0 ? `${news} ↓` : 'To the end ↓';
    this.toEnd.classList.toggle('news', unread > 0);
    this.toEnd.hidden = this.atEnd || this.items.length === 0;
  }

  /** At midnight, today becomes yesterday. */
  renameDays() {
    const now = new Date();
    for (const item of this.items) item.nameDay(now);
    setTimeout(() => this.renameDays(), untilMidnight(now) + 1000);
  }
}
