// Chromium and Firefox, driven by one tool, and the chat in them. What this file says of a page holds for both.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';
import { args, executablePath, until } from './support.mjs';

/** Each starts a browser. A `blocked` one blocks cookies, so pages can store nothing. */
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
        // Background tabs are as fast as others, and tabs load at the same time.
        'dom.min_background_timeout_value': 4,
        'dom.timeout.enable_budget_timer_throttling': false,
        ...(blocked ? { 'network.cookie.cookieBehavior': 2 } : {}),
      },
    });
  },
};

let turn = Promise.resolve();

/** Opens or closes a tab, one at a time: Firefox can't do two at once. */
export function inTurn(act) {
  turn = turn.then(act, act);
  return turn;
}

/** Opens the chat, and runs `first` in the page before its own scripts. Its errors are in `complaints`. */
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

/** The state of the connection, as the page shows it. */
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
