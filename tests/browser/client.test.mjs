// The client against a clock and a server that do what the test says.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { mock, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { transformSync } from 'esbuild';
import { LingerError, history, publish, subscribe } from '../../static/client.js';
import { Clock, batch, server, settled, subscribed } from './clock.mjs';
import { root } from './support.mjs';

/** Where nothing is: what the tests hand in as `fetch` answers. */
const base = 'http://linger.test';

const sent = { status: 'sent', id: '7-1', channel: 'c' };
const busy = { code: 'store_busy', detail: 'the store is busy', retry_after: 3 };

test('a subscription looks, then is held, and passes back what it got last', async () => {
  const { asked, latest, texts, states, stop, ended } = subscribed({ last: 50 });
  await settled();
  assert.deepEqual(latest().query, { channels: 'c', last: '50', wait: '0' });
  await latest().answer(batch(2, 'one', 'two'));
  assert.deepEqual(latest().query, { channels: 'c:7-2', wait: '25' });
  await latest().answer(batch(3));
  await latest().answer(batch(4, 'three'));
  assert.equal(latest().query.channels, 'c:7-4');
  assert.deepEqual(texts, [['one', 'two'], ['three']]);
  assert.deepEqual(states, [{ state: 'connecting' }, { state: 'live' }]);
  stop.abort();
  await ended;
  assert.equal(asked.length, 4);
  assert.ok(latest().signal.aborted);
});

test('without a last message, and with the last 0, it begins with what comes from now on', async () => {
  for (const options of [{}, { last: 0 }]) {
    const { latest, stop } = subscribed(options);
    await settled();
    assert.deepEqual(latest().query, { channels: 'c:latest', wait: '0' });
    stop.abort();
  }
});

test('it resumes from a stored cursor, and the first batch is told even when it is empty', async () => {
  const cursors = [];
  const { latest, stop } = subscribed({ cursor: '7-9', onMessages: (_, { cursor }) => void cursors.push(cursor) });
  await settled();
  assert.equal(latest().query.channels, 'c:7-9');
  await latest().answer(batch(9));
  await latest().answer(batch(9));
  stop.abort();
  const fresh = subscribed({ onMessages: (_, { cursor }) => void cursors.push(cursor) });
  await settled();
  await fresh.latest().answer(batch(12));
  fresh.stop.abort();
  assert.deepEqual(cursors, ['7-9', '7-12']);
});

test('what was missed is told, and the next answer is soon', async () => {
  const missed = [];
  const { latest, states, stop } = subscribed({ onMessages: (_, batch) => void missed.push(batch.missed), cursor: '7-1' });
  await settled();
  await latest().answer({ ...batch(5), missed: true });
  assert.equal(latest().query.wait, '0');
  await latest().answer(batch(5));
  assert.deepEqual(missed, [true]);
  assert.deepEqual(states.map(({ state }) => state), ['connecting', 'missed', 'live']);
  stop.abort();
});

test('a poll that is never answered is given up, also when it can not be aborted', async () => {
  const { asked, latest, clock, state, stop } = subscribed();
  await settled();
  await latest().answer(batch(1));
  await clock.advance(39_000);
  assert.equal(asked.length, 2);
  await clock.advance(1_000);
  assert.equal(state().reason, 'the server did not answer in time');
  await clock.advance(500);
  assert.deepEqual(latest().query, { channels: 'c:7-1', wait: '0' });
  await clock.advance(10_000);
  assert.equal(state().state, 'retrying');
  stop.abort();
});

test('pauses double up to half a minute, are somewhere below that, and not before the server wants', async () => {
  const random = mock.method(Math, 'random', () => 0.999);
  const { latest, clock, state, stop } = subscribed();
  const pauses = [];
  for (let failures = 0; failures < 8; failures += 1) {
    await settled();
    await latest().fail();
    pauses.push(state().in);
    await clock.advance(state().in * 1000);
  }
  assert.deepEqual(pauses, [1, 1, 2, 4, 8, 16, 30, 30]);
  random.mock.mockImplementation(() => 0);
  await settled();
  await latest().answer({ code: 'too_many_holds', detail: 'too many', retry_after: 7 }, 429);
  assert.deepEqual(state(), { state: 'retrying', in: 7, reason: 'too many' });
  await clock.advance(6_999);
  const before = latest();
  await clock.advance(1);
  assert.notEqual(latest(), before);
  await latest().answer('<html>busy</html>', 503, { 'Retry-After': '9' });
  const foreign = { reason: 'somebody else answered: 503 text/html', status: 503, type: 'text/html' };
  assert.deepEqual(state(), { state: 'retrying', in: 9, ...foreign });
  random.mock.restore();
  stop.abort();
});

