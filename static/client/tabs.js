// Tabs of one browser that follow one channel: one leads, that is, polls, and sends the others what it is answered. It
// holds a Web Lock, so the browser sees to it that there is one leader, and that the next in line takes over when it
// closes. A leader that hangs keeps its lock: a tab that does not rest takes it away when its question is not answered.
// So does one that hears that the leader rests. Where any of this fails, a tab is alone, and polls for itself.

/** @import { Answer, State } from './types.js' */

/** A tab that does not rest asks after the leader each so often. */
const CHECK_MS = 800;

/** A lock that is taken away is granted at once, or locks do not work here. */
const GRANT_MS = 2000;

/** Tabs that take the lock from each other so often, and hear nothing meanwhile, can't hear each other. */
const ROBBED_MAX = 3;

/**
 * @typedef {{state: State, idle: boolean}} Status
 * @typedef {{ask?: true, answer?: Answer, status?: Status, up?: true}} Words `up`: the server has answered this tab
 * @typedef {{resting: boolean, state: State, led: (leading: boolean) => void, heard: (answer: Answer) => void,
 *   up: () => void, tell: (state: State) => void}} Member
 */

export class Tabs {
  /** Whether this tab polls. */
  leading = false;
  /** Whether the last question was answered. */
  answered = true;
  /** Whether it is taking the lock away, and waits for it. */
  stealing = false;
  /** How often the lock was taken away since another tab was heard. */
  robbed = 0;
  /** What is said between tabs. @type {BroadcastChannel | undefined} */
  air;
  /** The present request for the lock, in line or granted. @type {AbortController | undefined} */
  turn;
  /** Gives the lock back. @type {(value?: unknown) => void} */
  release = () => {};
  /** @type {any} */
  timer;

  /** @param {string | false} url what the tabs have in common; without it, each is alone @param {Member} member */
  constructor(url, member) {
    this.name = url && `linger 1 ${url}`;
    this.member = member;
  }

  join() {
    // Over plain HTTP there are no Web Locks. Outside a page there are no tabs.
    this.leading = !this.name || !globalThis.document || !globalThis.BroadcastChannel;
    try {
      if (this.leading || !navigator.locks) throw new Error('alone');
      // Without cookies Firefox has the class, and no instance of it.
      this.air = new BroadcastChannel(this.name || '');
      this.air.onmessage = ({ data }) => this.hear(Object(data));
    } catch {
      this.leading = true;
      return;
    }
    this.timer = setInterval(() => this.check(), CHECK_MS);
    this.lead();
  }

  leave() {
    clearInterval(this.timer);
    this.air?.close();
    this.air = undefined;
    this.turn?.abort();
    this.turn = undefined;
    this.leading = false;
    this.release();
  }

  /** Polls for itself, until it joins again. */
  alone() {
    this.leave();
    this.leads(true);
  }

  /** @param {Words} words */
  say(words) {
    try {
      this.air?.postMessage(words);
    } catch {
      this.alone();
    }
  }

  /** @param {Words} words */
  hear({ ask, answer, status, up }) {
    this.robbed = 0;
    if (ask) return this.announce();
    if (up) return this.member.up();
    this.answered = true;
    if (answer) this.member.heard(answer);
    if (!status || this.leading) return;
    if (status.idle && !this.member.resting) this.lead(true);
    else this.member.tell(status.state);
  }

  /** Says how the leader is. */
  announce() {
    if (this.leading) this.say({ status: { state: this.member.state, idle: this.member.resting } });
  }

  /** Asks after the leader, or takes its place when it has not answered the last time. */
  check() {
    const asks = this.air && !this.leading && !this.stealing && !this.member.resting;
    if (asks && !this.answered) return void this.lead(true);
    this.answered = !asks;
    if (asks) this.say({ ask: true });
  }

  /** Stands in line for the lock, or takes it away, and leads until it is given back or taken away. */
  async lead(steal = false) {
    this.turn?.abort();
    const turn = new AbortController();
    this.turn = turn;
    this.answered = true;
    this.stealing = steal;
    const held = () =>
      new Promise((resolve) => {
        this.stealing = false;
        this.release = resolve;
        if (this.turn === turn) this.leads(true);
        else resolve(undefined);
      });
    if (steal) setTimeout(() => this.turn === turn && this.stealing && this.alone(), GRANT_MS);
    let taken = false;
    try {
      await navigator.locks.request(this.name || '', steal ? { steal } : { signal: turn.signal }, held);
    } catch (error) {
      // In a frame without an origin it is another error.
      taken = Object(error).name === 'AbortError';
    }
    if (this.turn !== turn) return;
    this.robbed += 1;
    if (!taken || this.robbed >= ROBBED_MAX) return this.alone();
    this.leads(false);
    this.lead();
  }

  /** @param {boolean} leading */
  leads(leading) {
    this.leading = leading;
    this.member.led(leading);
    this.announce();
  }
}
