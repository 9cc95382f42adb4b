// The dialog in which one shares this channel, or goes to another.

import { newKey } from '../client.js';
import { element } from './dom.js';

const CHANNEL = /^[A-Za-z0-9._-]{1,64}$/;

/** A clipboard that says nothing for so long says nothing at all: a browser may be asking its user. */
const COPIED_MS = 1000;

/** @param {string} channel */
export function startChannels(channel) {
  // By its tag: a browser without dialogs has no such class.
  const dialog = /** @type {HTMLDialogElement} */ (element('channels', HTMLElement));
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

  const close = () => (dialog.close ? dialog.close() : dialog.removeAttribute('open'));

  /** @param {string} wanted */
  const go = (wanted) => {
    // Whoever comes back here has done with it.
    close();
    location.href = address(wanted);
  };

  element('channels-open', HTMLButtonElement).addEventListener('click', () => {
    link.value = address(channel);
    copy.textContent = 'Copy';
    problem.textContent = '';
    // Firefox before 98 and Safari before 15.4 have none; there it is part of the page.
    if (dialog.showModal) dialog.showModal();
    else dialog.setAttribute('open', '');
    name.focus();
  });
  element('channels-close', HTMLButtonElement).addEventListener('click', close);
  dialog.addEventListener('click', ({ target }) => target === dialog && close());

  copy.addEventListener('click', async () => {
    link.select();
    // Over plain HTTP there is no clipboard; but the link is selected.
    const failed = () => (copy.textContent = 'Now press Ctrl+C');
    const timer = setTimeout(failed, COPIED_MS);
    try {
      await navigator.clipboard.writeText(link.value);
      copy.textContent = 'Copied';
    } catch {
      failed();
    }
    clearTimeout(timer);
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
