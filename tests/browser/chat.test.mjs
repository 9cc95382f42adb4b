// The chat in a real browser, against a real server.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { hasState, goTo, openChat, problem, publish, say, shown, shows, startBrowser, startServer, texts, until } from './support.mjs';

let browser;
let server;
let contexts;

before(async () => {
  browser = await startBrowser();
});
after(() => browser.close());

beforeEach(async () => {
  contexts = [];
  server = await startServer();
});
afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  await server.stop();
});

/** Opens a window of a browser of its own. */
async function open(options = {}, path = '/') {
  const context = await browser.newContext(options);
  contexts.push(context);
  return openChat(context, `${server.base}${path}`);
}

test('two windows and a phone chat, and each sees each message once, its own apart', async () => {
  const phone = { viewport: { width: 390, height: 700 }, hasTouch: true, isMobile: true };
  const [ann, bob, cid] = await Promise.all([open(), open(), open(phone)]);
  await say(ann, 'Hello Bob', 'Ann');
  await shows(bob, 'Hello Bob');
  await say(bob, 'Hello Ann', 'Bob');
  await shows(cid, 'Hello Bob', 'Hello Ann');
  await say(cid, 'Hello both', 'Cid');
  const all = ['Hello Bob', 'Hello Ann', 'Hello both'];
  for (const [index, page] of [ann, bob, cid].entries()) {
    await shows(page, ...all);
    assert.deepEqual(await page.locator('#conversation .nick').allTextContents(), ['Ann', 'Bob', 'Cid']);
    assert.deepEqual(await page.locator('#conversation .own .text').allTextContents(), [all[index]]);
    assert.equal(await page.locator('#outbox li').count(), 0);
    assert.equal(await page.inputValue('#message'), '');
    assert.deepEqual(page.complaints, []);
  }
});

test('what looks like markup is shown as text', async () => {
  const evil = '<img src=x onerror=alert(1)>';
  const [one, other] = await Promise.all([open(), open()]);
  await say(one, evil, evil);
  for (const page of [one, other]) {
    await shows(page, evil);
    assert.deepEqual(await page.locator('.nick').allTextContents(), [evil]);
    assert.equal(await page.locator('#conversation img').count(), 0);
    assert.deepEqual(page.complaints, []);
  }
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
  await page.click('#send', { force: true });
  await shows(page, 'once', 'twice?');
  await say(page, 'end');
  await shows(page, 'once', 'twice?', 'end');
  assert.deepEqual(await texts(server.base), ['once', 'twice?', 'end']);
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
  assert.deepEqual(await texts(server.base), ['にほん\n']);
});

test('a message whose answers are lost is tried again, then by hand, and is said once', async () => {
  const page = await open();
  // The request arrives, but its answer does not.
  await page.route('**/pub', async (route) => {
    await route.fetch();
    await route.abort();
  });
  await say(page, 'once', 'Ann');
  await page.locator('.pending .fate', { hasText: 'Sending' }).waitFor({ state: 'attached' });
  await say(page, 'next');
  const unsure = page.locator('.failed', { hasText: 'Perhaps not sent: the server does not answer' });
  await until('neither is known to be sent', async () => (await unsure.count()) === 2, 30_000);
  await page.unroute('**/pub');
  await unsure.last().getByText('Retry').click();
  await until('both are sent', async () => (await page.locator('#outbox li').count()) === 0);
  await say(page, 'last');
  await shows(page, 'once', 'next', 'last');
  assert.equal(await page.locator('#conversation .own .text').count(), 3);
  assert.deepEqual(await texts(server.base), ['once', 'next', 'last']);
});

test('a reload while messages are being sent loses none, doubles none, and leaves none to a stranger', async () => {
  const page = await open();
  await page.fill('#nick', 'Ann');
  const all = Array.from({ length: 12 }, (_, number) => `quick ${number}`);
  for (const text of all) await say(page, text);
  await page.reload();
  await until('all are sent', async () => (await page.locator('#outbox li').count()) === 0 && (await shown(page)).length === 12);
  await shows(page, ...all);
  await until('all are own', async () => (await page.locator('#conversation .own').count()) === 12);
  assert.deepEqual(await texts(server.base), all);
});

