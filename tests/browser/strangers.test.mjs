// The chat in Chromium and Firefox under bad conditions: proxies and caches on the way, a browser that refuses or lacks
// things, messages that are hard to draw. Nothing is lost, nothing comes twice, and the page shows the true state.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { browsers, hasState, inTurn, openChat, say, shows, told } from './both.mjs';
import { publish, root, startServer, startProxy, texts, until } from './support.mjs';

const page404 = '<h1>404 Not Found</h1>';
const answers = {
  'a proxy that answers 404': [{ status: 404, type: 'text/html', body: page404 }, /Somebody else answers.*: 404 text\/html/],
  'a proxy that answers 502': [{ status: 502, type: 'text/html', body: '<h1>502' }, /Somebody else answers.*: 502 text\/html/],
  'a network that has one sign in': [{ status: 200, type: 'text/html', body: '<h1>Welcome' }, /Somebody else answers.*: 200 text\/html/],
  'a gateway that forbids': [{ status: 403, type: 'application/json', body: '{"message":"Forbidden"}' }, /: 403 application\/json/],
};

/** What a page may lack, one by one: the newest features that it uses, and those that browsers refuse to some pages. */
const optional = {
  'Intl.Segmenter': 'delete Intl.Segmenter',
  'URL.canParse': 'delete URL.canParse',
  'Array.prototype.at': 'delete Array.prototype.at; delete String.prototype.at',
  'Array.prototype.findLast': 'delete Array.prototype.findLast; delete Array.prototype.findLastIndex',
  'AbortSignal.prototype.throwIfAborted': 'delete AbortSignal.prototype.throwIfAborted; delete AbortSignal.prototype.reason',
  'HTMLDialogElement.prototype.showModal': 'delete HTMLDialogElement.prototype.showModal; delete HTMLDialogElement.prototype.close',
  'a dialog element': 'delete globalThis.HTMLDialogElement',
  'a ResizeObserver': 'delete globalThis.ResizeObserver',
  'a clipboard': 'delete Navigator.prototype.clipboard',
  'Web Locks': 'delete Navigator.prototype.locks',
  'a BroadcastChannel': 'delete globalThis.BroadcastChannel',
  'a BroadcastChannel that can be made': 'globalThis.BroadcastChannel = class { constructor() { throw new DOMException("refused", "SecurityError"); } }',
  'a BroadcastChannel that can be used': 'BroadcastChannel.prototype.postMessage = () => { throw new DOMException("refused", "InvalidStateError"); }',
  'a BroadcastChannel that is heard': 'BroadcastChannel.prototype.postMessage = () => {}',
  'locks that can be looked at': 'Object.defineProperty(Navigator.prototype, "locks", { get() { throw new DOMException("refused", "SecurityError"); } })',
  'locks that are given': 'LockManager.prototype.request = () => Promise.reject(new DOMException("refused", "SecurityError"))',
  'locks that throw nothing': 'LockManager.prototype.request = () => { throw new TypeError("refused"); }',
  'locks that answer': 'LockManager.prototype.request = () => new Promise(() => {})',
  'locks that mean what they say': 'LockManager.prototype.request = async () => {}',
  'storage that can be looked at': 'for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(globalThis, name, { get() { throw new DOMException("refused", "SecurityError"); } })',
  'storage with room': 'Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }',
  'storage with something sensible in it': 'Storage.prototype.getItem = () => "{}"',
};

const newest = ['Intl.Segmenter', 'URL.canParse', 'Array.prototype.findLast', 'AbortSignal.prototype.throwIfAborted', 'Array.prototype.at', 'HTMLDialogElement.prototype.showModal'];
const withoutNewest = newest.map((name) => optional[name]).join(';');

