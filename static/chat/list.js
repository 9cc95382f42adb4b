// The list of channels: beside the conversation, or a sheet over it on a phone.

/** @import { Channel } from './channel.js' */
/** @import { Channels } from './channels.js' */

import { element, icon, made } from './dom.js';

/** Above this, the exact number is not shown. */
const COUNTED_MAX = 99;

/** @param {string} name */
export function address(name) {
  const url = new URL(location.href);
  url.searchParams.set('channel', name);
  url.hash = '';
  return url.href;
}

/** How much is unread, in little room and in words. @param {{unread: number, mentions: number}} counts */
export function badge({ unread, mentions }) {
  const count = unread > COUNTED_MAX ? `${COUNTED_MAX}+` : `${unread}`;
  const node = made('span', 'badge', mentions > 0 ? `@${count}` : count);
  const words = `${count} unread${mentions > 0 ? `, ${mentions} of them with your name` : ''}`;
  node.setAttribute('role', 'img');
  node.setAttribute('aria-label', words);
  return node;
}

export class List {
  /** @type {Map<string, HTMLLIElement>} */
  rows = new Map();

  /** @param {Channels} channels @param {(name: string) => void} go @param {(name: string) => void} leave */
  constructor(channels, go, leave) {
    this.channels = channels;
    this.go = go;
    this.leave = leave;
    this.list = element('list', HTMLUListElement);
    this.elsewhere = element('elsewhere', HTMLElement);
    this.opener = element('side-open', HTMLButtonElement);
    this.side = element('side', HTMLElement);
    this.opener.addEventListener('click', () => this.show(true));
    element('side-close', HTMLButtonElement).addEventListener('click', () => this.show(false));
    element('shade', HTMLElement).addEventListener('click', () => this.show(false));
    addEventListener('keydown', ({ key }) => key === 'Escape' && this.shown && this.show(false));
    // When there is room again, the list is not a sheet.
    matchMedia('(min-width: 48.01rem)').addEventListener('change', () => this.shown && this.show(false));
    // Nothing may move away from under the pointer.
    this.list.addEventListener('pointerleave', () => this.order());
  }

  get shown() {
    return document.body.classList.contains('listing');
  }

  /** The sheet of a phone. @param {boolean} shown */
  show(shown) {
    document.body.classList.toggle('listing', shown);
    this.opener.setAttribute('aria-expanded', String(shown));
    for (const name of ['header', 'main', '#form']) document.querySelector(name)?.toggleAttribute('inert', shown);
    if (shown) this.list.querySelector('a')?.focus();
    else this.opener.focus();
  }

  draw() {
    const { joined, open } = this.channels;
    for (const [name, row] of this.rows) {
      if (joined.has(name)) continue;
      row.remove();
      this.rows.delete(name);
    }
    for (const channel of joined.values()) this.row(channel, channel === open);
    this.order();
    const elsewhere = [...joined.values()].filter((channel) => channel !== open);
    const unread = elsewhere.reduce((sum, channel) => sum + channel.unread, 0);
    const mentions = elsewhere.reduce((sum, channel) => sum + channel.mentions, 0);
    this.elsewhere.hidden = unread === 0;
    this.elsewhere.replaceChildren(badge({ unread, mentions }).textContent ?? '');
    this.opener.setAttribute('aria-label', unread > 0 ? `Channels, ${unread} unread` : 'Channels');
  }

  /** @param {Channel} channel @param {boolean} current */
  row(channel, current) {
    const { name, unread } = channel;
    const row = this.rows.get(name) ?? this.made(name);
    const link = /** @type {HTMLAnchorElement} */ (row.firstElementChild);
    link.classList.toggle('news', unread > 0);
    link.toggleAttribute('aria-current', current);
    if (current) link.setAttribute('aria-current', 'page');
    link.querySelector('.badge')?.remove();
    if (unread > 0) link.append(badge(channel));
  }

  /** @param {string} name */
  made(name) {
    const sign = made('span', 'sign', '#');
    sign.setAttribute('aria-hidden', 'true');
    const link = made('a', '', sign, made('bdi', 'name', name));
    link.href = address(name);
    link.title = name;
    link.addEventListener('click', (event) => {
      // A click that opens another tab does so.
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      this.go(name);
    });
    const leave = made('button', 'leave', icon('close'));
    leave.type = 'button';
    leave.setAttribute('aria-label', `Leave ${name}`);
    leave.title = 'Leave';
    leave.addEventListener('click', () => this.leave(name));
    const row = made('li', '', link, leave);
    this.rows.set(name, row);
    this.list.append(row);
    return row;
  }

  order() {
    if (this.list.matches(':hover')) return;
    const wanted = this.channels.sorted.map(({ name }) => this.rows.get(name));
    const focused = document.activeElement;
    wanted.forEach((row, index) => {
      if (row && this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index]);
    });
    if (focused instanceof HTMLElement && focused !== document.activeElement) focused.focus();
  }
}