test('two windows of one browser can be two people, or one', async () => {
  const ann = await open();
  const bob = await openChat(contexts[0], server.base);
  await say(ann, 'I am Ann', 'Ann');
  await say(bob, 'I am Bob', 'Bob');
  for (const page of [ann, bob]) await shows(page, 'I am Ann', 'I am Bob');
  const own = (page) => page.locator('#conversation .own .text').allTextContents();
  assert.deepEqual([await own(ann), await own(bob)], [['I am Ann'], ['I am Bob']]);
  await say(bob, 'I am Ann, too', 'Ann');
  await until('it is own in both', async () => (await own(ann)).length === 2);
  assert.deepEqual(await own(ann), ['I am Ann', 'I am Ann, too']);
});

test('a message that fails for a moment is sent by itself, and those after it stand after it', async () => {
  const page = await open();
  await page.route('**/pub', (route) => route.abort(), { times: 2 });
  await say(page, 'first');
  await say(page, 'second');
  await shows(page, 'first', 'second');
  assert.deepEqual(await texts(server.base), ['first', 'second']);
});

test('what the server refuses is said in its words, and can be changed or discarded', async () => {
  const page = await open();
  await page.route('**/pub', (route) => route.fulfill(problem(400, 'invalid_nick', 'the server knows better')), { times: 2 });
  await say(page, 'first');
  await say(page, 'second');
  await page.locator('.failed', { hasText: 'Not sent: the server knows better' }).nth(1).waitFor();
  await page.locator('.failed', { hasText: 'first' }).getByText('Discard').click();
  await page.getByText('Edit').click();
  assert.equal(await page.inputValue('#message'), 'second');
  await page.press('#message', 'Enter');
  await shows(page, 'second');
  assert.equal(await page.locator('#outbox li').count(), 0);
});

test('limits are counted as the server counts them', async () => {
  const page = await open();
  const problem = () => page.textContent('#problem');
  // 32,768 bytes of 4 each; and 64 characters, of two units each.
  await page.fill('#message', ' \n ');
  await page.press('#message', 'Enter');
  const [text, nick] = ['🦀'.repeat(8192), '🦀'.repeat(64)];
  await page.fill('#message', `${text}x`);
  assert.equal(await problem(), 'The message is too long by 1 byte.');
  await page.press('#message', 'Enter');
  await page.fill('#message', text);
  assert.equal(await problem(), '0 bytes left.');
  for (const [wrong, says] of [[`${nick}x`, 'The name has 65 characters'], ['\u202eann', 'garble'], ['\u3164\u00ad ', 'nothing to be seen']]) {
    await page.fill('#nick', wrong);
    assert.ok((await problem()).includes(says), wrong);
    await page.press('#message', 'Enter');
  }
  assert.deepEqual(await texts(server.base), []);
  await page.fill('#nick', nick);
  await page.press('#message', 'Enter');
  await shows(page, text);
  assert.equal(await page.textContent('.nick'), nick);
});

test('half a character is said as what it is, and is no reason to say nothing', async () => {
  const page = await open();
  await page.evaluate(() => (document.querySelector('#message').value = 'cut \ud83e'));
  await page.press('#message', 'Enter');
  await shows(page, 'cut \ufffd');
  assert.equal(await page.locator('#outbox li').count(), 0);
});

test('links can be followed, and nothing else can', async () => {
  const page = await open();
  const text = 'see (https://example.com/a_(b)?c=d#e), http://x.test/. javascript:alert(1) data:text/html,x HTTPS://UP.test/ü https://good.test@evil.test/ „http://q.test“';
  await publish(server.base, text);
  await shows(page, text);
  const links = await page.locator('.text a').evaluateAll((links) => links.map(({ href, rel, target }) => `${href} ${rel} ${target}`));
  const safe = 'noopener noreferrer nofollow ugc _blank';
  assert.deepEqual(links, ['https://example.com/a_(b)?c=d#e', 'http://x.test/', 'https://up.test/%C3%BC', 'http://q.test/'].map((link) => `${link} ${safe}`));
});

