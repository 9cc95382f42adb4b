// A page of 2013, unchanged, on either jQuery.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';
import { browsers } from './both.mjs';
import { publish, root, startBrowser, startServer, until } from './support.mjs';

const fixture = fileURLToPath(new URL('fixtures/2013.html', import.meta.url));
const versions = {
  '1.10.2': process.env.JQUERY_1_10 ?? `${root}/target/tools/jquery-1.10.2.min.js`,
  '3.7.1': fileURLToPath(new URL('node_modules/jquery-3/dist/jquery.min.js', import.meta.url)),
};

let browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser.close());

for (const [version, jquery] of Object.entries(versions)) {
  test(`a page of 2013 works with jQuery ${version}, also across the end of a hold`, async () => {
    assert.ok(existsSync(jquery), `jQuery ${version} is missing: tests/run gets it`);
    const folder = await mkdtemp(join(tmpdir(), 'linger-2013-'));
    await copyFile(fixture, join(folder, 'index.html'));
    await copyFile(jquery, join(folder, 'jquery.js'));
    await writeFile(join(folder, 'favicon.ico'), '');
    const server = await startServer('--static-dir', folder, '--wait-max', '2s');
    const page = await browser.newPage();
    try {
      await page.goto(`${server.base}/`);
      const polls = () => page.evaluate(() => globalThis.polls);
      const ended = () => server.log.filter(({ path }) => path === '/sub').length;
      const held = async () => (await fetch(`${server.base}/metrics`).then((metrics) => metrics.text())).includes('linger_holds 1');
      const shown = () => page.locator('li').allTextContents();
      const shows = (...wanted) => until(`it shows ${wanted}`, async () => String(await shown()) === String(wanted));

      await until('it is held', held);
      await page.fill('[name=nick]', 'ann');
      await page.fill('[name=message]', 'a & b');
      await page.click('button');
      await shows('ann: a & b');
      // The poll ends with 409, and the page polls again after a second.
      const before = await polls();
      await until('two holds end', async () => (await polls()) >= before + 2);
      await until('it is held again', held);
      await publish(server.base, 'second', { nick: 'bob' });
      await shows('ann: a & b', 'bob: second');

      await page.evaluate(() => {
        globalThis.stopped = true;
      });
      await until('the last poll ends', async () => ended() >= (await polls()) && !(await held()));
      assert.equal(ended(), await polls(), 'the browser has sent none by itself');
      assert.ok(server.log.some(({ code }) => code === 'nothing_published'));
    } finally {
      await page.close();
      await server.stop();
      await rm(folder, { recursive: true });
    }
  });
}

for (const [name, start] of Object.entries(browsers)) {
  test(`three tabs of one ${name} that poll a bare /sub are held at once, and hear each message`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'linger-2013-'));
    // As many people wrote it: all polls have the same address.
    const page = await readFile(fixture, 'utf8');
    await writeFile(join(folder, 'index.html'), page.replace('cache: false,', ''));
    await copyFile(versions['3.7.1'], join(folder, 'jquery.js'));
    const [server, browser] = await Promise.all([startServer('--static-dir', folder), start()]);
    try {
      const context = await browser.createBrowserContext();
      const tabs = [];
      for (let tab = 0; tab < 3; tab += 1) {
        tabs.push(await context.newPage());
        await tabs[tab].goto(server.base);
      }
      const metrics = async () => (await fetch(`${server.base}/metrics`)).text();
      const said = [];
      for (const text of 'abcdef') {
        await until('all three are held', async () => (await metrics()).includes('linger_holds 3'));
        await publish(server.base, text, { nick: 'ann' });
        said.push(`ann: ${text}`);
        for (const tab of tabs) {
          const shown = () => tab.evaluate(() => [...document.querySelectorAll('li')].map((item) => item.textContent));
          await until(`it shows ${said}`, async () => String(await shown()) === String(said));
        }
      }
    } finally {
      await Promise.all([browser.close(), server.stop()]);
      await rm(folder, { recursive: true });
    }
  });
}
