// The example of a page with guests and logins, started as its README says, but at free ports.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { freePort } from './sites.mjs';
import { binary, root, startBrowser, startServer, until } from './support.mjs';

let folder;
let backend;
let linger;
let browser;
let site;
before(async () => {
  // Where jose is found.
  folder = await mkdtemp(join(root, 'tests/browser/node_modules/.example-'));
  await cp(`${root}/examples/page`, join(folder, 'examples/page'), { recursive: true });
  await symlink(`${root}/static`, join(folder, 'static'));
  const keys = join(folder, 'keys');
  execFileSync(binary, ['keys', keys]);
  const port = `${await freePort()}`;
  const env = { ...process.env, PORT: '0', KEYS: join(keys, 'linger-private.json'), LINGER: `http://localhost:${port}` };
  backend = spawn(process.execPath, [join(folder, 'examples/page/server.mjs')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(createInterface(backend.stdout), 'line');
  site = line.replace('The page is at ', '');
  linger = await startServer('--port', port, '--access-keys', join(keys, 'linger-keys.json'), '--allowed-origin', site);
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  backend?.kill();
  await linger?.stop();
  await rm(folder, { recursive: true });
});

const news = (page) => page.locator('#news li').allTextContents();
const shows = (page, ...wanted) => until(`it shows ${wanted}`, async () => `${await news(page)}` === `${wanted}`);
const is = (page, name) => page.locator('#who', { hasText: name }).waitFor();

async function publish(page, text) {
  await page.fill('[name=message]', text);
  await page.press('[name=message]', 'Enter');
}

test('guests read, who logs in publishes, and the other tabs follow a login and a logout', async () => {
  const [anns, guests] = [await browser.newContext(), await browser.newContext()];
  const [first, second, guest] = [await anns.newPage(), await anns.newPage(), await guests.newPage()];
  const complaints = [];
  for (const page of [first, second, guest]) {
    page.on('pageerror', (error) => complaints.push(`${error}`));
    await page.goto(site);
    await is(page, 'a guest');
    assert.ok(await page.locator('#publish').isHidden());
  }
  await first.fill('[name=name]', 'ann');
  await first.press('[name=name]', 'Enter');
  for (const page of [first, second]) await is(page, 'ann');
  await publish(first, 'by the first');
  for (const page of [first, second, guest]) await shows(page, 'ann: by the first');
  await publish(second, 'by the second');
  for (const page of [first, second, guest]) await shows(page, 'ann: by the first', 'ann: by the second');

  const bearer = () => second.evaluate(() => fetch('/token').then((answer) => answer.text()));
  const says = async (token, fields) => (await fetch(`${linger.base}/pub`, { method: 'POST', body: new URLSearchParams({ token, ...fields }) })).json();
  const hers = await bearer();
  assert.equal((await says(hers, { channel: 'news', nick: 'bob', message: 'no' })).code, 'nick_not_yours');
  await first.click('#logout');
  for (const page of [first, second]) {
    await is(page, 'a guest');
    assert.ok(await page.locator('#publish').isHidden());
  }
  assert.equal((await says(await bearer(), { channel: 'news', message: 'no' })).code, 'forbidden');
  // They read on, from where they were.
  assert.equal((await says(hers, { channel: 'news', message: 'from elsewhere' })).status, 'sent');
  for (const page of [first, second, guest]) await shows(page, 'ann: by the first', 'ann: by the second', 'ann: from elsewhere');
  assert.deepEqual(complaints, []);
});
