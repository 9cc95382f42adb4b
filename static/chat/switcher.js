// Finding a channel among many, and joining one by its name or link.

/** @import { Channels } from './channels.js' */

import { newKey } from '../client.js';
import { closeDialog, element, made, openDialog } from './dom.js';
import { badge } from './list.js';
import { NAME_RULE, channelName, isChannelName } from './words.js';

/** @param {string} text a link to a channel, or its name */
function wantedName(text) {
  try {
    const { protocol, searchParams } = new URL(text.trim());
    if (/^http/.test(protocol)) return searchParams.get('channel') ?? 'lobby';
  } catch {
    // Then it is a name.
  }
  return text.trim().replace(/^#\s*/, '');
}

/** @param {Channels} channels @param {(name: string) => void} go */
export function startSwitcher(channels, go) {
  const dialog = element('switch', HTMLElement);
  const input = element('name', HTMLInputElement);
  const found = element('found', HTMLUListElement);
  let selected = 0;

  /** @param {string} name */
  function choose(name) {
    closeDialog(dialog);
    go(name);
  }

  /** @param {string} name @param {string} sign @param {string | Node} label @param {...Node} more */
  function option(name, sign, label, ...more) {
    const mark = made('span', 'sign', sign);
    mark.setAttribute('aria-hidden', 'true');
    const item = made('li', '', mark, typeof label === 'string' ? made('bdi', '', label) : label, ...more);
    item.id = `found-${found.children.length}`;
    item.setAttribute('role', 'option');
    item.addEventListener('click', () => choose(name));
    item.dataset.name = name;
    found.append(item);
  }

  function draw() {
    const wanted = wantedName(input.value);
    const [cleaned, plain] = [channelName(wanted), wanted.toLowerCase()];
    const { sorted, joined, open } = channels;
    const rank = (/** @type {string} */ name) => (name.toLowerCase().startsWith(plain) ? 0 : 1);
    const fitting = sorted.filter((channel) => channel.name.toLowerCase().includes(plain));
    const others = plain ? fitting : fitting.filter((channel) => channel !== open);
    if (plain) others.sort((one, other) => rank(one.name) - rank(other.name));
    else others.sort((one, other) => Number(other.unread > 0) - Number(one.unread > 0));
    found.replaceChildren();
    for (const channel of others) option(channel.name, '#', channel.name, ...(channel.unread > 0 ? [badge(channel)] : []));
    if (!wanted) option(newKey().slice(0, 12), '+', 'New channel that nobody guesses');
    else if (isChannelName(wanted) && !joined.has(wanted)) option(wanted, '+', `Join ${wanted}`);
    else if (cleaned && !joined.has(cleaned)) option(cleaned, '+', `Join ${cleaned}`);
    if (wanted && !isChannelName(wanted)) {
      const note = made('li', 'note', `A name has ${NAME_RULE}.`);
      note.setAttribute('role', 'option');
      note.setAttribute('aria-disabled', 'true');
      found.append(note);
    }
    // A name that is typed in full is meant.
    selected = Math.max(0, others.findIndex(({ name }) => name === wanted));
    // An accidental Enter makes no new channel.
    if (wanted || others.length > 0) select(0);
    else input.removeAttribute('aria-activedescendant');
  }

  /** @param {number} by */
  function select(by) {
    const items = [...found.querySelectorAll('[data-name]')];
    if (items.length === 0) return input.removeAttribute('aria-activedescendant');
    selected = (selected + by + items.length) % items.length;
    for (const [index, item] of items.entries()) item.setAttribute('aria-selected', String(index === selected));
    items[selected].scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', items[selected].id);
  }

  function show() {
    input.value = '';
    draw();
    openDialog(dialog);
    input.focus();
  }

  input.addEventListener('input', draw);
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    select(event.key === 'ArrowDown' ? 1 : -1);
  });
  element('go', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const item = found.querySelector('[aria-selected="true"]');
    if (item instanceof HTMLElement && item.dataset.name) choose(item.dataset.name);
  });
  element('switch-open', HTMLButtonElement).addEventListener('click', show);
  element('switch-close', HTMLButtonElement).addEventListener('click', () => closeDialog(dialog));
  dialog.addEventListener('click', ({ target }) => target === dialog && closeDialog(dialog));
  addEventListener('keydown', (event) => {
    if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    if (!dialog.hasAttribute('open')) show();
  });
  if (/Mac|iPhone|iPad/.test(navigator.platform)) element('switch-keys', HTMLElement).textContent = '⌘ K';
}
