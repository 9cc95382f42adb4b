// The token of a caller. A function is asked for one when a subscription begins, and again when that is about to expire, or
// is refused. Without a subscription no token is kept: somebody else may be logged in at the next message.

import { LingerError } from './error.js';

/** Three parts with dots between. A login page, which a backend may send instead, is no token. */
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** A token is renewed so long before it expires, and again so long after that has failed. */
const RENEW_MS = 30_000;
const AGAIN_MS = 5_000;

/** A function that takes longer has failed: what it waits for may never be settled, after a page was frozen. */
const ASK_MAX_MS = 10_000;

/** Servers take a token for this long after its `exp`, because clocks differ. */
const LEEWAY_MS = 60_000;

/** @typedef {string | (() => string | Promise<string>)} Given the option `token` */

/** What a token says. Whether that is true is for the server to find out. @param {string} [token] @returns {any} */
export function claims(token = '') {
  try {
    const text = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    return Object(JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0)))));
  } catch {
    return {};
  }
}

/** Whose token it says it is; nobody's, if it does not. @param {string} [token] */
export function owner(token) {
  const { sub, nickname } = claims(token);
  return `${sub ?? nickname ?? ''}`;
}

/** What the function gives, if that may be a token. @param {() => string | Promise<string>} given */
async function ask(given) {
  /** @type {any} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(reject, ASK_MAX_MS, new Error('token() was not settled in time'));
  });
  try {
    const token = `${await Promise.race([given(), late])}`.trim();
    if (!JWT.test(token)) throw new TypeError('token() gave no token');
    return token;
  } catch (cause) {
    // A parser's message may have the token in it.
    const why = `${Object(cause).message ?? cause}`.replace(/eyJ[\w.-]*/g, '…');
    throw new LingerError(`no token can be had: ${why}`, { code: 'no_token', cause });
  } finally {
    clearTimeout(timer);
  }
}

export class Token {
  /** How many subscriptions have it. */
  users = 0;
  /** What a function gave. @type {string | undefined} */
  kept;
  /** What it is being asked for. @type {Promise<string> | undefined} */
  asked;
  /** When to ask it again. */
  renewAt = 0;
  /** Until when the token is good. */
  goodUntil = Infinity;

  /** @param {Given} [given] */
  constructor(given) {
    this.given = typeof given === 'string' ? given.trim() : given;
    if (typeof given === 'string') this.goodUntil = claims(given).exp * 1000 + LEEWAY_MS || Infinity;
  }

  /** Drops the token, because somebody else may be logged in by now. */
  forget() {
    this.kept = this.asked = undefined;
  }

  /** The token, if there is one. */
  async get() {
    const { given } = this;
    if (typeof given === 'string' && !JWT.test(given)) {
      throw new LingerError('the token is malformed', { status: 401, code: 'unauthorized' });
    }
    if (typeof given !== 'function') return given;
    if (this.users === 0) return ask(given);
    const now = Date.now();
    if (now >= this.goodUntil) this.kept = undefined;
    if (!this.kept || now >= this.renewAt) this.asked ??= this.another(given);
    return this.kept ?? this.asked;
  }

  /** Asks for another token, which is kept unless it is nobody's any more. @param {() => string | Promise<string>} given */
  another(given) {
    this.renewAt = Date.now() + AGAIN_MS;
    const asked = ask(given);
    const over = (/** @type {unknown} */ token) => {
      if (this.asked !== asked) return;
      this.asked = undefined;
      if (typeof token === 'string') this.keep(token);
    };
    asked.then(over, over);
    return asked;
  }

  /** @param {string} token */
  keep(token) {
    this.kept = token;
    const end = claims(token).exp * 1000;
    // If it has expired by this clock, or has no `exp`, the server decides: this clock may be far ahead.
    this.goodUntil = end > Date.now() ? end : Infinity;
    this.renewAt = Math.max(this.renewAt, this.goodUntil - RENEW_MS);
  }

  /** The server refuses a token: another one, if that can be had. @param {string} refused */
  async renew(refused) {
    if (typeof this.given !== 'function') return undefined;
    if (this.kept === refused) this.kept = undefined;
    const token = await this.get();
    return token === refused ? undefined : token;
  }

  /** How long the token can be used before it must be looked at again, in milliseconds. What is asked for is not asked for again. */
  get left() {
    const renews = typeof this.given === 'function' && !this.asked;
    return (renews ? Math.min(this.renewAt, this.goodUntil) : this.goodUntil) - Date.now();
  }

  /**
   * What tabs with the same rights have in common: the claims without their times. Undefined for a text that has expired:
   * the server must refuse its tab, which must not get what other tabs read.
   */
  async who() {
    const token = await this.get();
    if (typeof this.given === 'string' && this.left <= 0) return undefined;
    const { exp, nbf, iat, jti, ...who } = claims(token);
    return Object.keys(who).length > 0 ? JSON.stringify(who) : token;
  }
}

/** The token of each function that was given before. @type {WeakMap<object, Token>} */
const known = new WeakMap();

/** @param {Given} [given] */
export function tokenFrom(given) {
  if (typeof given !== 'function') return new Token(given);
  const token = known.get(given) ?? new Token(given);
  known.set(given, token);
  return token;
}
