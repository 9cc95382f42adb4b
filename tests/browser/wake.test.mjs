// Pauses after a failure, and what ends one early.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { publish } from '../../static/client.js';
import { Clock, batch, server, settled, subscribed } from './clock.mjs';

const base = 'http://linger.test';
const sent = { status: 'sent', id: '7-1', channel: 'c' };

/** A subscription in its sixth pause, which is long. */
async function paused() {
  const random = mock.method(Math, 'random', () => 0.999);
  const subscription = subscribed();
  const { latest, clock, state } = subscription;
  for (let failures = 0; failures < 5; failures += 1) {
    await settled();
    await latest().fail();
    await clock.advance(state().in * 1000);
  }
  await latest().fail();
  assert.ok(state().in > 15);
  random.mock.restore();
  return subscription;
}

test('a poll that pauses goes on when a publication is answered', async () => {
  const { asked, clock, latest, state, stop } = await paused();
  await clock.advance(1000);
  const before = asked.length;
  const { fetch, latest: publication } = server();
  publish({ base, channel: 'c', message: 'x', fetch, clock });
  await settled();
  assert.equal(asked.length, before);
  await publication().answer(sent);
  await clock.advance(0);
  assert.equal(asked.length, before + 1);
  await latest().answer(batch(1, 'x'));
  assert.equal(state().state, 'live');
  stop.abort();
});

test('a publication that pauses goes on when a poll is answered, and not when another server answers', async () => {
  const random = mock.method(Math, 'random', () => 0.999);
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  publish({ base, channel: 'c', message: 'x', fetch, clock }).catch(() => {});
  for (const ms of [500, 1000, 2000]) {
    await settled();
    await latest().fail();
    await clock.advance(ms);
  }
  await latest().fail();
  assert.equal(asked.length, 4);
  const poll = async (address) => {
    const { latest, stop } = subscribed({ base: address, clock });
    await settled();
    await latest().answer(batch(1));
    stop.abort();
    await clock.advance(1000);
  };
  await poll('http://other.test');
  assert.equal(asked.length, 4);
  await poll(base);
  assert.equal(asked.length, 5);
  random.mock.restore();
});

test('an answer ends no pause before the server wants, and none in a loop', async () => {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  publish({ base, channel: 'c', message: 'x', timeout: 60_000, fetch, clock }).catch(() => {});
  await settled();
  await latest().answer('busy', 503, { 'Retry-After': '9' });
  const { latest: poll, stop } = subscribed({ clock });
  for (let answers = 1; answers <= 80; answers += 1) {
    await clock.advance(100);
    await poll().answer(batch(answers, 'x'));
  }
  assert.equal(asked.length, 1);
  // From now on only publishing fails, beside ten messages a second.
  for (let answers = 81; answers <= 200; answers += 1) {
    await clock.advance(100);
    if (asked.length > 1) await latest().fail();
    await poll().answer(batch(answers, 'x'));
  }
  assert.ok(asked.length > 5 && asked.length < 20, `${asked.length} attempts in 12 s`);
  stop.abort();
});

test('retry() ends a pause, and a poll that hangs, at once', async () => {
  const { asked, ended, latest, stop } = await paused();
  const before = asked.length;
  ended.retry();
  await settled();
  assert.equal(asked.length, before + 1);
  ended.retry();
  await settled();
  assert.equal(asked.length, before + 2);
  assert.ok(asked.at(-2).signal.aborted);
  await latest().answer(batch(1));
  stop.abort();
  await ended;
  ended.retry();
  await settled();
  assert.equal(asked.length, before + 3);
});
