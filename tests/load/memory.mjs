// What a connection costs the server, in memory and descriptors, for each kind of client.
//
//     cargo build --profile server && node tests/load/memory.mjs [CONNECTIONS]
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const connections = Number(process.argv[2] ?? 2000);

/** A new server with an empty log. */
async function start() {
  const child = spawn('target/server/linger', ['--port', '0', '--log-format', 'off'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await new Promise((resolve) => child.stdout.once('data', (data) => resolve(String(data).split('\n'))));
  return { child, port: Number(line.split(':').at(-1)) };
}

const resident = ({ child }) => 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]);
const descriptors = ({ child }) => readdirSync(`/proc/${child.pid}/fd`).length;
const send = (path, extra, body) => `${path} HTTP/1.1\r\nhost: localhost\r\n${extra}\r\n${body}`;

/** Opens this many connections, writes this to each, and reads nothing. */
async function open(port, count, written) {
  const sockets = [];
  for (let number = 0; number < count; number += 1) {
    const socket = connect({ port, host: '127.0.0.1', onread: { buffer: Buffer.alloc(1), callback: () => false } });
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(written(number));
    sockets.push(socket);
  }
  return sockets;
}

const twenty = (prefix) => Array.from({ length: 20 }, (_, number) => `${prefix}${number}`);
const form = 'content-type: application/x-www-form-urlencoded\r\n';
const cases = {
  'idle after a request': () => send('GET /healthz', '', ''),
  'a poll that is held, all on one channel': () => send('GET /sub?cursor=latest', '', ''),
  'a poll that is held, each on its own channel': (number) => send(`GET /sub?channel=c${number}&cursor=latest`, '', ''),
  'a poll that is held, on the same 20 channels': () => send(`GET /sub?channels=${twenty('c')}`, '', ''),
  'a poll that is held, on 20 channels of its own': (number) => send(`GET /sub?channels=${twenty(`c${number}-`)}`, '', ''),
  'half a head of 15 KB': () => `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(15_000)}`,
  'half a head of 400 KB': () => `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(400_000)}`,
  'half a body of 15 KB': () => send('POST /pub', `${form}content-length: 16000\r\n`, 'x'.repeat(15_000)),
  'half a body of 250 KB': () => send('POST /pub', `${form}content-length: 262144\r\n`, 'x'.repeat(250_000)),
  'an unread answer of 500 KB': () => send('GET /sub?channel=large&cursor=earliest', '', ''),
  'an unread page': () => send('GET /client/tabs.js', '', '').repeat(50),
};

console.log(`${connections} connections each; what one takes of the server`);
for (const [name, written] of Object.entries(cases)) {
  const server = await start();
  const text = `channel=large&message=${'x'.repeat(32_000)}`;
  for (let number = 0; number < 16; number += 1) {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    await fetch(`http://127.0.0.1:${server.port}/pub`, { method: 'POST', headers, body: text });
  }
  // Freed memory is used first.
  const before = [resident(server), descriptors(server)];
  const sockets = await open(server.port, connections, written);
  let peak = 0;
  for (let look = 0; look < 20; look += 1) {
    await sleep(100);
    peak = Math.max(peak, resident(server));
  }
  const each = [peak - before[0], descriptors(server) - before[1]].map((grown) => grown / connections);
  sockets.forEach((socket) => socket.destroy());
  console.log(`${name.padEnd(48)} ${(each[0] / 1024).toFixed(1).padStart(7)} KB ${each[1].toFixed(2).padStart(5)} descriptors`);
  server.child.kill();
  await new Promise((resolve) => server.child.once('exit', resolve));
}
