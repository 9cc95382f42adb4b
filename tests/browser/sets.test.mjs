// Several channels in one poll: one request is held for all that a page follows, and the set may change at any time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { subscribe } from '../../static/client.js';
import { asks, batch, page, settled, several } from './clock.mjs';

const base = 'http://linger.test';

test('twenty channels are looked at in one request, and held in one', async () => {
  const { asked, latest, follow } = page();
  const names = Array.from({ length: 20 }, (_, number) => `c${number}`);
  const followed = names.map((channel) => follow({ channel }));
  await settled();
  assert.deepEqual(asks(latest()), [names.map((name) => `${name}:latest`).join(), '0']);
  await latest().answer(several(Object.fromEntries(names.map((name) => [name, batch(1)]))));
  assert.deepEqual(asks(latest()), [names.map((name) => `${name}:7-1`).join(), '25']);
  await latest().answer(several({ c3: batch(2, 'three'), c7: batch(2, 'seven') }));
  assert.deepEqual(followed.flatMap(({ said }) => said), ['c3 three', 'c7 seven']);
  assert.equal(asked.length, 3);
  const stand = names.map((name) => `${name}:7-${['c3', 'c7'].includes(name) ? 2 : 1}`);
  assert.deepEqual(asks(latest()), [stand.join(), '25']);
  for (const { stop } of followed) stop.abort();
  await settled();
  assert.ok(latest().signal.aborted);
});

test('one subscription of several channels gets batches that name theirs, each from where it was', async () => {
  const { latest, follow } = page();
  const { said, stop } = follow({ channels: { news: '7-4', ops: null, lobby: undefined }, last: 2 });
  await settled();
  assert.deepEqual(latest().query, { channels: 'news:7-4,ops,lobby', last: '2', wait: '0' });
  await latest().answer(several({ news: batch(5, 'five'), ops: batch(2, 'one', 'two'), lobby: batch(0) }));
  assert.deepEqual(said, ['news five', 'ops one', 'ops two']);
  assert.deepEqual(asks(latest()), ['news:7-5,ops:7-2,lobby:7-0', '25']);
  stop.abort();
});

test('a loop over several channels gets one batch after the other, the first of each at once', async () => {
  const { asked, latest, fetch, clock } = page();
  const batches = subscribe({ base, fetch, clock, channels: ['a', 'b'] });
  const first = batches.next();
  await settled();
  await latest().answer(several({ a: batch(1), b: batch(9, 'nine') }));
  const { value } = await first;
  assert.deepEqual([value.channel, value.cursor, value.messages.length], ['a', '7-1', 0]);
  assert.deepEqual([(await batches.next()).value].map(({ channel, messages }) => [channel, messages[0].message]), [['b', 'nine']]);
  await settled();
  // No poll with more channels was sent yet.
  assert.equal(asked.length, 1);
  await batches.return();
  assert.equal(clock.running, 0);
});

test('a channel that is joined ends the hold; the next one stands where each was, and nothing is lost', async () => {
  const { asked, latest, follow } = page();
  const one = follow({ channel: 'a' });
  await settled();
  await latest().answer(batch(1));
  const held = latest();
  const two = follow({ channel: 'b', last: 3 });
  await settled();
  assert.ok(held.signal.aborted);
  assert.deepEqual(latest().query, { channels: 'b', last: '3', wait: '0' });
  // The next hold is answered with what was published meanwhile.
  await latest().answer(several({ b: batch(4, 'four') }));
  assert.deepEqual(asks(latest()), ['a:7-1,b:7-4', '25']);
  await latest().answer(several({ a: batch(2, 'meanwhile') }));
  assert.deepEqual([one.said, two.said], [['a meanwhile'], ['b four']]);
  const before = latest();
  one.stop.abort();
  await settled();
  assert.ok(before.signal.aborted);
  assert.deepEqual(asks(latest()), ['b:7-4', '25']);
  two.stop.abort();
  assert.equal(asked.length, 6);
});

