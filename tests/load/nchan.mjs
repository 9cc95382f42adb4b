// Linger against nginx with nchan, on this machine and in one run: many subscribers who poll one channel, one publisher.
// For each it prints how many messages it delivers a second, how long the median delivery takes, and how much of a
// processor the server uses for each delivery; then the ratios.
//
//   cargo build --release && node tests/load/nchan.mjs [subscribers] [messages]
//
// It wants nginx with nchan (Debian: nginx-light libnginx-mod-nchan).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [subscribers, messages] = [process.argv[2] ?? '500', process.argv[3] ?? '200'].map(Number);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** In /proc, on every Linux. */
const TICKS_PER_SECOND = 100;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A connection that is kept: one request at a time, and its answer. Less than `fetch`, so that the server is measured. */
class Connection {
  #socket;
  #received = Buffer.alloc(0);
  #answered;

  constructor(port) {
    this.#socket = connect(port, '127.0.0.1').setNoDelay();
    this.#socket.on('data', (data) => {
      this.#received = this.#received.length ? Buffer.concat([this.#received, data]) : data;
      const head = this.#received.indexOf('\r\n\r\n');
      if (head < 0) return;
      const lines = this.#received.toString('latin1', 0, head).split('\r\n');
      const headers = Object.fromEntries(lines.slice(1).map((line) => line.split(': ')).map(([name, value]) => [name.toLowerCase(), value]));
      const end = head + 4 + Number(headers['content-length'] ?? 0);
      if (this.#received.length < end) return;
      const body = this.#received.toString('utf8', head + 4, end);
      this.#received = this.#received.subarray(end);
      this.#answered({ status: Number(lines[0].split(' ')[1]), headers, body });
    });
    this.#socket.on('error', (error) => console.error(String(error)));
  }

  ask(method, path, headers = {}, body = '') {
    const all = { Host: 'localhost', ...headers, ...(body && { 'Content-Length': Buffer.byteLength(body) }) };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
    return new Promise((resolve) => (this.#answered = resolve));
  }

  close() {
    this.#socket.destroy();
  }
}

const form = { 'Content-Type': 'application/x-www-form-urlencoded' };

function nchanModule() {
  const found = ['/usr/lib', '/usr/lib64', '/usr/share'].map((path) => `${path}/nginx/modules/ngx_nchan_module.so`).find(existsSync);
  if (!found) throw new Error('nchan is missing (Debian: apt-get install nginx-light libnginx-mod-nchan)');
  return found;
}

/** How one publishes and polls at each. A poll gives the texts that came, and where to go on. */
const servers = {
  async linger() {
    const child = spawn(`${root}/target/release/linger`, ['--port', '0', '--log-format', 'off'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(child.stdout, 'data');
    return {
      child,
      port: Number(String(line).trim().split(':').at(-1)),
      publish: (connection, text) => connection.ask('POST', '/pub', form, `message=${text}`),
      async poll(connection, at = 'latest') {
        const { messages, cursor } = JSON.parse((await connection.ask('GET', `/sub?cursor=${at}${at === 'latest' ? '&wait=0' : ''}`)).body);
        return { texts: messages.map(({ message }) => message), at: cursor };
      },
    };
  },
  async nchan(folder) {
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    writeFileSync(join(folder, 'nginx.conf'), `
      load_module ${nchanModule()};
      worker_processes ${availableParallelism()};
      daemon off;
      pid ${folder}/pid;
      error_log ${folder}/error.log;
      events { worker_connections 20000; }
      http {
        access_log off;
        client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
        uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
        keepalive_requests 1000000;
        server {
          listen 127.0.0.1:${port};
          location /pub { nchan_publisher; nchan_channel_id lobby; nchan_message_buffer_length 100000; nchan_message_timeout 1h; }
          location /sub { nchan_subscriber longpoll; nchan_channel_id lobby; nchan_subscriber_first_message oldest; }
        }
      }`);
    const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: ['ignore', 'inherit', 'inherit'] });
    await sleep(500);
    return {
      child,
      port,
      publish: (connection, text) => connection.ask('POST', '/pub', { 'Content-Type': 'text/plain' }, text),
      async poll(connection, at) {
        const { headers, body } = await connection.ask('GET', '/sub', at ?? {});
        return { texts: [body], at: { 'If-Modified-Since': headers['last-modified'], 'If-None-Match': headers.etag } };
      },
    };
  },
};

/** Seconds of processor that a process and its children have used. */
function used(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return [pid, ...children].reduce((sum, id) => {
    const fields = readFileSync(`/proc/${id}/stat`, 'utf8').split(') ')[1].split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }, 0);
}

async function measure(name) {
  const folder = mkdtempSync(join(tmpdir(), 'linger-load-'));
  const { child, port, publish, poll } = await servers[name](folder);
  try {
    const publisher = new Connection(port);
    await publish(publisher, 'first');
    const sent = new Map();
    const took = [];
    let last = 0;
    const connections = Array.from({ length: subscribers }, () => new Connection(port));
    const all = connections.map(async (connection) => {
      let { at } = await poll(connection);
      for (let had = 0; had < messages; ) {
        const answer = await poll(connection, at);
        at = answer.at;
        had += answer.texts.length;
        last = performance.now();
        for (const text of answer.texts) took.push(last - sent.get(text));
      }
    });
    await sleep(1000);
    const [before, begun] = [used(child.pid), performance.now()];
    const published = (async () => {
      for (let number = 0; number < messages; number += 1) {
        sent.set(`m${number}`, performance.now());
        await publish(publisher, `m${number}`);
      }
    })();
    // Whoever has lost a message waits for ever.
    await Promise.race([Promise.all([published, ...all]), published.then(() => sleep(5000))]);
    const seconds = (last - begun) / 1000;
    const processor = used(child.pid) - before;
    for (const connection of [publisher, ...connections]) connection.close();
    took.sort((one, other) => one - other);
    return { delivered: took.length, rate: took.length / seconds, median: took[took.length >> 1], cost: (processor / took.length) * 1e6 };
  } finally {
    child.kill('SIGTERM');
    await once(child, 'exit');
    rmSync(folder, { recursive: true });
  }
}

const results = {};
for (const name of Object.keys(servers)) {
  results[name] = await measure(name);
  const { delivered, rate, median, cost } = results[name];
  console.log(`${name.padEnd(6)}  ${delivered} of ${subscribers * messages} delivered, ${Math.round(rate)} a second, median ${median.toFixed(1)} ms, ${cost.toFixed(1)} µs of processor each`);
}
const { linger, nchan } = results;
console.log(`linger delivers ${(linger.rate / nchan.rate).toFixed(2)} times as many a second, in ${(linger.median / nchan.median).toFixed(2)} of the time, for ${(linger.cost / nchan.cost).toFixed(2)} of the processor`);
process.exit(0);
