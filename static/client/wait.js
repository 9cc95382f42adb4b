// Clocks, and pauses between attempts: how long, and what ends one early.

/** @import { Clock, Means, Where } from './types.js' */

import { tokenFrom } from './token.js';

const BACK_OFF_FIRST_MS = 500;
const BACK_OFF_MAX_MS = 30_000;

/** A pause that ends early still takes so much for each failure before it, so that a server that fails is not asked in a loop. */
const EARLY_STEP_MS = 250;
const EARLY_STEPS = 4;

/** @type {Clock} `now` can't be set by anybody; `wall` goes on while the machine sleeps. */
const machine = {
  now: () => performance.now(),
  wall: () => Date.now(),
  setTimeout: (call, ms) => setTimeout(call, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/** Looked up at each request, because a page may replace it. @type {typeof globalThis.fetch} */
const machineFetch = (...request) => globalThis.fetch(...request);

/** What requests are made with. @param {Where} given @returns {Means} */
export function means({ fetch = machineFetch, clock = machine, signal, token }) {
  return { fetch, clock, signal, token: tokenFrom(token) };
}

/**
 * How long to pause, in milliseconds: the time that the server asks for, and a random time below a bound that doubles with
 * each failure, so that clients that failed together do not come back together. `early` is when an answer from the server
 * may end the pause.
 */
export function backOff(failures = 0, retryAfter = 0) {
  const bound = Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** failures);
  const wanted = retryAfter * 1000;
  const early = Math.max(wanted, EARLY_STEP_MS * Math.min(failures, EARLY_STEPS));
  return { ms: wanted + Math.random() * bound, early };
}

/** Called when a server has answered. @type {Set<(base: string, fromOtherTab: boolean) => void>} */
const listeners = new Set();

/**
 * Calls back when a server answers, until the function is called that this returns.
 *
 * @param {(base: string, fromOtherTab: boolean) => void} call
 */
export function onAnswer(call) {
  listeners.add(call);
  return () => void listeners.delete(call);
}

/** A server has answered this page, or, when `fromOtherTab`, another tab. @param {string} base @param {boolean} [fromOtherTab] */
export function answered(base, fromOtherTab = false) {
  for (const call of listeners) call(base, fromOtherTab);
}

/**
 * Waits so long, or until the signal. After `early`, it also ends when the server at `base` answers another request, or when
 * the browser is online again.
 *
 * @param {number} ms
 * @param {{clock: Clock, signal?: AbortSignal, base?: string, early?: number}} how
 */
export async function pause(ms, { clock, signal, base, early = 0 }) {
  if (signal?.aborted) return;
  const begun = clock.now();
  await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    const over = new AbortController();
    const end = () => {
      clock.clearTimeout(timer);
      over.abort();
      deaf();
      resolve();
    };
    const soon = () => {
      clock.clearTimeout(timer);
      timer = clock.setTimeout(end, Math.max(0, Math.min(early, ms) - (clock.now() - begun)));
    };
    let timer = clock.setTimeout(end, ms);
    signal?.addEventListener('abort', end, { signal: over.signal });
    globalThis.addEventListener?.('online', () => base && soon(), { signal: over.signal });
    const deaf = onAnswer((by) => by === base && soon());
  });
}
