// How the chat looks and feels: each of its states keeps the rules of accessibility, and is photographed; and a long
// conversation stays smooth. The pictures are in target/screens.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { hasState, goTo, openChat, problem, publish, root, say, shown, startBrowser, startServer, until } from './support.mjs';

const screens = `${root}/target/screens`;
let axe;
let browser;
let server;
before(async () => {
  await mkdir(screens, { recursive: true });
  axe = await readFile(fileURLToPath(new URL('node_modules/axe-core/axe.min.js', import.meta.url)), 'utf8');
  browser = await startBrowser();
});
after(() => browser.close());
beforeEach(async () => {
  server = await startServer();
});
afterEach(() => server.stop());

const conversation = [
  ['Maya', 'Morning! Is the ferry running today?'],
  ['Tomás', 'It is, every hour. The 9:30 was full though'],
  ['Tomás', 'so be there early: https://ferry.example/times?from=pier'],
  ['Ines', 'Bikes go on the upper deck, the ramp is on the left.\nAsk for Rui, he knows.'],
  ['', 'the café at the pier opens at 8'],
  ['مريم', 'صباح الخير، أنا في الطريق'],
];

/** The steps that bring the page into each state. */
const states = {
  connecting: {
    opened: false,
    async enter(page) {
      await page.route('**/sub?**', () => {});
      await page.goto(server.base);
    },
  },
  empty: { path: '/?channel=empty', async enter() {} },
  conversation: {
    async enter(page) {
      await say(page, 'See you all there', 'Ines');
      await page.locator('#conversation .own').waitFor();
    },
  },
  sending: {
    async enter(page) {
      await page.route('**/pub', () => {});
      await say(page, 'Shall I bring a cake?', 'Ines');
      await page.getByText('Sending').waitFor();
    },
  },
  failed: {
    async enter(page) {
      await page.route('**/pub', (route) => route.fulfill(problem(400, 'invalid_nick', 'the server refuses it')));
      await say(page, 'Shall I bring a cake?', 'Ines');
      await page.getByText('Not sent').waitFor();
    },
  },
  'too long': {
    async enter(page) {
      await page.fill('#message', 'x'.repeat(32_769));
      await page.getByText('too long').waitFor();
    },
  },
  unread: {
    async enter(page) {
      for (let number = 0; number < 20; number += 1) await publish(server.base, `Line ${number}`, { nick: 'Rui' });
      await page.getByText('Line 19').waitFor();
      await page.evaluate(() => document.querySelector('#scroller').scrollBy(0, -300));
      await page.locator('#to-end').waitFor();
      for (const text of ['The boat is in', 'All aboard']) await publish(server.base, text, { nick: 'Rui' });
      await page.getByText('2 new messages').waitFor();
      await page.click('#to-end');
      await page.locator('.new').waitFor();
    },
  },
  retrying: {
    async enter(page) {
      await server.kill();
      await hasState(page, 'retrying');
    },
  },
  offline: {
    async enter(page) {
      await page.context().setOffline(true);
      await hasState(page, 'offline');
    },
  },
  missed: {
    async enter(page) {
      // The next look is not answered, so this state stays.
      const { port } = server;
      await page.route('**/sub?*channels=*', async (route) => {
        const response = await route.fetch().catch(() => undefined);
        if (!response) return route.abort();
        const answer = await response.json();
        if (answer.channels.lobby?.missed) await page.route('**/sub?**', () => {});
        return route.fulfill({ response, json: answer });
      });
      await server.kill();
      await hasState(page, 'retrying');
      server = await startServer('--port', port);
      await publish(server.base, 'Did I miss something?', { nick: 'Maya' });
      await hasState(page, 'missed');
    },
  },
  'no channel': {
    opened: false,
    async enter(page) {
      await page.goto(`${server.base}/?channel=not%20a%20channel`);
      await page.getByRole('link', { name: 'Go to #not-a-channel' }).waitFor();
    },
  },
  stopped: {
    async enter(page) {
      await page.route('**/sub?**', (route) => route.fulfill(problem(400, 'invalid_cursor', 'the server refuses it')));
      await say(page, 'Shall I bring a cake?', 'Ines');
      await hasState(page, 'stopped');
      await page.fill('#message', 'and plates');
      await page.getByRole('button', { name: 'Start again' }).waitFor();
    },
  },
  'somebody else answers': {
    async enter(page) {
      await page.route('**/sub?**', (route) => route.fulfill({ status: 404, contentType: 'text/html', body: '<h1>404' }));
      await say(page, 'Shall I bring a cake?', 'Ines');
      await page.getByText('404 text/html').first().waitFor();
    },
  },
  long: {
    async enter(page) {
      for (const text of ['\n'.repeat(9000), `${'Once upon a time '.repeat(400)}https://example.com`, 'one\ntwo\n'.repeat(900)]) {
        await publish(server.base, text, { nick: 'Rui' });
      }
      await page.getByRole('button', { name: 'Show more' }).nth(1).waitFor();
      await say(page, 'That is long', 'Ines');
      await page.locator('#conversation .own').waitFor();
    },
  },
  'twenty channels': {
    async enter(page) {
      await joinTwenty(page);
      await page.locator('#list .badge').nth(2).waitFor({ state: 'attached' });
    },
  },
  'the list': {
    async enter(page) {
      await joinTwenty(page);
      if (await page.locator('#side-open').isVisible()) await page.click('#side-open');
      await page.locator('#list a', { hasText: 'weather' }).waitFor();
    },
  },
  switcher: {
    async enter(page) {
      await joinTwenty(page);
      await page.keyboard.press('Control+k');
      await page.fill('#name', 'no way');
      await page.getByText('1 to 64 letters').waitFor();
    },
  },
  share: {
    async enter(page) {
      await page.click('#share-open');
      await page.locator('#share').getByText('curl').waitFor();
    },
  },
  code: {
    async enter(page) {
      await publish(server.base, 'Run `npm test` first:\n```sh\ncurl localhost:3000/sub\n```\nand tell me', { nick: 'Rui' });
      await page.getByRole('button', { name: 'Copy code' }).waitFor();
    },
  },
  naming: {
    async enter(page) {
      await say(page, 'It is me', 'Ines');
      await page.click('#me');
      await page.locator('#nick').waitFor();
    },
  },
};

