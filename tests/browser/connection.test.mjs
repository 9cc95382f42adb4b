// What happens to the chat when the connection, the server or the page goes away and comes back.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { oneHold, sites, watchPolls } from './sites.mjs';
import {
  hasState, openChat, pageFor, publish, say, shows, startBrowser, startServer, startOwnBrowser, startProxy, until,
} from './support.mjs';

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser.close());

let context;
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());

for (const [name, start] of Object.entries(sites)) {
  describe(`with ${name}`, () => {
    let site;
    before(async () => {
      site = await start();
    }, { timeout: 300_000 });
    after(() => site?.stop());

    let count = 0;
    let channel;
    beforeEach(() => {
      count += 1;
      channel = `connection-${count}`;
    });
    const open = (context) => openChat(context, `${site.page}/?channel=${channel}`);
    const outside = (text) => publish(site.api, text, { channel });

    test('three windows chat, one of them a phone', async () => {
      const phone = await browser.newContext({ viewport: { width: 390, height: 700 }, hasTouch: true, isMobile: true });
      const other = await browser.newContext();
      const pages = await Promise.all([context, other, phone].map(open));
      const said = ['Hello', 'Hi', 'Hey'];
      for (const [index, page] of pages.entries()) {
        await say(page, said[index], `Name ${index}`);
        for (const reader of pages) await shows(reader, ...said.slice(0, index + 1));
      }
      for (const [index, page] of pages.entries()) {
        assert.deepEqual(await page.locator('#conversation .own .text').allTextContents(), [said[index]]);
        assert.deepEqual(page.complaints, []);
      }
      await Promise.all([other.close(), phone.close()]);
    });

    test('a message whose answer is lost is said once', async () => {
      const page = await open(context);
      await page.route('**/pub', async (route) => {
        await route.fetch();
        await route.abort();
      }, { times: 2 });
      await say(page, 'once');
      await say(page, 'next');
      await shows(page, 'once', 'next');
    });

    test('offline and back: it says so, goes on at once, and nothing is missed', async () => {
      const page = await open(context);
      await say(page, 'before');
      await shows(page, 'before');
      await context.setOffline(true);
      await hasState(page, 'offline');
      await outside('meanwhile');
      await page.waitForTimeout(3000);
      await context.setOffline(false);
      await shows(page, 'before', 'meanwhile');
      await hasState(page, 'live');
    });

    test('left and come back to: out of the back-forward cache it goes on at once', async () => {
      const own = await startOwnBrowser();
      try {
        const polls = watchPolls(own.context);
        const page = await open(own.context);
        await say(page, 'before');
        await shows(page, 'before');
        await page.evaluate(() => addEventListener('pageshow', ({ persisted }) => (globalThis.persisted = persisted)));
        await page.goto(`${site.page}/healthz`);
        await until('no poll is held', () => polls.held() === 0);
        await outside('meanwhile');
        await page.goBack({ waitUntil: 'commit' });
        await shows(page, 'before', 'meanwhile');
        assert.equal(await page.evaluate(() => globalThis.persisted), true);
        await oneHold(polls);
        await outside('after');
        await shows(page, 'before', 'meanwhile', 'after');
        await hasState(page, 'live');
      } finally {
        await own.close();
      }
    });

    test('a proxy that answers 503 without CORS headers is waited for', async () => {
      const proxy = await startProxy();
      const { folder, remove } = await pageFor(proxy.base);
      const front = await startServer('--static-dir', folder);
      // The proxy allows every origin.
      Object.assign(proxy, { target: site.api, origin: front.base });
      try {
        const page = await openChat(context, `${front.base}/?channel=${channel}`);
        await say(page, 'before');
        await shows(page, 'before');
        proxy.instead = { status: 503, type: 'text/html', body: '<h1>503 Service Unavailable</h1>' };
        await outside('wakes the poll');
        await hasState(page, 'retrying');
        assert.match(await page.getAttribute('#state', 'title'), /does not answer, or does not allow pages of http/);
        await say(page, 'meanwhile');
        await page.waitForTimeout(1500);
        proxy.instead = undefined;
        await shows(page, 'before', 'wakes the poll', 'meanwhile');
        await hasState(page, 'live');
      } finally {
        proxy.stop();
        await Promise.all([front.stop(), remove()]);
      }
    });

    test('hung: it gives up waiting, says so, and goes on where it was', { timeout: 180_000 }, async () => {
      const page = await open(context);
      await say(page, 'before');
      await shows(page, 'before');
      // The server still accepts connections, but never answers.
      site.hang();
      try {
        await page.locator('#told', { hasText: 'did not answer in time' }).waitFor({ state: 'attached', timeout: 60_000 });
        await say(page, 'meanwhile');
        await page.locator('.failed', { hasText: 'Perhaps not sent' }).waitFor({ timeout: 40_000 });
        await say(page, 'and more');
        await page.locator('.failed').nth(1).waitFor({ timeout: 40_000 });
      } finally {
        site.goOn();
      }
      await hasState(page, 'live');
      // Messages that could not be sent are sent by themselves, in their order.
      await shows(page, 'before', 'meanwhile', 'and more');
      assert.equal(await page.locator('.gap').count(), 0);
    });

    test('stopped and started with an empty log: it goes on, and says that something was missed', { timeout: 300_000 }, async () => {
      const page = await open(context);
      await say(page, 'before');
      await shows(page, 'before');
      const { ports } = site;
      await site.stop('SIGKILL');
      await hasState(page, 'retrying');
      assert.match(await page.textContent('#state'), /^(Retrying in \d+ s|Trying again)$/);
      site = await start(ports);
      await outside('after');
      await page.locator('.gap').waitFor({ timeout: 60_000 });
      await shows(page, 'before', 'after');
      await say(page, 'and on');
      await shows(page, 'before', 'after', 'and on');
      assert.equal(await page.locator('.gap').count(), 1);
      await hasState(page, 'live');
    });
  });
}