for (const [name, start] of Object.entries(browsers)) {
  describe(`in ${name}`, { concurrency: 4 }, () => {
    let browser;
    let server;
    before(async () => {
      [browser, server] = await Promise.all([start(), startServer()]);
    });
    after(() => Promise.all([browser.close(), server.stop()]));

    let count = 0;
    /** Runs a test with a proxy in front of the server, a channel, and a context of its own. */
    const among = (act) => async () => {
      count += 1;
      const channel = `strangers-${count}`;
      const [context, proxy] = await Promise.all([browser.createBrowserContext(), startProxy(server.base)]);
      try {
        const open = (first, argument) => openChat(context, `${proxy.base}/?channel=${channel}`, first, argument);
        const outside = (text, fields) => publish(server.base, text, { channel, ...fields });
        await act({ open, outside, proxy, context, channel });
      } finally {
        await inTurn(() => context.close());
        proxy.stop();
      }
    };

    /** Publishes three messages from both sides, two of them during a disturbance. */
    const chatsThrough = async ({ open, outside, channel }, page, disturb, calm) => {
      await outside('before');
      await shows(page, 'before');
      await disturb();
      await outside('outside');
      await say(page, 'inside');
      await calm();
      await until('both are there', async () => (await texts(server.base, channel)).length === 3, 30_000);
      const all = await texts(server.base, channel);
      assert.deepEqual([...all].sort(), ['before', 'inside', 'outside']);
      await shows(page, ...all);
      await outside('after');
      await shows(page, ...all, 'after');
      await hasState(page, 'live');
      assert.deepEqual(page.complaints, []);
      await shows(await open(), ...all, 'after');
    };

    for (const [stranger, [instead, says]] of Object.entries(answers)) {
      test(`${stranger} is waited for, and told of`, among(async (site) => {
        const { open, proxy } = site;
        const page = await open();
        const calm = async () => {
          await hasState(page, 'retrying');
          assert.match(await told(page), says);
          await new Promise((resolve) => setTimeout(resolve, 4000));
          assert.notEqual(await page.evaluate(() => document.querySelector('#state').dataset.state), 'stopped');
          proxy.instead = undefined;
          // The pause can be ended by hand.
          await page.evaluate(() => document.querySelector('#retry').click());
          await hasState(page, 'live');
        };
        await chatsThrough(site, page, () => Object.assign(proxy, { instead }), calm);
      }));
    }

    test('a cache that ignores queries gives nothing twice, and loses nothing', among(async (site) => {
      const { open, outside, proxy } = site;
      for (const text of ['one', 'two', 'three']) await outside(text);
      const page = await open();
      await shows(page, 'one', 'two', 'three');
      await outside('four');
      await shows(page, 'one', 'two', 'three', 'four');
      proxy.caching = true;
      await outside('five');
      await hasState(page, 'retrying');
      assert.match(await told(page), /answers instead of the server/);
      await new Promise((resolve) => setTimeout(resolve, 4000));
      await shows(page, ...['one', 'two', 'three', 'four', 'five'].slice(0, await page.evaluate(() => document.querySelectorAll('#conversation .text').length)));
      proxy.caching = false;
      await shows(page, 'one', 'two', 'three', 'four', 'five');
      await hasState(page, 'live');
    }));

    for (const [thing, without] of Object.entries({ ...optional, 'the six newest of these': withoutNewest })) {
      test(`the chat works without ${thing}`, among(async (site) => {
        const page = await site.open(new Function(without));
        await site.outside('see https://example.com/ (é)', { nick: 'e\u0301va' });
        await say(page, 'mine');
        await until('both are shown', () => page.evaluate(() => document.querySelectorAll('#conversation .text').length === 2));
        await page.evaluate(() => document.querySelector('#switch-open').click());
        assert.ok(await page.evaluate(() => document.querySelector('#name').getClientRects().length > 0));
        await page.evaluate(() => document.querySelector('#switch-close').click());
        // It takes a moment to notice that tabs can't share.
        if (/lock|channel/i.test(thing)) await new Promise((resolve) => setTimeout(resolve, 4000));
        await site.outside('later');
        await until('it comes', () => page.evaluate(() => document.querySelectorAll('#conversation .text').length === 3));
        await hasState(page, 'live');
        assert.deepEqual(page.complaints, []);
      }));
    }

    test('a message that can not be drawn is shown as plain text, and those around it as they are', among(async ({ open, outside }) => {
      // For this message, everything that it needs fails.
      const page = await open(() => {
        const { split } = String.prototype;
        String.prototype.split = function (...by) {
          if (String(this).includes('poison')) throw new TypeError('not drawn');
          return split.apply(this, by);
        };
      });
      for (const text of ['one', 'https://poison.test/', 'three']) await outside(text);
      await shows(page, 'one', 'https://poison.test/', 'three');
      await hasState(page, 'live');
    }));

    test('what a stranger sends costs a reader neither time nor room', async (t) => {
      await among(async ({ open, outside }) => {
        const link = 'https://example.com/';
        const hostile = {
          brackets: `${link}${')'.repeat(32_700)}`,
          opened: `${link}${'('.repeat(16_000)}${')'.repeat(16_000)}`,
          dots: `${link}${'.'.repeat(32_700)}`,
          links: `${link} `.repeat(1500),
          'no links': 'http://: '.repeat(3600),
          newlines: `a${'\n'.repeat(32_700)}b`,
          blanks: ' \u200b'.repeat(8000),
          wide: '\ufdfd'.repeat(700),
          accents: `a${'\u0301'.repeat(900)}`,
          word: 'x'.repeat(32_000),
        };
        const all = [...Object.values(hostile).flatMap((text) => Array(4).fill(text)), 'the end'];
        for (const text of all) await outside(text, { nick: 'Eve' });
        const begun = performance.now();
        const page = await open();
        const shown = () => page.evaluate(() => [...document.querySelectorAll('#conversation .text')].map((node) => node.textContent));
        await until('all is there', async () => (await shown()).length === 41, 60_000);
        t.diagnostic(`40 hostile messages: ${Math.round(performance.now() - begun)} ms`);
        assert.ok((await shown()).every((text, index) => text === all[index]));
        const heights = await page.evaluate(() => [...document.querySelectorAll('#conversation .bubble')].map((node) => node.getBoundingClientRect().height));
        assert.ok(Math.max(...heights) < 1000 && Math.min(...heights) > 20, String(heights));
        // A link of so many characters, once, and the same unfolded.
        const [brackets] = await page.evaluate(() => [...document.querySelectorAll('.text a')].map(({ href }) => href));
        assert.equal(brackets, link);
        const unfold = (times) => page.evaluate((times) => {
          const more = [...document.querySelectorAll('.more')].at(-1);
          for (let click = 0; click < times; click += 1) more.click();
          return [more.textContent, more.previousElementSibling.getBoundingClientRect().height];
        }, times);
        const [less, high] = await unfold(1);
        const [more, low] = await unfold(1);
        assert.deepEqual([less, more], ['Show less', 'Show more']);
        assert.ok(high > 10 * low, `${high} ${low}`);
      })();
    });

    test('a chat that was stopped keeps what one writes, and can be started again', among(async ({ open, outside, proxy }) => {
      const page = await open();
      await outside('before');
      await shows(page, 'before');
      const body = JSON.stringify({ type: 'about:blank', title: 'x', status: 400, detail: 'not today', code: 'invalid_cursor' });
      proxy.instead = { status: 400, type: 'application/problem+json', body };
      await outside('meanwhile');
      await hasState(page, 'stopped');
      assert.match(await told(page), /stopped: not today/);
      await say(page, 'a draft');
      assert.equal(await page.evaluate(() => document.querySelector('#message').value), 'a draft');
      proxy.instead = undefined;
      await page.evaluate(() => document.querySelector('#retry').click());
      await shows(page, 'before', 'meanwhile');
      await say(page, 'a draft');
      await shows(page, 'before', 'meanwhile', 'a draft');
    }));

    test('tabs share a poll: what one says, all hear, and when the leader closes another goes on', among(async ({ open, outside, context }) => {
      const tabs = [await open(), await open(), await open()];
      await say(tabs[1], 'from the second');
      for (const tab of tabs) await shows(tab, 'from the second');
      const locks = () => tabs[1].evaluate(async () => {
        const { held, pending } = await navigator.locks.query();
        return [held.length, pending.length];
      });
      await until('one leads and two wait', async () => String(await locks()) === '1,2');
      await inTurn(() => tabs[0].close());
      await until('one leads and one waits', async () => String(await locks()) === '1,1');
      await outside('after that');
      for (const tab of tabs.slice(1)) await shows(tab, 'from the second', 'after that');
      assert.equal((await context.pages()).length, 2);
    }));

    test('a tab that may not rest does not wait behind a leader that rests', among(async ({ open, outside, channel }) => {
      const rests = () => {
        // As if it had been hidden for longer than it takes to rest.
        const { setTimeout: later } = globalThis;
        globalThis.setTimeout = (call, ms, ...more) => later(call, ms === 30_000 ? 0 : ms, ...more);
        Object.defineProperty(Document.prototype, 'visibilityState', { get: () => 'hidden' });
      };
      const leader = await open(rests);
      const other = await open(rests);
      await other.evaluate(async (channel) => {
        const { subscribe } = await import('./client.js');
        globalThis.heard = [];
        subscribe({ channel, rest: false, onMessages: (messages) => globalThis.heard.push(...messages.map(({ message }) => message)) });
      }, channel);
      await new Promise((resolve) => setTimeout(resolve, 2500));
      await outside('for who may not rest');
      await until('it is heard', () => other.evaluate(() => globalThis.heard.includes('for who may not rest')), 10_000);
      assert.deepEqual(leader.complaints, []);
    }));

    test('it resumes from a stored cursor after a reload, with nothing lost and nothing twice', among(async ({ open, outside, channel }) => {
      const page = await open();
      const read = (count) => page.evaluate(async (channel, count) => {
        const { subscribe } = await import('./client.js');
        const heard = [];
        const cursor = globalThis.name || undefined;
        for await (const batch of subscribe({ channel, cursor, last: 100 })) {
          heard.push(...batch.messages.map(({ message }) => message));
          globalThis.name = batch.cursor;
          if (heard.length >= count) return heard;
        }
      }, channel, count);
      for (const text of ['one', 'two']) await outside(text);
      assert.deepEqual(await read(2), ['one', 'two']);
      await page.reload();
      for (const text of ['three', 'four']) await outside(text);
      assert.deepEqual(await read(2), ['three', 'four']);
    }));

    test('a frame without an address, and a page with a base, ask where their links lead', among(async ({ open, outside, proxy, channel }) => {
      const page = await open();
      const heard = (html) => page.evaluate(async (html) => {
        const frame = document.createElement('iframe');
        frame.srcdoc = html;
        const said = new Promise((resolve) => addEventListener('message', ({ data }) => resolve(data), { once: true }));
        document.body.append(frame);
        return said;
      }, html);
      await outside('in a frame');
      const script = (options) => `<script type="module">
        const { subscribe } = await import('${proxy.base}/client.js');
        const { value } = await subscribe({ channel: '${channel}', last: 1, ${options} }).next();
        parent.postMessage(value.messages[0].message, '*');
      </script>`;
      // The page's policy allows only scripts of its own files, so the frames are in a page without a policy.
      await page.goto(`${server.base}/healthz`);
      await page.goto(`${proxy.base}/config.js`);
      assert.equal(await heard(script('')), 'in a frame');
      assert.equal(await heard(`<base href="${proxy.base}/deep/down/">${script("base: '../..'")}`), 'in a frame');
    }));
  });
}

