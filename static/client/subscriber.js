// One call of `subscribe`: its places, and the batches that its caller gets, one after the other.

/** @import { Answer, Batch, Follow, Means, State, Subscription, Where } from './types.js' */

import { uncaught } from './error.js';
import { server } from './options.js';
import { Place } from './place.js';
import { pollFor } from './poll.js';
import { means } from './wait.js';

/** A caller that takes longer over a batch, maybe for ever, is not waited for: others share the poll. */
const BUSY_MS = 250;

/** @param {Where & Follow} options @returns {Subscription} */
export function follow(options) {
  const subscriber = new Subscriber(options);
  const batches = subscriber.batches();
  const end = batches.return.bind(batches);
  subscriber.subscription = Object.assign(batches, {
    retry: () => subscriber.poll?.retry(),
    return(/** @type {any} */ value) {
      // Without this the generator would first wait for its next batch.
      subscriber.end();
      return end(value);
    },
  });
  return subscriber.subscription;
}

export class Subscriber {
  ended = false;
  /** Whether the caller still works on a batch. */
  busy = false;
  /** Whether it takes so long that it is not waited for. */
  stuck = false;
  /** Batches for the caller. @type {Batch[]} */
  queue = [];
  /** Wakes the caller that waits for a batch. @type {(() => void) | undefined} */
  wake;
  /** Why it has ended, when the server refuses it. @type {Error | undefined} */
  error;
  /** @type {ReturnType<typeof pollFor> | undefined} */
  poll;
  /** The state that it was told last, as text. */
  told = '';
  /** What the caller got from `subscribe`. @type {Subscription | undefined} */
  subscription;

  /** @param {Where & Follow} options */
  constructor({ base, channel = 'lobby', channels, cursor, last, share = true, rest = true, ...given }) {
    this.means = means(given);
    this.base = server(base);
    this.share = share;
    this.rest = rest;
    const begin = channels ?? { [channel]: cursor };
    const list = Array.isArray(begin) ? begin.map((name) => [name]) : Object.entries(begin);
    this.places = list.map(([name, position]) => new Place(name, position, last));
  }

  async *batches() {
    const { signal } = this.means;
    const abort = () => this.end();
    signal?.addEventListener('abort', abort);
    try {
      if (this.ended || signal?.aborted) return;
      this.tell({ state: 'connecting' });
      this.poll = pollFor(this.base, this.share, this.means);
      this.poll.add(this);
      while (!this.ended) {
        const batch = this.queue.shift();
        if (batch) yield batch;
        else await this.free();
      }
      if (this.error) throw this.error;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.end();
    }
  }

  /** Returns when there is a batch, or the end. */
  free() {
    this.means.clock.clearTimeout(this.timer);
    const { stuck } = this;
    this.busy = this.stuck = false;
    if (stuck) for (const place of this.places) place.looking = true;
    this.poll?.changed(stuck);
    return new Promise((/** @type {(value?: any) => void} */ resolve) => {
      this.wake = resolve;
      if (this.ended) resolve();
    });
  }

  /**
   * Queues what is new at a place for the caller. An empty batch only if it is the first one.
   *
   * @param {Place} place
   * @param {Answer} answer
   */
  enqueue(place, { messages, cursor, missed }) {
    const first = !place.begun;
    place.begun = true;
    if (!first && !missed && messages.length === 0) return;
    this.queue.push({ channel: place.channel, messages, cursor, missed });
    if (this.busy) return;
    this.busy = true;
    this.timer = this.means.clock.setTimeout(() => {
      this.stuck = true;
      this.poll?.changed(true);
    }, BUSY_MS);
    this.wake?.();
  }

  /** Takes the answers that fit. A place for which one does not fit is behind, or goes on looking. */
  receive() {
    if (this.busy) return;
    for (const place of this.places) {
      const { dealt } = place;
      place.dealt = undefined;
      if (!dealt) continue;
      const rest = place.advance(dealt);
      if (!rest) continue;
      place.looking = false;
      this.enqueue(place, rest);
    }
  }

  /** @param {State} state */
  tell(state) {
    const words = JSON.stringify(state);
    if (words === this.told || this.ended) return;
    this.told = words;
    try {
      this.subscription?.onState?.(state);
    } catch (error) {
      uncaught(error);
    }
  }

  /** The server says that such a request never succeeds. @param {Error} error */
  fail(error) {
    this.tell({ state: 'stopped', reason: error.message, code: /** @type {any} */ (error).code });
    this.error = error;
    this.end();
  }

  end() {
    if (this.ended) return;
    this.ended = true;
    this.means.clock.clearTimeout(this.timer);
    this.poll?.remove(this);
    this.wake?.();
  }
}
