// The chat in a real browser, against a real emulator.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { publish, startBrowser, startEmulator, texts, until } from './support.mjs';

let browser;
let emulator;
let contexts;

before(async () => {
  browser = await startBrowser();
});
after(() => browser.close());

beforeEach(async () => {
  contexts = [];
  emulator = await startEmulator();
});
afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  await emulator.stop();
});

/** Opens a window of a browser of its own, and waits until it is connected. */
async function open(options = {}, path = '/') {
  const context = await browser.newContext(options);
  contexts.push(context);
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (entry) => entry.type() === 'error' && page.complaints.push(entry.text()));
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(`${emulator.base}${path}`);
  await state(page, 'live');
  return page;
}

const state = (page, wanted) => page.locator(`#state[data-state="${wanted}"]`).waitFor({ timeout: 45_000 });
const shown = (page) => page.locator('.text').allTextContents();
const shows = (page, ...wanted) =>
  until(`the page shows ${wanted}`, async () => JSON.stringify(await shown(page)) === JSON.stringify(wanted));

async function say(page, text, nick) {
  if (nick !== undefined) await page.fill('#nick', nick);
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
}

test('two windows chat, and each sees each message once', async () => {
  const [ann, bob] = await Promise.all([open(), open()]);
  await say(ann, 'Hello Bob', 'Ann');
  await shows(bob, 'Hello Bob');
  await say(bob, 'Hello Ann', 'Bob');
  for (const page of [ann, bob]) {
    await shows(page, 'Hello Bob', 'Hello Ann');
    assert.deepEqual(await page.locator('.nick').allTextContents(), ['Ann', 'Bob']);
    assert.deepEqual(page.complaints, []);
  }
  assert.equal(await ann.inputValue('#message'), '');
});

test('what looks like markup is shown as text', async () => {
  const evil = '<img src=x onerror=alert(1)>';
  const [one, other] = await Promise.all([open(), open()]);
  await say(one, evil, evil);
  for (const page of [one, other]) {
    await shows(page, evil);
    assert.deepEqual(await page.locator('.nick').allTextContents(), [evil]);
    assert.equal(await page.locator('img').count(), 0);
    assert.deepEqual(page.complaints, []);
  }
});

test('a page goes on by itself when the emulator was killed, and says that it missed something', async () => {
  const page = await open();
  await say(page, 'before', 'Ann');
  await shows(page, 'before');
  await emulator.kill();
  await state(page, 'retrying');
  assert.match(await page.textContent('#state'), /^reconnecting in \d+ s: /);
  emulator = await startEmulator('--port', emulator.port);
  await publish(emulator.base, 'after');
  await page.locator('.gap').waitFor({ timeout: 45_000 });
  await shows(page, 'before', 'after');
  await say(page, 'and on');
  await shows(page, 'before', 'after', 'and on');
  assert.equal(await page.locator('.gap').count(), 1);
});

test('one click, two, or Enter and a click send once', async () => {
  const page = await open();
  await page.fill('#message', 'once');
  await page.evaluate(() => {
    document.querySelector('#send').click();
    document.querySelector('#send').click();
  });
  await shows(page, 'once');
  await page.fill('#message', 'twice?');
  await page.press('#message', 'Enter');
  await page.click('#send');
  await shows(page, 'once', 'twice?');
  await say(page, 'end');
  await shows(page, 'once', 'twice?', 'end');
  assert.deepEqual(await texts(emulator.base), ['once', 'twice?', 'end']);
});

test('Enter that ends a composition sends nothing, in either order of events', async () => {
  const page = await open();
  await page.fill('#message', 'にほん');
  await page.evaluate(() => {
    const message = document.querySelector('#message');
    const key = (init) => message.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, ...init }));
    const composed = () => message.dispatchEvent(new CompositionEvent('compositionend', { bubbles: true }));
    key({ isComposing: true });
    key({ keyCode: 229 });
    composed();
    key({});
  });
  assert.equal(await page.inputValue('#message'), 'にほん');
  await page.waitForTimeout(100);
  await page.press('#message', 'Shift+Enter');
  assert.equal(await page.inputValue('#message'), 'にほん\n');
  await page.press('#message', 'Enter');
  await shows(page, 'にほん\n');
  assert.deepEqual(await texts(emulator.base), ['にほん\n']);
});

test('what could not be sent stays, is said, and is sent once', async () => {
  const page = await open();
  await page.route('**/pub', (route) => route.abort(), { times: 1 });
  await say(page, 'first', 'Ann');
  await page.locator('#problem', { hasText: 'Not sent' }).waitFor();
  assert.equal(await page.inputValue('#message'), 'first');
  await page.press('#message', 'Enter');
  await shows(page, 'first');
  assert.equal(await page.textContent('#problem'), '');

  // It arrives, and its answer does not.
  await page.route('**/pub', async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await say(page, 'second');
  await page.locator('#problem', { hasText: 'Not sent' }).waitFor();
  await shows(page, 'first', 'second');
  await page.press('#message', 'Enter');
  await until('it is sent', async () => (await page.inputValue('#message')) === '');
  await say(page, 'third');
  await shows(page, 'first', 'second', 'third');
  assert.deepEqual(await texts(emulator.base), ['first', 'second', 'third']);
});

test('what the server refuses is said in its words', async () => {
  const page = await open();
  await say(page, 'x'.repeat(32_769));
  await page.locator('#problem', { hasText: 'the message has 32769 bytes; 32768 are allowed' }).waitFor();
});

test('the name is remembered, the channel is in the address, and joining shows what was said', async () => {
  await publish(emulator.base, 'elsewhere');
  await publish(emulator.base, 'earlier', { channel: 'garden', nick: 'Cid' });
  const page = await open({}, '/?channel=garden');
  await shows(page, 'earlier');
  await say(page, 'hi', 'Ann');
  await shows(page, 'earlier', 'hi');
  await page.reload();
  await shows(page, 'earlier', 'hi');
  assert.equal(await page.inputValue('#nick'), 'Ann');
  assert.deepEqual(await texts(emulator.base, 'garden'), ['earlier', 'hi']);
});

test('a phone needs no sideways scrolling, and a reader who scrolled up stays there', async () => {
  const page = await open({ viewport: { width: 390, height: 700 } });
  for (let number = 0; number < 40; number += 1) await publish(emulator.base, `${number} ${'wide'.repeat(40)}`);
  await until('all are shown', async () => (await shown(page)).length === 40);
  const box = () => page.evaluate(() => {
    const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#conversation');
    return { scrollTop, atEnd: scrollHeight - scrollTop - clientHeight < 2, width: document.documentElement.scrollWidth };
  });
  const { atEnd, width } = await box();
  assert.ok(atEnd && width <= 390, `${atEnd} ${width}`);
  await page.evaluate(() => document.querySelector('#conversation').scrollTo(0, 100));
  await publish(emulator.base, 'more');
  await until('it is shown', async () => (await shown(page)).length === 41);
  assert.equal((await box()).scrollTop, 100);
});