test('what comes while one reads further up, or elsewhere, is counted and marked', async () => {
  for (let number = 0; number < 40; number += 1) await publish(server.base, `line ${number}\n${'tall '.repeat(30)}`);
  const page = await open();
  assert.equal(await page.title(), '#lobby · linger');
  await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 700));
  await page.locator('#to-end', { hasText: 'To the end' }).waitFor();
  await publish(server.base, 'new one');
  await publish(server.base, 'new two');
  await page.locator('#to-end', { hasText: '2 new messages' }).waitFor();
  assert.equal(await page.title(), '(2) #lobby · linger');
  assert.equal(await page.evaluate(() => document.querySelector('#scroller').scrollTop), 700);
  assert.equal(await page.locator('.message:has(.new) .text').textContent(), 'new one');
  await page.click('#to-end');
  await until('it is read', async () => (await page.title()) === '#lobby · linger');
  assert.ok(await page.locator('#to-end').isHidden());
  await publish(server.base, 'seen');
  await page.getByText('seen', { exact: true }).waitFor();
  assert.equal(await page.title(), '#lobby · linger');
});

test('older messages come as one scrolls up, until there are none, and what one reads stays where it is', async () => {
  for (let number = 1; number <= 230; number += 1) await publish(server.base, `number ${number}`);
  const page = await open();
  assert.equal((await shown(page)).length, 50);
  const top = (text) => page.getByText(text, { exact: true }).evaluate((node) => node.getBoundingClientRect().top);
  let releases = [];
  await page.route('**/sub?*before=*', async (route) => {
    await new Promise((resolve) => releases.push(resolve));
    await route.continue();
  });
  for (const [oldest, count] of [[181, 150], [81, 230]]) {
    await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 120));
    await until('older ones are asked for', () => releases.length === 1);
    const before = await top(`number ${oldest + 2}`);
    releases.pop()();
    await until('they are there', async () => (await shown(page)).length === count);
    await page.waitForTimeout(300);
    assert.ok(Math.abs((await top(`number ${oldest + 2}`)) - before) < 2, `${oldest}`);
  }
  await page.unroute('**/sub?*before=*');
  await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 0));
  await page.getByText('The conversation begins here').waitFor();
  assert.deepEqual(await shown(page), Array.from({ length: 230 }, (_, index) => `number ${index + 1}`));
  assert.equal(await page.locator('.day').count(), 1);
  assert.deepEqual(page.complaints, []);
});

test('where older messages are gone, the page does not say that the conversation begins there', async () => {
  for (let number = 0; number < 80; number += 1) await publish(server.base, `number ${number}`);
  const page = await open();
  await until('the latest are shown', async () => (await shown(page)).length === 50);
  const { port } = server;
  await server.stop();
  server = await startServer('--port', port);
  // The page goes to its end again when it tells of the server that is gone, if it was there.
  await until('it says so', async () => {
    await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 0));
    return page.locator('#beginning', { hasText: 'Some messages may be missing here.' }).isVisible();
  });
});

test('older messages that can not be had are asked for again by hand', async () => {
  for (let number = 1; number <= 60; number += 1) await publish(server.base, `number ${number}`);
  const page = await open();
  await page.route('**/sub?*before=*', (route) => route.abort(), { times: 1 });
  await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 0));
  await page.getByText('Older messages can not be had just now.').waitFor();
  await page.click('#again');
  await until('they are there', async () => (await shown(page)).length === 60);
});

