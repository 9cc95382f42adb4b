// The servers that the chat is tested with: the linger server, and both functions over DynamoDB Local. A site has the
// address of its page and of its API, and can be frozen, let go on, and stopped. When it is started again at the same
// `ports`, its log is empty. With `access`, keys and an audience, it requires tokens.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { root, startServer, until } from './support.mjs';

export const sites = { 'the server': serverSite, 'both functions': functionsSite };

async function serverSite([port] = [], access) {
  const guarded = access ? ['--access-keys', access.keys, '--access-audience', access.audience] : [];
  const { base, port: had, signal, stop } = await startServer(...(port ? ['--port', port] : []), ...guarded);
  const go = { hang: () => signal('SIGSTOP'), goOn: () => signal('SIGCONT'), stop };
  return { page: base, api: base, ports: [had], ...go };
}

/** The functions, as `functions/watch` runs them, in a process group of its own, which a terminal would end with Ctrl-C. */
async function functionsSite(ports, access) {
  const [page, api] = ports ?? [await freePort(), await freePort()];
  const guarded = access && { LINGER_ACCESS_KEYS: access.keys, LINGER_ACCESS_AUDIENCE: access.audience };
  const env = { ...process.env, PAGE_PORT: page, API_PORT: api, ...guarded };
  const watch = spawn(`${root}/functions/watch`, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  // Not this process's stderr: a program that reads that would wait for a watch that outlives its test.
  watch.stderr.pipe(process.stderr, { end: false });
  const ended = once(watch, 'exit');
  const said = [];
  createInterface(watch.stdout).on('line', (line) => said.push(line));
  const stop = async () => {
    if (watch.exitCode === null) process.kill(-watch.pid, 'SIGINT');
    await ended;
    await until('both ports are free', async () => !(await answers(page)) && !(await answers(api)));
  };
  try {
    await until('it is ready', () => {
      assert.equal(watch.exitCode, null, 'functions/watch has ended, and has said why');
      return said.some((line) => line.startsWith('The chat is at'));
    }, 240_000);
  } catch (error) {
    await stop();
    throw error;
  }
  const go = { hang: () => process.kill(-watch.pid, 'SIGSTOP'), goOn: () => process.kill(-watch.pid, 'SIGCONT'), stop };
  return { page: `http://127.0.0.1:${page}`, api: `http://127.0.0.1:${api}`, ports: [page, api], ...go };
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

/** Whether a server still answers there. */
function answers(port) {
  return fetch(`http://127.0.0.1:${port}/`).then(() => true, () => false);
}

/** The polls of a browser: those that are held, and how long each that has ended took, in milliseconds. */
export function watchPolls(context) {
  const waiting = new Map();
  const ended = [];
  context.on('request', (request) => {
    const url = new URL(request.url());
    const asked = request.method() === 'POST' ? new URLSearchParams(request.postData() ?? '') : url.searchParams;
    if (url.pathname === '/sub') waiting.set(request, { begun: performance.now(), held: asked.get('wait') !== '0' });
  });
  const end = (request) => {
    const poll = waiting.get(request);
    if (!poll) return;
    waiting.delete(request);
    ended.push(performance.now() - poll.begun);
  };
  context.on('requestfinished', end);
  context.on('requestfailed', end);
  // When a page is closed, its polls end without an event.
  context.on('page', (page) => page.on('close', () => [...waiting.keys()].filter((poll) => poll.frame().page() === page).forEach(end)));
  return { ended, held: () => [...waiting.values()].filter(({ held }) => held).length };
}

/** Waits until exactly one poll is held, and still is a moment later: between two holds there is none. */
export async function oneHold(polls, limit) {
  await until('one poll is held', async () => {
    if (polls.held() !== 1) return false;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return polls.held() === 1;
  }, limit);
}

/** Whether no poll is held, now and a second later: between two holds there is none for a moment. */
export async function noHold(polls) {
  if (polls.held() > 0) return false;
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return polls.held() === 0;
}
