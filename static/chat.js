// The chat: what people see of a subscription, and how they publish.

import { Conversation } from './chat/conversation.js';
import { element } from './chat/dom.js';
import { startChannels } from './chat/channels.js';
import { startComposer } from './chat/composer.js';
import { Outbox } from './chat/outbox.js';
import { showState } from './chat/state.js';
import { subscribe } from './client.js';
import { base } from './config.js';

/** So much of what was said is there when one joins. */
const JOIN_WITH = 50;

const channel = new URLSearchParams(location.search).get('channel') || 'lobby';
element('channel', HTMLElement).textContent = channel;

const conversation = new Conversation(base, channel);
const outbox = new Outbox(base, channel, conversation);
startComposer(outbox);
startChannels(channel);

subscribe({
  ...{ base, channel, last: JOIN_WITH, onState: showState },
  onMessages(messages, { missed }) {
    if (missed) outbox.missed();
    conversation.append(messages, missed, (message) => outbox.wrote(message));
  },
});
