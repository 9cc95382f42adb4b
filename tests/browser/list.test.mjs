// The chat's channels. Unread messages are counted, remembered, and the same in all windows. People join, leave and
// switch channels.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { goTo, openChat, publish, say, shown, shows, startBrowser, startServer, texts, until } from './support.mjs';

let browser;
let server;
let context;
before(async () => {
  [browser, server] = await Promise.all([startBrowser(), startServer()]);
});
after(() => Promise.all([browser.close(), server.stop()]));
let count = 0;
beforeEach(async () => {
  count += 1;
  context = await browser.newContext();
});
afterEach(() => context.close());

/** Each test has channels of its own: a, b, c. */
const named = (name) => `${name}-${count}`;
const open = (name) => openChat(context, `${server.base}/?channel=${named(name)}`);
const outside = (name, text, nick = 'Rui') => publish(server.base, text, { channel: named(name), nick });
const rows = (page) => page.locator('#list a').evaluateAll((links) => links.map((link) => [link.querySelector('.name'), link.querySelector('.badge')].map((node) => node?.textContent ?? '').join(' ').trim()));
const has = (page, ...wanted) =>
  until(`the list is ${wanted}`, async () => {
    const list = await rows(page);
    return JSON.stringify(list) === JSON.stringify(wanted.map((row) => row.replace(/^\w/, (name) => named(name))));
  });
const icon = (page) => page.evaluate(() => decodeURIComponent(document.querySelector('#icon').href));

