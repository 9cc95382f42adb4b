// Which answers the client accepts as linger's, and what it does with all others.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LingerError, history, publish, subscribe } from '../../static/client.js';
import { Clock, batch, server, settled, subscribed } from './clock.mjs';

const base = 'http://linger.test';
const sent = { status: 'sent', id: '7-1', channel: 'c' };
const problem = { type: 'about:blank', title: 'Bad Request', status: 400, detail: 'no cursor', code: 'invalid_cursor' };
const json = { 'Content-Type': 'application/json' };
const problemJson = { 'Content-Type': 'application/problem+json' };

/** What proxies, gateways and frameworks say, with its status and headers. */
const foreign = [
  ['<h1>404 Not Found</h1>', 404],
  ['', 405],
  ['no such host', 421, { 'Content-Type': 'text/plain' }],
  ['{"message":"Not Found"}', 404, json],
  ['{"message":"Forbidden"}', 403, json],
  ['{"detail":"Given token not valid","code":"token_not_valid"}', 401, json],
  ['{"type":"about:blank","title":"Not Found","status":404}', 404, problemJson],
  ['{"type":"about:blank","title":"Not Found","status":404,"detail":"no route","code":17}', 404, problemJson],
  [JSON.stringify(problem), 400, json],
  [JSON.stringify(problem), 404, problemJson],
  [JSON.stringify(problem), 200, problemJson],
  ['<h1>Welcome to the hotel</h1>', 200],
  ['null', 200, json],
  ['{"channels":null}', 200, json],
  ['{"channels":{}}', 200, json],
  ['{"channels":{"c":{"messages":[]}}}', 200, json],
  ['{"channels":{"c":{"messages":{},"cursor":"7-1","missed":false}}}', 200, json],
  ['{"channels":{"c":{"messages":[null],"cursor":"7-1","missed":false}}}', 200, json],
  ['{"channels":{"c":{"messages":[],"cursor":7,"missed":false}}}', 200, json],
  ['{"channels":{"d":{"messages":[],"cursor":"7-1","missed":false}}}', 200, json],
  ['{"messages":[],"cursor":"7-1","missed":false}', 200, json],
  ['{"channels":{"c":{"messages":[],"cursor":"7-1"', 200, json],
];

for (const [body, status, headers] of foreign) {
  test(`somebody else's answer ends nothing: ${status} ${body}`, async () => {
    const { asked, latest, clock, state, stop, texts } = subscribed();
    await settled();
    await latest().answer(body, status, headers);
    const type = headers?.['Content-Type'] ?? 'text/html';
    assert.equal(state().state, 'retrying');
    assert.deepEqual([state().status, state().type], [status, type]);
    assert.equal(state().reason, `somebody else answered: ${status} ${type}`);
    await clock.advance(500);
    await latest().answer(batch(1));
    assert.deepEqual([state().state, texts, asked.length], ['live', [[]], 3]);
    stop.abort();

    const { fetch, latest: publication } = server();
    const published = publish({ base, channel: 'c', message: 'x', fetch, clock });
    await settled();
    await publication().answer(body, status, headers);
    await clock.advance(500);
    await publication().answer(sent);
    assert.deepEqual(await published, sent);
  });
}

test('a body that breaks off is no answer', async () => {
  const broken = () => new Response(new ReadableStream({ start: (body) => body.error(new TypeError('broken off')) }));
  const { state, stop } = subscribed({ fetch: async () => broken() });
  await settled();
  assert.deepEqual([state().reason, state().status], ['the server does not answer', undefined]);
  stop.abort();
});

test('pauses grow also while looks are answered and holds are not', async (t) => {
  t.mock.method(Math, 'random', () => 0.999);
  const { latest, clock, state, stop } = subscribed();
  await settled();
  await latest().answer(batch(1));
  const pauses = [];
  for (let failures = 0; failures < 5; failures += 1) {
    assert.equal(latest().query.wait, '25');
    await latest().answer('<h1>404</h1>', 404);
    pauses.push(state().in);
    await clock.advance(state().in * 1000);
    await latest().answer(batch(1));
  }
  assert.deepEqual(pauses, [1, 1, 2, 4, 8]);
  stop.abort();
});

test('an error tells what was wrong: the answer, or what fetch threw', async () => {
  const { fetch, latest } = server();
  const clock = new Clock();
  const ask = () => history({ base, before: '7-1', fetch, clock }).catch((error) => error);
  const answered = ask();
  await settled();
  await latest().answer('<h1>no</h1>', 403);
  const { status, code, type, mayPass } = await answered;
  assert.deepEqual({ status, code, type, mayPass }, { status: 403, code: 'not_linger', type: 'text/html', mayPass: true });
  const thrown = ask();
  await settled();
  await latest().fail();
  const error = await thrown;
  assert.ok(error instanceof LingerError && error.cause instanceof TypeError);
  assert.equal(error.cause.message, 'Failed to fetch');
  const odd = history({ base, before: '7-1', clock, fetch: () => { throw new RangeError('at once'); } });
  await assert.rejects(odd, (error) => error.cause instanceof RangeError);
});

