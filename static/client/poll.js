// The one poll of a page for all that it follows on a server, and the one of its browser where tabs can share. It is a loop
// of steps: look at once, be held, pause, or wait for the tab that leads. Events end a step, and change the next one.

/** @import { Answer, Means, Positions, State } from './types.js' */
/** @import { Place } from './place.js' */
/** @import { Subscriber } from './subscriber.js' */
/** @import { Words } from './tabs.js' */

import { LingerError, notLinger } from './error.js';
import { watchPage } from './page.js';
import { positions } from './place.js';
import { ask } from './question.js';
import { Tabs } from './tabs.js';
import { answered, backOff, onAnswer, pause } from './wait.js';
import { CHANNELS_MAX, Wanted } from './wanted.js';

/** How long to be held, in seconds, also where a server would hold longer. */
const HOLD_S = 25;

/** How long to be held for some of the channels, when there are too many for one poll: the others wait for their turn. */
const TURN_S = 2;

/** While some places are far behind, all others are asked for again after this long. */
const BEHIND_MS = 1000;

/** After so many empty answers in a row, each within so long, the server does not hold polls, and to go on would be a loop. */
const QUICK_HOLDS = 5;
const QUICK_MS = 100;

/** The pauses between the looks of a page that rests: the first, the second, and all others. */
const LOOK_AGAIN_MS = [15_000, 30_000, 60_000];

/** The longest that a timer can be set to. */
const WAIT_MAX_MS = 2 ** 31 - 1;

/** @type {Poll[]} */
const polls = [];

/** The poll that a subscription has a part in. @param {string} base @param {boolean} share @param {Means} means */
export function pollFor(base, share, { fetch, clock, token }) {
  const here = polls.filter((poll) => poll.base === base && poll.share === share && poll.token.given === token.given);
  return here.find((poll) => poll.fetch === fetch && poll.clock === clock) ?? new Poll(base, share, { fetch, clock, token });
}

class Poll {
  /** @type {Set<Subscriber>} */
  subscribers = new Set();
  wanted = new Wanted();
  /** Where the tab that leads is, as it said last. @type {Positions} */
  heard = new Map();
  /** When the latest hold ended. */
  heldAt = 0;
  asking = false;
  /** Whether to ask the next time without being held: there may be more. */
  more = false;
  /** Whether to look at each place by itself: one of them is refused. */
  apart = false;
  failures = 0;
  /** How often this page has looked while it rests. */
  looks = 0;
  /** How many of the latest holds ended at once, with nothing. */
  quick = 0;
  /** @type {State} */
  state = { state: 'connecting' };
  /** Ends what is being waited for. */
  stop = new AbortController();

  /** @param {string} base @param {boolean} share @param {Means} means */
  constructor(base, share, { fetch, clock, token }) {
    this.base = base;
    this.share = share;
    this.fetch = fetch;
    this.clock = clock;
    this.token = token;
    // With a token it is alone until it knows whose.
    this.tabs = this.tabsOf(share && !token.given ? '' : undefined);
  }

  /** The tabs whose tokens have the same rights. @param {string} [who] these rights; without them, this tab is alone */
  tabsOf(who) {
    return new Tabs(who !== undefined && `${this.base}/sub ${who}`.trim(), this);
  }

  /** Joins the tabs while somebody waits here and the page is there, and else leaves them. @param {Tabs} [tabs] other ones */
  regroup(tabs = this.tabs) {
    if (tabs.name !== this.tabs.name) {
      this.tabs.leave();
      this.tabs = tabs;
      this.wanted = new Wanted();
    }
    if (this.active.length > 0 && !this.page?.gone) this.tabs.join();
    else this.tabs.leave();
  }

  /** Joins the tabs with the same rights, by the present token. Without a token it is alone. */
  async meet() {
    /** @type {string | undefined} */
    let who;
    try {
      who = await this.token.who();
    } finally {
      this.regroup(this.tabsOf(who));
    }
  }

  /** @param {Subscriber} subscriber */
  add(subscriber) {
    this.subscribers.add(subscriber);
    this.token.users += 1;
    this.token.forget();
    if (this.subscribers.size === 1) this.run();
    else this.changed(true);
  }

  /** @param {Subscriber} subscriber */
  remove(subscriber) {
    this.subscribers.delete(subscriber);
    this.token.users -= 1;
    this.changed(true);
  }

  async run() {
    polls.push(this);
    const deaf = onAnswer((by, fromOtherTab) => by === this.base && !fromOtherTab && this.answered());
    this.page = watchPage(this.clock, (change) => this.pageChanged(change));
    this.regroup();
    // Who subscribes to twenty channels, one after the other, is asked for once.
    await undefined;
    while (this.subscribers.size > 0) await this.step();
    deaf();
  }

  /** Those that are waited for. */
  get active() {
    return [...this.subscribers].filter(({ stuck }) => !stuck);
  }

  get places() {
    return this.active.flatMap(({ places }) => places);
  }

