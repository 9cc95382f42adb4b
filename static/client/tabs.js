// The tabs of one browser that poll one server. One leads: it polls for all, and sends its answers to the others. It holds a
// Web Lock, so there is one leader, and the next in line takes over when it closes. A leader that hangs keeps its lock: a
// tab that does not rest takes the lock away when its question is not answered, or when the leader says that it rests.
// Where any of this fails, a tab is alone, and polls for itself.

/** @import { Answer, Positions, State } from './types.js' */

import { isBatch } from './request.js';

/** How often a tab that does not rest asks whether the leader is there. */
const CHECK_MS = 800;

/** A lock that is taken away is granted within this, or locks do not work here. */
const GRANT_MS = 2000;

/** After so many times without a word from another tab, tabs that take the lock from each other can't hear each other. */
const STOLEN_MAX = 3;

/**
 * What tabs say to each other.
 *
 * - `want`: what the tab `from` wants of the leader, which answers with its status
 * - `call`: the leader asks all tabs what they want
 * - `status`: the leader's state, whether it rests, and its positions
 * - `answers`: the answers that the leader got
 * - `up`: the server has answered this tab
 *
 * @typedef {{state: State, idle: boolean, at: Positions}} Status
 * @typedef {{want?: Positions, from?: string, call?: true, status?: Status, answers?: Answer[], up?: true}} Words
 *
 * @typedef {object} Member the poll of this tab
 * @property {boolean} resting
 * @property {Positions} want
 * @property {Status} status
 * @property {(leading: boolean) => void} leads
 * @property {(words: Words) => void} hear gets what other tabs say
 */

/** @param {any} map */
const arePositions = (map) => map instanceof Map && [...map].flat().every((text) => typeof text === 'string');

/** Whether this is words of a tab like this one. Another version of the page may say anything. @param {any} words */
function areWords({ want, status, answers }) {
  const isAnswer = (/** @type {any} */ answer) => isBatch(answer) && typeof answer.channel === 'string';
  if (want && !arePositions(want)) return false;
  if (status && !(typeof status.state?.state === 'string' && arePositions(status.at))) return false;
  return !answers || (Array.isArray(answers) && answers.every(isAnswer));
}

export class Tabs {
  /** Whether this tab polls. */
  leading = false;
  joined = false;
  /** Whether the last question was answered. */
  answered = true;
  /** Whether it is taking the lock away, and waits for it. */
  stealing = false;
  /** How often the lock was taken away since another tab was heard. */
  stolen = 0;
  id = Math.random().toString(36).slice(2);
  /** @type {BroadcastChannel | undefined} */
  broadcast;
  /** The present request for the lock, in line or granted. @type {AbortController | undefined} */
  request;
  /** Gives the lock back. @type {(value?: unknown) => void} */
  release = () => {};
  /** @type {any} */
  timer;

  /** @param {string | false} url what the tabs share; without it, each is alone @param {Member} member */
  constructor(url, member) {
    this.name = url && `linger 2 ${url}`;
    this.member = member;
  }

  join() {
    if (this.joined) return;
    this.joined = true;
    // Over plain HTTP there are no Web Locks. Outside a page there are no tabs.
    this.leading = !this.name || !globalThis.document || !globalThis.BroadcastChannel;
    try {
      if (this.leading || !navigator.locks) throw new Error('alone');
      // Without cookies Firefox has the class, and no instance of it.
      this.broadcast = new BroadcastChannel(this.name || '');
      this.broadcast.onmessage = ({ data }) => areWords(Object(data)) && this.hear(Object(data));
    } catch {
      this.leading = true;
      return;
    }
    this.timer = setInterval(() => this.check(), CHECK_MS);
    this.queue();
  }

  leave() {
    this.post({ want: new Map() });
    this.joined = false;
    clearInterval(this.timer);
    this.broadcast?.close();
    this.broadcast = undefined;
    this.request?.abort();
    this.request = undefined;
    this.leading = false;
    this.release();
  }

  /** Polls for itself, until it joins again. */
  alone() {
    this.leave();
    this.joined = true;
    this.lead(true);
  }

  /** @param {Words} words */
  say(words) {
    if (!this.post(words)) this.alone();
  }

  /** @param {Words} words */
  post(words) {
    try {
      this.broadcast?.postMessage({ ...words, from: this.id });
      return true;
    } catch {
      return false;
    }
  }

  /** @param {Words} words */
  hear(words) {
    this.stolen = 0;
    const { call, status, answers, want } = words;
    if (call) this.say({ want: this.member.want });
    if (status || answers) this.answered = true;
    if (status?.idle && !this.leading && !this.member.resting) return void this.queue(true);
    this.member.hear(words);
    if (want) this.announce();
  }

  /** If it leads, sends its status. */
  announce() {
    if (this.leading) this.say({ status: this.member.status });
  }

  /** Tells the leader what this tab wants, which it answers. Takes its place if the last question was not answered. */
  check() {
    const asks = this.broadcast && !this.leading && !this.stealing && !this.member.resting;
    if (asks && !this.answered) return void this.queue(true);
    this.answered = !asks;
    if (asks) this.say({ want: this.member.want });
  }

  /** Stands in line for the lock, or takes it away, and leads until it is given back or taken away. */
  async queue(steal = false) {
    this.request?.abort();
    const request = new AbortController();
    this.request = request;
    this.answered = true;
    this.stealing = steal;
    const held = () =>
      new Promise((resolve) => {
        this.stealing = false;
        this.release = resolve;
        if (this.request === request) this.lead(true);
        else resolve(undefined);
      });
    if (steal) setTimeout(() => this.request === request && this.stealing && this.alone(), GRANT_MS);
    let taken = false;
    try {
      await navigator.locks.request(this.name || '', steal ? { steal } : { signal: request.signal }, held);
    } catch (error) {
      // In a frame without an origin it is another error.
      taken = Object(error).name === 'AbortError';
    }
    if (this.request !== request) return;
    this.stolen += 1;
    if (!taken || this.stolen >= STOLEN_MAX) return this.alone();
    this.lead(false);
    this.queue();
  }

  /** @param {boolean} leading */
  lead(leading) {
    this.leading = leading;
    this.member.leads(leading);
    this.announce();
  }
}
