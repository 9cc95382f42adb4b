// Subscriptions of one channel at different positions, in one page and in several tabs: those that are behind are caught up,
// and those at the end of the channel ask no more than they did.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribe } from '../../static/client.js';
import { Clock, asks, batch, page, settled, several } from './clock.mjs';
import { startTabs } from './seeded-tabs.mjs';
import { Server } from './seeded.mjs';

/** Answers as a server does whose channel `x` ends with message 350, until a poll is held; and counts the answers. */
async function look({ latest }, most = 10) {
  for (let looks = 0; ; looks += 1) {
    const { channels, wait } = latest().query;
    const from = Number(channels.split('-')[1] ?? 349);
    if (from === 350 && wait === '25') return looks;
    assert.ok(looks < most, `after ${looks} looks it asks for ${channels}`);
    const to = Math.min(from + 100, 350);
    await latest().answer(batch(to, ...Array.from({ length: to - from }, (_, index) => `${from + index + 1}`)));
  }
}

/** What `look` gives of the channel from this message on. */
const from = (first) => Array.from({ length: 351 - first }, (_, index) => `x ${first + index}`);

test('whoever is many answers behind another subscription of the channel looks until both are at one position', async () => {
  for (const behindFirst of [false, true]) {
    const here = page();
    const ahead = { channel: 'x', last: 1 };
    const behind = { channel: 'x', cursor: '7-1' };
    const [one, two] = [here.follow(behindFirst ? behind : ahead), here.follow(behindFirst ? ahead : behind)];
    await settled();
    const looks = await look(here);
    await here.latest().answer(batch(351, '351'));
    const said = [[...from(350), 'x 351'], [...from(2), 'x 351']];
    assert.deepEqual([one.said, two.said], behindFirst ? said.reverse() : said);
    assert.ok(looks <= 8, `${looks} looks`);
    assert.deepEqual(asks(here.latest()), ['x:7-351', '25']);
    for (const { stop } of [one, two]) stop.abort();
  }
});

test('who subscribes far behind while a poll is held is caught up, with one look for each answer', async () => {
  const here = page();
  const one = here.follow({ channel: 'x', last: 1 });
  await settled();
  await look(here);
  const two = here.follow({ channel: 'x', cursor: '7-1' });
  await settled();
  assert.equal(await look(here), 4);
  assert.deepEqual([one.said, two.said], [from(350), from(2)]);
  assert.deepEqual(asks(here.latest()), ['x:7-350', '25']);
  for (const { stop } of [one, two]) stop.abort();
});

test('a position that never becomes that of the others is asked for once each time that they move', async () => {
  const { asked, latest, follow } = page();
  const one = follow({ channel: 'x', last: 1 });
  await settled();
  await latest().answer(batch(5, 'five'));
  // It is of another log, in which nothing is said.
  const two = follow({ channel: 'x', cursor: '8-9' });
  await settled();
  for (const offset of [6, 7]) {
    assert.deepEqual(asks(latest()), ['x:8-9', '0']);
    await latest().answer({ messages: [], cursor: '8-9', missed: false });
    assert.deepEqual(asks(latest()), [`x:7-${offset - 1}`, '25']);
    await latest().answer(batch(offset, 'more'));
  }
  await latest().answer({ messages: [], cursor: '8-9', missed: false });
  assert.deepEqual(asks(latest()), ['x:7-7', '25']);
  assert.equal(asked.length, 8);
  for (const { stop } of [one, two]) stop.abort();
});

test('whoever begins in a log that is gone is told, and then caught up', async () => {
  const here = page();
  const one = here.follow({ channel: 'x', last: 1 });
  await settled();
  await look(here);
  const two = here.follow({ channel: 'x', cursor: '6-9' });
  await settled();
  assert.deepEqual(asks(here.latest()), ['x:6-9', '0']);
  await here.latest().answer({ ...batch(50, '50'), missed: true });
  assert.equal(await look(here), 3);
  assert.deepEqual([one.said, two.said], [from(350), ['x 50', 'x missed', ...from(51)]]);
  assert.deepEqual(two.states.at(-1), { state: 'live' });
  for (const { stop } of [one, two]) stop.abort();
});

test('who was slow with one batch gets all that was said meanwhile', async () => {
  const here = page();
  const { latest, clock, follow } = here;
  let through;
  const one = follow({ channel: 'x' });
  const seen = [];
  const two = follow({
    channel: 'x',
    onMessages: (messages) => {
      const first = messages.length > 0 && seen.length === 0;
      seen.push(...messages.map(({ message }) => message));
      return first ? new Promise((resolve) => (through = resolve)) : undefined;
    },
  });
  await settled();
  await latest().answer(batch(0));
  await latest().answer(batch(1, '1'));
  await clock.advance(250);
  for (const [end, first] of [[101, 2], [201, 102], [301, 202], [350, 302]]) {
    await latest().answer(batch(end, ...Array.from({ length: end - first + 1 }, (_, index) => `${first + index}`)));
  }
  through();
  await settled();
  assert.equal(await look(here), 4);
  assert.deepEqual([one.said, seen.map((text) => `x ${text}`)], [from(1), from(1)]);
  for (const { stop } of [one, two]) stop.abort();
});

