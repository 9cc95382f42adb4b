// Following a channel: polls, or listens to the tab that does, and passes on each batch, in order and once.

/** @import { Answer, Batch, Follow, State, Subscription, Where } from './types.js' */

import { server } from './options.js';
import { watchPage } from './page.js';
import { LingerError, isHistory, notLinger, request, uncaught } from './request.js';
import { Tabs } from './tabs.js';
import { answered, backOff, means, onAnswer, pause } from './wait.js';

/** How long to be held, in seconds, also where a server would hold longer; and when to give such a poll up. */
const HOLD_S = 25;
const HELD_MAX_MS = 40_000;

/** So many of the latest positions are remembered: an answer that leads back to one of them is an old one. */
const POSITIONS_MAX = 500;

/** Whoever only looks is answered soon, or not at all. */
const LOOK_MAX_MS = 10_000;

/** So many answers in a row at one cursor, each within so long: somebody does not hold, and asking on would be a loop. */
const QUICK_ANSWERS = 5;
const QUICK_MS = 100;

/** After how long a page that rests looks: the first time, the second, and then each time. */
const LOOK_AGAIN_MS = [15_000, 30_000, 60_000];

/** A tab that takes longer over a batch, maybe for ever, leaves it to others to poll meanwhile. */
const BUSY_MS = 1000;

/** @param {any} body @returns {boolean} */
const isBatch = (body) => isHistory(body) && typeof body.cursor === 'string' && body.cursor !== '';

/** @param {Where & Follow} options @returns {Subscription} */
export function follow(options) {
  const follower = new Follower(options);
  const batches = follower.batches();
  const end = batches.return.bind(batches);
  follower.subscription = Object.assign(batches, {
    retry: () => follower.retry(),
    return(/** @type {any} */ value) {
      // Or the generator would first see its poll through.
      follower.end();
      return end(value);
    },
  });
  return follower.subscription;
}

class Follower {
  /** Whether to ask what is there now before waiting for more. */
  looking = true;
  asking = false;
  ended = false;
  failures = 0;
  /** How often this page has looked while it rests. */
  looks = 0;
  busy = false;
  /** How many of the latest answers came at once and did not move the cursor. */
  quick = 0;
  /** What the leading tab sent last. @type {Answer | undefined} */
  sent;
  /** The latest positions, oldest first. @type {string[]} */
  positions = [];
  /** @type {State} */
  state = { state: 'connecting' };
  /** What the caller has of it. @type {Subscription | undefined} */
  subscription;
  /** Ends what is being waited for. */
  stop = new AbortController();

  /** @param {Where & Follow} options */
  constructor({ base, channel = 'lobby', cursor, last, share = true, rest = true, ...given }) {
    this.means = means(given);
    this.base = server(base);
    this.channel = `channel=${channel}`;
    /** Where this tab stands: it has passed on all up to here. @type {string | undefined} */
    this.cursor = cursor || undefined;
    /** Whether it has passed on its first batch. */
    this.begun = false;
    this.start = last ? `last=${last}` : 'cursor=latest';
    this.rest = rest;
    this.tabs = new Tabs(share && `${this.base}/sub?${this.channel}`, this);
  }

