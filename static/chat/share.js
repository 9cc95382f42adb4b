// How others get into a channel: by its link, or from a terminal. Also what an empty channel shows.

import { where } from './access.js';
import { closeDialog, copyButton, element, made, openDialog } from './dom.js';
import { address } from './list.js';
import { NAME_RULE, channelName } from './words.js';

/** @param {string} name */
function ways(name) {
  const { base, token } = where;
  const bearer = token ? '-H "Authorization: Bearer $TOKEN" ' : '';
  const api = new URL(`${base}/pub`, document.baseURI).href;
  const texts = {
    [token ? 'The link to this channel, for those who have a token' : 'Whoever has this link can read and write here']:
      address(name),
    'From a terminal': `curl ${bearer}-d channel=${name} -d message=hello ${api}`,
  };
  return Object.entries(texts).map(([label, text]) => {
    const code = made('code', '', text);
    code.tabIndex = 0;
    const copy = copyButton(() => text);
    copy.setAttribute('aria-label', `Copy: ${label}`);
    return made('div', 'way', made('p', '', label), made('div', '', code, copy));
  });
}

/** @param {() => string} name of the channel that is open @param {(name: string) => void} leave */
export function startSharing(name, leave) {
  const dialog = element('share', HTMLElement);
  element('share-open', HTMLButtonElement).addEventListener('click', () => {
    element('share-title', HTMLHeadingElement).replaceChildren(made('bdi', '', `#${name()}`));
    element('share-ways', HTMLElement).replaceChildren(...ways(name()));
    openDialog(dialog);
  });
  element('leave', HTMLButtonElement).addEventListener('click', () => {
    closeDialog(dialog);
    leave(name());
  });
  element('share-close', HTMLButtonElement).addEventListener('click', () => closeDialog(dialog));
  dialog.addEventListener('click', ({ target }) => target === dialog && closeDialog(dialog));
}

/** What an empty channel says. @param {string} name */
export function welcome(name) {
  const title = made('h2', '', made('bdi', '', `#${name}`));
  return [title, made('p', '', 'Nothing has been said here yet.'), ...ways(name)];
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
