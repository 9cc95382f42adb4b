// Names, texts and times for people, and the limits as the server counts them.

import { CHANNEL } from '../client/options.js';

const TEXT_BYTES_MAX = 32_768;
const NICK_CHARACTERS_MAX = 64;

/** When less than this is left, the page shows how much. */
const ROOM_SHOWN_BYTES = 1000;

const encoder = new TextEncoder();

/** @param {number} count */
const bytes = (count) => `${count.toLocaleString()} ${count === 1 ? 'byte' : 'bytes'}`;

/**
 * What is wrong with a text, or how much room is left when that is little. It counts bytes, not characters.
 *
 * @param {string} text
 * @returns {{wrong: boolean, says: string}}
 */
export function checkText(text) {
  const room = TEXT_BYTES_MAX - encoder.encode(text).length;
  if (isBlank(text)) return { wrong: true, says: '' };
  if (room < 0) return { wrong: true, says: `The message is too long by ${bytes(-room)}.` };
  return { wrong: false, says: room < ROOM_SHOWN_BYTES ? `${bytes(room)} left.` : '' };
}

/** Whether there is nothing to be seen in a text. @param {string} text */
export function isBlank(text) {
  return !/[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\u2800]/u.test(text);
}

/** What is wrong with a name, if anything. @param {string} nick */
export function checkNick(nick) {
  const characters = [...nick].length;
  if (characters > NICK_CHARACTERS_MAX) return `The name has ${characters} characters; ${NICK_CHARACTERS_MAX} are allowed.`;
  if (/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u.test(nick)) return 'The name has a character that would garble the page.';
  if (nick && isBlank(nick)) return 'The name has nothing to be seen.';
  return '';
}

/** Whether a text speaks of somebody, by the whole name. @param {string} text @param {string} nick */
export function mentions(text, nick) {
  if ([...nick].length < 2) return false;
  const name = nick.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  return new RegExp(`(?:^|[^\\p{L}\\p{N}])${name}(?![\\p{L}\\p{N}])`, 'iu').test(text);
}

/** What a channel may be called that was asked for in other words; empty, if nothing is left. @param {string} wanted */
export function channelName(wanted) {
  const plain = wanted.trim().replace(/^#/, '').normalize('NFKD').replace(/\p{M}/gu, '');
  return plain.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 64);
}

/** The rule for names of channels, for people. */
export const NAME_RULE = '1 to 64 letters, digits, dots, hyphens and underscores, without accents';

/** Whether a channel can be called so. @param {string} name */
export const isChannelName = (name) => CHANNEL.test(name);

/** What stands where messages are gone. */
export const GONE = 'Some messages may be missing here.';

/** A colour for a name, as the angle of its hue: always the same, and far from those of similar names. */
export function hue(/** @type {string} */ name) {
  let hash = 0x811c9dc5;
  for (const byte of encoder.encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return String((Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 8) % 360);
}

/** What stands for a name in little room: its first letter, as people count them. @param {string} name */
export function initial(name) {
  // Firefox before 125 has no segmenter. There, a letter may lose its accents.
  const [letter] = [...name.trim()];
  const [first] = Intl.Segmenter ? new Intl.Segmenter().segment(name.trim()) : [];
  return first?.segment ?? letter ?? '?';
}

const clockTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const wholeTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const dayOfYear = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });

/** @param {Date} time */
export function timeWords(time) {
  if (Number.isNaN(time.getTime())) return { short: '', whole: '' };
  return { short: clockTime.format(time), whole: wholeTime.format(time) };
}

/** The day where the reader is, to be compared. @param {Date} time */
export function dayOf(time) {
  return new Date(time.getFullYear(), time.getMonth(), time.getDate()).getTime();
}

/** @param {number} ofDay what `dayOf` gave @param {Date} now */
export function dayWords(ofDay, now) {
  if (!Number.isFinite(ofDay)) return '';
  const date = new Date(ofDay);
  if (ofDay === dayOf(now)) return 'Today';
  if (ofDay === dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1))) return 'Yesterday';
  return (date.getFullYear() === now.getFullYear() ? day : dayOfYear).format(date);
}

/** How long it is until it is another day, in milliseconds. @param {Date} now */
export function untilMidnight(now) {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1).getTime() - now.getTime();
}