test('while one place is far behind, the others get what is new at least once a second', async () => {
  const { latest, clock, follow } = page();
  const others = follow({ channels: ['x', 'y'] });
  await settled();
  await latest().answer(several({ x: batch(900), y: batch(1) }));
  const { stop } = follow({ channel: 'x', cursor: '7-0' });
  await settled();
  const waited = [];
  for (let offset = 0; offset < 50; ) {
    const { query } = latest();
    assert.equal(query.wait, '0');
    await clock.advance(300);
    if (query.channels.includes('y:')) {
      waited.push(offset);
      await latest().answer(several({ y: batch(waited.length + 1, 'new') }));
    } else {
      offset += 1;
      await latest().answer(batch(offset, 'old'));
    }
  }
  assert.equal(others.said.length, waited.length);
  for (const [index, offset] of waited.entries()) assert.ok(offset - (waited[index - 1] ?? 0) <= 4, `${waited}`);
  assert.ok(waited.length >= 10 && waited.length <= 20, `${waited}`);
  others.stop.abort();
  stop.abort();
});

/** Tabs of one browser, over a server whose channel `x` has 30 messages; an answer has three. `asks` is how often each asked. */
async function tabs(run) {
  const clock = new Clock();
  const undo = startTabs(clock, () => 1);
  const api = new Server(clock, () => 1);
  api.broken = false;
  for (let number = 1; number <= 30; number += 1) api.publish('x', `${number}`);
  const stop = new AbortController();
  const opened = [];
  /** A tab; `follow` subscribes in it. The first one leads. */
  const open = () => {
    const tab = { asks: 0 };
    const fetch = (...request) => {
      tab.asks += 1;
      return api.fetch(...request);
    };
    tab.follow = (options) => {
      const said = [];
      const onMessages = (messages) => void said.push(...messages.map(({ message }) => message));
      subscribe({ base: 'http://linger.test', fetch, clock, channel: 'x', signal: stop.signal, onMessages, ...options });
      return said;
    };
    opened.push(tab);
    return tab;
  };
  const asked = () => opened.map((tab) => tab.asks);
  try {
    await run({ clock, api, open, asked });
  } finally {
    stop.abort();
    await clock.advance(100);
    undo();
  }
}

/** The messages of `x` after this one, up to the last. */
const after = (first, end = 30) => Array.from({ length: end - first }, (_, index) => `${first + index + 1}`);

/** Eight tabs at the end of the channel. */
async function herd({ clock, open }) {
  const said = [];
  for (let number = 0; number < 8; number += 1) {
    said.push(open().follow({ last: 2 }));
    await clock.advance(300);
  }
  return said;
}

test('of eight tabs at the end of a channel, each looks once, and only the leader asks from then on', () =>
  tabs(async (here) => {
    const { clock, api, asked } = here;
    const said = await herd(here);
    for (let number = 31; number <= 35; number += 1) {
      api.publish('x', `${number}`);
      await clock.advance(number === 33 ? 1 : 2000);
    }
    for (const texts of said) assert.deepEqual(texts, after(28, 35));
    const [leader, ...others] = asked();
    assert.deepEqual(others, Array(7).fill(1));
    assert.ok(leader <= 7, `${leader}`);
  }),
);

test('a tab that begins far behind the leader is caught up, with one look for each answer, and bothers nobody', () =>
  tabs(async (here) => {
    const { clock, open, asked } = here;
    await herd(here);
    const before = asked();
    const late = open();
    const said = late.follow({ cursor: '7-0' });
    await clock.advance(2000);
    assert.deepEqual(said, after(0));
    assert.equal(late.asks, 10);
    assert.deepEqual(asked().slice(0, 8), before);
  }),
);

test('what the page of the leader is caught up with is not sent to the other tabs, which had it', () =>
  tabs(async (here) => {
    const { clock, api, open, asked } = here;
    const leader = open();
    leader.follow({ last: 1 });
    await clock.advance(1000);
    const others = await herd(here);
    const before = asked();
    const said = leader.follow({ cursor: '7-0' });
    await clock.advance(2000);
    api.publish('x', '31');
    await clock.advance(2000);
    assert.deepEqual(said, after(0, 31));
    for (const texts of others) assert.deepEqual(texts, after(28, 31));
    assert.deepEqual(asked().slice(1), before.slice(1));
  }),
);

test('a hidden page that rests is caught up at once, too', () =>
  tabs(async ({ clock, api, open }) => {
    document.visibilityState = 'hidden';
    const page = open();
    const ahead = page.follow({ last: 1 });
    await clock.advance(40_000);
    const behind = page.follow({ cursor: '7-0' });
    await clock.advance(1000);
    assert.deepEqual([ahead, behind], [['30'], after(0)]);
    const before = page.asks;
    await clock.advance(600_000);
    assert.ok(page.asks - before <= 12, `${page.asks - before} looks in ten minutes`);
    api.publish('x', '31');
    await clock.advance(61_000);
    assert.deepEqual([ahead, behind], [['30', '31'], after(0, 31)]);
  }),
);