const twenty = ['garden', 'ops', 'design', 'music', 'weather', ...Array.from({ length: 14 }, (_, number) => `channel-${number}`)];

/** Nineteen more channels, with something unread in three of them, once with the reader's name. */
async function joinTwenty(page) {
  await say(page, 'Good morning', 'Ines');
  await page.evaluate((names) => {
    const all = Object.fromEntries(['lobby', ...names].map((name) => [name, { at: Date.now(), read: '' }]));
    localStorage.setItem('linger channels', JSON.stringify(all));
  }, twenty);
  await page.reload();
  await hasState(page, 'live');
  for (const [channel, text] of [['garden', 'hello'], ['ops', 'Ines, please look'], ['music', 'la']]) await publish(server.base, text, { channel });
}

const looks = {
  light: { viewport: { width: 1000, height: 640 }, colorScheme: 'light' },
  'dark phone': { viewport: { width: 390, height: 700 }, colorScheme: 'dark', isMobile: true, hasTouch: true },
};

/** On a phone, everything that can be tapped has this size, except links within a text. */
const TARGET_PX = 44;

for (const [name, { path = '/', opened = true, state = 'live', enter }] of Object.entries(states)) {
  test(`the state "${name}" breaks no rule, light and dark, wide and narrow`, async () => {
    for (const [look, options] of Object.entries(looks)) {
      const context = await browser.newContext({ locale: 'en-GB', reducedMotion: 'reduce', ...options });
      try {
        for (const [nick, text] of conversation) await publish(server.base, text, { nick });
        const page = await context.newPage();
        if (opened) {
          await page.goto(`${server.base}${path}`);
          await hasState(page, state);
        }
        await enter(page);
        await page.waitForTimeout(100);
        await page.screenshot({ path: `${screens}/${name} ${look}.png` });
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`);
        assert.deepEqual(said, [], look);
        const small = !options.hasTouch ? [] : await page.evaluate((least) => {
          const inSight = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest('[inert]');
          const size = (node) => Math.min(node.getBoundingClientRect().height, node.getBoundingClientRect().width);
          const targets = [...document.querySelectorAll('button, input, textarea, nav a, #welcome a, [role="option"][data-name]')];
          return targets.filter((node) => inSight(node) && size(node) < least - 0.5).map((node) => `${node.outerHTML} ${size(node)}`);
        }, TARGET_PX);
        assert.deepEqual(small, [], `${look}: too small for a finger`);
        const [width, height] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]);
        assert.ok(width <= options.viewport.width && height <= options.viewport.height, `${look}: ${width} by ${height}`);
      } finally {
        await context.close();
        await server.stop();
        server = await startServer();
      }
    }
  });
}

test('a window of 320 by 256 leaves most of its height to read, and few messages stand at its end', async () => {
  const context = await browser.newContext({ viewport: { width: 320, height: 256 }, hasTouch: true, isMobile: true });
  const page = await openChat(context, server.base);
  await say(page, 'hello', 'Ines');
  await page.locator('#conversation .own').waitFor();
  const [room, below, width] = await page.evaluate(() => {
    const scroller = document.querySelector('#scroller').getBoundingClientRect();
    const last = document.querySelector('#conversation .message:last-child .bubble').getBoundingClientRect();
    return [scroller.height, scroller.bottom - last.bottom, document.documentElement.scrollWidth];
  });
  assert.ok(room >= 150 && below < 24 && width <= 320, `${room} ${below} ${width}`);
  await context.close();
});

test('everything can be reached and done by keyboard', async () => {
  const context = await browser.newContext();
  const page = await openChat(context, server.base);
  const focus = () => page.evaluate(() => document.activeElement.id);
  assert.equal(await focus(), 'nick');
  const order = [];
  for (let step = 0; step < 10; step += 1) {
    await page.keyboard.press('Tab');
    order.push(await focus());
  }
  for (const id of ['message', 'send', 'switch-open', 'notify', 'share-open', 'scroller']) assert.ok(order.includes(id), `${id} in ${order}`);
  await page.focus('#nick');
  await page.keyboard.type('Ann');
  await page.keyboard.press('Tab');
  await page.keyboard.type('hello');
  await page.keyboard.press('Enter');
  await page.locator('#conversation').getByText('hello').waitFor();
  assert.equal(await focus(), 'message');
  await page.focus('#switch-open');
  await page.keyboard.press('Enter');
  assert.equal(await focus(), 'name');
  await page.keyboard.press('Escape');
  assert.equal(await focus(), 'switch-open');
  // The arrows move through what was found, and Alt with the arrows through channels.
  for (const name of ['garden', 'ops']) await goTo(page, name);
  await page.keyboard.press('Control+k');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  assert.equal(await page.textContent('#channel'), 'lobby');
  const visited = [];
  for (let step = 0; step < 3; step += 1) {
    await page.keyboard.press('Alt+ArrowDown');
    visited.push(await page.textContent('#channel'));
  }
  assert.deepEqual([...visited].sort(), ['garden', 'lobby', 'ops']);
  await page.keyboard.press('Alt+ArrowUp');
  assert.equal(await page.textContent('#channel'), visited[1]);
  await context.close();
});

test('the page says what it is allowed to load, so that the server need not', async () => {
  const response = await fetch(server.base);
  assert.equal(response.headers.get('content-security-policy'), null);
  const policy = (await response.text()).match(/http-equiv="Content-Security-Policy"\s+content="([^"]+)"/)[1];
  const template = await readFile(`${root}/template.yaml`, 'utf8');
  const sent = template.match(/ContentSecurityPolicy: "([^"]+)"/)[1];
  // frame-ancestors means nothing in a page; and only a laptop asks an API over plain HTTP.
  assert.equal(`${policy.replace(' http:', '')}; frame-ancestors 'none'`, sent);
});

test('5,000 messages stay smooth, at the end and further up', { timeout: 240_000 }, async (t) => {
  const count = 5000;
  const context = await browser.newContext();
  const page = await openChat(context, server.base);
  const devtools = await context.newCDPSession(page);
  // The page's own processor time, in milliseconds, which does not depend on other programs.
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
  const used = async () => {
    const { metrics } = await devtools.send('Performance.getMetrics');
    return 1000 * metrics.find(({ name }) => name === 'ThreadTime').value;
  };
  const send = async (from, to) => {
    for (let number = from; number < to; number += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, index) => publish(server.base, `Message ${number + index}, https://example.com/${number}`, { nick: `Nick ${number % 7}` })));
    }
  };
  // So that no messages are dropped.
  await send(0, 100);
  await until('some are there', async () => (await shown(page)).length === 100);
  await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 500));
  const begun = await used();
  await send(100, count);
  await until('all are there', async () => (await page.locator('#conversation .text').count()) === count, 60_000);
  const before = await used();
  // A locator would look through all of the page.
  const isLast = (text) => page.evaluate((text) => document.querySelector('#conversation').lastElementChild.textContent.includes(text), text);
  for (let number = 0; number < 5; number += 1) {
    await publish(server.base, `one more ${number}`);
    await until('it is there', () => isLast(`one more ${number}`));
  }
  const further = await used();
  for (const _ of ['to what is new', 'to the end']) await page.click('#to-end');
  await publish(server.base, 'the last');
  await until('it is there', () => isLast('the last'));
  await until('the oldest are let go', async () => (await page.locator('#conversation .text').count()) === 1000);
  const end = await used();
  const each = { arriving: (before - begun) / (count - 100), further: (further - before) / 5, end: end - further };
  t.diagnostic(`processor time of the page, in ms: ${JSON.stringify(each)}`);
  // A message that comes while one reads further up has all 5,000 laid out, twice.
  assert.ok(each.arriving < 20 && each.further < 400 && each.end < 1200, JSON.stringify(each));
  await context.close();
});