for (const [name, start] of Object.entries(browsers)) {
  test(`with its cookies blocked ${name} refuses things, and the chat goes on`, async () => {
    const [browser, server] = await Promise.all([start(true), startServer()]);
    try {
      const context = await browser.createBrowserContext();
      const tabs = [await openChat(context, server.base), await openChat(context, server.base)];
      const refused = () => {
        try {
          return `it has ${localStorage.length}`;
        } catch ({ name }) {
          return name;
        }
      };
      assert.equal(await tabs[0].evaluate(refused), 'SecurityError');
      await say(tabs[0], 'one');
      await publish(server.base, 'two');
      await until('both are there', async () => (await texts(server.base)).length === 2);
      for (const tab of tabs) {
        await shows(tab, ...(await texts(server.base)));
        await hasState(tab, 'live');
        assert.deepEqual(tab.complaints, []);
      }
    } finally {
      await Promise.all([browser.close(), server.stop()]);
    }
  });
}

test('the page preloads just what it imports, so that modules load in two steps', async () => {
  const html = await readFile(`${root}/static/index.html`, 'utf8');
  const preloaded = [...html.matchAll(/modulepreload" href="([^"]+)"/g)].map(([, href]) => href);
  const imported = new Set(['chat.js']);
  for (const file of imported) {
    const code = await readFile(`${root}/static/${file}`, 'utf8');
    for (const [, path] of code.matchAll(/^import .* from '(.+)';$/gm)) imported.add(new URL(path, `http://x/${file}`).pathname.slice(1));
  }
  assert.deepEqual(['chat.js', ...preloaded].sort(), [...imported].sort());
});
