// How long a message takes from its sending to a subscriber who waits: the median, on a lively channel and on an idle
// one. `node tests/load/delivery.mjs http://127.0.0.1:3000 [rounds]`

const [base = 'http://127.0.0.1:3000', rounds = '25'] = process.argv.slice(2);
const channel = `delivery-${process.pid}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function poll(query) {
  const response = await fetch(`${base}/sub?channel=${channel}&${query}`);
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json();
}

async function publish() {
  const body = new URLSearchParams({ channel, message: 'x' });
  const response = await fetch(`${base}/pub`, { method: 'POST', body });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
}

/** Publishes after each pause while a poll is held, and returns the median of the deliveries in milliseconds. */
async function median(pause) {
  await publish();
  let { cursor } = await poll('cursor=earliest');
  const took = [];
  for (let round = 0; round < Number(rounds); round += 1) {
    const held = poll(`cursor=${cursor}`);
    await sleep(pause());
    const sent = performance.now();
    const [answer] = await Promise.all([held, publish()]);
    took.push(performance.now() - sent);
    cursor = answer.cursor;
  }
  return took.sort((one, other) => one - other)[Math.floor(took.length / 2)];
}

const lively = await median(() => 50 + 850 * Math.random());
const idle = await median(() => 3000 + 1000 * Math.random());
console.log(`median delivery: ${lively.toFixed(1)} ms within a second of the last one, ${idle.toFixed(1)} ms on an idle channel`);
