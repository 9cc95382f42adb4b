// How long a token is kept, and whose it is: who logs in as somebody else is nobody else any more.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { history, publish, subscribe } from '../../static/client.js';
import { Clock, batch, server, settled, subscribed } from './clock.mjs';
import { at, bearer, of, refusal } from './people.mjs';

const base = 'http://linger.test';
const sent = { status: 'sent', id: '7-1', channel: 'c' };

/** A page on which people log in and out: what it hands to the client, and what it has asked a server. */
function page(who) {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const where = { base, fetch, clock, channel: 'c' };
  const here = { asked, latest, clock, who, count: 0 };
  here.token = async () => {
    here.count += 1;
    return typeof here.who === 'function' ? here.who() : here.who;
  };
  here.subscribe = (options = {}) => {
    const stop = new AbortController();
    const states = [];
    const onState = (state) => states.push(state);
    subscribe({ ...where, token: here.token, signal: stop.signal, onMessages() {}, onState, ...options });
    return { stop, states };
  };
  here.publish = (options = {}) => publish({ ...where, token: here.token, message: 'x', ...options });
  here.history = () => history({ ...where, token: here.token, before: '7-1' });
  return here;
}

at('whoever logs in as somebody else, and begins anew with the same function, is somebody else', async () => {
  const here = page(of('ann'));
  const { stop } = here.subscribe();
  await settled();
  await here.latest().answer(batch(1));
  assert.deepEqual(here.latest().headers, bearer(of('ann')));
  stop.abort();
  here.who = of('bob');
  here.publish();
  await settled();
  assert.deepEqual(here.latest().headers, bearer(of('bob')));
  await here.latest().answer(sent);
  const bobs = here.subscribe();
  await settled();
  assert.deepEqual(here.latest().headers, bearer(of('bob')));
  here.history();
  await settled();
  assert.deepEqual(here.latest().headers, bearer(of('bob')));
  assert.equal(here.count, 3, 'history has the token of the subscription');
  bobs.stop.abort();
});

at('so it is when an older subscription was left alone, and while a token was under way', async () => {
  const here = page(of('ann'));
  const left = here.subscribe();
  await settled();
  await here.latest().answer(batch(1));
  here.who = of('bob');
  const bobs = here.subscribe({ channel: 'd' });
  await settled();
  assert.deepEqual(here.latest().headers, bearer(of('bob')));
  left.stop.abort();
  bobs.stop.abort();

  let give = () => {};
  here.who = () => new Promise((resolve) => (give = resolve));
  const slow = here.subscribe();
  await settled();
  here.who = of('carol');
  const next = here.subscribe();
  slow.stop.abort();
  await settled();
  give(of('ann'));
  await settled();
  assert.deepEqual(here.latest().headers, bearer(of('carol')));
  here.publish();
  await settled();
  assert.deepEqual(here.latest().headers, bearer(of('carol')));
  await here.latest().answer(sent);
  next.stop.abort();
});

at('without a subscription the function is asked for each message, and what one person began no other sends', async (later) => {
  const here = page(of('ann'));
  const published = here.publish();
  await settled();
  await here.latest().fail();
  here.who = of('bob');
  const refused = assert.rejects(published, { code: 'forbidden', mayPass: false, message: /somebody else/ });
  await later(here.clock, 1000);
  await refused;
  assert.equal(here.asked.length, 1);
  const bobs = here.publish();
  await settled();
  await here.latest().fail();
  here.who = of('bob', 7200, { jti: 'another' });
  await later(here.clock, 1000);
  assert.deepEqual(here.latest().headers, bearer(here.who));
  await here.latest().answer(sent);
  await bobs;
});

at('a page that is come back to asks who is logged in now', async () => {
  const calls = new Map();
  globalThis.addEventListener = (type, call) => calls.set(type, call);
  try {
    const here = page(of('ann'));
    const { states, stop } = here.subscribe();
    await settled();
    await here.latest().answer(batch(1));
    calls.get('pagehide')();
    await settled();
    here.who = () => Promise.reject(new Error('nobody is logged in'));
    const { length } = here.asked;
    calls.get('pageshow')();
    await settled();
    assert.equal(here.asked.length, length, 'nothing is asked as the one before');
    assert.match(states.at(-1).reason, /nobody is logged in/);
    stop.abort();
  } finally {
    delete globalThis.addEventListener;
  }
});

at('a subscription that is refused goes on as whoever is logged in by then', async () => {
  const here = page(of('ann'));
  const { states, stop } = here.subscribe();
  await settled();
  here.who = of('bob');
  await here.latest().answer(refusal, 401);
  assert.deepEqual(here.latest().headers, bearer(of('bob')));
  await here.latest().answer(batch(1));
  assert.equal(states.at(-1).state, 'live');
  stop.abort();
});

