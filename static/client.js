// A client of linger for any page: one module, no dependencies. It publishes, and it subscribes so that nothing is
// missed and nothing comes twice.

/**
 * @typedef {{id: string, channel: string, nick: string | null, message: string, time: string}} Message
 * @typedef {{state: 'connecting' | 'live'}
 *   | {state: 'retrying', in: number, reason: string}
 *   | {state: 'stopped', reason: string}} State
 */

/** How long a poll is to be held, in seconds, also where a server would hold it longer. */
const HOLD_S = '25';

/** Longer than that hold, so that only an answer that will never come is given up. */
const POLL_MAX_MS = 40_000;

/** A publish takes a second at the most, or it has failed. */
const PUBLISH_MAX_MS = 10_000;

const BACK_OFF_FIRST_MS = 500;
const BACK_OFF_MAX_MS = 30_000;

/** So many answers at one cursor within so long mean that somebody does not hold: asking on would be a loop. */
const QUICK_ANSWERS = 5;
const QUICK_MS = 500;

/** Why a request failed, and whether it is worth repeating. */
export class LingerError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, retryAfter?: number}} [problem]
   */
  constructor(message, { status = 0, code = 'no_answer', retryAfter } = {}) {
    super(message);
    this.name = 'LingerError';
    /** The HTTP status; 0 when there was no answer. */
    this.status = status;
    /** The problem's code, to act on. */
    this.code = code;
    /** Seconds after which to try again, if the server said so. */
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. What the client did wrong stays wrong. */
  get mayPass() {
    return this.status === 0 || this.status === 409 || this.status === 429 || this.status >= 500;
  }
}

/** A key for one message, so that publishing it twice publishes it once. */
export function newKey() {
  // crypto.randomUUID is not to be had over plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Publishes a message. After any failure that may pass, publish it again with the same key.
 *
 * @param {{base?: string, channel?: string, nick?: string, message: string, key?: string, signal?: AbortSignal}} options
 * @returns {Promise<{status: 'sent', id: string, channel: string}>}
 * @throws {LingerError}
 */
export function publish({ base = '', channel = 'lobby', nick = '', message, key = newKey(), signal }) {
  // A form, with the key as a field, needs no preflight.
  const body = new URLSearchParams({ channel, nick, message, key });
  return request(`${base}/pub`, { method: 'POST', body }, PUBLISH_MAX_MS, signal);
}

/**
 * Subscribes until the signal aborts it, or until the server says that it never will. Begins after `cursor`, or with
 * the `last` so many messages, or with what comes from now on.
 *
 * @param {{
 *   base?: string, channel?: string, cursor?: string, last?: number, signal?: AbortSignal,
 *   onMessages: (messages: Message[], position: {cursor: string, missed: boolean}) => void,
 *   onState?: (state: State) => void,
 * }} options
 */
export async function subscribe({ base = '', channel = 'lobby', cursor, last, signal, onMessages, onState }) {
  const tell = changes(onState);
  const alarm = new Alarm(signal);
  let connected = false;
  let failures = 0;
  /** @type {number[]} When the latest answers came that did not move the cursor. */
  let still = [];
  tell({ state: 'connecting' });
  try {
    while (!signal?.aborted) {
      const start = cursor ? { cursor } : last ? { last: `${last}` } : { cursor: 'latest' };
      // Whoever is not connected only looks, to know soon that it is.
      const query = new URLSearchParams({ channel, ...start, wait: connected ? HOLD_S : '0' });
      try {
        const answer = await alarm.during((stop) => request(`${base}/sub?${query}`, {}, POLL_MAX_MS, stop));
        still = answer.cursor === cursor ? [...still.slice(1 - QUICK_ANSWERS), performance.now()] : [];
        failures = 0;
        connected = true;
        tell({ state: 'live' });
        if (answer.messages.length > 0 || answer.missed) {
          // What a page does wrong with its messages is not for the subscription to die of.
          guarded(() => onMessages(answer.messages, { cursor: answer.cursor, missed: answer.missed }));
        }
        ({ cursor } = answer);
        const loops = still.length === QUICK_ANSWERS && still[QUICK_ANSWERS - 1] - still[0] < QUICK_MS;
        if (loops) throw new LingerError('the server does not hold polls');
      } catch (error) {
        connected = false;
        if (signal?.aborted || error === alarm.rung) continue;
        const problem = error instanceof LingerError ? error : new LingerError(String(error));
        if (!problem.mayPass) {
          tell({ state: 'stopped', reason: problem.message });
          return;
        }
        const pause = backOff(failures, problem.retryAfter);
        failures += 1;
        tell({ state: 'retrying', in: Math.ceil(pause / 1000), reason: problem.message });
        await alarm.sleep(pause);
      }
    }
  } finally {
    alarm.dismiss();
  }
}

/**
 * How long to pause: somewhere below a bound that doubles with each failure, so that clients that failed together do
 * not come back together, and not before the server wants to be asked.
 *
 * @param {number} failures
 * @param {number} [retryAfter]
 */
function backOff(failures, retryAfter = 0) {
  const bound = Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** failures);
  return retryAfter * 1000 + Math.random() * bound;
}

