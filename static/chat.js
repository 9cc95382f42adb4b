// The chat: it shows people their channels, and they publish in it.

/** @import { Channel, World } from './chat/channel.js' */

import { onToken } from './chat/access.js';
import { count, startNotifying } from './chat/attention.js';
import { Channels } from './chat/channels.js';
import { Composer } from './chat/composer.js';
import { Conversation } from './chat/conversation.js';
import { element } from './chat/dom.js';
import { List, address } from './chat/list.js';
import { noChannel, startSharing, welcome } from './chat/share.js';
import { showNoState, showState } from './chat/state.js';
import { startSwitcher } from './chat/switcher.js';
import { isChannelName } from './chat/words.js';

/** The channel in the address. */
const named = () => new URLSearchParams(location.search).get('channel') || 'lobby';

const composer = new Composer(() => conversation.goToEnd());
const conversation = new Conversation((channel) => welcome(channel.name));
const notify = startNotifying(go);

/** @type {World} */
const world = {
  nick: () => composer.name,
  came(channel, entries, first) {
    conversation.came(channel, entries, first);
    if (!first) notify(channel, entries);
  },
  counted(channel) {
    channels.counted(channel);
    conversation.look();
    show();
  },
  seen: (channel) => channels.seen(channel),
  told(channel) {
    if (channel !== channels.open) return;
    showState(channel.state);
    composer.check();
  },
  marked: (channel, entry) => conversation.mark(channel, entry),
};

const channels = new Channels(world, show);
const list = new List(channels, go, leave);

function show() {
  list.draw();
  count(channels.unread, channels.open?.name ?? named());
}

/** Opens the channel in the address. */
function open() {
  const name = named();
  const channel = isChannelName(name) ? channels.join(name) : undefined;
  channels.open = channel;
  if (list.shown) list.show(false);
  element('channel', HTMLElement).textContent = name;
  element('share-open', HTMLButtonElement).hidden = !channel;
  composer.open(channel);
  conversation.open(channel, ...(channel ? [] : noChannel(name)));
  if (channel) showState(channel.state);
  else showNoState();
  show();
}

/** @param {string} name */
function go(name) {
  if (name !== channels.open?.name) history.pushState(null, '', address(name));
  open();
}

/** @param {string} name */
function leave(name) {
  const [next] = channels.sorted.filter((channel) => channel.name !== name);
  const wasOpen = name === channels.open?.name;
  channels.leave(name);
  if (wasOpen) go(next?.name ?? 'lobby');
}

/** The next channel in the list, or the one before. @param {number} by */
function step(by) {
  const { sorted } = channels;
  const at = sorted.findIndex((channel) => channel === channels.open);
  const next = sorted[(at + by + sorted.length) % sorted.length];
  if (next) go(next.name);
}

addEventListener('popstate', open);
addEventListener('keydown', (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey || !['ArrowUp', 'ArrowDown'].includes(event.key)) return;
  event.preventDefault();
  step(event.key === 'ArrowDown' ? 1 : -1);
});
element('retry', HTMLButtonElement).addEventListener('click', () => channels.open?.retry());

startSharing(() => channels.open?.name ?? 'lobby', leave);
startSwitcher(channels, go);
onToken(() => composer.known());
channels.begin();
open();