at('a token that can’t be renewed is used until it expires, and another one asked for now and then', async (later) => {
  const here = page(of('ann', 600));
  const { states, stop } = here.subscribe();
  await settled();
  await here.latest().answer(batch(1));
  await later(undefined, 575_000);
  await here.latest().answer(batch(1));
  const before = here.count;
  const failing = [() => Promise.reject(new Error('my own server is away')), () => new Promise(() => {})];
  for (const who of failing) {
    here.who = who;
    for (let publications = 0; publications < 10; publications += 1) {
      here.publish();
      await settled();
      assert.deepEqual(here.latest().headers, bearer(of('ann', 600)));
      await here.latest().answer(sent);
    }
    await later(undefined, 6_000);
  }
  assert.ok(here.count - before <= 3, `asked ${here.count - before} times`);
  assert.ok(states.every(({ state }) => state !== 'retrying'), JSON.stringify(states));
  stop.abort();
});

at('on a machine whose clock is far ahead, a token is used until it is refused', async () => {
  const here = page(of('ann', -3600));
  const { stop } = here.subscribe();
  await settled();
  await here.latest().answer(batch(1));
  for (let publications = 0; publications < 10; publications += 1) {
    here.publish();
    await settled();
    await here.latest().answer(sent);
  }
  assert.equal(here.count, 1);
  here.who = of('ann', -1800);
  here.publish();
  await settled();
  await here.latest().answer(refusal, 401);
  assert.equal(here.count, 2);
  assert.deepEqual(here.latest().headers, bearer(here.who));
  await here.latest().answer(sent);
  stop.abort();
});

for (const share of [true, false]) {
  test(`a text that is no token is refused at once, in words, ${share ? 'also' : 'without'} sharing`, async () => {
    for (const token of ['rubbish', 'a.b', 'a.b.c.d', 'a.ü.c', 'a.b.c\nd', ' ']) {
      const { asked, state, ended, stop } = subscribed({ token, share });
      await settled();
      assert.deepEqual(state(), { state: 'stopped', reason: 'the token is malformed', code: 'unauthorized' }, token);
      await ended;
      assert.equal(asked.length, 0);
      stop.abort();
    }
  });
}

test('several subscriptions with a text that is no token are all refused, and so is a publication', async () => {
  const here = page('rubbish');
  const all = ['c', 'c', 'd'].map((channel) => here.subscribe({ channel, token: 'rubbish' }));
  await settled();
  for (const { states } of all) assert.equal(states.at(-1).code, 'unauthorized');
  const published = here.publish({ token: 'rubbish' });
  await assert.rejects(published, { name: 'LingerError', code: 'unauthorized', mayPass: false, message: 'the token is malformed' });
  assert.equal(here.asked.length, 0);
});

test('space around a token is none of it', async () => {
  const { latest, stop } = subscribed({ token: ' a.b.c\r\n' });
  await settled();
  assert.deepEqual(latest().headers, bearer('a.b.c'));
  stop.abort();
});

test('why no token can be had is said, without a token', async () => {
  const failures = [
    [() => Promise.reject(new Error('nobody is logged in')), 'no token can be had: nobody is logged in'],
    [() => Promise.reject('nobody'), 'no token can be had: nobody'],
    [() => '<!doctype html>', 'no token can be had: token() gave no token'],
    [() => JSON.parse(of('ann')), /^no token can be had: (?!.*eyJ)/],
  ];
  for (const [token, reason] of failures) {
    const { state, stop } = subscribed({ token });
    await settled();
    assert.match(state().reason, reason instanceof RegExp ? reason : new RegExp(`^${reason.replace(/[()]/g, '\\$&')}$`));
    stop.abort();
  }
});

test('a redirect is not followed with a token, neither from the page’s own origin nor from another one', async () => {
  const reached = [];
  const elsewhere = createServer((request, response) => {
    reached.push(request.url);
    response.end();
  }).listen(0, '127.0.0.1');
  await once(elsewhere, 'listening');
  const location = `http://127.0.0.1:${elsewhere.address().port}/steal`;
  const front = createServer((_, response) => response.writeHead(307, { location }).end()).listen(0, '127.0.0.1');
  await once(front, 'listening');
  const where = { base: `http://127.0.0.1:${front.address().port}`, token: 'a.b.c' };
  try {
    for (const origin of [undefined, where.base, 'https://page.test']) {
      if (origin) globalThis.location = new URL(origin);
      await assert.rejects(history({ ...where, before: '7-1' }), { code: 'not_linger' });
      delete globalThis.location;
    }
    assert.deepEqual(reached, []);
  } finally {
    for (const each of [front, elsewhere]) each.close();
  }
});

test('without onState, why a subscription was refused is said once, without its token', async (t) => {
  const warned = t.mock.method(console, 'warn', () => {});
  for (const onState of [undefined, () => {}]) {
    const { latest, ended } = subscribed({ token: 'a.b.c', onState });
    await settled();
    await latest().answer({ code: 'forbidden', detail: 'not for you' }, 403);
    await ended;
  }
  assert.deepEqual(warned.mock.calls.map(({ arguments: said }) => said.join(' ')), ['linger: the subscription has ended: not for you (forbidden)']);
});
