// The chat: what people see of a subscription, and how they publish.

import { newKey, publish, subscribe } from './client.js';
import { base } from './config.js';

/** Messages shown at once; beyond that the oldest leave the page. */
const SHOWN_MAX = 1000;

/** Messages of one person within so long stand together. */
const TOGETHER_MS = 5 * 60_000;

/** Safari fires the Enter that ended a composition just after the composition. */
const COMPOSED_MS = 50;

const channel = new URLSearchParams(location.search).get('channel') || 'lobby';

/** @template {HTMLElement} T @param {string} id @param {new () => T} type */
function element(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${id}`);
}

const conversation = element('conversation', HTMLOListElement);
const form = element('form', HTMLFormElement);
const nick = element('nick', HTMLInputElement);
const message = element('message', HTMLTextAreaElement);
const button = element('send', HTMLButtonElement);
const problem = element('problem', HTMLParagraphElement);
const state = element('state', HTMLParagraphElement);

/** What the page remembers of its user, where the browser lets it. */
const memory = {
  get nick() {
    try {
      return localStorage.getItem('nick') ?? '';
    } catch {
      return '';
    }
  },
  set nick(value) {
    try {
      localStorage.setItem('nick', value);
    } catch {
      // Then it is asked again next time.
    }
  },
};

/** A colour for a name, the same wherever it is shown. @param {string} name */
function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 3600;
  return sum / 10;
}

/** @param {string} tag @param {string} className @param {string} text */
function node(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  // Never as markup: it comes from anybody.
  made.textContent = text;
  return made;
}

/** @type {{nick: string | null, time: number} | undefined} The last message shown. */
let latest;

/** @param {import('./client.js').Message} said */
function item(said) {
  const time = new Date(said.time);
  const again = latest && latest.nick === said.nick && time.getTime() - latest.time < TOGETHER_MS;
  latest = { nick: said.nick, time: time.getTime() };
  const made = node('li', again ? 'message again' : 'message', '');
  const name = node('bdi', said.nick ? 'nick' : 'nick nobody', said.nick ?? 'anonymous');
  if (said.nick) name.style.setProperty('--hue', String(hue(said.nick)));
  const when = document.createElement('time');
  when.dateTime = said.time;
  when.title = time.toLocaleString();
  when.textContent = time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  made.append(name, when, node('p', 'text', said.message));
  return made;
}

/** Shows what came, and stays at the end if the reader was there. */
function show(/** @type {import('./client.js').Message[]} */ messages, { missed = false } = {}) {
  const { scrollTop, scrollHeight, clientHeight } = conversation;
  const atEnd = scrollHeight - scrollTop - clientHeight < 40;
  if (missed) {
    latest = undefined;
    conversation.append(node('li', 'gap', 'some messages were missed here'));
  }
  conversation.append(...messages.map(item));
  while (conversation.childElementCount > SHOWN_MAX) conversation.firstElementChild?.remove();
  if (atEnd) conversation.scrollTop = conversation.scrollHeight;
}

/** @type {{fields: string, key: string} | undefined} What could not be sent: sent again, it keeps its key. */
let unsent;
let sending = false;

async function send() {
  const text = message.value;
  if (sending || text === '') return;
  sending = true;
  button.setAttribute('aria-disabled', 'true');
  problem.textContent = '';
  memory.nick = nick.value;
  const fields = JSON.stringify([nick.value, text]);
  if (unsent?.fields !== fields) unsent = { fields, key: newKey() };
  try {
    await publish({ base, channel, nick: nick.value, message: text, key: unsent.key });
    unsent = undefined;
    // What was typed meanwhile stays.
    if (message.value === text) message.value = '';
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    problem.textContent = `Not sent: ${reason}. Your message is still here; send it again.`;
  } finally {
    sending = false;
    button.removeAttribute('aria-disabled');
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});

let composedAt = -Infinity;
message.addEventListener('compositionend', (event) => {
  composedAt = event.timeStamp;
});
message.addEventListener('keydown', (event) => {
  const composing = event.isComposing || event.keyCode === 229 || event.timeStamp - composedAt < COMPOSED_MS;
  if (event.key !== 'Enter' || event.shiftKey || composing) return;
  event.preventDefault();
  if (!event.repeat) send();
});

element('channel', HTMLElement).textContent = channel;
document.title = `linger #${channel}`;
nick.value = memory.nick;
(nick.value ? message : nick).focus();

subscribe({
  base,
  channel,
  last: 50,
  onMessages: show,
  onState(now) {
    state.dataset.state = now.state;
    state.textContent = {
      connecting: () => 'connecting',
      live: () => 'live',
      retrying: () => `reconnecting in ${now.in} s: ${now.reason}`,
      stopped: () => `stopped: ${now.reason}`,
    }[now.state]();
  },
});