test('what is unread elsewhere is counted in list, title and icon, with mentions, and the order is of the last message', async () => {
  const page = await open('a');
  await say(page, 'hello', 'Ann');
  for (const name of ['b', 'c']) await goTo(page, named(name));
  await until('c is open', async () => (await page.textContent('#channel')) === named('c'));
  await page.mouse.move(640, 300);
  await outside('a', 'is anybody here?');
  await outside('b', 'one');
  await outside('b', 'ann, look at this');
  await has(page, 'b @2', 'a 1', 'c');
  assert.equal(await page.title(), `(3) #${named('c')} · linger`);
  assert.match(await icon(page), />3</);
  await page.locator('#list a', { hasText: named('b') }).click();
  await shows(page, 'one', 'ann, look at this');
  assert.equal(await page.locator('.message:has(.new) .text').textContent(), 'one');
  assert.equal(await page.locator('.mention .text').textContent(), 'ann, look at this');
  await page.mouse.move(640, 300);
  await has(page, 'b', 'a 1', 'c');
  assert.equal(await page.title(), `(1) #${named('b')} · linger`);
  await page.goBack();
  await page.locator('#list a', { hasText: named('a') }).click();
  await until('all is read', async () => !/^\(/.test(await page.title()));
  assert.match(await icon(page), /icon\.svg$/);
  assert.deepEqual(page.complaints, []);
});

test('what was read is remembered across visits, and what came meanwhile is marked', async () => {
  const page = await open('a');
  await outside('a', 'read');
  await shows(page, 'read');
  await goTo(page, named('b'));
  await outside('b', 'read, too');
  await shows(page, 'read, too');
  await page.close();
  for (let number = 0; number < 3; number += 1) await outside('a', `missed ${number}`);
  const again = await open('b');
  await has(again, 'a 3', 'b');
  await again.keyboard.press('Alt+ArrowUp');
  await shows(again, 'read', 'missed 0', 'missed 1', 'missed 2');
  assert.equal(await again.locator('.message:has(.new) .text').textContent(), 'missed 0');
  await has(again, 'a', 'b');
});

test('windows of one browser have the same channels, and what is read in one is read in the other', async () => {
  const one = await open('a');
  const other = await open('b');
  for (const page of [one, other]) await until('both are listed', async () => (await rows(page)).length === 2);
  await outside('a', 'hi');
  await shows(one, 'hi');
  // The window in front reads it, and the other one is told.
  await one.bringToFront();
  await has(other, 'a', 'b');
  await outside('b', 'ho');
  await shows(other, 'ho');
  await has(one, 'b', 'a');
  await one.locator('#list li', { hasText: named('b') }).hover();
  await one.getByRole('button', { name: `Leave ${named('b')}` }).click();
  await has(one, 'a');
  assert.equal(await one.textContent('#channel'), named('a'));
  // The window where it is open keeps it.
  await outside('b', 'still here');
  await shows(other, 'ho', 'still here');
});

/** Holds back what a page publishes until `send()`, and the answers until `answer()`. */
async function holding(page) {
  let send;
  let answer;
  const sent = new Promise((resolve) => (send = resolve));
  const answered = new Promise((resolve) => (answer = resolve));
  await page.route('**/pub', async (route) => {
    await sent;
    const response = await route.fetch();
    await answered;
    await route.fulfill({ response });
  });
  return { send, answer };
}

test('what another window said under one’s name is unread until that is known, with its mention', async () => {
  const [one, other] = [await open('a'), await open('b')];
  await say(other, 'hello', 'Ann');
  await until('both are listed', async () => (await rows(other)).length === 2);
  const { send, answer } = await holding(one);
  await say(one, 'ann is here', 'Ann');
  // Nobody reads it.
  await goTo(one, named('b'));
  send();
  await has(other, 'a @1', 'b');
  await outside('a', 'so I see');
  await has(other, 'a @2', 'b');
  answer();
  await has(other, 'a 1', 'b');
  await goTo(other, named('a'));
  await shows(other, 'ann is here', 'so I see');
  assert.equal(await other.locator('.message:has(.new) .text').textContent(), 'so I see');
});

test('what one seemed to have said, and somebody else did, is unread from then on', async () => {
  const page = await open('a');
  const { send, answer } = await holding(page);
  await say(page, 'ann is here', 'Ann');
  await goTo(page, named('b'));
  await outside('a', 'ann is here', 'Ann');
  await outside('a', 'so I see');
  await has(page, 'a 1', 'b');
  answer();
  send();
  await has(page, 'a @2', 'b');
});

test('who looks at a message sees no mention in it once it is one’s own', async () => {
  const [one, other] = [await open('a'), await open('a')];
  await say(other, 'hello', 'Ann');
  await shows(one, 'hello');
  const { send, answer } = await holding(one);
  await say(one, 'ann is here', 'Ann');
  send();
  await other.locator('.mention', { hasText: 'ann is here' }).waitFor();
  answer();
  await other.locator('.own:not(.mention)', { hasText: 'ann is here' }).waitFor();
});

test('drafts survive a switch and a reload, and what was sent does not come back', async () => {
  const page = await open('a');
  await page.fill('#message', 'half a thought');
  await goTo(page, named('b'));
  assert.equal(await page.inputValue('#message'), '');
  await page.fill('#message', 'another');
  await page.reload();
  assert.equal(await page.inputValue('#message'), 'another');
  await page.press('#message', 'Enter');
  await shows(page, 'another');
  await page.goBack();
  await until('a is open', async () => (await page.textContent('#channel')) === named('a'));
  assert.equal(await page.inputValue('#message'), 'half a thought');
  await page.reload();
  await goTo(page, named('b'));
  assert.equal(await page.inputValue('#message'), '');
});

test('what one says in a channel goes out while another is open, and is own when one comes back', async () => {
  const page = await open('a');
  let release;
  await page.route('**/pub', async (route) => {
    await new Promise((resolve) => (release = resolve));
    await route.continue();
  }, { times: 1 });
  await say(page, 'on its way', 'Ann');
  await until('it is being sent', () => release);
  await goTo(page, named('b'));
  assert.equal(await page.locator('#outbox li').count(), 0);
  release();
  await until('it is sent', async () => (await texts(server.base, named('a'))).length === 1);
  await page.goBack();
  await shows(page, 'on its way');
  assert.equal(await page.locator('#conversation .own').count(), 1);
  assert.equal(await page.locator('#outbox li').count(), 0);
});

test('a link joins its channel, a wrong name is offered as what it may be, and a wrong address too', async () => {
  const page = await open('a');
  await goTo(page, `${server.base}/?channel=${named('b')}`);
  await until('it is open', async () => (await page.textContent('#channel')) === named('b'));
  await goTo(page, `#Grüße aus ${count}!`);
  await until('it is open', async () => (await page.textContent('#channel')) === `Gru-e-aus-${count}`);
  await page.goto(`${server.base}/?channel=no%20way`);
  await page.getByRole('link', { name: 'Go to #lobby' }).waitFor();
  assert.ok(await page.locator('#form').isHidden());
  await page.getByRole('link', { name: 'Go to #no-way' }).click();
  await page.waitForURL('**/?channel=no-way');
  await page.locator('#state[data-state="live"]').waitFor();
});

test('twenty channels are followed in one hold, and each is there at once when one goes to it', async () => {
  const page = await open('a');
  for (let number = 0; number < 19; number += 1) await goTo(page, `${named('x')}-${number}`);
  await until('all are listed', async () => (await rows(page)).length === 20);
  for (let number = 0; number < 19; number += 1) await publish(server.base, `in ${number}`, { channel: `${named('x')}-${number}` });
  await until('all but the open one are unread', async () => (await page.title()).startsWith('(18) '));
  await page.route('**/sub?**', (route) => route.abort());
  await page.locator('#list a', { hasText: `${named('x')}-7` }).click();
  // It has come already, so nothing is requested.
  assert.deepEqual(await shown(page), ['in 7']);
});

test('notifications are shown to who wants them, of what comes while one looks elsewhere', async () => {
  await context.grantPermissions(['notifications'], { origin: server.base });
  await context.addInitScript(() => {
    globalThis.shown = [];
    globalThis.Notification = class {
      static permission = 'granted';
      static requestPermission = async () => 'granted';
      constructor(title, { body }) {
        globalThis.shown.push(`${title}: ${body}`);
      }
    };
  });
  const page = await open('a');
  const looks = (visibility) => page.evaluate((visibility) => {
    Object.defineProperty(document, 'visibilityState', { value: visibility, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, visibility);
  const notified = () => page.evaluate(() => globalThis.shown);
  await looks('hidden');
  await outside('a', 'unwanted');
  await until('it is counted', async () => (await page.title()).startsWith('(1) '));
  await page.click('#notify');
  await until('it is on', async () => (await page.getAttribute('#notify', 'aria-pressed')) === 'true');
  await outside('a', 'wanted');
  await until('it is notified of', async () => (await notified()).length === 1);
  assert.deepEqual(await notified(), [`Rui in #${named('a')}: wanted`]);
  await looks('visible');
  await outside('a', 'seen');
  await shows(page, 'unwanted', 'wanted', 'seen');
  assert.equal((await notified()).length, 1);
  await page.reload();
  assert.equal(await page.getAttribute('#notify', 'aria-pressed'), 'true');
});

test('on a phone, whoever has chosen a channel sees it, however it was chosen', async () => {
  const page = await open('a');
  await page.setViewportSize({ width: 390, height: 844 });
  const listing = () => page.evaluate(() => document.body.classList.contains('listing'));
  const ways = {
    b: async () => {
      await page.click('#side-open');
      await page.click('#switch-open');
      await page.keyboard.press('Enter');
      assert.equal(await page.textContent('#channel'), named('a'), 'Enter alone makes no channel');
      await page.keyboard.type(named('b'));
      await page.keyboard.press('Enter');
    },
    a: async () => {
      await page.click('#side-open');
      await page.click(`#list a[title="${named('a')}"]`);
    },
    c: async () => {
      await goTo(page, named('c'));
      await page.click('#side-open');
      await page.goBack();
      await until('a is open', async () => (await page.textContent('#channel')) === named('a'));
      await page.click('#side-open');
      await page.goForward();
    },
  };
  for (const [name, choose] of Object.entries(ways)) {
    await choose();
    await until(`${name} is open`, async () => (await page.textContent('#channel')) === named(name));
    assert.equal(await listing(), false, name);
    assert.equal(await page.locator('main[inert], #form[inert]').count(), 0, name);
  }
});
