// Prints what is said in a channel, without client.js. After a restart it goes on where it was: node follow.mjs [BASE] [CHANNEL]
// A server with keys needs a token, in LINGER_TOKEN. `follow` works in a page as well, with localStorage instead of the file.

import { readFile, writeFile } from 'node:fs/promises';

/** Calls `onBatch` with each batch after `cursor`, for ever. */
async function follow({ base, channel, cursor, token }, onBatch) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  for (;;) {
    try {
      const query = new URLSearchParams({ channel, cursor });
      // A poll is held for up to 25 s. The timeout must be longer.
      const signal = AbortSignal.timeout(40_000);
      const answer = await fetch(`${base}/sub?${query}`, { cache: 'no-store', headers, signal });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${await answer.text()}`);
      const batch = await answer.json();
      await onBatch(batch);
      cursor = batch.cursor;
    } catch (error) {
      console.error(error.message);
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

const [base = 'http://127.0.0.1:3000', channel = 'lobby'] = process.argv.slice(2);
const saved = `${channel}.cursor`;
const start = (await readFile(saved, 'utf8').catch(() => 'earliest')).trim();
await follow({ base, channel, cursor: start, token: process.env.LINGER_TOKEN }, async ({ messages, cursor, missed }) => {
  if (missed) console.error('some messages are gone');
  for (const { nick, message } of messages) console.log(`${nick ?? 'anonymous'}: ${message}`);
  await writeFile(saved, cursor);
});