test('an answer that comes although its hold was ended is not used, and comes again', async () => {
  const { latest, follow } = page();
  const one = follow({ channel: 'a' });
  await settled();
  await latest().answer(batch(1));
  const held = latest();
  const two = follow({ channel: 'b' });
  await settled();
  await held.answer(batch(2, 'late'));
  await latest().answer(several({ b: batch(1) }));
  assert.deepEqual(asks(latest()), ['a:7-1,b:7-1', '25']);
  await latest().answer(several({ a: batch(2, 'late') }));
  assert.deepEqual(one.said, ['a late']);
  for (const { stop } of [one, two]) stop.abort();
});

test('two subscriptions of one channel begin where each asked to, and share the rest', async () => {
  const { latest, follow } = page();
  const one = follow({ channel: 'a', cursor: '7-3' });
  const two = follow({ channel: 'a', last: 5 });
  await settled();
  const looks = [];
  while (latest().query.wait === '0') {
    looks.push(latest().query.channels);
    await latest().answer(latest().query.channels === 'a:7-3' ? batch(4, 'four') : batch(4, 'three', 'four'));
  }
  assert.deepEqual([one.said, two.said], [['a four'], ['a three', 'a four']]);
  assert.ok(looks.length <= 3, String(looks));
  assert.deepEqual(asks(latest()), ['a:7-4', '25']);
  await latest().answer(batch(5, 'five'));
  assert.deepEqual([one.said.at(-1), two.said.at(-1)], ['a five', 'a five']);
  for (const { stop } of [one, two]) stop.abort();
});

test('a slow caller delays nobody: its channel is left out until it is through, and then it is caught up', async () => {
  const { latest, clock, follow } = page();
  let through;
  const seen = [];
  const slow = follow({
    channel: 'slow',
    onMessages: (messages) => {
      seen.push(...messages.map(({ message }) => message));
      return messages.length > 0 ? new Promise((resolve) => (through = resolve)) : undefined;
    },
  });
  const quick = follow({ channel: 'quick' });
  await settled();
  await latest().answer(several({ slow: batch(1), quick: batch(1) }));
  await latest().answer(several({ slow: batch(2, 'two') }));
  await clock.advance(250);
  assert.deepEqual(asks(latest()), ['quick:7-1', '25']);
  await latest().answer(several({ quick: batch(2, 'quick') }));
  assert.deepEqual(quick.said, ['quick quick']);
  through();
  await settled();
  assert.deepEqual(asks(latest()), ['slow:7-2', '0']);
  await latest().answer(several({ slow: batch(3, 'three') }));
  through();
  await settled();
  assert.deepEqual(seen, ['two', 'three']);
  assert.deepEqual(asks(latest()), ['quick:7-2,slow:7-3', '25']);
  for (const { stop } of [slow, quick]) stop.abort();
});

test('one channel that the server refuses ends its own subscription, and no other', async () => {
  const { latest, follow } = page();
  const [good, bad, other] = [follow({ channel: 'good' }), follow({ channel: 'bad' }), follow({ channel: 'other' })];
  const refusal = { code: 'forbidden', detail: 'not for you' };
  await settled();
  const answer = async () => {
    const { channels } = latest().query;
    if (channels.includes('bad')) return latest().answer(refusal, 403);
    return latest().answer(several(Object.fromEntries(channels.split(',').map((place) => [place.split(':')[0], batch(1)]))));
  };
  while (latest().query.wait === '0') await answer();
  await bad.ended;
  assert.deepEqual(bad.states.at(-1), { state: 'stopped', reason: 'not for you', code: 'forbidden' });
  assert.deepEqual([good.states.at(-1), other.states.at(-1)], [{ state: 'live' }, { state: 'live' }]);
  assert.deepEqual(asks(latest()), ['good:7-1,other:7-1', '25']);
  for (const { stop } of [good, other]) stop.abort();
});

