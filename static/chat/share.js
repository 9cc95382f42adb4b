// How others come into a channel: by its link, or from a terminal. And what a channel says in which nothing was said.

import { closeDialog, copyButton, element, made, openDialog } from './dom.js';
import { address } from './list.js';
import { NAME_RULE, channelName } from './words.js';

/** @param {string} base @param {string} name */
function ways(base, name) {
  const api = new URL(`${base}/pub`, document.baseURI).href;
  const texts = {
    'Whoever has this link can read and write here': address(name),
    'From a terminal': `curl -d channel=${name} -d message=hello ${api}`,
  };
  return Object.entries(texts).map(([label, text]) => {
    const code = made('code', '', text);
    code.tabIndex = 0;
    const copy = copyButton(() => text);
    copy.setAttribute('aria-label', `Copy: ${label}`);
    return made('div', 'way', made('p', '', label), made('div', '', code, copy));
  });
}

/** @param {string} base @param {() => string} name of the channel that is open @param {(name: string) => void} leave */
export function startSharing(base, name, leave) {
  const dialog = element('share', HTMLElement);
  element('share-open', HTMLButtonElement).addEventListener('click', () => {
    element('share-title', HTMLHeadingElement).replaceChildren(made('bdi', '', `#${name()}`));
    element('share-ways', HTMLElement).replaceChildren(...ways(base, name()));
    openDialog(dialog);
  });
  element('leave', HTMLButtonElement).addEventListener('click', () => {
    closeDialog(dialog);
    leave(name());
  });
  element('share-close', HTMLButtonElement).addEventListener('click', () => closeDialog(dialog));
  dialog.addEventListener('click', ({ target }) => target === dialog && closeDialog(dialog));
}

/** What an empty channel says. @param {string} base @param {string} name */
export function welcome(base, name) {
  const title = made('h2', '', made('bdi', '', `#${name}`));
  return [title, made('p', '', 'Nothing has been said here yet.'), ...ways(base, name)];
}

/** What is said instead of a channel that can't be one. @param {string} wanted */
export function noChannel(wanted) {
  const cleaned = channelName(wanted);
  const links = [...new Set([cleaned, 'lobby'])].filter(Boolean).map((name, index) => {
    const link = made('a', index === 0 ? 'strong' : '', `Go to #${name}`);
    link.href = address(name);
    return link;
  });
  return [
    made('h2', '', 'No such channel'),
    made('p', '', '“', made('bdi', '', wanted), `” can’t be one: a name has ${NAME_RULE}.`),
    made('div', 'row', ...links),
  ];
}
