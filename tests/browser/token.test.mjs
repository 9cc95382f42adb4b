// Tokens: when one is asked for, how it is sent, and who shares a poll.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { history, publish, subscribe } from '../../static/client.js';
import { Clock, batch, server, settled, subscribed, unsigned } from './clock.mjs';

const base = 'http://linger.test';
const sent = { status: 'sent', id: '7-1', channel: 'c' };
const refusal = { code: 'unauthorized', detail: 'the token is expired' };

const inAnHour = () => Math.floor(Date.now() / 1000) + 3600;
const bearer = (text) => ({ authorization: `Bearer ${text}` });

/** What is sent with a publication, with a look at older messages, and with a poll. */
async function threeRequests() {
  const { asked, fetch, latest } = server();
  const where = { base, fetch, clock: new Clock(), channel: 'c', token: 'a.b.c' };
  publish({ ...where, message: 'x' });
  await settled();
  await latest().answer(sent);
  history({ ...where, before: '7-1' });
  await settled();
  await latest().answer({ messages: [], missed: false });
  const stop = new AbortController();
  subscribe({ ...where, signal: stop.signal, onMessages() {} });
  await settled();
  stop.abort();
  assert.equal(asked.length, 3);
  assert.ok(asked.every(({ url }) => !url.includes('a.b.c')));
  return asked;
}

test('a text is sent with each request, as the header', async () => {
  for (const { headers } of await threeRequests()) assert.deepEqual(headers, bearer('a.b.c'));
});

test('elsewhere than on the page’s own origin it is a field, and nothing needs a preflight', async () => {
  globalThis.location = new URL('https://page.test/chat');
  try {
    for (const { body, headers } of await threeRequests()) {
      assert.equal(body.get('token'), 'a.b.c');
      assert.equal(headers, undefined);
    }
  } finally {
    delete globalThis.location;
  }
});

/** Those who read with a function, so that what it gives is kept. */
async function reading(get) {
  const { asked, fetch, latest } = server();
  const where = { base, fetch, clock: new Clock(), channel: 'c', token: get };
  const stop = new AbortController();
  subscribe({ ...where, signal: stop.signal, onMessages() {} });
  await settled();
  await latest().answer(batch(1));
  asked.length = 0;
  return { asked, latest, stop, publish: () => publish({ ...where, message: 'x' }) };
}

test('a function is asked once, however many ask for it, and again before its token expires', async () => {
  mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-01-01') });
  try {
    let count = 0;
    const get = async () => unsigned({ exp: inAnHour(), number: (count += 1) });
    const here = await reading(get);
    here.publish();
    here.publish();
    await settled();
    assert.equal(count, 1);
    mock.timers.setTime(Date.parse('2026-01-01T00:59:00'));
    here.publish();
    await settled();
    assert.equal(count, 1);
    mock.timers.setTime(Date.parse('2026-01-01T00:59:40'));
    here.publish();
    here.publish();
    await settled();
    here.publish();
    await settled();
    assert.equal(count, 2);
    assert.notDeepEqual(here.latest().headers, here.asked[0].headers);
    for (const { answer } of here.asked) await answer(sent);
    here.stop.abort();
  } finally {
    mock.timers.reset();
  }
});

test('a token that is refused is asked for anew, once', async () => {
  let count = 0;
  const { asked, latest, stop, ...here } = await reading(() => `a.b.${(count += 1)}\n`);
  const published = here.publish();
  await settled();
  await latest().answer(refusal, 401);
  assert.deepEqual(latest().headers, bearer('a.b.2'));
  await Promise.all([assert.rejects(published, { status: 401, code: 'unauthorized', mayPass: false }), latest().answer(refusal, 401)]);
  assert.equal(asked.length, 2);

  const again = here.publish();
  await settled();
  assert.deepEqual(latest().headers, bearer('a.b.2'), 'it is kept until it is refused');
  await latest().answer(refusal, 401);
  await latest().answer(sent);
  assert.deepEqual(await again, sent);
  stop.abort();
});

