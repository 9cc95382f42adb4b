// One request, its answer, and when to try again.

/** @import { Clock, Means } from './types.js' */

const BACK_OFF_FIRST_MS = 500;
const BACK_OFF_MAX_MS = 30_000;

/** Whoever asks for a longer pause is mistaken. */
const RETRY_AFTER_MAX_S = 3600;

/** Statuses below 500 that the same request may not have the next time. */
const PASSING = [0, 408, 425, 429];

/** Why a request failed. */
export class LingerError extends Error {
  name = 'LingerError';

  /** @param {string} message @param {{status?: number, code?: string, retryAfter?: number}} [problem] */
  constructor(message, { status = 0, code = 'no_answer', retryAfter } = {}) {
    super(message);
    /** The HTTP status; 0 when there was no answer, or none of linger's. */
    this.status = status;
    /** The problem's code, to act on. */
    this.code = code;
    /** Seconds after which to try again, if the server said so. */
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. What the client did wrong stays wrong. */
  get mayPass() {
    return this.status >= 500 || PASSING.includes(this.status);
  }
}

/** @type {Clock} Of the day, which goes on while the machine sleeps. */
const machine = {
  now: () => Date.now(),
  setTimeout: (call, ms) => setTimeout(call, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/** What requests are made with. @param {Partial<Means>} given @returns {Means} */
export function means({ fetch = (...request) => globalThis.fetch(...request), clock = machine, signal }) {
  return { fetch, clock, signal };
}

/** What a page's own handler throws is nothing to die of, but for whoever looks after errors. @param {unknown} error */
export function uncaught(error) {
  queueMicrotask(() => {
    throw error;
  });
}

/** @param {string} base @param {string} path @param {Record<string, string>} [query] */
export function address(base, path, query) {
  return `${base.replace(/\/+$/, '')}${path}${query ? `?${new URLSearchParams(query)}` : ''}`;
}

/**
 * How long to pause, in milliseconds: somewhere below a bound that doubles with each failure, so that clients that
 * failed together do not come back together, and not before the server wants to be asked.
 */
export function backOff(failures = 0, retryAfter = 0) {
  const bound = Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** failures);
  return Math.min(retryAfter, RETRY_AFTER_MAX_S) * 1000 + Math.random() * bound;
}

/** Waits so long, or until the signal. @param {number} ms @param {AbortSignal | undefined} signal @param {Clock} clock */
export async function pause(ms, signal, clock) {
  if (signal?.aborted) return;
  await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    const end = () => {
      clock.clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}

/**
 * One request, which is settled in time whether or not fetch ever is: after a page was frozen it may not be.
 *
 * @param {string} url
 * @param {RequestInit} init
 * @param {Means & {limitMs: number, has: string}} how `has`: what an answer of linger has
 * @returns {Promise<any>} the body
 * @throws {LingerError} or the reason of the signal
 */
export async function request(url, init, { fetch, clock, signal, limitMs, has }) {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const cut = new Promise((_, reject) => {
    const timer = clock.setTimeout(() => reject(new LingerError('the server did not answer in time')), limitMs);
    stop.signal.addEventListener('abort', () => clock.clearTimeout(timer));
    signal?.addEventListener('abort', () => reject(signal.reason), { signal: stop.signal });
  });
  try {
    return await Promise.race([answered(fetch, url, { ...init, signal: stop.signal, cache: 'no-store' }, has), cut]);
  } finally {
    stop.abort();
  }
}

/** @param {typeof globalThis.fetch} fetch @param {string} url @param {RequestInit} init @param {string} has */
async function answered(fetch, url, init, has) {
  const response = await fetch(url, init).catch(() => {
    // A proxy's error without CORS headers looks the same.
    throw new LingerError('the server does not answer');
  });
  const body = Object(await response.json().catch(() => ({})));
  if (response.ok && has in body) return body;
  // The sign-in page of a hotel's network says 200 as well.
  const { ok, status, headers } = response;
  const { code = 'unknown', detail = ok ? 'somebody else answered' : `status ${status}` } = body;
  const retryAfter = Number(body.retry_after ?? headers.get('retry-after')) || undefined;
  throw new LingerError(detail, { status: ok ? 0 : status, code, retryAfter });
}
