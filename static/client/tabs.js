// Tabs of one browser that follow one channel: one leads, that is, polls, and sends the others what it is answered. It
// holds a Web Lock, so the browser sees to it that there is one leader, and that the next in line takes over when it
// closes. A leader that hangs keeps its lock: a visible tab whose question it does not answer takes it away. So does one
// that hears that the leader is idle.

/** @import { Answer, State } from './types.js' */

/** A visible tab asks after the leader each so often. */
const CHECK_MS = 800;

/**
 * @typedef {{state: State, idle: boolean}} Status
 * @typedef {{visible: boolean, status: Status, led: (leading: boolean) => void, heard: (answer: Answer) => void,
 *   tell: (state: State) => void}} Member
 */

export class Tabs {
  /** Whether this tab polls. */
  leading = false;
  /** Whether the last question was answered. */
  answered = true;
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
    this.url = url;
    this.member = member;
  }

  join() {
    const { location, navigator, BroadcastChannel } = globalThis;
    // Over plain HTTP there are no Web Locks.
    this.leading = !this.url || !location || !navigator.locks || !BroadcastChannel;
    if (this.leading) return;
    this.name = `linger 1 ${new URL(this.url || '', location.href)}`;
    this.air = new BroadcastChannel(this.name);
    this.air.onmessage = ({ data }) => this.hear(data);
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

  /** @param {{ask?: true, answer?: Answer, status?: Status}} words */
  say(words) {
    this.air?.postMessage(words);
  }

  /** @param {{ask?: true, answer?: Answer, status?: Status}} words */
  hear({ ask, answer, status }) {
    if (ask) return this.announce();
    this.answered = true;
    if (answer) this.member.heard(answer);
    if (!status || this.leading) return;
    if (status.idle && this.member.visible) this.lead(true);
    else this.member.tell(status.state);
  }

  /** Says how the leader is. */
  announce() {
    if (this.leading) this.say({ status: this.member.status });
  }

  /** Asks after the leader, or takes its place when it has not answered the last time. */
  check() {
    const asks = this.air && !this.leading && this.member.visible;
    if (asks && !this.answered) return this.lead(true);
    this.answered = !asks;
    if (asks) this.say({ ask: true });
  }

  /** Stands in line for the lock, or takes it away, and leads until it is given back or taken away. */
  async lead(steal = false) {
    this.turn?.abort();
    const turn = new AbortController();
    this.turn = turn;
    this.answered = true;
    const held = () =>
      new Promise((resolve) => {
        this.release = resolve;
        if (this.turn === turn) this.leads(true);
        else resolve(undefined);
      });
    const options = steal ? { steal } : { signal: turn.signal };
    // It fails when the lock was taken away or is no longer wanted; and in a frame without an origin, which is alone.
    const alone = await navigator.locks.request(this.name || '', options, held).then(
      () => false,
      ({ name }) => name !== 'AbortError',
    );
    if (this.turn !== turn) return;
    this.leads(alone);
    if (!alone) this.lead();
  }

  /** @param {boolean} leading */
  leads(leading) {
    this.leading = leading;
    this.member.led(leading);
    this.announce();
  }
}
