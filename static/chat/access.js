// Where the API is, and as whom one is there: by the token of the link that one came by, or else of config.js. What the
// token allows is for the server to decide; the page only leaves out what would be refused.

import { claims, owner } from '../client/token.js';
import * as config from '../config.js';
import { read, readText, write } from './memory.js';

/** What config.js may have. @type {{base: string, token?: string | (() => string | Promise<string>)}} */
const { base, token: configured } = config;

/** Where the token of a link is kept. It is for one API, and for no other that config.js may name later. */
const KEPT = `linger token ${new URL(base, document.baseURI).origin}`;

/** Who was here last, by the token that config.js got; and that this window has just begun anew as theirs. */
const PERSON = 'linger person';
const ANEW = 'linger anew';

/** What the token says, as far as it is known. @type {any} */
let says = {};

/** Those who want to know when it is known. @type {Set<() => void>} */
const listeners = new Set();

/** Takes the token out of the address, so that nobody passes it on with a link, and keeps it for this session. */
function fromLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return readText('sessionStorage', KEPT);
  history.replaceState(history.state, '', location.pathname + location.search);
  write('sessionStorage', KEPT, token);
  return token;
}

/** The token of a link, unless there is one of config.js that may be better. */
function good(/** @type {string | undefined} */ token) {
  const expired = claims(token).exp * 1000 < Date.now();
  return expired && configured ? undefined : token;
}

const link = good(fromLink());
const given = link ?? configured;

/** Whose page it is. What it remembers is theirs, and what they have not sent yet is sent by nobody else. */
let person =
  typeof given === 'function'
    ? (readText('sessionStorage', PERSON) ?? readText('localStorage', PERSON) ?? '')
    : owner(given);

/** Whether each token is somebody else's, so that to begin anew would never end. */
let fickle = false;
let anew = read('sessionStorage', ANEW) === true;
write('sessionStorage', ANEW, false);

/** What something is called in the browser's memory, for whoever is here. @param {string} name */
export const mine = (name) => (person ? `${name} of ${person}` : name);

/** @param {string} token */
function learn(token) {
  says = claims(token);
  for (const call of listeners) call();
  return token;
}

/** Takes the token that a function of config.js gave. If it is somebody else's, the page begins anew as theirs. @param {string} token */
function take(token) {
  const now = owner(token);
  fickle ||= anew && now !== person;
  anew = false;
  if (now === person || fickle) return learn(token);
  write('sessionStorage', PERSON, now);
  write('localStorage', PERSON, now);
  if (person || readText('sessionStorage', PERSON) === now) {
    write('sessionStorage', ANEW, true);
    location.reload();
    // Nothing that is under way is sent with it.
    return new Promise(() => {});
  }
  // Without a memory, the page has nothing of anybody.
  person = now;
  return learn(token);
}

if (typeof given === 'string') learn(given);

/** What each call to the client is given. */
export const where = { base, token: typeof given === 'function' ? async () => take(await given()) : given };

/** The server refuses the token. That of a link is forgotten, where config.js has another one. */
export function refused() {
  if (!link || !configured) return;
  write('sessionStorage', KEPT, null);
  location.reload();
}

/** Calls back when another token is known. @param {() => void} call */
export function onToken(call) {
  listeners.add(call);
}

/** The name that the token gives, if it does. @returns {string | undefined} */
export function givenName() {
  return typeof says.nickname === 'string' ? says.nickname : undefined;
}

/** What the token is for: lists of actions and channels. @returns {{actions: string[], channels: string[]}[]} */
function grants() {
  const list = says.authorization_details;
  const isGrant = (/** @type {any} */ each) =>
    each?.type === 'linger' && Array.isArray(each.actions) && Array.isArray(each.channels);
  return Array.isArray(list) ? list.filter(isGrant) : [];
}

/** Whether the token allows this, as far as it is known. @param {'publish' | 'subscribe'} action @param {string} channel */
export function may(action, channel) {
  if (Object.keys(says).length === 0) return true;
  const fits = (/** @type {any} */ name) =>
    name === channel || (`${name}`.endsWith('*') && channel.startsWith(name.slice(0, -1)));
  return grants().some(({ actions, channels }) => actions.includes(action) && channels.some(fits));
}

/** The channels that the token names whole, and may be read. */
export function readable() {
  const names = grants().flatMap(({ actions, channels }) => (actions.includes('subscribe') ? channels : []));
  return [...new Set(names)].filter((name) => typeof name === 'string' && !name.endsWith('*'));
}

// A link with another token, opened over this page, would change nothing else.
addEventListener('hashchange', () => location.hash.includes('token=') && location.reload());
