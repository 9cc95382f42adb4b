// The dialog in which one shares this channel, or goes to another.

import { newKey } from '../client.js';
import { element } from './dom.js';

const CHANNEL = /^[A-Za-z0-9._-]{1,64}$/;

/** @param {string} channel */
export function startChannels(channel) {
  const dialog = element('channels', HTMLDialogElement);
  const link = element('link', HTMLInputElement);
  const copy = element('copy', HTMLButtonElement);
  const name = element('name', HTMLInputElement);
  const problem = element('name-problem', HTMLParagraphElement);

  /** @param {string} wanted */
  const address = (wanted) => {
    const url = new URL(location.href);
    url.searchParams.set('channel', wanted);
    url.hash = '';
    return url.href;
  };

  /** @param {string} wanted */
  const go = (wanted) => {
    // Whoever comes back here has done with it.
    dialog.close();
    location.href = address(wanted);
  };

  element('channels-open', HTMLButtonElement).addEventListener('click', () => {
    link.value = address(channel);
    copy.textContent = 'Copy';
    problem.textContent = '';
    dialog.showModal();
    name.focus();
  });
  element('channels-close', HTMLButtonElement).addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close());

  copy.addEventListener('click', async () => {
    link.select();
    try {
      await navigator.clipboard.writeText(link.value);
      copy.textContent = 'Copied';
    } catch {
      // Over plain HTTP there is no clipboard; but the link is selected.
      copy.textContent = 'Now press Ctrl+C';
    }
  });

  element('go', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = name.value.trim().replace(/^#\s*/, '');
    if (CHANNEL.test(wanted)) {
      go(wanted);
      return;
    }
    problem.textContent = 'A channel has 1 to 64 letters, digits, dots, hyphens and underscores, without accents.';
    name.setAttribute('aria-invalid', 'true');
    name.focus();
  });

  name.addEventListener('input', () => {
    problem.textContent = '';
    name.removeAttribute('aria-invalid');
  });

  // A name that nobody guesses. It is no secret from whoever has the link.
  element('new-channel', HTMLButtonElement).addEventListener('click', () => {
    go(newKey().slice(0, 12));
  });
}
