// Why a request failed.

/** Statuses below 500 that the same request may not have the next time. */
const PASSING = [0, 408, 425, 429];

export class LingerError extends Error {
  name = 'LingerError';

  /**
   * @param {string} message
   * @param {{status?: number, code?: string, type?: string, retryAfter?: number, cause?: unknown}} [problem]
   */
  constructor(message, { status = 0, code = 'no_answer', type, retryAfter, cause } = {}) {
    super(message);
    /** The HTTP status; 0 when there was no answer. */
    this.status = status;
    /** The problem's code, to act on. `not_linger`: somebody else answered. */
    this.code = code;
    /** The media type of the answer, when somebody else answered. */
    this.type = type;
    /** Seconds after which to try again, if the server said so. */
    this.retryAfter = retryAfter;
    /** What `fetch` threw, or the page's `token()`. */
    this.cause = cause;
  }

  /** Whether the same request may succeed later. What the client did wrong stays wrong. */
  get mayPass() {
    return this.code === 'not_linger' || this.status >= 500 || PASSING.includes(this.status);
  }
}

/** @param {string} words @param {{status: number, type?: string, retryAfter?: number}} answer */
export function notLinger(words, answer) {
  return new LingerError(`somebody else answered: ${words}`, { code: 'not_linger', ...answer });
}

/** What a page's own handler throws is nothing to die of, but for whoever looks after errors. @param {unknown} error */
export function uncaught(error) {
  queueMicrotask(() => {
    throw error;
  });
}
