// Prints what is said in a channel, without client.js. After a restart it goes on where it was. In a page, `follow` works
// as it stands, with localStorage instead of the file: node follow.mjs [BASE] [CHANNEL]

import { readFile, writeFile } from 'node:fs/promises';

/** Calls `onBatch` with each batch after `cursor`, for ever. */
async function follow(base, channel, cursor, onBatch) {
  for (;;) {
    try {
      const query = new URLSearchParams({ channel, cursor });
      // A poll is held for up to 25 s. The timeout must be longer.
      const answer = await fetch(`${base}/sub?${query}`, { cache: 'no-store', signal: AbortSignal.timeout(40_000) });
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
await follow(base, channel, await readFile(saved, 'utf8').catch(() => 'earliest'), async ({ messages, cursor, missed }) => {
  if (missed) console.error('some messages are gone');
  for (const { nick, message } of messages) console.log(`${nick ?? 'anonymous'}: ${message}`);
  await writeFile(saved, cursor);
});
