// Why a request failed.

/** Statuses below 500 with which the same request may succeed the next time. */
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
    /** The problem's code, for programs. `not_linger`: the answer is not from linger. */
    this.code = code;
    /** The media type of an answer that is not from linger. */
    this.type = type;
    /** Seconds after which to try again, if the server said so. */
    this.retryAfter = retryAfter;
    /** What `fetch` threw, or the page's `token()`. */
    this.cause = cause;
  }

  /** Whether the same request may succeed later. */
  get mayPass() {
    return this.code === 'not_linger' || this.status >= 500 || PASSING.includes(this.status);
  }
}

/** @param {string} words @param {{status: number, type?: string, retryAfter?: number}} answer */
export function notLinger(words, answer) {
  return new LingerError(`somebody else answered: ${words}`, { code: 'not_linger', ...answer });
}

/** Reports an error as uncaught, to whoever looks after errors, and goes on. @param {unknown} error */
export function uncaught(error) {
  queueMicrotask(() => {
    throw error;
  });
}