test('five answers at one cursor within half a second mean that nobody holds', async () => {
  const { asked, latest, state, stop } = subscribed();
  for (let answers = 0; answers < 6; answers += 1) {
    await settled();
    await latest().answer(batch(1));
  }
  assert.equal(asked.length, 6);
  assert.equal(state().reason, 'the server does not hold polls');
  stop.abort();
});

test('answers at one cursor that take their time are no loop', async () => {
  const { asked, latest, clock, state, stop } = subscribed();
  for (let answers = 0; answers < 20; answers += 1) {
    await clock.advance(150);
    await latest().answer(batch(1));
  }
  assert.equal(asked.length, 21);
  assert.equal(state().state, 'live');
  stop.abort();
});

test('a machine that slept looks at once', async () => {
  const { latest, clock, stop } = subscribed();
  await settled();
  await latest().answer(batch(1));
  const held = latest();
  await clock.advance(12_000);
  assert.equal(latest(), held);
  await clock.sleep(20_000);
  assert.ok(held.signal.aborted);
  assert.deepEqual(latest().query, { channels: 'c:7-1', wait: '0' });
  await latest().answer(batch(2, 'meanwhile'));
  assert.equal(latest().query.wait, '25');
  stop.abort();
});

test('what the server will always refuse ends it: the handler is told, and an iterator throws', async () => {
  const refusal = { code: 'invalid_cursor', detail: 'no cursor' };
  const { latest, clock, ended, state } = subscribed({ cursor: 'x' });
  await settled();
  await latest().answer(refusal, 400);
  await ended;
  assert.deepEqual(state(), { state: 'stopped', reason: 'no cursor', code: 'invalid_cursor' });
  assert.equal(clock.running, 0);
  const { fetch, latest: request } = server();
  const next = subscribe({ base, cursor: 'x', fetch, clock }).next();
  await settled();
  await Promise.all([
    assert.rejects(next, { name: 'LingerError', status: 400, code: 'invalid_cursor', mayPass: false }),
    request().answer(refusal, 400),
  ]);
});

test('an iterator asks for more when it was taken, and ends with its loop', async () => {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const batches = subscribe({ base, last: 2, fetch, clock });
  assert.equal(asked.length, 0);
  const texts = [];
  const loop = (async () => {
    for await (const { messages } of batches) {
      texts.push(...messages.map(({ message }) => message));
      await settled();
      if (texts.length === 3) break;
    }
  })();
  await settled();
  await latest().answer(batch(2, 'one', 'two'));
  await settled();
  await latest().answer(batch(3, 'three'));
  await loop;
  assert.deepEqual(texts, ['one', 'two', 'three']);
  assert.equal(asked.length, 2);
  assert.equal(clock.running, 0);
});

test('an iterator that is ended while it waits ends at once', async () => {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const batches = subscribe({ base, fetch, clock });
  const first = batches.next();
  await settled();
  await latest().answer(batch(1));
  assert.equal((await first).value.cursor, '7-1');
  const second = batches.next();
  await settled();
  await batches.return();
  assert.deepEqual(await second, { value: undefined, done: true });
  assert.ok(latest().signal.aborted);
  assert.equal(clock.running, 0);
  assert.deepEqual(await batches.next(), { value: undefined, done: true });
  assert.equal(asked.length, 2);
});

test('a handler that throws ends nothing, and is heard of', async () => {
  const thrown = [];
  const { queueMicrotask: queue } = globalThis;
  const uncaught = mock.method(globalThis, 'queueMicrotask', (call) =>
    queue(() => {
      try {
        call();
      } catch (error) {
        thrown.push(error.message);
      }
    }),
  );
  const fail = () => {
    throw new Error('of the page');
  };
  const { latest, stop, ended } = subscribed({ onMessages: fail, onState: fail });
  for (const offset of [1, 2]) {
    await settled();
    await latest().answer(batch(offset, 'text'));
  }
  uncaught.mock.restore();
  // Two states, and two batches.
  assert.deepEqual(thrown, Array(4).fill('of the page'));
  assert.equal(latest().query.channels, 'c:7-2');
  stop.abort();
  await ended;
});

