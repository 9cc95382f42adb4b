// The chat in a real browser against both functions, as functions/watch runs them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { root, startBrowser, until } from './support.mjs';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

test('two windows chat through cargo lambda watch, and nothing is left running', { timeout: 300_000 }, async () => {
  const [page, api] = [await freePort(), await freePort()];
  const env = { ...process.env, PAGE_PORT: page, API_PORT: api };
  // In a group of its own, which a terminal would end with Ctrl-C.
  const watch = spawn(`${root}/functions/watch`, { env, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(watch, 'exit');
  const said = [];
  createInterface(watch.stdout).on('line', (line) => said.push(line));
  const browser = await startBrowser();
  try {
    await until('it is ready', () => said.some((line) => line.startsWith('The chat is at')), 240_000);
    const windows = [];
    for (const nick of ['Ann', 'Bob']) {
      const window = await (await browser.newContext()).newPage();
      await window.goto(`http://127.0.0.1:${page}/`);
      await window.locator('#state[data-state="live"]').waitFor({ timeout: 30_000 });
      await window.fill('#nick', nick);
      windows.push(window);
    }
    const [ann, bob] = windows;
    for (const [window, text] of [[ann, 'Hello Bob'], [bob, 'Hello Ann'], [ann, 'Goodbye']]) {
      await window.fill('#message', text);
      await window.press('#message', 'Enter');
      for (const reader of windows) await reader.locator('.text', { hasText: text }).waitFor();
    }
    for (const window of windows) {
      assert.deepEqual(await window.locator('.text').allTextContents(), ['Hello Bob', 'Hello Ann', 'Goodbye']);
    }
  } finally {
    await browser.close();
    process.kill(-watch.pid, 'SIGINT');
    await ended;
  }
  const refused = (port) => fetch(`http://127.0.0.1:${port}/`).then(() => false, () => true);
  await until('both ports are free', async () => (await refused(page)) && (await refused(api)));
});