  get want() {
    return positions(this.places);
  }

  get resting() {
    return (this.page?.resting ?? false) && this.active.every(({ rest }) => rest);
  }

  /** Where the leader is. @returns {Positions} */
  get at() {
    return this.tabs.leading ? positions(this.wanted.places.values()) : this.heard;
  }

  /** The places that are elsewhere, and did not yet find that there is nothing more while the leader is where it is now. */
  get behind() {
    const { at } = this;
    return this.places.filter(({ channel, cursor, compared, dealt }) => {
      const leader = at.get(channel);
      return leader && cursor && !dealt && leader !== cursor && leader !== compared;
    });
  }

  get status() {
    return { state: this.state, idle: this.resting, at: this.at };
  }

  /** A subscriber has changed, and with `set` also the set of places. @param {boolean} set */
  changed(set) {
    if (this.subscribers.size === 0) {
      if (polls.includes(this)) polls.splice(polls.indexOf(this), 1);
      this.page?.dismiss();
    }
    this.regroup();
    if (set) this.tabs.say({ want: this.want });
    if (set || !this.asking) this.stop.abort();
  }

  /** Asks now, and has the leader ask too. */
  retry() {
    this.tabs.say({ up: true });
    this.lookAgain();
  }

  lookAgain() {
    for (const place of this.places) place.looking = true;
    this.stop.abort();
  }

  /** The server has answered this page: whoever leads is told, if it does not know. */
  answered() {
    if (!this.tabs.leading && this.state.state !== 'live') this.tabs.say({ up: true });
  }

  /** @param {'shown' | 'resting' | 'woken' | 'gone' | 'back'} change */
  pageChanged(change) {
    this.looks = 0;
    if (change === 'shown') {
      this.tabs.check();
      // Whoever comes to look does not want to wait.
      return answered(this.base, true);
    }
    if (change === 'back') this.token.forget();
    this.regroup();
    if (change !== 'resting') return this.lookAgain();
    this.tabs.announce();
    this.stop.abort();
  }

  /** @param {boolean} leading */
  leads(leading) {
    if (!leading) return this.stop.abort();
    this.wanted = new Wanted();
    this.call();
    // Whoever takes over does not know what became of the leader, nor whether there is still a server.
    if (!this.asking) this.lookAgain();
  }

  /** Asks all tabs what they want, if it is time for that. */
  call() {
    if (this.wanted.call(this.clock.now())) this.tabs.say({ call: true });
  }

  /** Another tab said something. @param {Words} words */
  hear({ want, from = '', status, answers, up }) {
    const { leading } = this.tabs;
    if (up || answers) answered(this.base, true);
    if (want && leading) {
      this.wanted.tabs.set(from, { want });
      if (this.wanted.update(this.want)) this.stop.abort();
    }
    if (status && !leading) {
      this.heard = status.at;
      this.tell(status.state);
    }
    if (answers) {
      this.failures = 0;
      if (!leading) for (const { channel, cursor } of answers) this.heard.set(channel, cursor);
      this.deal(answers);
    }
    const behind = status && !leading && this.behind.length > 0;
    if ((answers || behind) && !this.asking) this.stop.abort();
  }

  /** One poll, wait or pause. */
  async step() {
    this.stop = new AbortController();
    const { signal } = this.stop;
    let looking = this.places;
    try {
      if (this.share && this.token.given) await this.meet();
      for (const subscriber of this.active) subscriber.receive();
      looking = this.places.filter((place) => place.looking);
      await this.next(looking, signal);
    } catch (error) {
      if (!signal.aborted) await this.failed(error, looking);
    }
  }

  /** What comes next, as things stand. @param {Place[]} looking @param {AbortSignal} signal */
  next(looking, signal) {
    const { active, page, tabs } = this;
    if (page?.gone || active.length === 0 || active.some(({ busy }) => busy)) return this.wait();
    if (looking.length > 0) return this.ask(this.together(looking), 0, signal);
    this.apart = false;
    if (tabs.leading) this.agree();
    const { behind } = this;
    const late = tabs.leading && this.clock.now() - this.heldAt >= BEHIND_MS;
    if (behind.length > 0 && !late) return this.ask(this.together(behind), 0, signal);
    if (tabs.leading) return this.hold(behind.length > 0, signal);
    // Who is told by the leader looks after its own token when that is due, or when there is another one.
    const { stop, token } = this;
    const over = () => stop.abort();
    token.asked?.then(over, over);
    return this.wait(token.left);
  }

  /** Until it is interrupted, or so long. */
  wait(ms = WAIT_MAX_MS) {
    return pause(Math.min(ms, WAIT_MAX_MS), { clock: this.clock, signal: this.stop.signal });
  }

  /** The places that one request can ask for: each in another channel, and all with the same `last`. @param {Place[]} looking */
  together(looking) {
    if (this.apart) return looking.slice(0, 1);
    const last = looking.find((place) => place.last)?.last;
    const alike = looking.filter((place) => !place.last || place.last === last);
    return [...new Map(alike.map((place) => [place.channel, place])).values()].slice(0, CHANNELS_MAX);
  }

