// The token that a caller may do things with. A function is asked for one when it is needed, and not again until that is
// about to expire, or is refused.

/** Three parts with dots between. What a page of a server says instead, such as one to log in at, is none. */
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** A token is renewed so long before it expires. */
const RENEW_MS = 30_000;

/** A function that takes longer has failed: what it waits for may never be settled, after a page was frozen. */
const ASK_MAX_MS = 10_000;

/** @typedef {string | (() => string | Promise<string>)} Given what callers hand in */

/** What a token says. Whether that is true is for the server to find out. @param {string} token @returns {any} */
export function claims(token) {
  try {
    const text = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    return Object(JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0)))));
  } catch {
    return {};
  }
}

export class Token {
  /** @type {Promise<string | undefined> | undefined} */
  present;
  /** When it is about to expire. */
  renewAt = Infinity;

  /** @param {Given} [given] */
  constructor(given) {
    this.given = given;
  }

  /** The token, if there is one. Who asks while it is being asked for gets the same. */
  async get() {
    if (Date.now() >= this.renewAt) this.present = undefined;
    this.present ??= this.ask();
    return this.present;
  }

  async ask() {
    const { given } = this;
    if (typeof given !== 'function') return given;
    this.renewAt = Infinity;
    /** @type {any} */
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(reject, ASK_MAX_MS, new Error('token() was not settled in time'));
    });
    try {
      // Not at once: if it throws, `present` is not set yet.
      const token = `${await Promise.race([Promise.resolve().then(given), late])}`.trim();
      if (!JWT.test(token)) throw new TypeError('token() gave no token');
      this.renewAt = claims(token).exp * 1000 - RENEW_MS || Infinity;
      return token;
    } catch (error) {
      this.present = undefined;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The server refuses a token: another one, if that can be had. @param {string} refused */
  async renew(refused) {
    const { present } = this;
    const same = (await present) === refused && this.present === present;
    if (same && typeof this.given === 'function') this.present = undefined;
    const token = await this.get();
    return token === refused ? undefined : token;
  }

  /** Whose token it is, and what it allows: the same for all tokens that differ in their times only. */
  async who() {
    const token = await this.get();
    const { exp, nbf, iat, jti, ...who } = claims(token ?? '');
    return Object.keys(who).length > 0 ? JSON.stringify(who) : token;
  }
}

/** Of functions that were handed in before. @type {WeakMap<object, Token>} */
const known = new WeakMap();

/** @param {Given} [given] */
export function tokenFrom(given) {
  if (typeof given !== 'function') return new Token(given);
  const token = known.get(given) ?? new Token(given);
  known.set(given, token);
  return token;
}
