// Tabs that share a poll, each with a token of its own, and what one makes of another one's words.

import assert from 'node:assert/strict';
import { subscribe } from '../../static/client.js';
import { Clock, batch, server } from './clock.mjs';
import { at, bearer, of, refusal } from './people.mjs';
import { startTabs } from './seeded-tabs.mjs';

const base = 'http://linger.test';

/** Two tabs of one browser that may do the same, each with a function to fetch of its own; the first one leads. */
async function twoTabs(run) {
  const clock = new Clock();
  const undo = startTabs(clock, () => 1);
  const stop = new AbortController();
  const tab = (token, channel = 'c') => {
    const { asked, fetch, latest } = server();
    const said = { asked, latest, states: [], texts: [] };
    subscribe({
      ...{ base, fetch, clock, channel, token, signal: stop.signal },
      onMessages: (messages) => void said.texts.push(...messages.map(({ message }) => message)),
      onState: (state) => said.states.push(state),
    });
    return said;
  };
  try {
    await run({ clock, tab });
  } finally {
    stop.abort();
    await clock.advance(100);
    undo();
  }
}

/** Until a tab has looked, and is told by the leader or is held itself. */
async function live({ latest }, clock) {
  await clock.advance(50);
  await latest().answer(batch(1));
  await clock.advance(1000);
}

at('a tab whose own token has expired does not read on through another one', (later) =>
  twoTabs(async ({ clock, tab }) => {
    const leader = tab(of('ann'));
    await live(leader, clock);
    const follower = tab(of('ann', 100));
    await live(follower, clock);
    assert.equal(follower.asked.length, 1, 'it follows');
    await leader.latest().answer(batch(2, 'to both'));
    await later(clock, 50);
    assert.deepEqual(follower.texts, ['to both']);
    for (let holds = 0; holds < 5; holds += 1) {
      await later(clock, 20_000);
      await leader.latest().answer(batch(2));
    }
    assert.equal(follower.asked.length, 1, 'a server gives a minute more');
    for (let holds = 0; holds < 3; holds += 1) {
      await later(clock, 20_000);
      await leader.latest().answer(batch(2));
    }
    assert.equal(follower.asked.length, 2);
    assert.deepEqual(follower.latest().headers, bearer(of('ann', 100)));
    await follower.latest().answer(refusal, 401);
    await later(clock, 1000);
    await follower.latest().answer(refusal, 401);
    assert.equal(follower.states.at(-1).code, 'unauthorized');
    await later(clock, 1000);
    assert.equal(leader.states.at(-1).state, 'live');
  }),
);

at('a tab that is alone again asks for what it follows itself, and for nothing else', (later) =>
  twoTabs(async ({ clock, tab }) => {
    const leader = tab(of('ann', 100));
    await live(leader, clock);
    const follower = tab(of('ann'), 'd');
    await live(follower, clock);
    assert.equal(leader.latest().query.channels, 'c:7-1,d:7-1');
    for (let holds = 0; holds < 8; holds += 1) {
      await later(clock, 20_000);
      await leader.latest().answer(batch(1));
    }
    await later(clock, 1000);
    assert.equal(leader.latest().query.channels, 'c:7-1');
    assert.equal(follower.latest().query.channels, 'd:7-1');
  }),
);

at('a tab that follows asks its function when its token is due, though nothing comes', (later) =>
  twoTabs(async ({ clock, tab }) => {
    const leader = tab(of('ann'));
    await live(leader, clock);
    let count = 0;
    const follower = tab(() => {
      count += 1;
      if (count > 1) throw new Error('nobody is logged in');
      return of('ann', 600);
    });
    await live(follower, clock);
    assert.equal(count, 1);
    await later(clock, 605_000);
    await later(clock, 1);
    assert.ok(count > 1);
    assert.equal(follower.states.at(-1).state, 'retrying');
    assert.match(follower.states.at(-1).reason, /nobody is logged in/);
  }),
);

at('a tab that follows waits for a function that takes its time, and uses what that gives as soon as it is there', (later) =>
  twoTabs(async ({ clock, tab }) => {
    const leader = tab(of('ann'));
    await live(leader, clock);
    const give = [];
    let token = of('ann', 36);
    const follower = tab(() => token || new Promise((resolve) => give.push(resolve)));
    await live(follower, clock);
    token = undefined;
    const { setTimeout } = clock;
    let timers = 0;
    clock.setTimeout = (call, ms) => {
      timers += 1;
      // What would go on for ever stops here.
      return timers > 500 ? undefined : setTimeout(call, ms);
    };
    // Its token is to be renewed 6 s after the beginning.
    await later(clock, 7_000);
    await later(clock, 100);
    assert.equal(give.length, 1);
    timers = 0;
    await later(clock, 5_000);
    assert.ok(timers <= 50, `${timers} timers in 5 s`);
    assert.deepEqual(follower.states.at(-1), { state: 'live' });
    // It is somebody else's by now, who has a poll of their own.
    give[0](of('bob'));
    await later(clock, 1000);
    assert.deepEqual(follower.latest().headers, bearer(of('bob')));
    assert.equal(give.length, 1);
  }),
);

at('where tabs share, a function that throws is asked once for each attempt', (later) =>
  twoTabs(async ({ clock, tab }) => {
    const times = [];
    const { states } = tab(() => {
      times.push(clock.now());
      throw new Error('nobody is logged in');
    });
    await later(clock, 20_000);
    assert.equal(states.at(-1).state, 'retrying');
    assert.ok(times.length >= 3);
    // A pause may be short, but is not nothing.
    assert.equal(new Set(times).size, times.length, `${times}`);
  }),
);

/** What another version of the page, or another page, may say. */
const strange = [
  { want: { c: '7-1' } },
  { want: new Map([['c', 7]]) },
  { want: 'c', from: 'x' },
  { answers: 'none' },
  { answers: [null] },
  { answers: [{ channel: 'c', after: '7-1', cursor: '7-9' }] },
  { answers: [{ channel: 'c', after: '7-1', cursor: '7-9', missed: false, messages: [null] }] },
  { answers: [{ after: '7-1', cursor: '7-9', missed: false, messages: [] }] },
  { status: 'live' },
  { status: { state: 'live', idle: false, at: new Map() } },
  { status: { state: { state: 'live' }, idle: false, at: { c: '7-9' } } },
  { status: { state: { state: 'live' }, idle: false, at: null } },
  'words',
  null,
];

at('what a tab can’t make out of another one’s words ends nothing', (later) =>
  twoTabs(async ({ clock, tab }) => {
    const [first, second] = [tab(undefined), tab(undefined)];
    await live(first, clock);
    await live(second, clock);
    const words = new BroadcastChannel(`linger 2 ${base}/sub`);
    for (const data of strange) {
      words.postMessage(data);
      await later(clock, 50);
    }
    words.close();
    await first.latest().answer(batch(2, 'to both'));
    await later(clock, 50);
    for (const { texts, states } of [first, second]) {
      assert.deepEqual(texts, ['to both']);
      assert.deepEqual([...new Set(states.map(({ state }) => state))], ['connecting', 'live']);
    }
  }),
);
