// A server that fails, is slow and loses answers, and readers that record what they receive. A seed decides all of it.

import assert from 'node:assert/strict';
import { subscribe } from '../../static/client.js';

/** How many messages of a channel one answer has: fewer than a server gives, so that more are left. */
const LIMIT = 3;

/** Random numbers that are the same for the same seed. */
export function numbers(seed) {
  let state = seed * 7919;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

/** A server with channels in memory. Its answers take time, and sometimes do not come. */
export class Server {
  channels = new Map();
  waiting = new Set();
  /** The requests that wait for an answer. */
  polls = new Set();
  broken = true;

  constructor(clock, random) {
    this.clock = clock;
    this.random = random;
  }

  texts(channel) {
    if (!this.channels.has(channel)) this.channels.set(channel, []);
    return this.channels.get(channel);
  }

  publish(channel, text) {
    this.texts(channel).push(text);
    for (const look of [...this.waiting]) look();
  }

  answer(places) {
    const channels = {};
    for (const { channel, offset, last = 0 } of places) {
      const texts = this.texts(channel);
      const from = offset ?? Math.max(0, texts.length - Math.min(last, LIMIT));
      const messages = texts.slice(from, from + LIMIT).map((message, index) => ({ id: `7-${from + index + 1}`, message }));
      if (messages.length === 0 && offset !== undefined) continue;
      channels[channel] = { messages, cursor: `7-${from + messages.length}`, missed: false };
    }
    return channels;
  }

  fetch = (url, { body, signal }) => {
    const asked = body ?? new URL(url).searchParams;
    const list = asked.get('channels').split(',');
    assert.ok(list.length <= 20 && new Set(list.map((place) => place.split(':')[0])).size === list.length);
    const places = list.map((place) => {
      const [channel, position] = place.split(':');
      if (!position) return { channel, last: Number(asked.get('last')) };
      return { channel, offset: position === 'latest' ? undefined : Number(position.split('-')[1]) };
    });
    this.polls.add(signal);
    signal.addEventListener('abort', () => this.polls.delete(signal));
    return new Promise((resolve, reject) => {
      const over = (act) => () => {
        this.polls.delete(signal);
        act();
      };
      const fate = this.broken ? this.random(20) : 19;
      const later = (act) => this.clock.setTimeout(over(act), this.random(50));
      // Some aborts have no effect, as in a browser.
      if (fate % 2) signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
      if (fate === 0) return later(() => reject(new TypeError('Failed to fetch')));
      if (fate === 1) return later(() => resolve(new Response('<h1>busy', { status: 503 })));
      const end = this.clock.now() + Number(asked.get('wait')) * 1000;
      const look = () => {
        const channels = this.answer(places);
        if (Object.keys(channels).length === 0 && this.clock.now() < end) return;
        this.waiting.delete(look);
        this.clock.clearTimeout(timer);
        const lost = fate === 2;
        later(() => (lost ? reject(new TypeError('cut off')) : resolve(Response.json({ channels }))));
      };
      const timer = this.clock.setTimeout(look, Math.max(0, end - this.clock.now()));
      this.waiting.add(look);
      look();
    });
  };
}

/** What a subscription received, and what it should have received, from its first batch of each channel on. */
export class Reader {
  had = new Map();
  wrong = [];

  constructor(base, names, means, server, random) {
    this.stop = new AbortController();
    this.server = server;
    this.channels = names;
    // Each begins somewhere else: far behind the others, with some messages, or with what comes.
    const begins = new Map(names.map((name) => [name, random(2) ? random(server.texts(name).length + 1) : undefined]));
    const channels = Object.fromEntries([...begins].map(([name, offset]) => [name, offset === undefined ? null : `7-${offset}`]));
    const last = random(3);
    const onMessages = (messages, { channel, cursor }) => {
      const end = Number(cursor.split('-')[1]);
      const texts = messages.map(({ message }) => message);
      if (!this.had.has(channel)) this.had.set(channel, { from: begins.get(channel) ?? end - texts.length, texts });
      else this.had.get(channel).texts.push(...texts);
      if (random(6) === 0) return new Promise((resolve) => means.clock.setTimeout(resolve, random(900)));
    };
    this.ended = subscribe({ base, channels, last, ...means, signal: this.stop.signal, onMessages });
  }

  check(whole) {
    for (const channel of this.channels) {
      const had = this.had.get(channel);
      assert.ok(had || !whole, `${channel} was never begun`);
      if (!had) continue;
      const wanted = this.server.texts(channel).slice(had.from);
      assert.deepEqual(had.texts, whole ? wanted : wanted.slice(0, had.texts.length));
    }
  }
}
