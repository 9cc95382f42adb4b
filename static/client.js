// The client of linger for any page: it publishes, and it subscribes so that nothing is missed and nothing comes twice.
// It has no dependencies. The folder client/ beside it has the rest, and the types.

/** @import { Batch, Draft, Follow, Handler, Message, Retriable, Subscription, Where } from './client/types.js' */

import { LingerError, uncaught } from './client/error.js';
import { check, server } from './client/options.js';
import { isHistory, request } from './client/request.js';
import { follow } from './client/subscriber.js';
import { backOff, means, pause } from './client/wait.js';

export { LingerError };

/** How long publish goes on trying by default. */
const PUBLISH_MS = 30_000;

/** When one attempt is given up. */
const ATTEMPT_MAX_MS = 10_000;

/** A key for one message: publishing it twice with the same key publishes it once. */
export function newKey() {
  // Pages over plain HTTP have no crypto.randomUUID.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Publishes a message. It repeats what may succeed later until `timeout` is over. After an error that `mayPass`, the message
 * may be published or not: publish it again with the same key, and it is there once.
 *
 * @param {Where & Draft} draft
 * @returns {Promise<{status: 'sent', id: string, channel: string}>}
 * @throws {LingerError} why the last attempt failed; or the reason of the signal; or a TypeError
 */
export async function publish(draft) {
  check('publish', arguments);
  const { channel = 'lobby', nick, message, key = newKey(), timeout = PUBLISH_MS } = draft;
  const { clock, signal, ...how } = means(draft);
  const base = server(draft.base);
  const fields = `${new URLSearchParams({ channel, nick: nick ?? '', message, key })}`;
  const is = (/** @type {any} */ sent) => typeof sent.id === 'string' && sent.channel === channel;
  const question = { base, path: '/pub', fields, posts: true, asked: `key=${key}`, is, by: {} };
  const deadline = clock.now() + timeout;
  for (let failures = 0; ; failures += 1) {
    const limitMs = Math.max(1, Math.min(ATTEMPT_MAX_MS, deadline - clock.now()));
    try {
      return await request({ ...question, limitMs }, { ...how, clock, signal });
    } catch (error) {
      if (!(error instanceof LingerError) || !error.mayPass) throw error;
      const { ms, early } = backOff(failures, error.retryAfter);
      if (clock.now() + ms >= deadline) throw error;
      await pause(ms, { signal, clock, base, early });
    }
  }
}

/**
 * Subscribes to one channel or several. With `onMessages` it calls that with each batch, and returns a promise that is
 * settled at the end. Without, it returns an async iterator of batches. A batch is of one channel. The first batch of a
 * channel is what is there now, possibly nothing; each later one has messages, or says that some were missed. The
 * subscription ends with the signal, with the loop, or when the server refuses it for good, which an iterator throws as a
 * LingerError. What it returns has `retry()`, which ends a pause after a failure.
 *
 * @overload
 * @param {Where & Follow & Handler} options
 * @returns {Promise<void> & Retriable}
 *
 * @overload
 * @param {Where & Follow} [options]
 * @returns {Subscription}
 *
 * @param {Where & Follow & Partial<Handler>} [options]
 * @throws {TypeError}
 */
export function subscribe(options = {}) {
  check('subscribe', arguments);
  const batches = follow(options);
  const { onMessages, onState } = options;
  if (!onMessages) return batches;
  batches.onState = onState;
  return Object.assign(deliver(batches, onMessages), { retry: () => batches.retry() });
}

/** @param {Subscription} batches @param {Handler['onMessages']} onMessages */
async function deliver(batches, onMessages) {
  try {
    for await (const batch of batches) {
      try {
        await onMessages(batch.messages, batch);
      } catch (error) {
        uncaught(error);
      }
    }
  } catch (error) {
    if (!(error instanceof LingerError)) throw error;
    // With onState, the caller was told.
    if (!batches.onState) console.warn(`linger: the subscription has ended: ${error.message} (${error.code})`);
  }
}

/**
 * Older messages: the newest `limit` before the message `before`, oldest first. It tries only once.
 *
 * @param {Where & {channel?: string, before: string, limit?: number}} options `limit` is 100 at most
 * @returns {Promise<{messages: Message[], missed: boolean}>} `missed`: the log that had this message is gone
 * @throws {LingerError} or a TypeError
 */
export async function history(options) {
  check('history', arguments);
  const { channel = 'lobby', before, limit = 100 } = options;
  const asked = `${new URLSearchParams({ channel, before })}`;
  const question = { base: server(options.base), path: '/sub', fields: `${asked}&limit=${limit}`, asked, is: isHistory };
  // If somebody tries again by hand, no cache may answer.
  return request({ ...question, limitMs: ATTEMPT_MAX_MS, again: true }, means(options));
}
