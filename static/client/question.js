// One request for a set of places, each in another channel, and its answer for each place.

/** @import { Answer, Means } from './types.js' */
/** @import { Place } from './place.js' */

import { isBatch, request } from './request.js';

/** When to give up a poll that may be held, and one that is answered at once. */
const HELD_MAX_MS = 40_000;
const LOOK_MAX_MS = 10_000;

/** The batches of an answer, by channel. A map, because a channel may have any name, such as `__proto__`. @param {any} body */
const said = ({ channels }) => new Map(Object.entries(Object(channels)));

/**
 * Asks for what comes after some places.
 *
 * @param {string} base
 * @param {Place[]} places
 * @param {number} waitS how long to be held
 * @param {boolean} again whether the poll before it failed
 * @param {Means} means
 * @returns {Promise<Answer[]>} one for each place
 */
export async function ask(base, places, waitS, again, means) {
  const last = places.find((place) => place.last)?.last;
  const asked = `channels=${places.map((place) => place.asked)}${last ? `&last=${last}` : ''}`;
  const fields = `${asked}&wait=${waitS}`;
  const is = (/** @type {any} */ body) => {
    const batches = said(body);
    const right = ({ channel, cursor } = places[0]) => (batches.has(channel) ? isBatch(batches.get(channel)) : cursor);
    return Boolean(body.channels) && places.every((place) => right(place));
  };
  const limitMs = waitS > 0 ? HELD_MAX_MS : LOOK_MAX_MS;
  const batches = said(await request({ base, path: '/sub', fields, asked, is, again, limitMs }, means));
  return places.map(({ channel, cursor, after }) => {
    const standing = { messages: [], cursor, missed: false };
    return { ...standing, ...batches.get(channel), channel, after };
  });
}
