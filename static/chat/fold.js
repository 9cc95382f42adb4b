// Long texts: the beginning, and the rest when the reader wants it.

/** @import { Part } from './parts.js' */

import { button, made } from './dom.js';

/** Texts longer than the first are folded to the second, so that never just one line is folded. */
const LONG = { characters: 2000, lines: 25 };
const SHORT = { characters: 1000, lines: 12 };

/** @param {string} text @param {{characters: number, lines: number}} room where it exceeds the room, if it does */
function end(text, room) {
  let at = -1;
  for (let line = 0; line < room.lines; line += 1) {
    at = text.indexOf('\n', at + 1);
    if (at < 0 || at >= room.characters) break;
  }
  const cut = at < 0 ? room.characters : Math.min(at, room.characters);
  // Not within a character.
  return /[\uD800-\uDBFF]/.test(text[cut - 1] ?? '') ? cut - 1 : cut;
}

/**
 * The parts before a position, and those after it. A part with the position inside is divided.
 *
 * @param {Part[]} parts
 * @param {number} at
 */
function split(parts, at) {
  /** @type {[Part[], Part[]]} */
  const sides = [[], []];
  let begin = 0;
  for (const part of parts) {
    const cut = Math.max(0, at - begin);
    const [head, tail] = [part.text.slice(0, cut), part.text.slice(cut)];
    if (head) sides[0].push({ ...part, text: head });
    if (tail) sides[1].push({ ...part, text: tail });
    begin += part.text.length;
  }
  return sides;
}

/**
 * A paragraph with a text, and a button that unfolds it if it is long. The folded part is in the page, but is not laid
 * out: so a thousand long messages cost a reader no more than a thousand short ones.
 *
 * @param {string} text
 * @param {Part[]} parts the same text
 * @param {(part: Part) => string | Node} draw
 * @returns {HTMLElement[]}
 */
export function folded(text, parts, draw) {
  if (end(text, LONG) >= text.length) return [made('p', 'text', ...parts.map(draw))];
  const [head, tail] = split(parts, end(text, SHORT));
  const rest = made('span', '', ...tail.map(draw));
  rest.hidden = true;
  const paragraph = made('p', 'text folded', ...head.map(draw), rest);
  const more = button('Show more', () => {
    rest.hidden = !rest.hidden;
    paragraph.classList.toggle('folded', rest.hidden);
    more.textContent = rest.hidden ? 'Show more' : 'Show less';
    more.setAttribute('aria-expanded', String(!rest.hidden));
  });
  more.className = 'more';
  more.setAttribute('aria-expanded', 'false');
  return [paragraph, more];
}
