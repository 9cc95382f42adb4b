// People who have tokens, at a known time of day.

import { mock, test } from 'node:test';
import { unsigned } from './clock.mjs';

export const refusal = { code: 'unauthorized', detail: 'the token is expired' };
export const bearer = (text) => ({ authorization: `Bearer ${text}` });
/** When they begin. */
const begun = Date.parse('2026-01-01');

/** A token of somebody, good for so many seconds from the beginning. */
export const of = (nickname, seconds = 3600, more = {}) => unsigned({ nickname, exp: begun / 1000 + seconds, ...more });

/** Runs a test at a known time of day; `later` makes it so much later, also by a clock. */
export function at(name, run) {
  test(name, async () => {
    mock.timers.enable({ apis: ['Date'], now: begun });
    try {
      await run(async (clock, ms) => {
        mock.timers.setTime(Date.now() + ms);
        await clock?.advance(ms);
      });
    } finally {
      mock.timers.reset();
    }
  });
}
