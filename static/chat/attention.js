// Calls for attention while the reader looks elsewhere: the title, the icon, and notifications for those who want them.

/** @import { Channel, Entry } from './channel.js' */

import { element } from './dom.js';
import { read, write } from './memory.js';

const WANTED = 'linger notify';

/** @param {number} unread over all channels @param {string} name of the channel that is open */
export function count(unread, name) {
  document.title = `${unread > 0 ? `(${unread}) ` : ''}#${name} · linger`;
  const icon = element('icon', HTMLLinkElement);
  const wanted = unread > 0 ? counted(unread) : 'icon.svg';
  if (icon.getAttribute('href') !== wanted) icon.href = wanted;
}

/** @param {number} unread */
function counted(unread) {
  const text = unread > 9 ? '9+' : `${unread}`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" font-family="sans-serif" font-size="20">
    <rect width="32" height="32" rx="9" fill="#4f46e5"/>
    <text x="16" y="23" font-weight="700" text-anchor="middle" fill="#fff">${text}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** The button that turns notifications on and off. @param {(name: string) => void} go */
export function startNotifying(go) {
  const button = element('notify', HTMLButtonElement);
  const able = 'Notification' in globalThis;
  button.hidden = !able;
  const allowed = () => able && Notification.permission === 'granted' && read('localStorage', WANTED) === true;
  const show = () => {
    button.setAttribute('aria-pressed', String(allowed()));
    button.title = allowed() ? 'Notifications are on' : 'Notify me';
  };
  button.addEventListener('click', async () => {
    const wanted = !allowed();
    const permission = wanted ? await Notification.requestPermission() : 'granted';
    write('localStorage', WANTED, wanted && permission === 'granted');
    show();
    if (permission === 'denied') button.title = 'The browser does not allow notifications of this page';
  });
  show();

  /** @param {Channel} channel @param {Entry[]} entries */
  return (channel, entries) => {
    const others = entries.filter(({ own }) => !own);
    const latest = others[others.length - 1];
    if (!latest || document.visibilityState === 'visible' || !allowed()) return;
    const { nick, message } = latest.message;
    try {
      // All tabs together show one notification for each channel.
      const shown = new Notification(`${nick ?? 'anonymous'} in #${channel.name}`, {
        ...{ body: message.slice(0, 200), tag: `linger ${channel.name}`, icon: 'icon.svg' },
      });
      shown.onclick = () => {
        window.focus();
        go(channel.name);
        shown.close();
      };
    } catch {
      // On Android, a page without a service worker may not show one.
    }
  };
}
