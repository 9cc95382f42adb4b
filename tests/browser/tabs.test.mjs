// Tabs of one browser share a poll. A browser opens six connections to a host, so eight polls would not fit.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { oneHold, sites, watchPolls } from './sites.mjs';
import { openChat, publish, say, shown, shows, startBrowser, startOwnBrowser, until } from './support.mjs';

for (const [name, start] of Object.entries(sites)) {
  describe(`with ${name}`, () => {
    let browser;
    let site;
    before(async () => {
      browser = await startBrowser();
      site = await start();
    }, { timeout: 300_000 });
    after(() => Promise.all([browser.close(), site?.stop()]));

    let count = 0;
    let channel;
    let context;
    beforeEach(async () => {
      count += 1;
      channel = `tabs-${count}`;
      context = await browser.newContext();
    });
    afterEach(() => context.close());
    const open = (context) => openChat(context, `${site.page}/?channel=${channel}`);
    const outside = (text) => publish(site.api, text, { channel });
    async function openAll(context, number) {
      const tabs = [];
      for (let index = 0; index < number; index += 1) tabs.push(await open(context));
      return tabs;
    }

    test('eight tabs load, hold one poll, and all get everything once', async () => {
      const polls = watchPolls(context);
      const tabs = await openAll(context, 8);
      await oneHold(polls);
      const before = polls.ended.length;
      const said = [];
      for (const [index, tab] of tabs.entries()) {
        await say(tab, `from ${index}`, `Tab ${index}`);
        said.push(`from ${index}`);
        for (const reader of tabs) await shows(reader, ...said);
      }
      // One answered poll for each message, and perhaps a look of a tab that was ahead of the leader.
      const asked = polls.ended.length - before;
      assert.ok(asked >= 8 && asked <= 12, `${asked} polls for 8 messages`);
      await oneHold(polls);
      for (const tab of tabs) {
        assert.deepEqual(tab.complaints, []);
      }
    });

    test('when the leader closes, another takes over, and nothing is lost', async (t) => {
      const polls = watchPolls(context);
      const tabs = await openAll(context, 4);
      await oneHold(polls);
      const said = [];
      let longest = 0;
      while (tabs.length > 1) {
        // The tab that opened first leads; then the next in line.
        const closed = performance.now();
        await tabs.shift().close();
        said.push(`after ${tabs.length}`);
        await outside(said.at(-1));
        for (const tab of tabs) await until('it arrives', async () => (await shown(tab)).length === said.length);
        await until('one poll is held', () => polls.held() === 1);
        longest = Math.max(longest, performance.now() - closed);
      }
      t.diagnostic(`taken over within ${Math.round(longest)} ms`);
      await shows(tabs[0], ...said);
    });

    test('when the leader is frozen, another takes over, and the frozen one catches up when it thaws', async () => {
      const own = await startOwnBrowser();
      try {
        const [leader, ...tabs] = await openAll(own.context, 3);
        const devtools = await own.context.newCDPSession(leader);
        await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
        await outside('while it was frozen');
        for (const tab of tabs) await until('it arrives', async () => (await shown(tab)).length === 1);
        assert.deepEqual(await shown(leader), []);
        await devtools.send('Page.setWebLifecycleState', { state: 'active' });
        await shows(leader, 'while it was frozen');
        await outside('and thawed');
        for (const tab of [leader, ...tabs]) await shows(tab, 'while it was frozen', 'and thawed');
      } finally {
        await own.close();
      }
    });

    test('when the leader hangs, another takes its place', async (t) => {
      const polls = watchPolls(context);
      const [leader, ...tabs] = await openAll(context, 3);
      await oneHold(polls);
      const hung = performance.now();
      const recovered = leader.evaluate(() => {
        for (const end = Date.now() + 6000; Date.now() < end; );
      });
      await new Promise((resolve) => setTimeout(resolve, 300));
      await outside('while it hung');
      for (const tab of tabs) await until('it arrives', async () => (await shown(tab)).length === 1);
      t.diagnostic(`a leader that hung was replaced within ${Math.round(performance.now() - hung)} ms`);
      await recovered;
      await outside('and after');
      for (const tab of [leader, ...tabs]) await shows(tab, 'while it hung', 'and after');
      await oneHold(polls);
    });

    test('a tab whose loop is left lying polls for nobody, and leaves it to others', async () => {
      const abandoned = await context.newPage();
      // A page of the same origin that follows nothing by itself.
      await abandoned.goto(`${site.page}/config.js`);
      await abandoned.evaluate(async (channel) => {
        const { subscribe } = await import('./client.js');
        const { base } = await import('./config.js');
        globalThis.leads = async () => (await navigator.locks.query()).held.length === 1;
        globalThis.batches = subscribe({ base, channel, last: 1 });
        const first = globalThis.batches.next();
        // Looked for here, since it leads for a moment only.
        while (!(await globalThis.leads())) await new Promise((resolve) => setTimeout(resolve, 5));
        await first;
      }, channel);
      await until('it leads no more', () => abandoned.evaluate(async () => !(await globalThis.leads())));
      const other = await open(context);
      await outside('goes on');
      await shows(other, 'goes on');
      // When it subscribes again, it goes on where it was.
      const next = await abandoned.evaluate(() => globalThis.batches.next());
      assert.deepEqual(next.value.messages.map(({ message }) => message), ['goes on']);
    });

    test('a tab begins where it asked to, not where the leader began', async () => {
      for (const text of ['one', 'two', 'three']) await outside(text);
      const page = await context.newPage();
      await page.goto(`${site.page}/?channel=elsewhere`);
      const first = await page.evaluate(async (channel) => {
        const { subscribe } = await import('./client.js');
        const { base } = await import('./config.js');
        let answered = false;
        // The leader is answered late, and the other tab only after that.
        const late = async (...asked) => {
          await new Promise((resolve) => setTimeout(resolve, answered ? 0 : 1000));
          return fetch(...asked).finally(() => (answered = true));
        };
        const later = (...asked) => (answered ? fetch(...asked) : Promise.reject(new TypeError('not yet')));
        subscribe({ base, channel, fetch: late, onMessages() {} });
        const { value } = await subscribe({ base, channel, last: 3, fetch: later }).next();
        return value.messages.map(({ message }) => message);
      }, channel);
      assert.deepEqual(first, ['one', 'two', 'three']);
    });

    test('hidden tabs follow a visible one, and a tab that is shown leads', { timeout: 120_000 }, async () => {
      const own = await startOwnBrowser();
      try {
        const polls = watchPolls(own.context);
        const [first, second, third] = await openAll(own.context, 3);
        // The third one is in front. The first one leads, until it rests.
        await oneHold(polls);
        await new Promise((resolve) => setTimeout(resolve, 33_000));
        await oneHold(polls);
        await outside('to all');
        for (const tab of [first, second, third]) await shows(tab, 'to all');
        // The third one is being read, so it is unread in none.
        for (const tab of [first, second, third]) await until('it is read', async () => (await tab.title()).startsWith('#'));
        await second.bringToFront();
        await outside('and again');
        for (const tab of [first, second, third]) await shows(tab, 'to all', 'and again');
        await oneHold(polls);
      } finally {
        await own.close();
      }
    });
  });
}

describe('where tabs cannot share', () => {
  test('each polls for itself', async () => {
    const browser = await startBrowser();
    const site = await sites['the server']();
    try {
      const context = await browser.newContext();
      // As over plain HTTP.
      await context.addInitScript(() => Object.defineProperty(Navigator.prototype, 'locks', { value: undefined }));
      const polls = watchPolls(context);
      const tabs = [await openChat(context, site.page), await openChat(context, site.page)];
      await until('two polls are held', () => polls.held() === 2);
      await say(tabs[0], 'hello');
      for (const tab of tabs) await shows(tab, 'hello');
    } finally {
      await browser.close();
      await site.stop();
    }
  });
});
