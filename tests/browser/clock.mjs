// A clock that stands still until it is told to go on, and a server made of answers.

import { setImmediate } from 'node:timers/promises';
import { subscribe } from '../../static/client.js';

export class Clock {
  #now = 0;
  #timers = new Map();
  #made = 0;

  now = () => this.#now;

  setTimeout = (call, ms) => {
    this.#made += 1;
    this.#timers.set(this.#made, { at: this.#now + ms, call });
    return this.#made;
  };

  clearTimeout = (timer) => this.#timers.delete(timer);

  /** How many timers are running. */
  get running() {
    return this.#timers.size;
  }

  /** Goes on, and rings each timer on the way when it is due. */
  async advance(ms) {
    const end = this.#now + ms;
    for (await settled(); ; await settled()) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, one], [, other]) => one.at - other.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].call();
    }
    this.#now = end;
  }

  /** Jumps, as a machine that slept: what was due meanwhile rings late. */
  async sleep(ms) {
    this.#now += ms;
    await this.advance(0);
  }
}

/** Until everything that can go on without the clock has done so. */
export async function settled() {
  for (let turns = 0; turns < 5; turns += 1) await setImmediate();
}

/**
 * A `fetch`, whose requests wait in `asked` until a test answers them. It heeds no abort: a real one may not either.
 */
export function server() {
  const asked = [];
  const fetch = (url, init) => {
    const { pathname, searchParams } = new URL(url);
    const posted = pathname === '/sub' && init.body;
    // What makes an address one of its own has nothing to say.
    const { _: own, ...query } = Object.fromEntries(posted || searchParams);
    const { body, headers, signal, redirect } = init;
    const request = { url, path: pathname, query, own, body, headers, signal, redirect };
    asked.push(request);
    return new Promise((resolve, reject) => {
      // An object with an error's status is a problem document, any other an answer of linger; a text is somebody else's.
      request.answer = async (body, status = 200, headers = {}) => {
        const problem = status >= 400 && { type: 'about:blank', title: '', status };
        const type = typeof body === 'string' ? 'text/html' : `application/${problem ? 'problem+' : ''}json`;
        // A batch is of the first channel that was asked for.
        const whole = body.cursor ? { channels: { [query.channels.split(/[:,]/)[0]]: body } } : body;
        const text = typeof body === 'string' ? body : JSON.stringify({ ...problem, ...whole });
        resolve(new Response(text, { status, headers: { 'Content-Type': type, ...headers } }));
        await settled();
      };
      request.fail = async () => {
        reject(new TypeError('Failed to fetch'));
        await settled();
      };
    });
  };
  return { asked, fetch, latest: () => asked.at(-1) };
}

/** A batch whose last message stands at this offset. */
export const batch = (offset, ...texts) => ({
  messages: texts.map((message, index) => ({ id: `7-${offset - texts.length + 1 + index}`, channel: 'c', nick: null, message, time: '' })),
  cursor: `7-${offset}`,
  missed: false,
});

/** A token that says this, signed by nobody. */
export function unsigned(says) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'ES256' })}.${part(says)}.c2lnbmF0dXJl`;
}

/** A subscription with a handler; what it was told stands in `texts` and `states`. */
export function subscribed(options = {}) {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const texts = [];
  const states = [];
  const stop = new AbortController();
  const ended = subscribe({
    ...{ base: 'http://linger.test', fetch, clock, channel: 'c', signal: stop.signal },
    onMessages: (messages) => void texts.push(messages.map(({ message }) => message)),
    onState: (state) => states.push(state),
    ...options,
  });
  return { asked, latest, clock, texts, states, stop, ended, state: () => states.at(-1) };
}

/** A page: subscriptions that share a server and a clock. `said` has what each received, as `channel text`. */
export function page() {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const follow = (options) => {
    const said = [];
    const states = [];
    const stop = new AbortController();
    const ended = subscribe({
      ...{ base: 'http://linger.test', fetch, clock, signal: stop.signal },
      onMessages: (messages, { channel, missed }) => {
        said.push(...messages.map(({ message }) => `${channel} ${message}`), ...(missed ? [`${channel} missed`] : []));
      },
      onState: (state) => states.push(state),
      ...options,
    });
    return { said, states, stop, ended };
  };
  return { asked, latest, clock, fetch, follow };
}

/** An answer of several channels. */
export const several = (channels) => ({ channels });

/** The positions in a page's latest poll, and how long it is held. */
export const asks = ({ query }) => [query.channels, query.wait];
