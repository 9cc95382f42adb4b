// What callers may hand in by mistake: each is a TypeError at once that says what to write, and nothing is asked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { history, publish, subscribe } from '../../static/client.js';

const base = 'https://api.test';
const asked = [];
const fetch = (url) => {
  asked.push(url);
  return new Promise(() => {});
};

/** What a call throws, at once or as a promise that is not kept. */
async function thrownBy(call, given) {
  try {
    await call(...given);
  } catch (error) {
    return error;
  }
  return undefined;
}

const BASE = /base must be like 'https:\/\/api\.example\.com', or in a page like '\/api'/;

const wrong = {
  'a channel instead of options': [subscribe, ['news'], /takes one object: write subscribe\(\{ onMessages/],
  'a channel and a message': [publish, ['news', 'hello'], /write publish\(\{ channel: 'news', message: 'hello' \}\)/],
  'an object and something else': [subscribe, [{ base }, () => {}], /takes one object/],
  'a handler instead of options': [subscribe, [() => {}], /takes one object/],
  'a list': [publish, [['news', 'hello']], /no option 0/],
  'null': [history, [null], /write history/],
  'an option of another name': [subscribe, { onMessage() {} }, /no option onMessage, but .*onMessages/],
  'an option of another function': [publish, { message: 'x', last: 3 }, /no option last/],
  'states without messages': [subscribe, { onState() {} }, /onState needs onMessages/],
  'no message': [publish, {}, /message is missing: write publish/],
  'a message that is an object': [publish, { message: { text: 'x' } }, /message must be a text.*JSON\.stringify/],
  'a message that is a number': [publish, { message: 5 }, /message must be a text/],
  'half a character': [publish, { message: 'a\ud83e' }, /whole characters/],
  'the other half in a name': [publish, { message: 'x', nick: '\udd80' }, /nick must be/],
  'a key that is an object': [publish, { message: 'x', key: {} }, /key must be a text/],
  'no number of milliseconds': [publish, { message: 'x', timeout: NaN }, /timeout must be/],
  'a channel that can not be one': [subscribe, { channel: 'a/b', onMessages() {} }, /channel must be 1 to 64/],
  'no channels': [subscribe, { channels: [] }, /channels must be \['news', 'ops'\]/],
  'a channel twice': [subscribe, { channels: ['news', 'news'] }, /channels must be/],
  'channels in a text': [subscribe, { channels: 'news,ops' }, /channels must be/],
  'a channel among them that can not be one': [subscribe, { channels: ['news', 'a/b'] }, /channels must be/],
  'a position that is none': [subscribe, { channels: { news: 7 } }, /channels must be/],
  'channels beside a channel': [subscribe, { channel: 'news', channels: ['ops'] }, /channels stands instead of channel and cursor/],
  'channels beside a cursor': [subscribe, { cursor: '7-1', channels: ['ops'] }, /channels: \{ news: cursor \}/],
  'channels for a message': [publish, { message: 'x', channels: ['ops'] }, /no option channels/],
  'no channel at all': [publish, { message: 'x', channel: null }, /channel must be/],
  'a handler that is none': [subscribe, { onMessages: 'show' }, /onMessages must be a function/],
  'a controller for a signal': [subscribe, { signal: new AbortController() }, /controller\.signal/],
  'a text for a number': [subscribe, { last: '10' }, /last must be a whole number/],
  'a text for a flag': [subscribe, { rest: 'false' }, /rest must be true or false/],
  'less than no messages': [subscribe, { last: -1 }, /last must be a whole number/],
  'no older messages': [history, { before: '7-1', limit: 0 }, /limit must be a whole number, 1 or more/],
  'history before nothing': [history, {}, /before is missing: write history/],
  'a URL for a base': [subscribe, { base: new URL(base) }, /base must be a text, such as url\.href/],
  'a base without a scheme': [subscribe, { base: 'api.test' }, BASE],
  'a host with a port': [publish, { message: 'x', base: 'localhost:3000' }, BASE],
  'a base of another scheme': [subscribe, { base: 'wss://api.test' }, BASE],
  'a base with a password': [subscribe, { base: 'https://ann:secret@api.test' }, BASE],
  'a base with a query': [subscribe, { base: 'https://api.test/?key=1' }, BASE],
  'a base with the beginning of a query': [subscribe, { base: 'https://api.test/?' }, BASE],
  'a base with the beginning of a fragment': [subscribe, { base: 'https://api.test/#' }, BASE],
  'a base with a fragment': [subscribe, { base: 'https://api.test/#here' }, BASE],
  'a base with both': [publish, { message: 'x', base: 'https://api.test?#' }, BASE],
  'a base with a name': [subscribe, { base: 'https://ann@api.test' }, BASE],
  'a base with an empty name': [subscribe, { base: 'https://@api.test' }, BASE],
  'a base with an empty name and password': [history, { before: '7-1', base: 'https://:@api.test' }, BASE],
  'a base before a blank': [subscribe, { base: 'https://api.test ' }, BASE],
  'a base after a blank': [subscribe, { base: ' https://api.test' }, BASE],
  'a base with a blank in it': [subscribe, { base: 'https://api.test/a b' }, BASE],
  'a base over two lines': [subscribe, { base: 'https://api\n.test' }, BASE],
  'a base before a zero': [subscribe, { base: 'https://api.test\0' }, BASE],
  'a base with backslashes': [subscribe, { base: 'https://api.test\\v1' }, BASE],
  'nothing but backslashes': [subscribe, { base: 'https:\\\\api.test' }, BASE],
  'one slash too many, so that a path is a host': [subscribe, { base: 'https:///api' }, BASE],
  'a slash too few': [subscribe, { base: 'https:/api.test' }, BASE],
  'no host': [subscribe, { base: 'https://' }, BASE],
  'no base where there is no page': [subscribe, { base: undefined }, BASE],
  'a path where there is no page': [history, { before: '7-1', base: '/api' }, BASE],
};

for (const [name, [call, options, says]] of Object.entries(wrong)) {
  test(`${name} is refused at once`, async () => {
    const error = await thrownBy(call, Array.isArray(options) ? options : [{ base, fetch, ...options }]);
    assert.ok(error instanceof TypeError, String(error));
    assert.match(error.message, says);
    assert.deepEqual(asked, []);
  });
}

test('what may be absent may be null or undefined, as stores and forms give it', () => {
  const stop = new AbortController();
  stop.abort();
  for (const options of [{}, { cursor: null }, { cursor: undefined, last: undefined }, { cursor: '', last: 0 }, { channels: { a: null, b: undefined } }]) {
    subscribe({ base, signal: stop.signal, onMessages() {}, ...options });
  }
});

test('whole characters outside the first plane are no halves', async () => {
  const stop = new AbortController();
  stop.abort(new Error('enough'));
  await assert.rejects(publish({ base, message: '🦀', nick: '🦀', signal: stop.signal }), /enough/);
});

test('a base is any address that can be asked, also one relative to a page', async () => {
  const good = {
    'https://api.test': 'https://api.test/pub',
    'HTTPS://API.test:8443/v1//': 'https://api.test:8443/v1/pub',
    'http://[::1]:3000/@me/a%20b': 'http://[::1]:3000/@me/a%20b/pub',
    '': 'https://page.test/pub',
    '/': 'https://page.test/pub',
    '/api': 'https://page.test/api/pub',
    './api/': 'https://page.test/chat/api/pub',
    '../api': 'https://page.test/api/pub',
    '//api.test/v1': 'https://api.test/v1/pub',
  };
  globalThis.location = new URL('https://page.test/chat/?channel=news#here');
  try {
    const refused = [];
    const fetch = async (url) => Response.json({ code: 'x', status: 400, detail: refused.push(url) }, { status: 400, headers: { 'content-type': 'application/problem+json' } });
    for (const given of Object.keys(good)) await assert.rejects(publish({ base: given, message: 'x', fetch }), { code: 'x' });
    assert.deepEqual(refused, Object.values(good));
    for (const given of ['///api', '/api?', '/api#', '/a b', '\\api', '//ann@api.test']) {
      assert.match(String(await thrownBy(publish, [{ base: given, message: 'x', fetch }])), BASE);
    }
  } finally {
    delete globalThis.location;
  }
});
