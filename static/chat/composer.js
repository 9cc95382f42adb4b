// Where one writes: name, text, and when Enter sends. What was not sent yet is kept for each channel.

/** @import { Channel } from './channel.js' */

import { givenName, may, mine } from './access.js';
import { element, made } from './dom.js';
import { readText, write } from './memory.js';
import { face } from './message.js';
import { checkNick, checkText } from './words.js';

/** Safari fires the Enter that ended a composition just after the composition. */
const COMPOSED_MS = 50;

const NAME = mine('linger nick');

/** Where it is kept what was written for a channel. @param {Channel} channel */
const draft = ({ name }) => mine(`linger draft ${name}`);

export class Composer {
  /** @type {Channel | undefined} */
  channel;
  form = element('form', HTMLFormElement);
  nick = element('nick', HTMLInputElement);
  me = element('me', HTMLButtonElement);
  message = element('message', HTMLTextAreaElement);
  problem = element('problem', HTMLParagraphElement);
  send = element('send', HTMLButtonElement);
  /** The name, once it was entered. */
  name = '';

  /** @param {() => void} said something was said */
  constructor(said) {
    this.said = said;
    this.nick.value = readText('sessionStorage', NAME) ?? readText('localStorage', NAME) ?? '';
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.say();
    });
    this.message.addEventListener('input', () => this.check());
    // What was written here before may be back.
    addEventListener('pageshow', () => this.check());
    this.watchName();
    this.watchEnter();
    this.called();
  }

  watchName() {
    this.me.addEventListener('click', () => {
      this.rename(true);
      this.nick.focus();
      this.nick.select();
    });
    this.nick.addEventListener('input', () => this.check());
    this.nick.addEventListener('blur', () => this.called());
    this.nick.addEventListener('keydown', (event) => {
      if (event.isComposing || (event.key !== 'Enter' && event.key !== 'Escape')) return;
      event.preventDefault();
      if (event.key === 'Escape') this.nick.value = this.name;
      if (this.called()) this.message.focus();
    });
  }

  watchEnter() {
    const { message } = this;
    let composedAt = -Infinity;
    message.addEventListener('compositionend', ({ timeStamp }) => {
      composedAt = timeStamp;
    });
    message.addEventListener('keydown', (event) => {
      const composing = event.isComposing || event.keyCode === 229 || event.timeStamp - composedAt < COMPOSED_MS;
      if (event.key !== 'Enter' || event.shiftKey || composing) return;
      event.preventDefault();
      if (!event.repeat) this.say();
    });
  }

  /** Takes the name that was entered, and remembers it; whether it can be one. */
  called() {
    this.nick.value = this.nick.value.trim();
    if (!this.check(true)) return false;
    const { value } = this.nick;
    if (value !== this.name && givenName() === undefined) {
      write('sessionStorage', NAME, value);
      write('localStorage', NAME, value);
    }
    this.name = value;
    this.me.replaceChildren(face(value || null), made('bdi', '', value || 'Name'));
    this.me.classList.toggle('named', value !== '');
    this.me.title = value ? `Your name: ${value}` : 'Enter your name';
    // A name that comes with the token stays.
    this.me.disabled = givenName() !== undefined;
    // Where there is room, one is asked for a name; on a phone the text comes first.
    this.rename(value === '' && matchMedia('(min-width: 48.01rem)').matches);
    return true;
  }

  /** @param {boolean} naming */
  rename(naming) {
    this.form.classList.toggle('naming', naming);
    this.me.hidden = naming;
    this.nick.hidden = !naming;
  }

  /** Shows what is wrong, and says whether it can be sent. @param {boolean} [nameOnly] */
  check(nameOnly = false) {
    const text = checkText(this.message.value);
    const name = checkNick(this.nick.value.trim());
    const stopped = this.channel?.state.state === 'stopped';
    const reads = this.channel !== undefined && !may('publish', this.channel.name);
    this.form.classList.toggle('reading', reads);
    const lost = stopped ? 'The chat has stopped. What you write stays here.' : '';
    const says = reads ? 'You can read this channel, but not write in it.' : name || text.says || lost;
    if (this.problem.textContent !== says) this.problem.textContent = says;
    this.problem.classList.toggle('wrong', !reads && (text.wrong || name !== ''));
    this.nick.setAttribute('aria-invalid', String(name !== ''));
    this.message.setAttribute('aria-invalid', String(text.wrong && text.says !== ''));
    const sendable = !text.wrong && name === '' && !stopped && !reads;
    this.send.setAttribute('aria-disabled', String(!sendable));
    this.keep();
    return nameOnly ? name === '' : sendable;
  }

  keep() {
    if (this.channel) write('sessionStorage', draft(this.channel), this.message.value);
  }

  say() {
    if (!this.called() || !this.check() || !this.channel) return;
    this.channel.outbox.say(this.name, this.message.value);
    this.message.value = '';
    this.check();
    this.said();
    this.message.focus();
  }

  /** What the token says is known, or is about another channel. */
  known() {
    const name = this.channel?.name;
    this.form.hidden = name === undefined || !(may('publish', name) || may('subscribe', name));
    const given = givenName();
    // Else whoever is just typing a name goes on.
    if (given !== undefined) {
      this.nick.value = given;
      this.called();
    }
    this.check();
  }

  /** Writes for another channel, where one left off. @param {Channel | undefined} channel */
  open(channel) {
    this.keep();
    this.channel = channel;
    this.message.value = (channel && readText('sessionStorage', draft(channel))) ?? '';
    this.known();
    if (!channel) return;
    this.message.placeholder = `Message #${channel.name}`;
    channel.outbox.edit = (text) => {
      this.message.value = this.message.value === '' ? text : `${text}\n${this.message.value}`;
      this.check();
      this.message.focus();
    };
    this.check();
    // On a phone that would bring up its keyboard, over what one came to read.
    if (matchMedia('(pointer: fine)').matches) (this.nick.hidden ? this.message : this.nick).focus();
  }
}
