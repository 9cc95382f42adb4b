// Common parts of the browser tests: a server as a process, and a real Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const binary = process.env.LINGER_BIN ?? `${root}/target/debug/linger`;

/** Starts a server, on a free port unless told otherwise. `log` has what it logged, an object for each line. */
export async function startServer(...options) {
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
    // No server writes a token anywhere. Every JWT begins like this.
    assert.doesNotMatch(JSON.stringify(log), /eyJ[\w-]{16}/);
  };
  const signal = (name) => child.kill(name);
  return { base, log, port: new URL(base).port, stop, signal, kill: () => stop('SIGKILL') };
}

export const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const args = [
  ...['--no-sandbox', '--headless', '--disable-gpu', '--disable-background-networking'],
  ...['--disable-component-update', '--disable-sync', '--no-first-run'],
];

export function startBrowser() {
  return chromium.launch({ executablePath, args });
}

/**
 * A browser as people use it: a background tab is hidden, and a page that is left goes to the back-forward cache. In a
 * browser that a test tool starts itself, neither happens. `context` is its only one.
 */
export async function startOwnBrowser() {
  const profile = await mkdtemp(join(tmpdir(), 'linger-profile-'));
  const flags = [...args, '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'];
  const child = spawn(executablePath, flags, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  const url = await new Promise((resolve) => {
    createInterface(child.stderr).on('line', (line) => {
      const [address] = line.match(/ws:\S+/) ?? [];
      if (address) resolve(address);
    });
  });
  const browser = await chromium.connectOverCDP(url, { noDefaults: true });
  const close = async () => {
    await browser.close();
    child.kill();
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { context: browser.contexts()[0], close };
}

/** Copies the page into a folder of its own, with an API elsewhere. */
export async function pageFor(base) {
  const folder = await mkdtemp(join(tmpdir(), 'linger-page-'));
  await cp(`${root}/static`, folder, { recursive: true });
  await writeFile(join(folder, 'config.js'), `export const base = '${base}';\n`);
  return { folder, remove: () => rm(folder, { recursive: true }) };
}

/**
 * A proxy in front of a server `target`; with an `origin`, for pages of that origin. While it has an answer `instead`,
 * with a status, a type and a body, it returns that for the API. While it is `caching`, it answers a GET to the API
 * with the last answer to the same path, whatever the query. `held()` is how many polls have waited there for longer
 * than a look takes.
 */
export async function startProxy(target = '') {
  const proxy = { target, origin: '', instead: undefined, caching: false };
  const polls = new Map();
  proxy.held = () => [...polls.values()].filter((begun) => performance.now() - begun > 500).length;
  const kept = new Map();
  const server = createServer((incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const { pathname } = new URL(url, 'http://proxy.test');
    const isApi = ['/pub', '/sub'].includes(pathname);
    if (pathname === '/sub') polls.set(outgoing, performance.now());
    outgoing.on('close', () => polls.delete(outgoing));
    const instead = isApi && (proxy.instead ?? (proxy.caching && method === 'GET' && kept.get(pathname)));
    if (instead) {
      outgoing.writeHead(instead.status, instead.headers ?? { 'Content-Type': instead.type }).end(instead.body);
      return;
    }
    const onward = request(`${proxy.target}${url}`, { method, headers }, (answer) => {
      const allowed = proxy.origin && { 'access-control-allow-origin': proxy.origin };
      outgoing.writeHead(answer.statusCode, { ...answer.headers, ...allowed });
      const body = [];
      answer.on('data', (chunk) => body.push(chunk));
      answer.on('end', () => {
        if (isApi && method === 'GET') kept.set(pathname, { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(body) });
      });
      answer.pipe(outgoing);
    });
    onward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => onward.destroy());
    incoming.pipe(onward);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy.base = `http://127.0.0.1:${server.address().port}`;
  proxy.stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return proxy;
}

/** Opens the chat, and waits until it is connected. Its errors are in `complaints`. */
export async function openChat(context, address) {
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (entry) => entry.type() === 'error' && page.complaints.push(entry.text()));
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(address);
  await hasState(page, 'live');
  return page;
}

/** The server's refusal of a request, as Playwright fulfils a route. */
export function problem(status, code, detail) {
  const body = JSON.stringify({ type: 'about:blank', title: 'Refused', status, detail, code });
  return { status, contentType: 'application/problem+json', body };
}

export function hasState(page, wanted) {
  return page.locator(`#state[data-state="${wanted}"]`).waitFor({ timeout: 60_000 });
}

/** The texts of the conversation, without those that are not sent yet. */
export function shown(page) {
  return page.locator('#conversation .text').allTextContents();
}

export async function shows(page, ...wanted) {
  await until(`the page shows ${wanted}`, async () => JSON.stringify(await shown(page)) === JSON.stringify(wanted));
}

/** Sends a message as a person does, perhaps after changing the name. */
export async function say(page, text, nick) {
  if (nick !== undefined) {
    if (await page.locator('#me').isVisible()) await page.click('#me');
    await page.fill('#nick', nick);
    await page.press('#nick', 'Enter');
  }
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
}

/** Goes to a channel as a person does who knows its name or its link. */
export async function goTo(page, wanted) {
  await page.keyboard.press('Control+k');
  await page.fill('#name', wanted);
  await page.press('#name', 'Enter');
}

/** Publishes from outside the browser; again with the same key when a busy store refused it. */
export async function publish(base, message, fields = {}) {
  const key = Math.random().toString(36).slice(2);
  const body = new URLSearchParams({ message, key, ...fields });
  let status;
  await until('the store takes it', async () => {
    ({ status } = await fetch(`${base}/pub`, { method: 'POST', body }));
    return status !== 503;
  }, 30_000);
  assert.equal(status, 200);
}

/** All texts of a channel. */
export async function texts(base, channel = 'lobby') {
  const response = await fetch(`${base}/sub?cursor=earliest&wait=0&channel=${channel}`);
  return (await response.json()).messages.map(({ message }) => message);
}

/** Waits until this is true. */
export async function until(what, isSo, limit = 15_000) {
  const begun = performance.now();
  while (!(await within(what, isSo(), limit))) {
    assert.ok(performance.now() - begun < limit, `not within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The value of a promise, if it comes in time. A page may never answer. */
export async function within(what, promised, limit) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limit} ms: ${what}`)), limit);
  });
  return Promise.race([promised, late]).finally(() => clearTimeout(timer));
}
