// Subscriptions that come and go at random, over a server that fails, is slow and loses answers: each is given every
// message of its channels once, in its order. A seed replays what happened: SEED=12 node --test seeds.test.mjs. SEEDS=400
// tries so many.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Clock, unsigned } from './clock.mjs';
import { startTabs } from './seeded-tabs.mjs';
import { Reader, Server, numbers } from './seeded.mjs';

const SEEDS = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: Number(process.env.SEEDS ?? 20) }, (_, seed) => seed + 1);
const STEPS = 120;

const names = Array.from({ length: 30 }, (_, number) => `c${number}`);

/** A function that gives somebody's token, late, and sometimes does not. */
const tokenOf = (nickname, { clock, server, random }) => () =>
  new Promise((resolve, reject) => {
    const fails = server.broken && random(6) === 0;
    clock.setTimeout(() => (fails ? reject(new Error('away')) : resolve(unsigned({ nickname }))), random(60));
  });

/**
 * A history: readers that come and go, each in one of several tabs, and messages meanwhile. If there are people, each tab
 * is one of theirs.
 */
async function history(seed, tabs, people, t) {
  const random = numbers(seed);
  t.mock.method(Math, 'random', () => random(1_000_000) / 1_000_000);
  const clock = new Clock();
  const server = new Server(clock, random);
  const undo = tabs > 1 ? startTabs(clock, random) : () => {};
  const some = (count) => [...new Set(Array.from({ length: count }, () => names[random(names.length)]))];
  // A function of its own is what makes a tab of a page.
  const fetches = Array.from({ length: tabs }, () => (...request) => server.fetch(...request));
  const tokens = fetches.map((_, tab) => people && tokenOf(`${tab % people}`, { clock, server, random }));
  const readers = [];
  try {
    for (let step = 0; step < STEPS; step += 1) {
      const choice = random(10);
      if (readers.length === 0 || choice === 0) {
        const tab = random(tabs);
        const means = { clock, fetch: fetches[tab], token: tokens[tab] };
        readers.push(new Reader('http://linger.test', some(1 + random(5)), means, server, random));
      } else if (choice === 1) {
        const [gone] = readers.splice(random(readers.length), 1);
        gone.check(false);
        gone.stop.abort();
      } else {
        for (const channel of some(1 + random(4))) server.publish(channel, `${channel} ${step}`);
      }
      await clock.advance(random(3) === 0 ? random(3000) : random(40));
    }
    server.broken = false;
    await clock.advance(120_000);
    for (const reader of readers) reader.check(true);
    const polls = server.polls.size;
    for (const { stop } of readers) stop.abort();
    await Promise.all(readers.map(({ ended }) => ended));
    await clock.advance(60_000);
    assert.equal(clock.running, 0);
    return polls;
  } catch (error) {
    error.message = `with SEED=${seed}: ${error.message}`;
    throw error;
  } finally {
    undo();
  }
}

test(`in each of ${SEEDS.length} histories, every subscription gets everything once`, async (t) => {
  for (const seed of SEEDS) await history(seed, 1, undefined, t);
});

test(`in each of ${SEEDS.length} histories of four tabs, too, and at their ends one poll is held for all`, async (t) => {
  for (const seed of SEEDS) assert.ok((await history(seed, 4, undefined, t)) <= 1, `SEED=${seed}`);
});

test(`so it is in ${SEEDS.length} of four tabs of two people with tokens, and one poll is held for each of them`, async (t) => {
  for (const seed of SEEDS) assert.ok((await history(seed, 4, 2, t)) <= 2, `SEED=${seed}`);
});
