// The chat: what people see of a subscription, and how they publish.

import { startChannels } from './chat/channels.js';
import { startComposer } from './chat/composer.js';
import { Conversation } from './chat/conversation.js';
import { element } from './chat/dom.js';
import { Outbox } from './chat/outbox.js';
import { Own } from './chat/own.js';
import { showState } from './chat/state.js';
import { subscribe } from './client.js';
import { base } from './config.js';

/** @import { State } from './client/types.js' */

/** So much of what was said is there when one joins. */
const JOIN_WITH = 50;

const channel = new URLSearchParams(location.search).get('channel') || 'lobby';
element('channel', HTMLElement).textContent = channel;

const nick = element('nick', HTMLInputElement);
const conversation = new Conversation(base, channel, new Own(channel, () => nick.value));
const outbox = new Outbox(base, channel, conversation);
const showStopped = startComposer(outbox);

/** What runs, or has stopped. @type {{retry: () => void} | undefined} */
let following;
/** Where the conversation stands. @type {string | undefined} */
let cursor;
let stopped = false;

/** @param {State} now @param {boolean} [forGood] */
function onState(now, forGood) {
  stopped = now.state === 'stopped';
  showState(now, forGood);
  showStopped(stopped);
  if (now.state === 'live') outbox.retry('unsure');
}

function start() {
  try {
    following = subscribe({
      ...{ base, channel, cursor, last: JOIN_WITH, onState },
      onMessages(messages, batch) {
        cursor = batch.cursor;
        if (batch.missed) outbox.missed();
        conversation.append(messages, batch.missed, (message) => outbox.wrote(message));
      },
    });
  } catch (error) {
    // What is no channel never becomes one.
    onState({ state: 'stopped', reason: error instanceof Error ? error.message : String(error) }, true);
  }
}

element('retry', HTMLButtonElement).addEventListener('click', () => {
  if (stopped) start();
  else following?.retry();
});
start();
startChannels(channel);