  async *batches() {
    const { signal, clock } = this.means;
    const abort = () => this.end();
    signal?.addEventListener('abort', abort);
    try {
      if (this.ended || signal?.aborted) return;
      this.deaf = onAnswer((by, heard) => by === this.base && !heard && this.answered());
      this.page = watchPage(clock, (change) => this.changed(change));
      this.tabs.join();
      this.show();
      while (!this.ended) {
        const batch = await this.turn();
        if (!batch || this.ended) continue;
        const timer = clock.setTimeout(() => this.occupied(), BUSY_MS);
        try {
          yield batch;
        } finally {
          clock.clearTimeout(timer);
        }
        this.free();
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      this.end();
    }
  }

  end() {
    this.ended = true;
    this.deaf?.();
    this.page?.dismiss();
    this.tabs.leave();
    this.stop.abort();
  }

  occupied() {
    this.busy = true;
    this.tabs.leave();
  }

  free() {
    if (!this.busy || this.ended) return;
    this.busy = false;
    this.looking = true;
    if (!this.page?.gone) this.tabs.join();
  }

  /** Asks now, and has the leader do so. */
  retry() {
    this.tabs.say({ up: true });
    this.looking = true;
    this.stop.abort();
  }

  /** The server has answered this page: whoever leads is told, if it does not know. */
  answered() {
    if (!this.tabs.leading && this.state.state !== 'live') this.tabs.say({ up: true });
  }

  /** The server has answered another tab. */
  up() {
    answered(this.base, true);
  }

  get resting() {
    return this.rest && (this.page?.resting ?? false);
  }

  /** @param {'shown' | 'resting' | 'woken' | 'gone' | 'back'} change */
  changed(change) {
    this.looks = 0;
    if (change === 'shown') {
      this.tabs.check();
      // Whoever comes to look does not want to wait.
      return answered(this.base, true);
    }
    if (change === 'resting') this.tabs.announce();
    if (change === 'gone') this.tabs.leave();
    if (change === 'back' && !this.busy) this.tabs.join();
    this.looking ||= change !== 'resting';
    this.stop.abort();
  }

  /** @param {boolean} leading */
  led(leading) {
    if (leading && this.asking) return;
    // Whoever takes over does not know what became of the leader, nor whether there is still a server.
    this.looking ||= leading;
    this.stop.abort();
  }

  /** @param {Answer} answer */
  heard(answer) {
    // One that was not taken yet is lost: the next does not fit on then.
    this.sent = answer;
    this.up();
    if (!this.asking) this.stop.abort();
  }

  /** One wait, poll or pause, and the batch that came of it, if any. Whatever interrupts it, changes the next one. */
  async turn() {
    this.stop = new AbortController();
    const { signal } = this.stop;
    try {
      const batch = this.take();
      if (batch) return batch;
      if (this.page?.gone || (!this.looking && !this.tabs.leading)) return await this.wait();
      if (!this.looking && this.resting) {
        await this.wait(LOOK_AGAIN_MS[Math.min(this.looks, LOOK_AGAIN_MS.length - 1)]);
        if (signal.aborted) return undefined;
        this.looks += 1;
        this.looking = true;
      }
      return await this.ask(signal);
    } catch (error) {
      return signal.aborted ? undefined : this.failed(error);
    }
  }

  /** Until it is interrupted, or so long. */
  async wait(ms = 2 ** 31 - 1) {
    await pause(ms, { clock: this.means.clock, signal: this.stop.signal });
    return undefined;
  }

  /**
   * What the leading tab sent, without what this one has had. Cursors can only be compared for equality: what does not
   * fit on to what was had shows that this tab must look for itself.
   */
  take() {
    const { sent } = this;
    this.sent = undefined;
    // Where this one begins is its own affair, and has nothing to do with where the leader began.
    if (!sent || !this.cursor || sent.cursor === this.cursor) return undefined;
    const had = sent.messages.findIndex(({ id }) => id === this.cursor);
    this.looking = had < 0 && sent.after !== this.cursor;
    if (this.looking) return undefined;
    this.failures = 0;
    return this.pass(sent.messages.slice(had + 1), sent.cursor, sent.missed && had < 0);
  }

  /** @param {AbortSignal} signal */
  async ask(signal) {
    const after = this.cursor;
    const asked = `${this.channel}&${after ? `cursor=${encodeURIComponent(after)}` : this.start}`;
    const { looking, base } = this;
    const path = `/sub?${asked}&wait=${looking ? 0 : HOLD_S}`;
    const limitMs = looking ? LOOK_MAX_MS : HELD_MAX_MS;
    const question = { base, path, asked, limitMs, is: isBatch, again: this.failures > 0 };
    const begun = this.means.clock.now();
    this.asking = true;
    /** @type {Batch} */
    const { messages, cursor, missed } = await request(question, { ...this.means, signal }).finally(() => {
      this.asking = false;
    });
    const stands = cursor === after;
    const old = stands ? messages.length > 0 : !missed && this.positions.includes(cursor);
    if (old) throw notLinger('an older answer', { status: 200 });
    const { leading } = this.tabs;
    // A hold shows whether there is more; whoever will not hold looks until there is nothing.
    const willHold = leading && !this.resting;
    this.looking = missed || (messages.length > 0 && !willHold);
    const held = this.means.clock.now() - begun >= QUICK_MS;
    this.quick = stands && !held ? this.quick + 1 : 0;
    if (this.quick >= QUICK_ANSWERS) throw new LingerError('the server does not hold polls');
    // A look that shows nothing new does not show that polls are held.
    if (!stands || (held && !looking)) this.failures = 0;
    this.tell({ state: missed ? 'missed' : 'live' });
    if (leading) this.tabs.say({ answer: { after, messages, cursor, missed } });
    return this.pass(messages, cursor, missed);
  }

  /** The batch to pass on, if there is something in it, or it is the first. @param {Batch['messages']} messages */
  pass(messages, /** @type {string} */ cursor, /** @type {boolean} */ missed) {
    const first = !this.begun;
    this.begun = true;
    this.cursor = cursor;
    this.positions = [...(missed ? [] : this.positions), ...messages.map(({ id }) => id), cursor].slice(-POSITIONS_MAX);
    return first || missed || messages.length > 0 ? { messages, cursor, missed } : undefined;
  }

  /** Pauses after a failure, or ends with it. @param {unknown} error */
  async failed(error) {
    if (!(error instanceof LingerError) || !error.mayPass) {
      this.tell({ state: 'stopped', reason: String(/** @type {any} */ (error).message ?? error) });
      throw error;
    }
    const { ms, early } = backOff(this.failures, error.retryAfter);
    this.failures += 1;
    this.quick = 0;
    this.looking = true;
    const { status, type, code, message: reason } = error;
    const foreign = code === 'not_linger' ? { status, type } : {};
    const offline = globalThis.navigator?.onLine === false && status === 0;
    this.tell(offline ? { state: 'offline' } : { state: 'retrying', in: Math.ceil(ms / 1000), reason, ...foreign });
    await pause(ms, { clock: this.means.clock, signal: this.stop.signal, base: this.base, early });
    return undefined;
  }

  /** @param {State} state */
  tell(state) {
    if (JSON.stringify(state) === JSON.stringify(this.state)) return;
    this.state = state;
    this.show();
    this.tabs.announce();
  }

  show() {
    try {
      this.subscription?.onState?.(this.state);
    } catch (error) {
      uncaught(error);
    }
  }
}
