// What the client's functions take and give. Nothing loads this file but a type checker, and people.

/**
 * @typedef {{id: string, channel: string, nick: string | null, message: string, time: string}} Message `time` is
 *   RFC 3339, for people: messages stand in the order of the channel, not of their times
 *
 * @typedef {object} Batch What came at once.
 * @property {string} channel which channel it is of
 * @property {Message[]} messages in the order of the channel, the same for everybody
 * @property {string} cursor where to go on; keep it, to resume here later
 * @property {boolean} missed whether something before these messages is gone for good
 *
 * @typedef {{state: 'connecting' | 'live' | 'missed' | 'offline'}
 *   | {state: 'retrying', in: number, reason: string, status?: number, type?: string}
 *   | {state: 'stopped', reason: string, code?: string}} State `in` is in seconds; `missed` lasts until the next answer; `status` and
 *   `type` are of the answer, when somebody else than linger answered
 *
 * @typedef {object} Clock
 * @property {() => number} now in milliseconds; never set back
 * @property {() => number} [wall] the time of the day in milliseconds, by which a sleep of the machine is seen
 * @property {(call: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 *
 * @typedef {object} Where
 * @property {string} [base] the address of the API, absolute or relative to the page; by default the page's own origin
 * @property {AbortSignal} [signal] ends it
 * @property {typeof globalThis.fetch} [fetch] instead of the global one
 * @property {Clock} [clock] instead of the machine's
 * @property {string | (() => string | Promise<string>)} [token] where the server has keys. A function is asked when a
 *   subscription begins, again before its token expires, and when that is refused; without a subscription, for each request
 *
 * @typedef {object} Draft
 * @property {string} [channel] by default `lobby`
 * @property {string} message 1 to 32,768 bytes
 * @property {string | null} [nick] 1 to 64 characters; without one it is anonymous
 * @property {string} [key] the same key publishes once; by default a new one, which serves for the retries
 * @property {number} [timeout] how long to go on trying, in milliseconds; by default 30,000
 *
 * @typedef {object} Follow
 * @property {string} [channel] by default `lobby`
 * @property {string[] | Record<string, string | null | undefined>} [channels] instead of `channel` and `cursor`: several,
 *   as a list, or each with the cursor to begin after
 * @property {string | null} [cursor] begin after what was had up to there: the `cursor` of a batch, or the `id` of a message
 * @property {number} [last] in channels without a cursor: begin with so many messages, 100 at most; with 0, as without
 *   it, with what comes from now on
 * @property {boolean} [share] whether tabs of one browser share a poll; by default they do
 * @property {boolean} [rest] whether to look now and then, instead of waiting, while the page is hidden; by default so
 *
 * @typedef {object} Handler
 * @property {(messages: Message[], batch: Batch) => unknown} onMessages called with each batch; if it gives a promise,
 *   the next batch is asked for when that is settled
 * @property {(state: State) => void} [onState] told each time that the state changes
 *
 * @typedef {object} Retriable
 * @property {() => void} retry asks at once, instead of waiting until a pause after a failure is over
 *
 * @typedef {AsyncIterableIterator<Batch> & Retriable & {onState?: (state: State) => void}} Subscription what a loop goes
 *   over; set `onState` before the loop
 *
 * @typedef {Batch & {after: string | undefined}} Answer a batch with the cursor that was asked with
 * @typedef {Map<string, string>} Positions a cursor for each of some channels
 *
 * @typedef {{fetch: typeof globalThis.fetch, clock: Clock, signal?: AbortSignal, token: import('./token.js').Token}} Means
 */

export {};