/**
 * One request, which is settled in time whether or not fetch ever is: after a page was frozen it may not be.
 *
 * @param {string} url
 * @param {RequestInit} init
 * @param {number} limitMs
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function request(url, init, limitMs, signal) {
  const stop = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {() => void} */
  let aborted = () => {};
  const cut = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new LingerError('no answer in time')), limitMs);
    aborted = () => reject(signal?.reason);
    signal?.addEventListener('abort', aborted);
    if (signal?.aborted) aborted();
  });
  try {
    return await Promise.race([answered(url, { ...init, signal: stop.signal, cache: 'no-store' }), cut]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
    stop.abort();
  }
}

/**
 * @param {string} url
 * @param {RequestInit} init
 */
async function answered(url, init) {
  let response;
  try {
    response = await fetch(url, init);
  } catch {
    // A proxy's error without CORS headers looks the same.
    throw new LingerError('no answer');
  }
  const { status } = response;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const { code = 'unknown', detail = `status ${status}`, retry_after: retryAfter } = body;
    throw new LingerError(detail, { status, code, retryAfter });
  }
  return body;
}

/**
 * Passes on what is unlike the last.
 *
 * @param {((state: State) => void) | undefined} onState
 */
function changes(onState) {
  let last = '';
  return (/** @type {State} */ state) => {
    const now = JSON.stringify(state);
    if (now !== last && onState) guarded(() => onState(state));
    last = now;
  };
}

/** @param {() => void} call */
function guarded(call) {
  try {
    call();
  } catch (error) {
    // As if nobody had caught it, where the page looks for such.
    setTimeout(() => {
      throw error;
    });
  }
}

/**
 * Ends a pause when the browser is online again, and both a pause and a poll when the page comes back from the
 * back-forward cache, where connections die without a word.
 */
class Alarm {
  /** What a poll fails with that the alarm has ended. */
  rung = new Error('the page was away');

  /** @param {AbortSignal} [signal] */
  constructor(signal) {
    this.signal = signal;
    /** @type {() => void} */
    this.endPause = () => {};
    /** @type {() => void} */
    this.endPoll = () => {};
    this.online = () => this.endPause();
    this.shown = (/** @type {PageTransitionEvent} */ event) => {
      if (event.persisted) {
        this.endPause();
        this.endPoll();
      }
    };
    globalThis.addEventListener?.('online', this.online);
    globalThis.addEventListener?.('pageshow', this.shown);
    this.aborted = () => {
      this.endPause();
      this.endPoll();
    };
    signal?.addEventListener('abort', this.aborted);
  }

  /**
   * @template T
   * @param {(stop: AbortSignal) => Promise<T>} poll
   */
  async during(poll) {
    const stop = new AbortController();
    this.endPoll = () => stop.abort(this.rung);
    try {
      return await poll(stop.signal);
    } finally {
      this.endPoll = () => {};
    }
  }

  /** @param {number} ms */
  async sleep(ms) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
      this.endPause = resolve;
      timer = setTimeout(resolve, ms);
      if (this.signal?.aborted) resolve();
    });
    clearTimeout(timer);
    this.endPause = () => {};
  }

  dismiss() {
    globalThis.removeEventListener?.('online', this.online);
    globalThis.removeEventListener?.('pageshow', this.shown);
    this.signal?.removeEventListener('abort', this.aborted);
  }
}