test('an answer to another request is not used, whoever kept it, and the next request has an address of its own', async () => {
  const { latest, clock, state, stop, texts } = subscribed({ cursor: '7-3' });
  await settled();
  for (const to of ['channels=c:7-1', 'channels=d:7-3', 'channels=c&last=3', 'channel=c&cursor=7-3']) {
    await latest().answer(batch(5, 'four', 'five'), 200, { 'Linger-For': to });
    assert.deepEqual([state().state, state().reason], ['retrying', 'somebody else answered: 200 application/json, to another request']);
    const { own } = latest();
    await clock.advance(state().in * 1000);
    assert.ok(latest().own && latest().own !== own);
    assert.equal(latest().query.channels, 'c:7-3');
  }
  await latest().answer(problem, 400, { 'Linger-For': 'channels=c:no' });
  assert.equal(state().state, 'retrying');
  await clock.advance(state().in * 1000);
  await latest().answer(batch(5, 'four', 'five'), 200, { 'Linger-For': 'channels=c:7-3' });
  assert.deepEqual([texts, latest().own], [[['four', 'five']], undefined]);
  stop.abort();
});

test('a publication is sent when its own key is answered', async () => {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const published = publish({ base, channel: 'c', message: 'x', key: 'a&b=+', fetch, clock });
  await settled();
  await latest().answer(sent, 200, { 'Linger-For': 'key=another' });
  await clock.advance(500);
  await latest().answer({ ...sent, channel: 'd' });
  await clock.advance(1000);
  await latest().answer(sent, 200, { 'Linger-For': 'key=a&b=+' });
  assert.deepEqual(await published, sent);
  assert.equal(asked.length, 3);
});

test('an older answer is not used, also where nobody says what it is an answer to', async () => {
  const { latest, clock, state, stop, texts } = subscribed({ last: 3 });
  await settled();
  const first = batch(3, 'one', 'two', 'three');
  await latest().answer(first);
  for (const old of [first, batch(2, 'one', 'two'), batch(2)]) {
    await latest().answer(old);
    assert.equal(state().reason, 'somebody else answered: an older answer');
    await clock.advance(state().in * 1000);
    assert.equal(latest().query.channels, 'c:7-3');
  }
  await latest().answer(batch(4, 'four'));
  assert.deepEqual(texts, [['one', 'two', 'three'], ['four']]);
  stop.abort();
});

test('where a log was put back, its positions are new ones', async () => {
  const { latest, state, stop, texts } = subscribed({ last: 3 });
  await settled();
  await latest().answer(batch(3, 'one', 'two', 'three'));
  await latest().answer({ ...batch(1, 'one'), missed: true });
  await latest().answer(batch(2, 'another two'));
  assert.deepEqual([state().state, texts.at(-1)], ['live', ['another two']]);
  stop.abort();
});

const now = Date.UTC(2026, 0, 1);
const httpDate = (ms) => new Date(now + ms).toUTCString();
for (const [header, seconds, date] of [
  ['7', 7], ['0', 0], ['-99999', 0], ['1e9', 3600], ['99999999', 3600], ['soon', 0], ['', 0], ['7, 9', 0],
  [httpDate(20_000), 20], [httpDate(-20_000), 0], [httpDate(1e12), 3600], [httpDate(20_000), 5, httpDate(15_000)],
]) {
  test(`Retry-After: ${header} is ${seconds} s`, async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now });
    t.mock.method(Math, 'random', () => 0);
    const { latest, asked, clock, state, stop } = subscribed();
    await settled();
    await latest().answer('busy', 503, { 'Retry-After': header, ...(date && { Date: date }) });
    assert.equal(state().in, seconds);
    await clock.advance(Math.max(0, seconds * 1000 - 1));
    assert.equal(asked.length, seconds > 0 ? 1 : 2);
    stop.abort();
  });
}

test('a deadline stands while the clock of the day is set back', async (t) => {
  const refused = async () => {
    throw new TypeError('Failed to fetch');
  };
  const { now: today } = Date;
  const begun = performance.now();
  const published = publish({ base, message: 'x', timeout: 300, fetch: refused }).catch((error) => error);
  t.mock.method(Date, 'now', () => today() - 3_600_000);
  assert.equal((await published).code, 'no_answer');
  assert.ok(performance.now() - begun < 5000);
});

test('a loop is told its states, and tries again when it is told to', async () => {
  const { asked, fetch, latest } = server();
  const states = [];
  const batches = subscribe({ base, channel: 'c', fetch, clock: new Clock() });
  batches.onState = ({ state }) => states.push(state);
  const next = batches.next();
  await settled();
  await latest().answer('<h1>404</h1>', 404);
  batches.retry();
  await settled();
  assert.equal(asked.length, 2);
  await latest().answer(batch(1));
  assert.equal((await next).value.cursor, '7-1');
  assert.deepEqual(states, ['connecting', 'retrying', 'live']);
  await batches.return();
});
