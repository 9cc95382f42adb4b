// One request, and whether what comes back is linger's answer to it.

/** @import { Means } from './types.js' */

import { answered } from './wait.js';

/** A server that asks for a longer pause than this is mistaken. */
const RETRY_AFTER_MAX_S = 3600;

/** Statuses below 500 that the same request may not have the next time. */
const PASSING = [0, 408, 425, 429];

/** Why a request failed. */
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
    /** What `fetch` threw. */
    this.cause = cause;
  }

  /** Whether the same request may succeed later. What the client did wrong stays wrong. */
  get mayPass() {
    return this.code === 'not_linger' || this.status >= 500 || PASSING.includes(this.status);
  }
}

/** What a page's own handler throws is nothing to die of, but for whoever looks after errors. @param {unknown} error */
export function uncaught(error) {
  queueMicrotask(() => {
    throw error;
  });
}

/** Whether this is messages. @param {any} body */
export function isHistory({ messages, missed }) {
  return Array.isArray(messages) && messages.every(isMessage) && typeof missed === 'boolean';
}

/** Whether this is messages, and where to go on. @param {any} body */
export function isBatch(body) {
  return isHistory(Object(body)) && typeof body.cursor === 'string' && body.cursor !== '';
}

/** @param {any} message */
function isMessage(message) {
  return typeof message?.id === 'string' && typeof message.message === 'string';
}

/**
 * What is asked for.
 *
 * @typedef {object} Question
 * @property {string} base the server
 * @property {string} path with its query
 * @property {string} asked what `Linger-For` says on an answer to it
 * @property {(body: any) => boolean} is whether a body has the shape of an answer
 * @property {number} limitMs when to give it up
 * @property {URLSearchParams} [form] to be posted
 * @property {boolean} [again] whether a poll was made before, and got no answer of linger
 */

/**
 * One request, which is settled in time whether or not fetch ever is: after a page was frozen it may not be.
 *
 * @param {Question} question
 * @param {Means} means
 * @returns {Promise<any>} the body
 * @throws {LingerError} or the reason of the signal
 */
export async function request(question, { fetch, clock, signal }) {
  const reason = () => signal?.reason ?? new Error('aborted');
  if (signal?.aborted) throw reason();
  const stop = new AbortController();
  const cut = new Promise((_, reject) => {
    const timer = clock.setTimeout(() => reject(new LingerError('the server did not answer in time')), question.limitMs);
    stop.signal.addEventListener('abort', () => clock.clearTimeout(timer));
    signal?.addEventListener('abort', () => reject(reason()), { signal: stop.signal });
  });
  try {
    const body = await Promise.race([answer(question, fetch, stop.signal), cut]);
    answered(question.base);
    return body;
  } finally {
    stop.abort();
  }
}

/** @param {Question} question @param {typeof globalThis.fetch} fetch @param {AbortSignal} signal */
async function answer(question, fetch, signal) {
  const { base, path, form, again } = question;
  // Whoever keeps answers by their address has none for a new one.
  const own = again && !form ? `&_=${Math.random().toString(36).slice(2)}` : '';
  try {
    // A form, with the key as a field, needs no preflight.
    const method = form ? 'POST' : 'GET';
    const response = await fetch(base + path + own, { method, body: form, signal, cache: 'no-store' });
    return read(question, response, await response.text());
  } catch (cause) {
    if (cause instanceof LingerError) throw cause;
    throw new LingerError(`the server does not answer${refusable(base)}`, { cause });
  }
}

/** A browser does not tell a page of another origin whether it was refused. @param {string} base */
function refusable(base) {
  const origin = globalThis.location?.origin;
  return origin && new URL(base).origin !== origin ? `, or does not allow pages of ${origin}` : '';
}

/**
 * The body, if it is linger's answer to this question.
 *
 * @param {Question} question
 * @param {Response} response
 * @param {string} text its body
 */
function read({ asked, is }, { ok, status, headers }, text) {
  const body = Object(parsed(text));
  const type = headers.get('content-type')?.split(';')[0].trim().toLowerCase() || 'no type';
  const to = headers.get('linger-for');
  const meant = to === null || `${new URLSearchParams(to)}` === `${new URLSearchParams(asked)}`;
  if (ok && meant && is(body)) return body;
  const { code, detail, retry_after: wanted } = body;
  const linger = type === 'application/problem+json' && body.status === status && typeof code === 'string';
  const retryAfter = seconds(linger ? wanted : undefined, headers);
  if (!ok && meant && linger) throw new LingerError(`${detail}`, { status, code, retryAfter });
  throw notLinger(`${status} ${type}${meant ? '' : ', to another request'}`, { status, type, retryAfter });
}

/** @param {string} words @param {{status: number, type?: string, retryAfter?: number}} answer */
export function notLinger(words, answer) {
  return new LingerError(`somebody else answered: ${words}`, { code: 'not_linger', ...answer });
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * How many seconds a server wants to be left alone.
 *
 * @param {unknown} wanted as linger says it
 * @param {Headers} headers `Retry-After`, which is seconds or a date; and `Date`, the time by the server's own clock
 */
function seconds(wanted, headers) {
  const said = wanted ?? headers.get('retry-after');
  const now = Date.parse(headers.get('date') ?? '') || Date.now();
  const after = Number(said) || (Date.parse(`${said}`) - now) / 1000;
  return after > 0 ? Math.min(after, RETRY_AFTER_MAX_S) : undefined;
}
