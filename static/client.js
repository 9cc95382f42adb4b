// A client of linger for any page: it publishes, and it subscribes so that nothing is missed and nothing comes twice.
// No dependencies. What it imports, and its types, stand in client/ beside it.

/** @import { Batch, Draft, Follow, Handler, Message, Where } from './client/types.js' */

import { follow } from './client/follow.js';
import { LingerError, address, backOff, means, pause, request, uncaught } from './client/request.js';

export { LingerError };

/** How long publish goes on trying, unless it is told. */
const PUBLISH_MS = 30_000;

/** One attempt takes a second or two, or it has failed. */
const ATTEMPT_MAX_MS = 10_000;

/** A key for one message: publishing it twice with the same key publishes it once. */
export function newKey() {
  // crypto.randomUUID is not to be had over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Publishes a message, and tries again what may pass until `timeout` is over. After an error that `mayPass` it may or
 * may not be published: publish it again with the same key, and it is there once.
 *
 * @param {Where & Draft} draft
 * @returns {Promise<{status: 'sent', id: string, channel: string}>}
 * @throws {LingerError} why the last attempt failed; or the reason of the signal
 */
export async function publish({ base = '', channel = 'lobby', nick, message, key = newKey(), timeout, ...given }) {
  const { clock, signal, fetch } = means(given);
  const deadline = clock.now() + (timeout ?? PUBLISH_MS);
  for (let failures = 0; ; failures += 1) {
    const limitMs = Math.max(1, Math.min(ATTEMPT_MAX_MS, deadline - clock.now()));
    // A form, with the key as a field, needs no preflight.
    const body = new URLSearchParams({ channel, nick: nick ?? '', message: message ?? '', key });
    try {
      return await request(address(base, '/pub'), { method: 'POST', body }, { fetch, clock, signal, limitMs, has: 'id' });
    } catch (error) {
      if (!(error instanceof LingerError) || !error.mayPass) throw error;
      const ms = backOff(failures, error.retryAfter);
      if (clock.now() + ms >= deadline) throw error;
      await pause(ms, signal, clock);
    }
  }
}

/**
 * Subscribes to a channel. With `onMessages` it calls that with each batch, and is settled when it has ended; without,
 * it is an async iterator of batches. The first batch is what is there now, possibly nothing; any later one has
 * messages, or says that some were missed. It ends with the signal, with the loop, or when the server says that such a
 * request never succeeds, which an iterator throws as a LingerError.
 *
 * @overload
 * @param {Where & Follow & Handler} options
 * @returns {Promise<void>}
 *
 * @overload
 * @param {Where & Follow} [options]
 * @returns {AsyncIterableIterator<Batch>}
 *
 * @param {Where & Follow & Partial<Handler>} [options]
 */
export function subscribe({ onMessages, ...options } = {}) {
  const batches = follow(options);
  return onMessages ? deliver(batches, onMessages) : batches;
}

/** @param {AsyncIterable<Batch>} batches @param {Handler['onMessages']} onMessages */
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
    // The state has said so.
    if (!(error instanceof LingerError)) throw error;
  }
}

/**
 * Older messages: the newest `limit` before the message `before`, oldest first. Tries once.
 *
 * @param {Where & {before: string, limit?: number}} options `limit` is 100 at most
 * @returns {Promise<{messages: Message[], missed: boolean}>} `missed`: the log that had this message is gone
 * @throws {LingerError}
 */
export function history({ base = '', channel = 'lobby', before, limit = 100, ...given }) {
  const url = address(base, '/sub', { channel, before, limit: `${limit}` });
  return request(url, {}, { ...means(given), limitMs: ATTEMPT_MAX_MS, has: 'messages' });
}
