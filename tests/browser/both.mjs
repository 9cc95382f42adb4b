// Chromium and Firefox, driven by one tool, and the chat in them. Whatever is said here of a page holds for both.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { args, executablePath, until } from './support.mjs';

/** Each starts a browser; a `blocked` one has its cookies blocked, and so lets no page keep anything. */
export const browsers = {
  async Chromium(blocked = false) {
    const userDataDir = await mkdtemp(join(tmpdir(), 'linger-chromium-'));
    const settings = { profile: { default_content_setting_values: { cookies: blocked ? 2 : 1 } } };
    await mkdir(join(userDataDir, 'Default'));
    await writeFile(join(userDataDir, 'Default', 'Preferences'), JSON.stringify(settings));
    const browser = await puppeteer.launch({ executablePath, args, userDataDir });
    browser.process().once('exit', () => rm(userDataDir, { recursive: true, force: true, maxRetries: 5 }));
    return browser;
  },

  Firefox(blocked = false) {
    return puppeteer.launch({
      browser: 'firefox',
      executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
      extraPrefsFirefox: {
        // Tabs behind others are no slower, and none waits for another to load.
        'dom.min_background_timeout_value': 4,
        'dom.timeout.enable_budget_timer_throttling': false,
        ...(blocked ? { 'network.cookie.cookieBehavior': 2 } : {}),
      },
    });
  },
};

let turn = Promise.resolve();

/** Opens or closes a tab, when no other is being opened or closed: Firefox can't do both at once. */
export function inTurn(act) {
  turn = turn.then(act, act);
  return turn;
}

/** Opens the chat, having run `first` in the page before anything of it. What it complains of stands in `complaints`. */
export async function openChat(context, address, first, argument) {
  const page = await inTurn(() => context.newPage());
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(error.message));
  if (first) await page.evaluateOnNewDocument(first, argument);
  await page.goto(address);
  await hasState(page, 'live');
  return page;
}

const textOf = (selector) => (page) => page.evaluate((selector) => document.querySelector(selector).textContent, selector);

/** What the page says of its connection, in words. */
export const told = textOf('#told');

export async function hasState(page, wanted, limit = 30_000) {
  const state = () => page.evaluate(() => document.querySelector('#state')?.dataset.state);
  await until(`its state is ${wanted}`, async () => (await state()) === wanted, limit);
}

export async function shows(page, ...wanted) {
  const shown = () => page.evaluate(() => JSON.stringify([...document.querySelectorAll('#conversation .text')].map((node) => node.textContent)));
  await until(`the page shows ${wanted}`, async () => (await shown()) === JSON.stringify(wanted), 30_000);
}

export async function say(page, text) {
  await page.evaluate((text) => {
    const message = document.querySelector('#message');
    message.value = text;
    message.dispatchEvent(new Event('input', { bubbles: true }));
    message.form.requestSubmit();
  }, text);
}
