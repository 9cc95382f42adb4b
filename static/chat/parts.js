// A text in parts: links, code, and the rest.

/** How many links and pieces of code are shown in one message. More would only cost readers time. */
const LINKS_MAX = 100;
const CODES_MAX = 100;

/** Characters that end a sentence or enclose a link are not a part of it. */
const AFTER_LINK = '.,:;!?\'*_~]}”’»';

const LINK = /https?:\/\/[^\s<>"“”„«»\p{Cc}\p{Bidi_Control}]+/giu;

/** The beginning of a block of code, and of code within a line; and the end of a block, a line of its own. */
const CODE = /^```[^\n`]*\n|(`)([^`\n]+)`/gm;
const BLOCK_END = /\n```[^\S\n]*(?:\n|$)/g;

/**
 * @typedef {object} Part
 * @property {string} text
 * @property {string} [href] where it leads
 * @property {'line' | 'block'} [code]
 * @property {true} [mark] what makes the text beside it code, and is not shown
 */

/**
 * Divides a text into parts, which together are the whole text.
 *
 * @param {string} text
 * @returns {Part[]}
 */
export function parts(text) {
  /** @type {Part[]} */
  const found = [];
  const room = { links: LINKS_MAX };
  let end = 0;
  let looked = 0;
  for (const { 0: match, 1: tick, 2: inLine, index = 0 } of text.matchAll(CODE)) {
    if (index < end) continue;
    looked += 1;
    if (looked > CODES_MAX) break;
    const begin = index + (tick ?? match).length;
    const [code, after] = tick ? [inLine, tick] : block(text, begin);
    if (after === undefined) continue;
    found.push(...links(text.slice(end, index), room), { text: tick ?? match, mark: true });
    found.push({ text: code, code: tick ? 'line' : 'block' }, { text: after, mark: true });
    end = begin + code.length + after.length;
  }
  found.push(...links(text.slice(end), room));
  return found.filter((part) => part.text);
}

/** The code that begins here, and what ends it, if anything does. @param {string} text @param {number} begin */
function block(text, begin) {
  BLOCK_END.lastIndex = begin - 1;
  const close = BLOCK_END.exec(text);
  if (!close) return [''];
  // An empty block ends with the line that begins it.
  const at = Math.max(close.index, begin);
  return [text.slice(begin, at), text.slice(at, close.index + close[0].length)];
}

/**
 * Characters that end a sentence do not belong to a link, nor does a bracket that was opened before it.
 *
 * @param {string} text
 * @param {{links: number}} room how many are still looked at
 */
function links(text, room) {
  /** @type {Part[]} */
  const found = [];
  let end = 0;
  for (const { 0: match, index = 0 } of text.matchAll(LINK)) {
    room.links -= 1;
    if (room.links < 0) break;
    const link = trimmed(match);
    const href = address(link);
    if (!href) continue;
    if (index > end) found.push({ text: text.slice(end, index) });
    found.push({ text: link, href });
    end = index + link.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

/** A link without what stands behind it. Its brackets are counted once: anybody can send thousands. @param {string} link */
function trimmed(link) {
  let spare = link.split(')').length - link.split('(').length;
  let end = link.length;
  for (; end > 0; end -= 1) {
    const last = link[end - 1];
    if (last === ')' && spare > 0) spare -= 1;
    else if (!AFTER_LINK.includes(last)) break;
  }
  return link.slice(0, end);
}

/** Where a link leads, if it leads anywhere. @param {string} link */
function address(link) {
  try {
    const { href, username } = new URL(link);
    // A user name before the host is there to deceive.
    return username ? undefined : href;
  } catch {
    return undefined;
  }
}
