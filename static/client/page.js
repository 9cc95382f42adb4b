// The events of a page that matter to its polls. Outside a browser there is only one: the machine has slept.

/** A page that is hidden for this long rests. */
const REST_AFTER_MS = 30_000;

/** A timer is set to the first. If it comes later by the second, the machine has slept. */
const TICK_MS = 5_000;
const SLEPT_MS = 10_000;

/**
 * Watches the page, and calls `onChange` when it
 * - is `shown`, or is `resting` because it has been hidden for long;
 * - was `woken` by the end of a rest or of a sleep, or by a change of networks: connections may be dead, or possible again;
 * - is `gone`, which is frozen or left, or comes `back`, for instance out of the back-forward cache.
 *
 * @param {import('./types.js').Clock} clock
 * @param {(change: 'shown' | 'resting' | 'woken' | 'gone' | 'back') => void} onChange
 */
export function watchPage(clock, onChange) {
  const over = new AbortController();
  const visible = () => globalThis.document?.visibilityState !== 'hidden';
  const page = { resting: false, gone: false, dismiss };
  // The clock that can't be set back may stop while the machine sleeps.
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
    // Browsers delay the timers of a hidden page.
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
  // A frozen page still answers other tabs, but can fetch nothing.
  on(globalThis.document, 'freeze', becomes(true));
  on(globalThis.document, 'resume', becomes(false));
  if (!visible()) visibilityChanged();
  ticking();
  return page;
}
