// Texts as the chat takes them apart, without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkNick, checkText, dayWords, initial, isBlank, parts, timeWords } from '../../static/chat/words.js';

/** Where a link ends, said as simply as it can be: as long as its last character does not belong to it, it is shorter. */
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
