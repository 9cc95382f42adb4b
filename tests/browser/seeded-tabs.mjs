// What a browser gives to tabs that share a poll, as a seed says: locks, and words between tabs that are late or lost.

/** Puts a browser in place whose time is a clock's, and gives back what undoes it. */
export function startTabs(clock, random) {
  const before = {};
  const names = ['document', 'navigator', 'BroadcastChannel', 'setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'];
  for (const name of names) before[name] = Object.getOwnPropertyDescriptor(globalThis, name);
  const set = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  set('document', { visibilityState: 'visible', addEventListener() {} });
  set('navigator', { locks: new Locks(), onLine: true });
  set('BroadcastChannel', channels(clock, random));
  set('setInterval', (call, ms) => {
    const interval = {};
    const ring = () => {
      interval.timer = clock.setTimeout(ring, ms);
      call();
    };
    interval.timer = clock.setTimeout(ring, ms);
    return interval;
  });
  set('clearInterval', (interval) => clock.clearTimeout(interval?.timer));
  set('setTimeout', (call, ms, ...given) => clock.setTimeout(() => call(...given), ms));
  set('clearTimeout', (timer) => clock.clearTimeout(timer));
  return () => {
    for (const name of names) {
      if (before[name]) Object.defineProperty(globalThis, name, before[name]);
      else delete globalThis[name];
    }
  };
}

/** Web Locks, as far as the client uses them: one holder for each name, a line, and stealing. */
class Locks {
  #held = new Map();
  #waiting = new Map();

  request(name, { signal, steal }, hold) {
    return new Promise((resolve, reject) => {
      const wish = { hold, resolve, reject };
      const line = this.#waiting.get(name) ?? [];
      this.#waiting.set(name, line);
      signal?.addEventListener('abort', () => {
        const at = line.indexOf(wish);
        if (at >= 0) line.splice(at, 1);
        if (at >= 0) reject(new DOMException('aborted', 'AbortError'));
      });
      if (steal) {
        this.#held.get(name)?.reject(new DOMException('stolen', 'AbortError'));
        this.#held.delete(name);
        line.unshift(wish);
      } else {
        line.push(wish);
      }
      queueMicrotask(() => this.#grant(name));
    });
  }

  #grant(name) {
    const line = this.#waiting.get(name);
    if (this.#held.has(name) || line.length === 0) return;
    const wish = line.shift();
    this.#held.set(name, wish);
    wish.hold().then(() => {
      if (this.#held.get(name) === wish) this.#held.delete(name);
      wish.resolve();
      this.#grant(name);
    });
  }
}

/** Channels between tabs, whose words come late, and now and then not at all. */
function channels(clock, random) {
  const open = new Set();
  return class {
    constructor(name) {
      this.name = name;
      this.due = 0;
      open.add(this);
    }

    postMessage(data) {
      const copy = structuredClone(data);
      for (const other of open) {
        if (other === this || other.name !== this.name || random(30) === 0) continue;
        // In the order in which they were said.
        other.due = Math.max(other.due, clock.now() + random(20));
        clock.setTimeout(() => open.has(other) && other.onmessage?.({ data: copy }), other.due - clock.now());
      }
    }

    close() {
      open.delete(this);
    }
  };
}
