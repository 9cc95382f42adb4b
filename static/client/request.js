// One request, and the check that its answer is linger's, and for this request.

/** @import { Means } from './types.js' */

import { LingerError, notLinger } from './error.js';
import { owner } from './token.js';
import { answered } from './wait.js';

/** A longer pause than this, which a server asks for, is taken for a mistake. */
const RETRY_AFTER_MAX_S = 3600;

/** Some proxies take lines of about 2,000 characters only; longer queries are posted. */
const LINE_MAX = 1500;

/** Whether this has messages. @param {any} body */
export function isHistory({ messages, missed }) {
  return Array.isArray(messages) && messages.every(isMessage) && typeof missed === 'boolean';
}

/** Whether this has messages and a cursor. @param {any} body */
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
 * @property {string} path
 * @property {string} fields its parameters, as in a query or a form
 * @property {string} asked the header `Linger-For` of its answer
 * @property {(body: any) => boolean} is whether a body has the shape of an answer
 * @property {number} limitMs when it is given up
 * @property {boolean} [posts] whether it is a POST on the own origin too
 * @property {boolean} [again] whether the request before it failed
 * @property {{owner?: string}} [by] whose token it was first sent with: it is not repeated with the token of another person
 */

/**
 * Sends one request. It is settled in time even if fetch is not, as can happen after a page was frozen.
 *
 * @param {Question} question
 * @param {Means} means
 * @returns {Promise<any>} the body
 * @throws {LingerError} or the reason of the signal
 */
export async function request(question, { fetch, clock, signal, token }) {
  const reason = () => signal?.reason ?? new Error('aborted');
  if (signal?.aborted) throw reason();
  const stop = new AbortController();
  const cut = new Promise((_, reject) => {
    const timer = clock.setTimeout(() => reject(new LingerError('the server did not answer in time')), question.limitMs);
    stop.signal.addEventListener('abort', () => clock.clearTimeout(timer));
    signal?.addEventListener('abort', () => reject(reason()), { signal: stop.signal });
  });
  try {
    const body = await Promise.race([allowed(question, fetch, stop.signal, token), cut]);
    answered(question.base);
    return body;
  } finally {
    stop.abort();
  }
}

/**
 * Sends it with the token, and once more with a new one if the first is refused.
 *
 * @param {Question} question
 * @param {typeof globalThis.fetch} fetch
 * @param {AbortSignal} signal
 * @param {import('./token.js').Token} token
 */
async function allowed(question, fetch, signal, token) {
  const ask = (/** @type {string | undefined} */ bearer) => {
    const { by } = question;
    if (by && (by.owner ??= owner(bearer)) !== owner(bearer)) {
      throw new LingerError('somebody else is logged in now', { status: 403, code: 'forbidden' });
    }
    return answer(question, fetch, signal, bearer);
  };
  const bearer = await token.get();
  try {
    return await ask(bearer);
  } catch (error) {
    const refused = /** @type {LingerError} */ (error).code === 'unauthorized' && bearer;
    const other = refused && (await token.renew(refused));
    if (!other) throw error;
    return ask(other);
  }
}

/** @param {Question} question @param {typeof globalThis.fetch} fetch @param {AbortSignal} signal @param {string} [bearer] */
async function answer(question, fetch, signal, bearer) {
  const { base, path, fields, posts, again } = question;
  const foreign = isForeign(base);
  // A form, with the key and the token as fields, needs no preflight.
  const body = posts || foreign || fields.length > LINE_MAX ? new URLSearchParams(fields) : undefined;
  if (bearer && foreign) body?.set('token', bearer);
  const headers = bearer && !foreign ? { authorization: `Bearer ${bearer}` } : undefined;
  // A cache that keeps answers by address has none for a new address.
  const own = again ? `&_=${Math.random().toString(36).slice(2)}` : '';
  const [method, address] = body ? ['POST', path] : ['GET', `${path}?${fields}${own}`];
  try {
    // A redirect could send the token to any host.
    const redirect = bearer ? 'manual' : 'follow';
    const response = await fetch(base + address, { method, body, headers, signal, redirect, cache: 'no-store' });
    return read(question, response, await response.text());
  } catch (cause) {
    if (cause instanceof LingerError) throw cause;
    // A browser does not tell a page whether its origin was refused.
    const refusable = foreign ? `, or does not allow pages of ${globalThis.location.origin}` : '';
    throw new LingerError(`the server does not answer${refusable}`, { cause });
  }
}

/** Whether a server is on another origin than the page, if there is a page. @param {string} base */
function isForeign(base) {
  const origin = globalThis.location?.origin;
  return Boolean(origin) && new URL(base).origin !== origin;
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
  const words = status === 0 ? 'a redirect' : `${status} ${type}`;
  throw notLinger(`${words}${meant ? '' : ', to another request'}`, { status, type, retryAfter });
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
 * The pause that a server asks for, in seconds.
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
