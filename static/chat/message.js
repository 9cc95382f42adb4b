// One message as an element, and how it depends on the one before it.

/** @import { Message } from '../client/types.js' */

import { uncaught } from '../client/error.js';
import { copyButton, made } from './dom.js';
import { folded } from './fold.js';
import { parts } from './parts.js';
import { GONE, dayOf, dayWords, hue, initial, isBlank, timeWords } from './words.js';

/** Messages of one person within this time are shown together. */
const TOGETHER_MS = 5 * 60_000;

/** What stands for a person in little room. @param {string | null} nick */
export function face(nick) {
  const drawn = made('span', 'face', nick ? initial(nick) : '?');
  drawn.setAttribute('aria-hidden', 'true');
  if (nick) drawn.style.setProperty('--hue', hue(nick));
  return drawn;
}

/**
 * The body of a message, also of one that is not sent yet.
 *
 * @param {string | null} nick
 * @param {string} text
 * @param {...Node} rest what stands below the text
 */
export function bubble(nick, text, ...rest) {
  const name = made('bdi', nick ? 'nick' : 'nick nobody', nick ?? 'anonymous');
  const around = made('div', 'bubble', ...said(text), ...rest);
  around.dir = 'auto';
  const body = made('div', nick ? 'said' : 'said nobody', face(nick), name, around);
  if (nick) body.style.setProperty('--hue', hue(nick));
  return body;
}

/** @param {string} text */
function said(text) {
  if (!isBlank(text)) return folded(text, parts(text), part);
  const blanks = made('p', 'text', text);
  blanks.hidden = true;
  return [blanks, made('p', 'blank', 'Nothing but blanks')];
}

/** @param {import('./parts.js').Part} part */
function part({ text, href, code, mark }) {
  if (mark) {
    const hidden = made('span', '', text);
    hidden.hidden = true;
    return hidden;
  }
  if (code) return made('code', code === 'block' ? 'block' : '', text);
  if (!href) return text;
  const link = made('a', '', text);
  link.href = href;
  link.dir = 'ltr';
  link.target = '_blank';
  link.rel = 'noopener noreferrer nofollow ugc';
  return link;
}

/** For whoever wants the code of a message elsewhere. @param {string} text */
function copies(text) {
  const blocks = (text.includes('```') ? parts(text) : []).filter(({ code }) => code === 'block');
  if (blocks.length === 0) return [];
  const copy = copyButton(() => blocks.map((block) => block.text).join('\n\n'), 'Copy code');
  copy.className = 'copy';
  return [copy];
}

/**
 * The body of a message. If the browser lacks something that this needs, it is plain text.
 *
 * @param {Message} message
 * @param {HTMLElement} when
 */
function drawn({ nick, message }, when) {
  try {
    return bubble(nick, message, ...copies(message), when);
  } catch (error) {
    uncaught(error);
    return made('div', 'said plain', `${nick ?? 'anonymous'}: `, made('span', 'text', message));
  }
}

/** A message in the conversation. */
export class Item {
  /** @param {import('./channel.js').Entry} entry */
  constructor({ message, own, gap, mention }) {
    const time = new Date(message.time);
    const { short, whole } = timeWords(time);
    const when = made('time', '', short);
    when.dateTime = message.time;
    when.title = whole;
    // Not the direction of the text beside it.
    when.dir = 'auto';
    this.message = message;
    this.at = time.getTime();
    // An item without a time belongs to the day of the one before it.
    this.day = dayOf(time) || -Infinity;
    this.gap = gap;
    this.node = made('li', 'message', drawn(message, when));
    this.mark({ own, mention });
    if (gap) this.node.prepend(made('p', 'gap', GONE));
    /** The latest day so far. The clock of one server may be behind, but a day that is over does not come again. */
    this.latestDay = this.day;
    /** @type {HTMLElement | undefined} */
    this.dayLine = undefined;
  }

  /**
   * Shows what depends on the item before this one: a new day, and whether both are shown together. They are not if
   * something is missing between them.
   *
   * @param {Item | undefined} before
   */
  follow(before) {
    this.latestDay = Math.max(this.day, before?.latestDay ?? -Infinity);
    this.dayLine?.remove();
    this.dayLine = undefined;
    const newDay = this.latestDay !== before?.latestDay;
    if (newDay) {
      this.dayLine = made('p', 'day', '');
      this.nameDay(new Date());
      this.node.prepend(this.dayLine);
    }
    const { nick } = this.message;
    const together = before?.message.nick === nick && before.own === this.own && this.at - before.at < TOGETHER_MS;
    const again = together && !newDay && !this.gap;
    this.node.classList.toggle('again', again);
    before?.node.classList.toggle('more-follows', again);
  }

  /** @param {Date} now */
  nameDay(now) {
    if (this.dayLine) this.dayLine.textContent = dayWords(this.latestDay, now);
  }

  get own() {
    return this.node.classList.contains('own');
  }

  /** Shows whose it is. @param {{own: boolean, mention: boolean}} entry */
  mark({ own, mention }) {
    this.node.classList.toggle('own', own);
    this.node.classList.toggle('mention', mention);
  }
}
