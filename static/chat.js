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

/** So much of what was said is there when one joins. */
const JOIN_WITH = 50;

const channel = new URLSearchParams(location.search).get('channel') || 'lobby';
element('channel', HTMLElement).textContent = channel;

const nick = element('nick', HTMLInputElement);
const conversation = new Conversation(base, channel, new Own(channel, () => nick.value));
const outbox = new Outbox(base, channel, conversation);
startComposer(outbox);
startChannels(channel);

subscribe({
  ...{ base, channel, last: JOIN_WITH },
  onState(now) {
    showState(now);
    if (now.state === 'live') outbox.retry('unsure');
    // Where nothing can be read, nothing can be said.
    element('form', HTMLFormElement).inert = now.state === 'stopped';
  },
  onMessages(messages, { missed }) {
    if (missed) outbox.missed();
    conversation.append(messages, missed, (message) => outbox.wrote(message));
  },
});
