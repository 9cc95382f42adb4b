// Elements, found and made.

/** How long to wait for the clipboard; and how long the result is shown. */
const COPIED_MS = 1000;
const SAID_MS = 2000;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${id}`);
}

/**
 * An element with a text. It is never read as markup, because it may come from anybody.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {...(string | Node)} content
 */
export function made(tag, className, ...content) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...content);
  return node;
}

/** A picture out of those at the beginning of the page. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

/** Opens a dialog. Firefox before 98 and Safari before 15.4 have none; there it is part of the page. @param {any} dialog */
export function openDialog(dialog) {
  if (dialog.showModal) dialog.showModal();
  else dialog.setAttribute('open', '');
}

/** @param {any} dialog */
export function closeDialog(dialog) {
  if (dialog.close) dialog.close();
  else dialog.removeAttribute('open');
}

/**
 * A button that copies a text. Over plain HTTP there is no clipboard, and the button says so.
 *
 * @param {() => string} text
 * @param {string} [label]
 */
export function copyButton(text, label = 'Copy') {
  const copy = button(label, async () => {
    const say = (/** @type {string} */ words) => {
      copy.textContent = words;
      setTimeout(() => (copy.textContent = label), SAID_MS);
    };
    // A browser may take long, because it asks its user.
    const timer = setTimeout(() => say('Select and copy'), COPIED_MS);
    try {
      await navigator.clipboard.writeText(text());
      say('Copied');
    } catch {
      say('Select and copy');
    }
    clearTimeout(timer);
  });
  return copy;
}

/** A button. @param {string} text @param {() => void} call */
export function button(text, call) {
  const node = made('button', '', text);
  node.type = 'button';
  node.addEventListener('click', call);
  return node;
}
