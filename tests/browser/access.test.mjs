// Tokens as backends make them, with others' libraries, and people of different rights in the chat.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { sign as signed } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { CompactSign, GeneralSign, SignJWT, UnsecuredJWT, exportJWK, exportSPKI, generateKeyPair, importJWK } from 'jose';
import { oneHold, sites, watchPolls } from './sites.mjs';
import { goTo, hasState, openChat, root, say, shows, startBrowser, until } from './support.mjs';

const run = promisify(execFile);
const python = `${root}/target/tools/python/bin/python`;
const audience = 'linger-tests';

/** What a token says that may do these things. */
const rights = (actions, channels) => ({ aud: audience, authorization_details: [{ type: 'linger', actions, channels }] });
const everything = rights(['publish', 'subscribe'], ['*']);
const now = () => Math.floor(Date.now() / 1000);

/** A key of each kind: private ones by algorithm, and the set that a server is given. */
async function makeKeys() {
  const privates = {};
  const set = [];
  for (const alg of ['ES256', 'EdDSA', 'RS256']) {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    privates[alg] = { ...(await exportJWK(privateKey)), alg, kid: alg };
    set.push({ ...(await exportJWK(publicKey)), alg, kid: alg });
    if (alg === 'RS256') privates.spki = await exportSPKI(publicKey);
  }
  privates.HS256 = { kty: 'oct', k: Buffer.alloc(32, 7).toString('base64url'), alg: 'HS256', kid: 'HS256' };
  return { privates, keys: JSON.stringify({ keys: [...set, privates.HS256] }) };
}

const made = await makeKeys();

/** A token as jose makes it. */
async function token(says, alg = 'ES256', header = {}) {
  const jwk = made.privates[alg];
  const jwt = new SignJWT({ exp: now() + 600, ...says }).setProtectedHeader({ alg, kid: jwk.kid, ...header });
  return jwt.sign(await importJWK(jwk, alg));
}

const encoded = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A token that no library would make, well signed. */
async function odd(header, payload) {
  const content = `${encoded(header)}.${encoded(payload)}`;
  const key = { key: made.privates.ES256, format: 'jwk', dsaEncoding: 'ieee-p1363' };
  return `${content}.${signed('sha256', Buffer.from(content), key).toString('base64url')}`;
}

/** Tokens that must be refused, by what is wrong with them. */
async function bad() {
  const good = await token(everything);
  const [head, payload, signature] = good.split('.');
  const says = { exp: now() + 600, ...everything };
  const header = { alg: 'ES256', kid: 'ES256' };
  const { privateKey } = await generateKeyPair('ES256');
  const stranger = new SignJWT(says).setProtectedHeader(header);
  const hmac = new SignJWT(says).setProtectedHeader({ alg: 'HS256', kid: 'RS256' });
  const critical = new CompactSign(Buffer.from(JSON.stringify(says))).setProtectedHeader({ ...header, crit: ['b64'], b64: true });
  const es256 = await importJWK(made.privates.ES256, 'ES256');
  const twice = new GeneralSign(Buffer.from(JSON.stringify(says)));
  twice.addSignature(es256).setProtectedHeader(header).addSignature(es256).setProtectedHeader(header);
  const whole = JSON.stringify(says);
  return {
    'of no algorithm': new UnsecuredJWT(says).encode(),
    'of an HMAC with the public RSA key': await hmac.sign(Buffer.from(made.privates.spki)),
    'of another key': await stranger.sign(privateKey),
    'of another algorithm of the same key': await odd({ ...header, alg: 'ES384' }, says),
    'of an unknown key': await token(everything, 'ES256', { kid: 'another' }),
    'that names no key': await token(everything, 'ES256', { kid: undefined }),
    'of a changed payload': `${head}.${encoded({ ...says, nickname: 'eve' })}.${signature}`,
    'without an end': await token({ ...everything, exp: undefined }),
    'that is expired': await token({ ...everything, exp: now() - 120 }),
    'that is not yet valid': await token({ ...everything, nbf: now() + 120 }),
    'for another audience': await token({ ...everything, aud: 'another' }),
    'for no audience': await token({ ...everything, aud: undefined }),
    'with a critical header': await critical.sign(es256),
    'with a key in it': await odd({ ...header, jwk: made.privates.ES256 }, says),
    'with the address of a key': await odd({ ...header, jku: 'https://keys.test/' }, says),
    'with a certificate': await odd({ ...header, x5c: ['MIIB'] }, says),
    'with two signatures': JSON.stringify(twice.sign ? await twice.sign() : {}),
    'with a fourth part': `${good}.${signature}`,
    'of 9 KiB': await token({ ...everything, more: 'x'.repeat(9 * 1024) }),
    'deeply nested': await odd(header, `${whole.slice(0, -1)},"deep":${'['.repeat(3000)}${']'.repeat(3000)}}`),
    'with a member twice': await odd(header, `${whole.slice(0, -1)},"exp":${now() + 900}}`),
    'with a header member twice': await odd(`{"alg":"ES256","kid":"ES256","alg":"ES256"}`, says),
    'with space around it': ` ${good} `.replace(' ', '%20'),
  };
}