  /** Finds out what the tabs want, and tells them where in that it is. */
  agree() {
    this.call();
    if (this.wanted.update(this.want)) this.tabs.announce();
  }

  /**
   * Waits for news in all channels that the tabs want; or looks, if that should be `soon`. A page that rests looks now and then.
   *
   * @param {boolean} soon
   * @param {AbortSignal} signal
   */
  async hold(soon, signal) {
    if (this.resting && !this.more && !soon) {
      await this.wait(LOOK_AGAIN_MS[Math.min(this.looks, LOOK_AGAIN_MS.length - 1)]);
      if (signal.aborted) return;
      this.looks += 1;
    }
    const longest = this.wanted.places.size > CHANNELS_MAX ? TURN_S : HOLD_S;
    const waitS = this.resting || this.more || soon ? 0 : longest;
    await this.ask(this.wanted.next(), waitS, signal).finally(() => {
      this.heldAt = this.clock.now();
    });
  }

  /**
   * Asks for what comes after some places, and gives it to all subscribers of those channels.
   *
   * @param {Place[]} places
   * @param {number} waitS
   * @param {AbortSignal} signal
   */
  async ask(places, waitS, signal) {
    const begun = this.clock.now();
    this.asking = true;
    const { at, base, fetch, clock, token } = this;
    const answers = await ask(base, places, waitS, this.failures > 0, { fetch, clock, token, signal }).finally(() => {
      this.asking = false;
    });
    if (places.some((place, index) => place.had(answers[index]))) throw notLinger('an older answer', { status: 200 });
    const news = answers.filter(({ after, cursor, missed }) => missed || cursor !== after);
    this.judge(waitS, this.clock.now() - begun, news.length > 0);
    this.more = answers.some(({ messages, missed }) => missed || (this.resting && messages.length > 0));
    for (const [index, { after, cursor }] of answers.entries()) {
      places[index].compared = cursor === after ? at.get(places[index].channel) : undefined;
    }
    for (const answer of answers) this.wanted.places.get(answer.channel)?.advance(answer);
    // What only leads to where the leader is already is of no use to others.
    const ahead = news.filter(({ channel, cursor }) => (this.wanted.places.get(channel)?.cursor ?? cursor) === cursor);
    if (this.tabs.leading && ahead.length > 0) this.tabs.say({ answers: ahead });
    this.deal(answers);
    const was = this.state.state;
    this.state = { state: 'live' };
    if (was !== 'live') this.tabs.announce();
  }

  /** Judges by an answer whether the server works, and holds polls. @param {number} waitS @param {number} tookMs @param {boolean} news */
  judge(waitS, tookMs, news) {
    const held = waitS > 0 && tookMs >= QUICK_MS;
    this.quick = waitS === 0 || held || news ? 0 : this.quick + 1;
    if (this.quick >= QUICK_HOLDS) throw new LingerError('the server does not hold polls');
    // A look that shows nothing new does not show that polls are held.
    if (held || news) this.failures = 0;
  }

  /** @param {Answer[]} answers */
  deal(answers) {
    for (const subscriber of this.subscribers) {
      let missed = false;
      for (const place of subscriber.places) {
        const answer = answers.find(({ channel }) => channel === place.channel);
        place.dealt = answer ?? place.dealt;
        missed ||= answer?.missed ?? false;
      }
      subscriber.tell({ state: missed ? 'missed' : 'live' });
    }
  }

  /** Pauses after a failure, or ends whom it is final for. @param {unknown} error @param {Place[]} looking */
  async failed(error, looking) {
    const final = !(error instanceof LingerError) || !error.mayPass;
    if (final && looking.length > 0) {
      // Whose places they are. If that is not known, each is asked for by itself.
      const asked = this.together(looking);
      const refused = this.active.filter(({ places }) => places.some((place) => asked.includes(place)));
      if (refused.length === 1) refused[0].fail(/** @type {Error} */ (error));
      this.apart = true;
      return;
    }
    const { retryAfter, status, type, code, message: reason } = /** @type {LingerError} */ (error);
    const { ms, early } = backOff(this.failures, retryAfter);
    this.failures += 1;
    this.quick = 0;
    for (const place of this.places) place.looking = true;
    const foreign = code === 'not_linger' ? { status, type } : {};
    const offline = globalThis.navigator?.onLine === false && status === 0;
    this.tell(offline ? { state: 'offline' } : { state: 'retrying', in: Math.ceil(ms / 1000), reason, ...foreign });
    await pause(ms, { clock: this.clock, signal: this.stop.signal, base: this.base, early });
  }

  /** @param {State} state */
  tell(state) {
    this.state = state;
    for (const subscriber of this.subscribers) subscriber.tell(state);
    this.tabs.announce();
  }
}
