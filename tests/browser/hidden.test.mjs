// The chat in a tab that nobody sees.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { noHold, oneHold, sites, watchPolls } from './sites.mjs';
import { openChat, publish, shows, startOwnBrowser, until } from './support.mjs';

// It waits for most of its two minutes, so both sites are tried at once.
describe('hidden', { concurrency: true }, () => {
  for (const [name, start] of Object.entries(sites)) {
    describe(`with ${name}`, () => {
      let site;
      before(async () => {
        site = await start();
      }, { timeout: 300_000 });
      after(() => site?.stop());

      test('it rests after 30 s, looks now and then, and catches up when it is shown', { timeout: 300_000 }, async (t) => {
        const own = await startOwnBrowser();
        try {
          const polls = watchPolls(own.context);
          const page = await openChat(own.context, `${site.page}/?channel=hidden`);
          const other = await own.context.newPage();
          await other.goto('about:blank');
          await other.bringToFront();
          assert.equal(await page.evaluate(() => document.visibilityState), 'hidden');
          await publish(site.api, 'still held', { channel: 'hidden' });
          await until('it is in the title', async () => (await page.title()).startsWith('(1) '));
          await until('it rests', () => noHold(polls), 45_000);
          const begun = performance.now();
          polls.ended.length = 0;
          await publish(site.api, 'seen at a look', { channel: 'hidden' });
          await until('it has looked', async () => (await page.title()).startsWith('(2) '), 40_000);
          await new Promise((resolve) => setTimeout(resolve, 60_000));
          const share = polls.ended.reduce((sum, ms) => sum + ms, 0) / (performance.now() - begun);
          t.diagnostic(`hidden, ${polls.ended.length} looks in ${Math.round(performance.now() - begun)} ms, ${(share * 100).toFixed(2)} % of the time`);
          assert.ok(polls.ended.length >= 2 && polls.ended.length <= 6, `${polls.ended.length} polls`);
          assert.ok(share <= 1 / 20, `a share of ${share}`);
          await publish(site.api, 'seen when shown', { channel: 'hidden' });
          await page.bringToFront();
          await shows(page, 'still held', 'seen at a look', 'seen when shown');
          await oneHold(polls);
        } finally {
          await own.close();
        }
      });
    });
  }
});