test('a signal ends a poll, a pause, and what was never begun', async () => {
  const { asked, latest, clock, stop, ended } = subscribed();
  await settled();
  await latest().fail();
  stop.abort();
  await ended;
  assert.equal(asked.length, 1);
  assert.equal(clock.running, 0);
  const late = subscribed({ signal: AbortSignal.abort() });
  await late.ended;
  assert.equal(late.asked.length, 0);
});

test('publish tries again with the same key, and not before the server wants', async () => {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const published = publish({ base, message: 'a & b', nick: 'ann', channel: 'c', fetch, clock });
  await settled();
  await latest().fail();
  await clock.advance(500);
  await latest().answer(busy, 503);
  await clock.advance(2_900);
  assert.equal(asked.length, 2);
  await clock.advance(1_600);
  await latest().answer('<html>Welcome to the hotel</html>');
  await clock.advance(2_000);
  await latest().answer(sent);
  assert.deepEqual(await published, sent);
  const bodies = asked.map(({ body }) => body.toString());
  assert.equal(bodies.length, 4);
  assert.equal(new Set(bodies).size, 1);
  assert.match(bodies[0], /^channel=c&nick=ann&message=a\+%26\+b&key=[0-9a-f]{32}$/);
  assert.equal(clock.running, 0);
});

test('what is absent is not published as a word, and a slash at the end of an address is one too many', async () => {
  const { fetch, latest } = server();
  for (const draft of [{ nick: null }, { nick: undefined }, {}]) {
    const published = publish({ ...draft, message: 'x', channel: 'c', base: 'http://api.test/', fetch, clock: new Clock() });
    await settled();
    assert.match(latest().body.toString(), /^channel=c&nick=&message=x&key=/);
    assert.equal(latest().url, 'http://api.test/pub');
    await latest().answer(sent);
    await published;
  }
});

test('publish gives up at its deadline, or at once when it is refused or aborted', async () => {
  const { asked, fetch, latest } = server();
  const clock = new Clock();
  const unanswered = publish({ base, message: 'x', timeout: 15_000, fetch, clock });
  const failed = assert.rejects(unanswered, { code: 'no_answer', status: 0, mayPass: true });
  await clock.advance(15_000);
  await failed;
  assert.equal(asked.length, 2);

  const refused = publish({ base, message: '', fetch, clock });
  await settled();
  await Promise.all([
    assert.rejects(refused, (error) => error instanceof LingerError && !error.mayPass && error.code === 'missing_message'),
    latest().answer({ code: 'missing_message', detail: 'a message is needed' }, 400),
  ]);

  for (const retried of [false, true]) {
    const stop = new AbortController();
    const aborted = publish({ base, message: 'x', signal: stop.signal, fetch, clock });
    await settled();
    if (retried) await latest().fail();
    const count = asked.length;
    stop.abort(new Error('enough'));
    await assert.rejects(aborted, /enough/);
    assert.equal(asked.length, count);
  }
  assert.equal(clock.running, 0);
});

test('history asks for what stands before a message', async () => {
  const { fetch, latest } = server();
  const older = history({ base: 'http://api.test', channel: 'c', before: '7-9', limit: 50, fetch, clock: new Clock() });
  await settled();
  assert.deepEqual(latest().query, { channel: 'c', before: '7-9', limit: '50' });
  await latest().answer({ messages: [], missed: false });
  assert.deepEqual(await older, { messages: [], missed: false });
});

test('the client is typed, and small', async () => {
  await promisify(execFile)('npx', ['tsc', '-p', 'tsconfig.json'], { cwd: `${root}/tests/browser` });
  const parts = (await readdir(`${root}/static/client`)).filter((name) => name !== 'types.js');
  // Neither comments nor indentation count: whoever counts bytes has them taken out.
  const files = ['client.js', ...parts.map((name) => `client/${name}`)].map((name) => readFile(`${root}/static/${name}`, 'utf8'));
  const bare = (await Promise.all(files)).map((code) => transformSync(code, { legalComments: 'none', minifyWhitespace: true }).code);
  const size = gzipSync(bare.join('')).length;
  assert.ok(size <= 10.6 * 1024, `${size} bytes`);
});