/** The blocks of code of a language in docs/ACCESS.md. */
async function blocks(language) {
  const text = await readFile(`${root}/docs/ACCESS.md`, 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'gm'))].map(([, code]) => code);
}

for (const [name, start] of Object.entries(sites)) {
  describe(`with ${name}`, () => {
    let browser;
    let site;
    before(async () => {
      browser = await startBrowser();
      site = await start(undefined, { keys: made.keys, audience });
    }, { timeout: 300_000 });
    after(() => Promise.all([browser?.close(), site?.stop()]));

    const ask = (path, bearer, form) =>
      fetch(`${site.api}${path}`, {
        method: form ? 'POST' : 'GET',
        headers: { authorization: `Bearer ${bearer}` },
        body: form && new URLSearchParams(form),
      });
    const says = (bearer, message, channel) => ask('/pub', bearer, { channel, message });
    const status = async (bearer, query) => (await ask(`/sub?wait=0&${query}`, bearer)).status;

    test('tokens of jose and of PyJWT are taken, of each algorithm', async () => {
      for (const alg of ['ES256', 'EdDSA', 'RS256', 'HS256']) {
        assert.equal((await says(await token(everything, alg), `by jose, ${alg}`, 'minted')).status, 200);
        const script = [
          'import json, sys, jwt',
          'key, claims = json.load(sys.stdin)',
          "print(jwt.encode(claims, jwt.PyJWK(key).key, algorithm=key['alg'], headers={'kid': key['kid']}))",
        ].join('\n');
        const minting = run(python, ['-c', script]);
        minting.child.stdin.end(JSON.stringify([made.privates[alg], { ...everything, exp: now() + 600 }]));
        assert.equal((await says((await minting).stdout.trim(), `by PyJWT, ${alg}`, 'minted')).status, 200);
      }
      const read = await (await ask('/sub?channel=minted&cursor=earliest&wait=0', await token(everything))).json();
      assert.equal(read.messages.length, 8);
    });

    test('what docs/ACCESS.md shows makes tokens that are taken', async () => {
      // Where jose is found.
      const folder = await mkdtemp(join(root, 'tests/browser/node_modules/.access-'));
      try {
        await writeFile(join(folder, 'linger-private.json'), JSON.stringify({ keys: [made.privates.ES256] }));
        const [[node, publishing], [py]] = [await blocks('js'), await blocks('python')];
        await writeFile(join(folder, 'mint.mjs'), node);
        const here = publishing.replace('http://localhost:3000', site.api).replace('./client.js', `${root}/static/client.js`);
        await writeFile(join(folder, 'publish.mjs'), `${node.replace("sub: '17'", `sub: '17', aud: '${audience}'`)}${here}`);
        assert.match((await run(process.execPath, ['publish.mjs'], { cwd: folder })).stdout, /\npublished as \d+-\d+\n/);
        await writeFile(join(folder, 'mint.py'), py);
        for (const [program, file] of [[process.execPath, 'mint.mjs'], [python, 'mint.py']]) {
          const minted = (await run(program, [file], { cwd: folder })).stdout.trim();
          const refused = await ask('/sub?channel=news&wait=0', minted);
          // The servers of these tests want an audience as well.
          assert.match((await refused.json()).detail, /audience/);
          const [, payload] = minted.split('.');
          const claims = JSON.parse(Buffer.from(payload, 'base64url'));
          const taken = await token({ ...claims, aud: audience });
          assert.deepEqual([claims.sub, claims.nickname], ['17', 'ann']);
          assert.equal((await says(taken, `by ${file}`, 'news')).status, 200);
          assert.equal(await status(taken, 'channel=team.a'), 200);
          assert.equal(await status(taken, 'channel=team'), 403);
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    });

    test('bad tokens are refused, for what they are, and nothing is done', async () => {
      for (const [what, text] of Object.entries(await bad())) {
        for (const answer of [await says(text, what, 'refused'), await ask('/sub?channel=refused&wait=0', text)]) {
          assert.equal(answer.status, 401, what);
          assert.match(answer.headers.get('www-authenticate'), /^Bearer error="invalid_token"/);
          const { code, detail } = await answer.json();
          assert.equal(code, 'unauthorized');
          assert.ok(!detail.includes(text.slice(0, 20)), what);
        }
      }
      const good = await token(everything);
      // Each would be another test of the same code: some are enough here.
      for (let length = 0; length < good.length; length += 13) assert.equal((await says(good.slice(0, length), 'cut', 'refused')).status, 401);
      const read = await (await ask('/sub?channel=refused&cursor=earliest&wait=0', good)).json();
      assert.deepEqual(read.messages, []);
    });

    test('who may only listen can’t speak, nor read what is not granted', async () => {
      const listener = await token(rights(['subscribe'], ['heard', 'team.*']));
      assert.equal((await says(listener, 'nothing', 'heard')).status, 403);
      const refused = ['channel=heard2', 'channel=Heard', 'channel=team', 'channel=teams', 'channel=%54eam.a', 'channel=other&before=7-1'];
      for (const query of refused) assert.equal(await status(listener, query), 403, query);
      for (const query of ['channel=heard', 'channel=%68eard', 'channel=team.a', 'channel=team.&last=3']) assert.equal(await status(listener, query), 200, query);
      const several = await ask('/sub?channels=heard,other,team.b&wait=0', listener);
      assert.equal(several.status, 403);
      assert.deepEqual((await several.json()).channels, ['other']);
      const read = await (await ask('/sub?channel=heard&cursor=earliest&wait=0', listener)).json();
      assert.deepEqual(read.messages, []);
    });

    const link = (channel, bearer) => `${site.page}/?channel=${channel}#token=${bearer}`;
    const problem = (page) => page.locator('#problem').textContent();

    test('one speaks, the other only reads, and each is told what is theirs', async () => {
      const ann = await browser.newContext();
      const bob = await browser.newContext();
      const speaks = { ...rights(['publish', 'subscribe'], ['two-people', 'team.*']), nickname: 'Ann' };
      const annsPage = await openChat(ann, link('two-people', await token(speaks)));
      const bobsPage = await openChat(bob, link('two-people', await token(rights(['subscribe'], ['two-people']))));
      for (const page of [annsPage, bobsPage]) assert.ok(!page.url().includes('token'), page.url());
      await say(annsPage, 'hello');
      await shows(bobsPage, 'hello');
      assert.equal(await bobsPage.locator('#conversation .nick').first().textContent(), 'Ann');
      assert.ok(await annsPage.locator('#me').isDisabled());
      assert.ok(await bobsPage.locator('#composer').isHidden());
      assert.match(await problem(bobsPage), /read this channel, but not write/);
      // The token stays for the tab, and for no other.
      await annsPage.reload();
      await hasState(annsPage, 'live');
      await shows(annsPage, 'hello');
      const other = await ann.newPage();
      await other.goto(`${site.page}/?channel=two-people`);
      await hasState(other, 'stopped');
      assert.match(await other.locator('#told').textContent(), /need a link with a token/);
      await bobsPage.goto(`${site.page}/?channel=elsewhere`);
      await hasState(bobsPage, 'stopped');
      assert.match(await bobsPage.locator('#told').textContent(), /does not let you read this channel\. It is for #two-people\./);
      for (const page of [annsPage, bobsPage]) assert.deepEqual(page.complaints.filter((text) => !/40[13]/.test(text)), []);
      await Promise.all([ann.close(), bob.close()]);
    });

    test('a link that is too old says so', async () => {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(link('old', await token({ ...everything, exp: now() - 3600 })));
      await hasState(page, 'stopped');
      assert.match(await page.locator('#told').textContent(), /no longer good: the token is expired/);
      await context.close();
    });

    /** A page whose config.js gives a token: as JavaScript, with the API at `base`. */
    const configured = async (context, token, base = site.api === site.page ? '' : site.api) => {
      const body = `export const base = '${base}';\nexport const token = ${token};\n`;
      await context.unroute('**/config.js');
      await context.route('**/config.js', (route) => route.fulfill({ contentType: 'text/javascript', body }));
    };
    const named = (page, name) => page.locator('#me', { hasText: name }).waitFor();
    const unsent = (page) => page.locator('#outbox li').count();

    test('what somebody has not sent nobody else sends, or sees', async () => {
      const context = await browser.newContext();
      const ann = await token({ ...everything, nickname: 'Ann' });
      const bob = await token({ ...everything, nickname: 'Bob' });
      await context.route('**/pub', (route) => route.abort());
      const page = await openChat(context, link('anns-own', ann));
      await page.goto(link('unsent', ann));
      await hasState(page, 'live');
      await say(page, 'by Ann');
      await page.fill('#message', 'begun by Ann');
      assert.equal(await unsent(page), 1);
      await page.goto(link('unsent', bob));
      await named(page, 'Bob');
      await context.unroute('**/pub');
      await hasState(page, 'live');
      assert.equal(await unsent(page), 0);
      assert.equal(await page.inputValue('#message'), '');
      assert.doesNotMatch(await page.locator('#side').textContent(), /anns-own/);
      await say(page, 'by Bob');
      await shows(page, 'by Bob');
      await page.goto(link('unsent', ann));
      await named(page, 'Ann');
      await shows(page, 'by Bob', 'by Ann');
      assert.equal(await page.inputValue('#message'), 'begun by Ann');
      assert.match(await page.locator('#side').textContent(), /anns-own/);
      await context.close();
    });

    test('a page whose own function gives somebody else’s token begins anew as theirs', async () => {
      const context = await browser.newContext();
      const people = { Ann: await token({ ...everything, nickname: 'Ann' }), Bob: await token({ ...everything, nickname: 'Bob' }) };
      let here = 'Ann';
      await configured(context, "() => fetch('/my-own/token').then((answer) => answer.text())");
      await context.route('**/my-own/token', (route) => route.fulfill({ body: people[here] }));
      const page = await openChat(context, `${site.page}/?channel=logged-in`);
      await named(page, 'Ann');
      await context.route('**/pub', (route) => route.abort());
      await say(page, 'by Ann');
      here = 'Bob';
      await goTo(page, 'logged-in-too');
      await named(page, 'Bob');
      await hasState(page, 'live');
      await context.unroute('**/pub');
      await page.goto(`${site.page}/?channel=logged-in`);
      await hasState(page, 'live');
      await say(page, 'by Bob');
      await shows(page, 'by Bob');
      assert.equal(await unsent(page), 0);
      here = 'Ann';
      await page.reload();
      await named(page, 'Ann');
      await shows(page, 'by Bob', 'by Ann');
      await context.close();
    });

    test('a function that makes everybody somebody new each time does not have the page begin anew for ever', async () => {
      const context = await browser.newContext();
      let people = 0;
      await configured(context, "() => fetch('/my-own/token').then((answer) => answer.text())");
      await context.route('**/my-own/token', async (route) => route.fulfill({ body: await token({ ...everything, sub: `${(people += 1)}` }) }));
      const page = await openChat(context, `${site.page}/?channel=anybody`);
      await say(page, 'hello');
      await shows(page, 'hello');
      assert.ok(people <= 3, `${people} tokens`);
      await context.close();
    });

    test('a link’s token that is no longer good gives way to that of config.js, and is for one API', async () => {
      const context = await browser.newContext();
      await configured(context, `'${await token({ ...everything, nickname: 'Ann' })}'`);
      const page = await context.newPage();
      const stranger = await odd({ alg: 'ES256', kid: 'another' }, { exp: now() + 600, ...everything });
      for (const bad of [await token({ ...everything, exp: now() - 3600 }), stranger, 'rubbish']) {
        await page.goto(`${site.page}/config.js`);
        await page.goto(link('way', bad));
        await named(page, 'Ann');
        await hasState(page, 'live');
      }
      await page.goto(`${site.page}/config.js`);
      await page.goto(link('way', await token({ ...everything, nickname: 'Bob' })));
      await named(page, 'Bob');
      const asked = [];
      await context.route('http://elsewhere.test/**', (route) => {
        asked.push(route.request().postData());
        return route.abort();
      });
      await configured(context, 'undefined', 'http://elsewhere.test');
      await page.reload();
      await until('it asks there', () => asked.length > 0);
      assert.doesNotMatch(asked.join(), /token/);
      await context.close();
    });

    test('a tab that leaves while it waits for its token leads nobody', async () => {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(`${site.page}/config.js`);
      const bearer = await token(everything);
      const held = await page.evaluate(async (bearer) => {
        const { subscribe } = await import('./client.js');
        const { base } = await import('./config.js');
        const later = () => new Promise((resolve) => setTimeout(resolve, 300, bearer));
        const signal = AbortSignal.timeout(100);
        await subscribe({ base, channel: 'left', token: later, signal, onMessages() {} });
        await new Promise((resolve) => setTimeout(resolve, 1000));
        return (await navigator.locks.query()).held.length;
      }, bearer);
      assert.equal(held, 0);
      await context.close();
    });

    test('a tab that gets no token any more leaves the others to themselves', async () => {
      const context = await browser.newContext();
      const good = await token(everything);
      const follow = async () => {
        const tab = await context.newPage();
        await tab.goto(`${site.page}/config.js`);
        await tab.evaluate(async (bearer) => {
          const { subscribe } = await import('./client.js');
          const { base } = await import('./config.js');
          Object.assign(globalThis, { said: [], state: '', bearer });
          const token = () => globalThis.bearer;
          const onMessages = (messages) => globalThis.said.push(...messages.map(({ message }) => message));
          const onState = ({ state }) => (globalThis.state = state);
          globalThis.follow = (channel) => subscribe({ base, channel, token, onMessages, onState });
          globalThis.follow('left-alone');
        }, good);
        await until('it is live', () => tab.evaluate(() => globalThis.state === 'live'));
        return tab;
      };
      const [first, second] = [await follow(), await follow()];
      await first.evaluate(() => {
        globalThis.bearer = 'Please log in';
        // With another subscription it is asked for anew.
        globalThis.follow('left-alone-too');
      });
      for (const text of ['one', 'two']) {
        await says(good, text, 'left-alone');
        await until(`it is told ${text}`, () => second.evaluate((text) => globalThis.said.includes(text), text));
      }
      await until('it says so', () => first.evaluate(() => globalThis.state === 'retrying'));
      await context.close();
    });

    test('tabs whose tokens allow the same share a poll, and others do not', async () => {
      const context = await browser.newContext();
      const polls = watchPolls(context);
      const same = rights(['publish', 'subscribe'], ['shared']);
      const first = await openChat(context, link('shared', await token(same)));
      const second = await openChat(context, link('shared', await token({ ...same, jti: 'another' })));
      await oneHold(polls);
      const third = await openChat(context, link('shared', await token(everything)));
      await until('two polls are held', () => polls.held() === 2);
      await say(first, 'to all', 'Ann');
      for (const page of [first, second, third]) await shows(page, 'to all');
      await context.close();
    });
  });
}
