// The backend of a site with linger beside it: it serves the page, knows who is logged in, and makes the tokens for linger.
// Sessions are in memory, and nobody is asked for a password: put your own login there.

import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { SignJWT, importJWK } from 'jose';

const { PORT = '4000', LINGER = 'http://localhost:3000', KEYS = '../linger-keys/linger-private.json' } = process.env;
const [jwk] = JSON.parse(await readFile(KEYS, 'utf8')).keys;
const key = await importJWK(jwk);

/** Names, by what the cookie has. @type {Map<string, string>} */
const sessions = new Map();

const may = (...actions) => [{ type: 'linger', actions, channels: ['news'] }];

/** Whoever is logged in may publish, by that name only. A guest may read. */
function tokenFor(name) {
  const guest = { authorization_details: may('subscribe') };
  const person = { sub: name, nickname: name, authorization_details: may('publish', 'subscribe') };
  const token = new SignJWT(name ? person : guest).setProtectedHeader({ alg: jwk.alg, kid: jwk.kid });
  return token.setExpirationTime('15 minutes').sign(key);
}

const cookie = (session, more = '') => ({ 'Set-Cookie': `session=${session}; Path=/; HttpOnly; SameSite=Strict${more}` });

/** What each route answers: a body, and perhaps headers. */
const routes = {
  'GET /': async () => [await readFile(new URL('index.html', import.meta.url)), { 'Content-Type': 'text/html' }],
  'GET /me': ({ name }) => [JSON.stringify({ name, base: LINGER }), { 'Content-Type': 'application/json' }],
  'GET /token': async ({ name }) => [await tokenFor(name), { 'Content-Type': 'text/plain' }],
  'POST /login': ({ form }) => {
    const session = randomUUID();
    sessions.set(session, form.get('name') || 'nobody');
    return ['', cookie(session)];
  },
  'POST /logout': ({ session }) => {
    sessions.delete(session);
    return ['', cookie('', '; Max-Age=0')];
  },
};

/** The client is in the folder `static` of linger. Your own site has a copy of it. */
async function client(path) {
  const file = new URL(`../../static${path}`, import.meta.url);
  return [await readFile(file), { 'Content-Type': 'text/javascript' }];
}

async function answer({ method, url, headers }, body) {
  const session = /(?:^|; )session=([\w-]+)/.exec(headers.cookie ?? '')?.[1];
  const asked = { session, name: sessions.get(session), form: new URLSearchParams(body) };
  return /^\/client(\/\w+)?\.js$/.test(url) ? client(url) : routes[`${method} ${url}`]?.(asked);
}

const server = createServer(async (incoming, outgoing) => {
  let body = '';
  for await (const chunk of incoming) body += chunk;
  const [content, headers] = (await answer(incoming, body).catch(console.error)) ?? [];
  outgoing.writeHead(content === undefined ? 404 : 200, { 'Cache-Control': 'no-store', ...headers }).end(content);
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`The page is at http://localhost:${server.address().port}`));
