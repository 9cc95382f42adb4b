// How the chat divides texts into parts, without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parts } from '../../static/chat/parts.js';
import { channelName, checkNick, checkText, dayWords, initial, isBlank, isChannelName, mentions, timeWords } from '../../static/chat/words.js';

/** Where a link ends, in the simplest way: its last character is cut off while it does not belong to it. */
function trimmed(link) {
  const closes = link.split(')').length > link.split('(').length;
  const last = link.at(-1);
  return '.,:;!?\'*_~]}”’»'.includes(last) || (last === ')' && closes) ? trimmed(link.slice(0, -1)) : link;
}

test('a link ends where it ends by the simplest rule, whatever stands in it', () => {
  const characters = [...'ab/.,:;!?\'*_~]}’()()()'];
  let seed = 12;
  const random = (below) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  for (let round = 0; round < 20_000; round += 1) {
    const link = `https://x.test/${Array.from({ length: random(12) }, () => characters[random(characters.length)]).join('')}`;
    assert.equal(parts(link)[0].text, trimmed(link), link);
  }
});

test('whatever a text is, its parts are all of it, and few of them are links', () => {
  for (const text of ['', 'a', 'https://x.test/', ')'.repeat(9), `https://x.test/${')'.repeat(9999)}`, 'http://a http://:x http://b@c http://d. '.repeat(200)]) {
    const found = parts(text);
    assert.equal(found.map((part) => part.text).join(''), text);
    assert.ok(found.filter(({ href }) => href).length <= 100);
  }
});

test('code is what stands between backticks in a line, or between fences, and nothing in it is a link', () => {
  const drawn = (text) => parts(text).map(({ text, code, mark, href }) => (mark ? '' : `${code ?? (href ? 'link' : 'text')} ${text}`)).filter(Boolean);
  assert.deepEqual(drawn('run `npm test`, then `ls`'), ['text run ', 'line npm test', 'text , then ', 'line ls']);
  assert.deepEqual(drawn('so:\n```js\na = `b`;\nhttps://x.test\n```\nhttps://y.test'), ['text so:\n', 'block a = `b`;\nhttps://x.test', 'link https://y.test']);
  assert.deepEqual(drawn('```\nnever closed'), ['text ```\nnever closed']);
  for (const text of ['``', '` `` `', 'a`b\nc`d', '```x```', '```\n```', '```x\n'.repeat(6000), '`'.repeat(30_000), '`a'.repeat(15_000)]) {
    const begun = performance.now();
    assert.equal(parts(text).map((part) => part.text).join(''), text);
    assert.ok(performance.now() - begun < 2000);
  }
});

test('a name is spoken of where it stands by itself, whatever stands in it', () => {
  for (const text of ['Ann', 'hi @ann!', '(ANN)', 'ann, and anna']) assert.ok(mentions(text, 'Ann'), text);
  for (const text of ['anna', 'Hanna', 'an n', '']) assert.ok(!mentions(text, 'Ann'), text);
  assert.ok(mentions('see a.*b (c) there', 'a.*b (c)') && !mentions('see axb', 'a.b') && mentions('مرحبا يا مريم', 'مريم'));
  assert.ok(!mentions('a b', 'a') && !mentions('whatever', ''));
});

test('what can be no channel is offered as what it may be', () => {
  for (const [wanted, name] of [['no way', 'no-way'], [' #Garden ', 'Garden'], ['Café Zürich!', 'Cafe-Zurich'], ['a/b?c=d', 'a-b-c-d'], ['???', ''], ['x'.repeat(99), 'x'.repeat(64)]]) {
    assert.equal(channelName(wanted), name);
    assert.ok(name === '' || isChannelName(name));
  }
});

test('what can not be seen is blank, and nothing that can be is', () => {
  for (const text of ['', ' \n\t', '\u200b\u200d\ufeff', '\u3164\u2800', '\u0000\u0007']) {
    assert.ok(isBlank(text) && checkText(text).wrong, JSON.stringify(text));
    assert.equal(checkNick(`a${text.replace(/[\n\t\0\u0007]/g, '')}`), '');
  }
  for (const text of ['.', 'a ', '🦀', '\u0301', 'ﷺ']) assert.ok(!isBlank(text), text);
});

test('a time that is none has no words, and breaks nothing', () => {
  assert.deepEqual(timeWords(new Date('never')), { short: '', whole: '' });
  assert.equal(dayWords(-Infinity, new Date()), '');
});

test('the first letter of a name is one with its accents, also where browsers can not count letters', () => {
  assert.equal(initial(' e\u0301va'), 'e\u0301');
  const { Segmenter } = Intl;
  Intl.Segmenter = undefined;
  assert.equal(initial('🦀 crab'), '🦀');
  Intl.Segmenter = Segmenter;
});