test('two requests that are refused at once ask for one other token', async () => {
  let count = 0;
  const { asked, stop, ...here } = await reading(() => `a.b.${(count += 1)}`);
  here.publish();
  here.publish();
  await settled();
  asked[0].answer(refusal, 401);
  await asked[1].answer(refusal, 401);
  assert.equal(count, 2);
  assert.deepEqual(asked.slice(2).map(({ headers }) => headers), [bearer('a.b.2'), bearer('a.b.2')]);
  for (const { answer } of asked.slice(2)) await answer(sent);
  stop.abort();
});

test('a function that fails is asked once for each attempt', async () => {
  let count = 0;
  const token = () => {
    count += 1;
    throw new Error('nobody is logged in');
  };
  const { states, stop } = subscribed({ token });
  await settled();
  assert.equal(states.filter(({ state }) => state === 'retrying').length, 1);
  assert.equal(count, 1);
  stop.abort();
});

test('a text that is refused ends it, and so does a function that has no other', async () => {
  for (const given of ['a.b.c', () => 'a.b.c']) {
    const { asked, latest, ended, state } = subscribed({ token: given });
    await settled();
    await latest().answer(refusal, 401);
    await ended;
    assert.equal(asked.length, 1);
    assert.deepEqual(state(), { state: 'stopped', reason: 'the token is expired', code: 'unauthorized' });
  }
});

test('what is not allowed ends it, and says so', async () => {
  const { latest, ended, state } = subscribed({ token: 'a.b.c' });
  await settled();
  await latest().answer({ code: 'forbidden', detail: 'not for you' }, 403);
  await ended;
  assert.deepEqual(state(), { state: 'stopped', reason: 'not for you', code: 'forbidden' });
});

test('a function that fails is tried again, like a server that does not answer', async () => {
  const given = [
    () => Promise.reject(new Error('my own server is away')),
    () => {
      throw new Error('at once');
    },
    () => 17,
    () => '<!doctype html>\n<title>Log in</title>',
    () => 'a.b.c',
  ];
  let count = 0;
  const get = () => given[Math.min(count++, given.length - 1)]();
  const { asked, clock, latest, state, stop } = subscribed({ token: get });
  await settled();
  for (let failures = 0; failures < 20 && asked.length === 0; failures += 1) {
    assert.equal(state().state, 'retrying');
    assert.match(state().reason, /no token/);
    await clock.advance(1000);
  }
  assert.deepEqual(latest().headers, bearer('a.b.c'));
  await latest().answer(batch(1, 'x'));
  assert.equal(state().state, 'live');
  stop.abort();
});

test('a function that is never settled is given up in time', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const given = [() => new Promise(() => {}), () => 'a.b.c'];
    const { asked, clock, state, stop } = subscribed({ token: () => (given.shift() ?? (() => 'a.b.c'))() });
    await settled();
    mock.timers.tick(10_000);
    await settled();
    await clock.advance(1000);
    assert.deepEqual(asked.at(-1)?.headers, bearer('a.b.c'), JSON.stringify(state()));
    stop.abort();
    await neverSettled();
  } finally {
    mock.timers.reset();
  }
});

async function neverSettled() {
  const clock = new Clock();
  const { fetch } = server();
  const published = publish({ base, fetch, clock, channel: 'c', message: 'x', token: () => new Promise(() => {}), timeout: 15_000 });
  await Promise.all([assert.rejects(published, { name: 'LingerError' }), clock.advance(60_000)]);
}

test('those with the same token share a poll in a page, and no others do', async () => {
  const { asked, fetch } = server();
  const clock = new Clock();
  const stop = new AbortController();
  const follow = (channel, given) => subscribe({ base, fetch, clock, channel, token: given, signal: stop.signal, onMessages() {} });
  const get = () => 'd.e.f';
  for (const channel of ['a', 'b']) for (const given of ['a.b.c', 'x.y.z', get, undefined]) follow(channel, given);
  await settled();
  assert.deepEqual(asked.map(({ query, headers }) => [query.channels, headers?.authorization]).sort(), [
    ['a:latest,b:latest', 'Bearer a.b.c'],
    ['a:latest,b:latest', 'Bearer d.e.f'],
    ['a:latest,b:latest', 'Bearer x.y.z'],
    ['a:latest,b:latest', undefined],
  ].sort());
  stop.abort();
});

test('what can be no token is a TypeError', () => {
  for (const given of ['', 17, {}, null]) {
    assert.throws(() => subscribe({ base, token: given }), { name: 'TypeError', message: /token must be/ });
  }
});
