// What happens to a page that matters to its polls. Outside a browser only sleep does.

/** A page hidden for so long rests. */
const REST_AFTER_MS = 30_000;

/** A timer due each so often that comes so much later shows that the machine has slept. */
const TICK_MS = 5_000;
const SLEPT_MS = 10_000;

/**
 * Watches the page, and tells when it
 * - is `shown`; is `resting`, having been hidden for long;
 * - was `woken`: connections may be dead, or possible again, after a rest, a sleep, or a change of networks;
 * - is `gone`: frozen, or left, maybe into the back-forward cache, out of which it comes `back`.
 *
 * @param {import('./types.js').Clock} clock
 * @param {(change: 'shown' | 'resting' | 'woken' | 'gone' | 'back') => void} onChange
 */
export function watchPage(clock, onChange) {
  const over = new AbortController();
  const visible = () => globalThis.document?.visibilityState !== 'hidden';
  const page = { resting: false, gone: false, dismiss };
  // A clock that can't be set back may stand still while the machine sleeps.
  const time = clock.wall ?? clock.now;
  let ticked = time();
  /** @type {any} */
  let tick;
  /** @type {any} */
  let rest;

  function dismiss() {
    over.abort();
    clock.clearTimeout(tick);
    clock.clearTimeout(rest);
  }

  function visibilityChanged() {
    const rested = page.resting;
    page.resting = false;
    ticked = time();
    clock.clearTimeout(rest);
    if (visible()) {
      onChange('shown');
      if (rested) onChange('woken');
    } else {
      rest = clock.setTimeout(() => {
        page.resting = true;
        onChange('resting');
      }, REST_AFTER_MS);
    }
  }

  function ticking() {
    // The timers of a hidden page are late by themselves.
    const slept = visible() && time() - ticked > TICK_MS + SLEPT_MS;
    ticked = time();
    tick = clock.setTimeout(ticking, TICK_MS);
    if (slept) onChange('woken');
  }

  /** @param {boolean} gone */
  const becomes = (gone) => () => {
    if (page.gone === gone) return;
    page.gone = gone;
    onChange(gone ? 'gone' : 'back');
  };

  /** @param {any} target @param {string} type @param {(event: any) => void} call */
  const on = (target, type, call) => target?.addEventListener?.(type, call, { signal: over.signal });
  const woken = () => onChange('woken');
  on(globalThis.document, 'visibilitychange', visibilityChanged);
  on(globalThis, 'online', woken);
  on(globalThis, 'offline', woken);
  on(globalThis, 'pagehide', becomes(true));
  on(globalThis, 'pageshow', becomes(false));
  // Frozen, it would go on to answer other tabs, but fetch nothing.
  on(globalThis.document, 'freeze', becomes(true));
  on(globalThis.document, 'resume', becomes(false));
  if (!visible()) visibilityChanged();
  ticking();
  return page;
}
