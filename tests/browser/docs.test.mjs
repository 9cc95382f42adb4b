// What docs/CLIENT.md and the README show of the client works as it is written there.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { publish, root, startBrowser, startServer, texts, until } from './support.mjs';

const blocks = async (document, language) =>
  (await readFile(`${root}/${document}`, 'utf8')).split(`\`\`\`${language}\n`).slice(1).map((rest) => rest.split('```')[0]);

let browser;
let folder;
let server;
let page;
let said;
before(async () => {
  const [example] = await blocks('docs/CLIENT.md', 'html');
  assert.ok(example.trim().split('\n').length <= 15);
  folder = await mkdtemp(join(tmpdir(), 'linger-docs-'));
  await cp(`${root}/static/client.js`, join(folder, 'client.js'));
  await cp(`${root}/static/client`, join(folder, 'client'), { recursive: true });
  await writeFile(join(folder, 'index.html'), example);
  const [readme] = await blocks('README.md', 'html');
  await writeFile(join(folder, 'readme.html'), readme);
  server = await startServer('--static-dir', folder);
  browser = await startBrowser();
  page = await browser.newPage();
  said = [];
  page.on('console', (entry) => said.push(entry.text()));
  page.on('pageerror', (error) => said.push(`an error: ${error}`));
});
after(async () => {
  await browser.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

const run = (content) => page.addScriptTag({ type: 'module', content });
const logged = (text) => until(`it says ${text}`, () => said.some((line) => line.includes(text)));

test('the page of 15 lines shows what was and what is published', async () => {
  await publish(server.base, 'earlier', { channel: 'news' });
  await page.goto(server.base);
  const items = () => page.locator('li').allTextContents();
  await until('it shows the earlier one', async () => String(await items()) === 'earlier');
  await publish(server.base, '<b>later</b>', { channel: 'news' });
  await until('it shows both', async () => String(await items()) === 'earlier,<b>later</b>');
});

test('so does the page of the README', async () => {
  await page.goto(`${server.base}/readme.html`);
  const last = () => page.locator('li').last().textContent();
  await until('it shows what was', async () => (await last()) === '<b>later</b>');
  await publish(server.base, 'hello', { channel: 'news' });
  await until('it shows what is new', async () => (await last()) === 'hello');
  await page.goto(server.base);
});

test('the scripts that follow the page do what they say', async () => {
  const [once, twice, loop, several, before] = await blocks('docs/CLIENT.md', 'js');
  await run(once);
  await logged('published as');
  await run(twice);
  await until('it is published', async () => (await texts(server.base, 'news')).includes('only once'));
  await run(loop);
  await logged('anonymous only once');
  await until('the cursor is kept', async () => (await page.evaluate(() => localStorage.getItem('news'))) !== null);
  await run(before);
  await logged('before that 4');
  await run(several);
  await logged('#news only once');
  await publish(server.base, 'all is well', { channel: 'ops' });
  await logged('#ops all is well');
  // The loop goes on where it was.
  said.length = 0;
  await page.reload();
  await publish(server.base, 'after the reload', { channel: 'news' });
  await run(loop);
  await logged('anonymous after the reload');
  assert.ok(!said.some((line) => line.includes('only once')));
  assert.deepEqual(said.filter((line) => line.startsWith('an error')), []);
});
