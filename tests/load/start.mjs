// How long a function takes from the start of its process to its first question to the runtime API, next to the least
// function that there is, built alike:
//
//   sam build --parameter-overrides Architecture=x86_64 --build-dir target/sam
//   cargo build --release --package host --example hello
//   node tests/load/start.mjs

import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const binaries = {
  hello: `${root}target/release/examples/hello`,
  publish: `${root}target/sam/Publish/bootstrap`,
  subscribe: `${root}target/sam/Subscribe/bootstrap`,
};
const ROUNDS = 20;

/** Starts a binary, and returns the milliseconds until its first request. */
async function start(binary) {
  let asked;
  const question = new Promise((resolve) => {
    asked = resolve;
  });
  const server = createServer(() => asked(performance.now())).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const begun = performance.now();
  const child = spawn(binary, {
    stdio: 'ignore',
    env: {
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${server.address().port}`,
      AWS_LAMBDA_FUNCTION_NAME: 'linger',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      AWS_LAMBDA_FUNCTION_VERSION: '1',
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      LINGER_TABLE: 'linger',
    },
  });
  const took = (await question) - begun;
  child.kill('SIGKILL');
  server.closeAllConnections();
  server.close();
  return took;
}

const took = Object.fromEntries(Object.keys(binaries).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, binary] of Object.entries(binaries)) took[name].push(await start(binary));
}
const median = (numbers) => numbers.sort((one, other) => one - other)[Math.floor(numbers.length / 2)];
const hello = median(took.hello);
for (const [name, numbers] of Object.entries(took)) {
  const middle = median(numbers);
  console.log(`${name}: ${middle.toFixed(1)} ms, ${(middle / hello).toFixed(2)} times hello`);
}