test('what one channel missed is not said of another', async () => {
  const { latest, follow } = page();
  const [one, two] = [follow({ channel: 'a' }), follow({ channel: 'b' })];
  await settled();
  await latest().answer(several({ a: batch(1), b: batch(1) }));
  await latest().answer(several({ b: { ...batch(9, 'nine'), missed: true } }));
  assert.deepEqual([one.said, two.said], [[], ['b nine', 'b missed']]);
  assert.deepEqual([one.states.at(-1).state, two.states.at(-1).state], ['live', 'missed']);
  assert.deepEqual(asks(latest()), ['a:7-1,b:7-9', '0']);
  await latest().answer(several({}));
  assert.deepEqual(two.states.at(-1), { state: 'live' });
  for (const { stop } of [one, two]) stop.abort();
});

test('more than twenty channels are held for in turns of two seconds, so that each waits no longer than that', async () => {
  const { latest, clock, follow } = page();
  const names = Array.from({ length: 30 }, (_, number) => `c${number}`);
  const { said, stop } = follow({ channels: names });
  await settled();
  const channels = () => latest().query.channels.split(',').map((place) => place.split(':')[0]);
  for (const expected of [names.slice(0, 20), names.slice(20)]) {
    assert.deepEqual(channels(), expected);
    await latest().answer(several(Object.fromEntries(expected.map((name) => [name, batch(1)]))));
  }
  const lastAsked = new Map();
  for (let turn = 0; turn < 9; turn += 1) {
    assert.equal(latest().query.wait, '2');
    assert.equal(channels().length, 20);
    for (const name of channels()) lastAsked.set(name, turn);
    await clock.advance(2000);
    await latest().answer(several({}));
    for (const name of names) assert.ok(turn === 0 || turn - lastAsked.get(name) <= 1, `${name} in turn ${turn}`);
  }
  await latest().answer(several({ [channels()[0]]: batch(2, 'hello') }));
  assert.equal(said.length, 1);
  stop.abort();
});

test('a list that is too long for a line is posted, and changes nothing else', async () => {
  const { latest, follow } = page();
  const names = Array.from({ length: 20 }, (_, number) => `${number}`.padStart(64, 'x'));
  const { said, stop } = follow({ channels: names });
  await settled();
  const look = latest();
  assert.equal(look.url, `${base}/sub?channels=${names.map((name) => `${name}:latest`).join()}&wait=0`);
  await look.answer(several(Object.fromEntries(names.map((name) => [name, { ...batch(1), cursor: '1763942400123-1234567' }]))));
  const hold = latest();
  assert.equal(hold.url, `${base}/sub`);
  assert.equal(hold.body.get('channels').split(',').length, 20);
  assert.equal(hold.body.get('wait'), '25');
  await hold.answer(several({ [names[4]]: batch(2, 'hello') }));
  assert.deepEqual(said, [`${names[4]} hello`]);
  stop.abort();
});

test('after a failure all channels are looked at, and one pause serves for all', async () => {
  const { asked, latest, clock, follow } = page();
  const both = [follow({ channel: 'a' }), follow({ channel: 'b' })];
  await settled();
  await latest().answer(several({ a: batch(1), b: batch(1) }));
  await latest().fail();
  for (const { states } of both) assert.equal(states.at(-1).state, 'retrying');
  const before = asked.length;
  await clock.advance(500);
  assert.equal(asked.length, before + 1);
  assert.deepEqual(asks(latest()), ['a:7-1,b:7-1', '0']);
  await latest().answer(several({}));
  for (const { states } of both) assert.equal(states.at(-1).state, 'live');
  for (const { stop } of both) stop.abort();
});

test('a channel may have any name that the server allows', async () => {
  const { latest, follow } = page();
  const names = ['__proto__', 'constructor', 'toString', 'a.b-c_d', '0'];
  const followed = names.map((channel) => follow({ channel, last: 1 }));
  await settled();
  const answer = JSON.stringify({ channels: {} }).replace('{}', `{${names.map((name) => `"${name}":${JSON.stringify(batch(1, 'hi'))}`)}}`);
  await latest().answer(answer, 200, { 'Content-Type': 'application/json' });
  assert.deepEqual(followed.map(({ said }) => said), names.map((name) => [`${name} hi`]));
  assert.deepEqual(asks(latest()), [names.map((name) => `${name}:7-1`).join(), '25']);
  await latest().answer(several({}));
  for (const { stop } of followed) stop.abort();
});