for (const [timezoneId, offset] of [['Pacific/Tongatapu', 13 * 60], ['Pacific/Honolulu', -10 * 60], ['Asia/Kathmandu', 5 * 60 + 45]]) {
  test(`days begin at midnight in ${timezoneId}`, async () => {
    // Midnight of the day before yesterday, there.
    const there = new Date(Date.now() + offset * 60_000);
    const midnight = Date.UTC(there.getUTCFullYear(), there.getUTCMonth(), there.getUTCDate() - 2) - offset * 60_000;
    const hour = 3_600_000;
    const times = [-1000, 0, 23 * hour, 24 * hour - 1, 24 * hour, 23 * hour, 48 * hour].map((ms) => new Date(midnight + ms).toISOString());
    for (let number = 0; number < times.length; number += 1) await publish(server.base, `${number}`);
    const context = await browser.newContext({ timezoneId, locale: 'en-GB' });
    contexts.push(context);
    // The server's messages, with these times.
    await context.route('**/sub?*last=*', async (route) => {
      const response = await route.fetch();
      const answer = await response.json();
      answer.channels.lobby.messages.forEach((message, index) => (message.time = times[index]));
      await route.fulfill({ response, json: answer });
    });
    const page = await openChat(context, server.base);
    await shows(page, ...times.map((_, index) => `${index}`));
    const lines = await page.locator('.message:has(.day)').evaluateAll((items) =>
      items.map((item) => [item.querySelector('.text').textContent, item.querySelector('.day').textContent]));
    const name = (ms) => new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long', timeZone: timezoneId }).format(ms);
    assert.deepEqual(lines, [['0', name(midnight - 1000)], ['1', name(midnight)], ['4', 'Yesterday'], ['6', 'Today']]);
    assert.equal(await page.locator('time').nth(1).textContent(), '00:00');
  });
}

test('one can share the channel, make one, go to another, and come back', async () => {
  const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await page.click('#share-open');
  for (const [way, text] of [['link', `${server.base}/?channel=lobby`], ['terminal', `curl -d channel=lobby -d message=hello ${server.base}/pub`]]) {
    await page.locator('#share .way', { hasText: way }).getByRole('button').click();
    await page.locator('#share .way', { hasText: way }).getByText('Copied').waitFor();
    assert.equal(await copied(), text);
  }
  await page.click('#share-close');
  await goTo(page, 'garden');
  await page.waitForURL('**/?channel=garden');
  await page.click('#switch-open');
  await page.getByRole('option', { name: 'New channel' }).click();
  await page.waitForURL(/channel=[0-9a-f]{12}$/);
  await page.locator('#welcome', { hasText: 'Nothing has been said here yet' }).waitFor();
  await say(page, 'only here');
  await shows(page, 'only here');
  assert.ok(await page.locator('#welcome').isHidden());
  await page.goBack();
  assert.equal(await page.textContent('#channel'), 'garden');
  await page.goBack();
  assert.equal(await page.textContent('#channel'), 'lobby');
});

test('the name is remembered, the channel is in the address, and joining shows what was said', async () => {
  await publish(server.base, 'elsewhere');
  await publish(server.base, 'earlier', { channel: 'garden', nick: 'Cid' });
  const page = await open({}, '/?channel=garden');
  await shows(page, 'earlier');
  await say(page, 'hi', 'Ann');
  await shows(page, 'earlier', 'hi');
  await page.reload();
  await shows(page, 'earlier', 'hi');
  assert.equal(await page.inputValue('#nick'), 'Ann');
  assert.deepEqual(await texts(server.base, 'garden'), ['earlier', 'hi']);
});

test('a phone needs no sideways scrolling, and a reader who scrolled up stays there', async () => {
  const page = await open({ viewport: { width: 390, height: 700 } });
  for (let number = 0; number < 40; number += 1) await publish(server.base, `${number} ${'wide'.repeat(40)}`);
  await until('all are shown', async () => (await shown(page)).length === 40);
  const box = () => page.evaluate(() => {
    const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#scroller');
    return { scrollTop, atEnd: scrollHeight - scrollTop - clientHeight < 2, width: document.documentElement.scrollWidth };
  });
  const { atEnd, width } = await box();
  assert.ok(atEnd && width <= 390, `${atEnd} ${width}`);
  await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 100));
  await publish(server.base, 'more');
  await until('it is shown', async () => (await shown(page)).length === 41);
  assert.equal((await box()).scrollTop, 100);
});
