// Where one writes: name, text, and when Enter sends.

/** @import { Outbox } from './outbox.js' */

import { element } from './dom.js';
import { read, write } from './memory.js';
import { checkNick, checkText } from './words.js';

/** Safari fires the Enter that ended a composition just after the composition. */
const COMPOSED_MS = 50;

/**
 * @param {Outbox} outbox
 * @returns {(stopped: boolean) => void} to be told whether nothing can be read: then nothing can be said
 */
export function startComposer(outbox) {
  let stopped = false;
  const nick = element('nick', HTMLInputElement);
  const message = element('message', HTMLTextAreaElement);
  const problem = element('problem', HTMLParagraphElement);
  const send = element('send', HTMLButtonElement);

  /** Shows what is wrong, and says whether it can be sent. */
  function check() {
    const text = checkText(message.value);
    const name = checkNick(nick.value);
    const says = name || text.says || (stopped ? 'The chat has stopped. What you write stays here.' : '');
    if (problem.textContent !== says) problem.textContent = says;
    problem.classList.toggle('wrong', text.wrong || name !== '');
    nick.setAttribute('aria-invalid', String(name !== ''));
    message.setAttribute('aria-invalid', String(text.wrong && text.says !== ''));
    const sendable = !text.wrong && name === '' && !stopped;
    send.setAttribute('aria-disabled', String(!sendable));
    return sendable;
  }

  function say() {
    if (!check()) return;
    write('localStorage', 'linger nick', nick.value);
    outbox.say(nick.value, message.value);
    message.value = '';
    check();
    message.focus();
  }

  outbox.edit = (text) => {
    message.value = message.value === '' ? text : `${text}\n${message.value}`;
    check();
    message.focus();
  };

  element('form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    say();
  });
  for (const field of [nick, message]) field.addEventListener('input', check);
  // What was written here before may be back.
  addEventListener('pageshow', check);

  let composedAt = -Infinity;
  message.addEventListener('compositionend', ({ timeStamp }) => {
    composedAt = timeStamp;
  });
  message.addEventListener('keydown', (event) => {
    const composing = event.isComposing || event.keyCode === 229 || event.timeStamp - composedAt < COMPOSED_MS;
    if (event.key !== 'Enter' || event.shiftKey || composing) return;
    event.preventDefault();
    if (!event.repeat) say();
  });

  nick.value = String(read('localStorage', 'linger nick') ?? '');
  check();
  // On a phone that would bring up its keyboard, over what one came to read.
  if (matchMedia('(pointer: fine)').matches) (nick.value ? message : nick).focus();
  return (now) => {
    stopped = now;
    check();
  };
}
