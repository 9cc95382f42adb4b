// The state of the connection, in words.

/** @import { State } from '../client/types.js' */

import { readable, where } from './access.js';
import { element } from './dom.js';

const shown = element('state', HTMLParagraphElement);
const told = element('told', HTMLParagraphElement);
const trouble = element('trouble', HTMLElement);
const retry = element('retry', HTMLButtonElement);

/** Counts the seconds down. @type {ReturnType<typeof setInterval> | undefined} */
let countdown;

/** What the button does, depending on the state. @type {Record<string, string>} */
const ACTIONS = { retrying: 'Try now', offline: 'Try now', stopped: 'Start again' };

/** There is no connection. */
export function showNoState() {
  clearInterval(countdown);
  shown.hidden = true;
  told.textContent = '';
  trouble.classList.add('unseen');
}

/** @param {State} now */
export function showState(now) {
  clearInterval(countdown);
  shown.hidden = false;
  const { brief, whole } = words(now);
  shown.dataset.state = now.state;
  shown.textContent = brief;
  shown.title = whole;
  // Screen readers read it once, not each second, and not when all is well from the beginning.
  const well = now.state === 'live' || now.state === 'connecting';
  told.textContent = well && told.textContent === '' ? '' : whole;
  trouble.classList.toggle('unseen', well);
  retry.textContent = ACTIONS[now.state] ?? '';
  retry.hidden = retry.textContent === '';
  if (now.state !== 'retrying') return;
  const end = performance.now() + now.in * 1000;
  countdown = setInterval(() => {
    const left = Math.ceil((end - performance.now()) / 1000);
    shown.textContent = left > 0 ? words({ ...now, in: left }).brief : 'Trying again';
  }, 250);
}

/** @param {State} now */
function words(now) {
  switch (now.state) {
    case 'connecting':
      return { brief: 'Connecting', whole: 'Connecting.' };
    case 'live':
      return { brief: 'Live', whole: 'Connected: messages come as they are sent.' };
    case 'missed':
      return { brief: 'Missed some', whole: 'Connected again. Some messages may be missing.' };
    case 'offline':
      return { brief: 'Offline', whole: 'You are offline. The chat goes on by itself when you are back.' };
    case 'retrying':
      if (now.status) {
        const answer = `${now.status} ${now.type ?? ''}`.trim();
        const whole = `Somebody else answers instead of the server: ${answer}. The chat goes on by itself.`;
        return { brief: `Retrying in ${now.in} s`, whole };
      }
      return { brief: `Retrying in ${now.in} s`, whole: `No connection: ${now.reason}. The chat goes on by itself.` };
    case 'stopped':
      return { brief: 'Stopped', whole: stopped(now) };
  }
}

/** Why it has stopped, for somebody who has a link and knows nothing of tokens. @param {{reason: string, code?: string}} now */
function stopped({ reason, code }) {
  const others = readable().map((name) => `#${name}`);
  if (code === 'forbidden') {
    return `Your link does not let you read this channel${others.length > 0 ? `. It is for ${others.join(', ')}` : ''}.`;
  }
  if (code !== 'unauthorized') return `The chat has stopped: ${reason}.`;
  if (!where.token) return 'To read here, you need a link with a token. Ask whoever runs this chat for one.';
  return `Your link is no longer good: ${reason}. Ask whoever gave it to you for a new one.`;
}
