// What the browser tests share: an emulator as a process, and a real Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const binary = process.env.LINGER_BIN ?? `${root}/target/debug/linger`;

/** Starts an emulator, on a free port unless told otherwise. `log` has what it logged, an object for each line. */
export async function startEmulator(...options) {
  const flags = options.includes('--port') ? options : ['--port', '0', ...options];
  const child = spawn(binary, ['--log-format', 'json', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  const log = [];
  createInterface(child.stderr).on('line', (line) => log.push(JSON.parse(line)));
  const [line] = await once(createInterface(child.stdout), 'line');
  const base = line.replace('linger is at ', '');
  const ended = once(child, 'exit');
  const stop = async (signal = 'SIGTERM') => {
    child.kill(signal);
    await ended;
  };
  return { base, log, port: new URL(base).port, stop, kill: () => stop('SIGKILL') };
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      ...['--no-sandbox', '--headless', '--disable-gpu', '--disable-background-networking'],
      ...['--disable-component-update', '--disable-sync', '--no-first-run'],
    ],
  });
}

/** Publishes from outside the browser. */
export async function publish(base, message, fields = {}) {
  const response = await fetch(`${base}/pub`, { method: 'POST', body: new URLSearchParams({ message, ...fields }) });
  assert.equal(response.status, 200);
}

/** All texts of a channel. */
export async function texts(base, channel = 'lobby') {
  const response = await fetch(`${base}/sub?cursor=earliest&wait=0&channel=${channel}`);
  return (await response.json()).messages.map(({ message }) => message);
}

/** Waits until this is so. */
export async function until(what, isSo, limit = 15_000) {
  const begun = performance.now();
  while (!(await isSo())) {
    assert.ok(performance.now() - begun < limit, `not within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
