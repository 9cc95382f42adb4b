// The npm package: packed, installed in a new project, and used as people use packages.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { build as bundle } from 'esbuild';
import { build as viteBuild } from 'vite';
import { publish, root, startBrowser, startServer, until } from './support.mjs';

const here = `${root}/tests/browser`;
const run = promisify(execFile);
const tool = (name, ...options) => run(`${here}/node_modules/.bin/${name}`, options, { cwd: project });

let folder;
let project;
let tarball;
let server;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'linger-package-'));
  project = join(folder, 'project');
  await mkdir(project);
  server = await startServer('--allowed-origin', 'http://page.test');
  const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: root });
  tarball = join(folder, stdout.trim().split('\n').at(-1));
  // As it is made by whoever has not thought of anything: of CommonJS.
  await run('npm', ['init', '-y'], { cwd: project });
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', tarball], { cwd: project });
});
after(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

const write = (name, ...lines) => writeFile(join(project, name), `${lines.join('\n')}\n`);

/** Publishes a text in a channel of its own, and prints it when it arrives. */
const roundTrip = (base, text) => [
  `const where = { base: ${JSON.stringify(base)}, channel: 'package' };`,
  `const { id } = await publish({ ...where, message: '${text}' });`,
  'for await (const batch of subscribe({ ...where, last: 1 })) {',
  '  console.log(batch.messages[0].id === id, batch.messages[0].message);',
  '  break;',
  '}',
];

test('it has what a page loads, types, licences and instructions, and nothing else', async () => {
  const { stdout } = await run('tar', ['tzf', tarball]);
  const files = stdout.trim().split('\n').map((file) => file.replace('package/', ''));
  const client = (await readdir(`${root}/static/client`)).map((file) => `static/client/${file}`);
  const types = ['static/client.js', ...client].map((file) => file.replace('static', 'types').replace('.js', '.d.ts'));
  const others = ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'docs/CLIENT.md', 'package.json', 'static/client.js'];
  assert.deepEqual(files.sort(), [...client, ...types, ...others].sort());
});

test('its types are right wherever it is imported, and its package.json is without fault', async () => {
  await tool('attw', tarball, '--profile', 'esm-only');
  const { stdout } = await tool('publint', tarball, '--strict');
  assert.match(stdout, /All good/);
});

test('Node imports and requires it', async () => {
  await write('import.mjs', "import { publish, subscribe } from 'linger-client';", ...roundTrip(server.base, 'imported'));
  const required = roundTrip(server.base, 'required').join('\n');
  await write('require.cjs', "const { publish, subscribe } = require('linger-client');", `(async () => {\n${required}\n})();`);
  for (const [file, said] of [['import.mjs', 'true imported\n'], ['require.cjs', 'true required\n']]) {
    const { stdout } = await run(process.execPath, [file], { cwd: project });
    assert.equal(stdout, said);
  }
});

test('Deno imports it', async () => {
  await write('deno.mjs', "import { publish, subscribe } from 'linger-client';", ...roundTrip(server.base, 'in Deno'));
  const { stdout } = await tool('deno', 'run', '--allow-net', '--node-modules-dir=manual', 'deno.mjs');
  assert.equal(stdout, 'true in Deno\n');
});

test('TypeScript knows its types, and what is wrong', async () => {
  await write(
    'use.ts',
    "import { LingerError, history, newKey, publish, subscribe } from 'linger-client';",
    "export const sent: Promise<{ id: string }> = publish({ channel: 'c', message: 'x', nick: null, key: newKey() });",
    'const following = subscribe({ onMessages: (messages, { cursor }) => console.log(messages[0]?.nick, cursor.length) });',
    'following.retry();',
    'for await (const { messages, missed } of subscribe({ last: 3 })) console.log(messages.length, missed === true);',
    "history({ before: '7-1' }).catch((error) => error instanceof LingerError && error.mayPass);",
    '// @ts-expect-error a number is no message',
    'publish({ message: 5 });',
    '// @ts-expect-error there is no such option',
    'subscribe({ onMessage() {} });',
    '// @ts-expect-error states come with messages',
    'subscribe({ onState() {} });',
    '// @ts-expect-error not this way',
    "publish('news', 'hello');",
  );
  const common = ['--noEmit', '--strict', '--target', 'es2022', '--types', '', '--lib', 'es2023,dom,dom.iterable,dom.asynciterable'];
  for (const [module, resolution] of [['nodenext', 'nodenext'], ['esnext', 'bundler']]) {
    await run('npm', ['pkg', 'set', 'type=module'], { cwd: project });
    await tool('tsc', ...common, '--module', module, '--moduleResolution', resolution, 'use.ts').catch(({ stdout }) => assert.fail(stdout));
  }
  await run('npm', ['pkg', 'set', 'type=commonjs'], { cwd: project });
});

test('esbuild bundles it, and drops what is not used', async () => {
  await write('all.js', "import { publish, subscribe } from 'linger-client';", ...roundTrip(server.base, 'bundled'));
  await write('some.js', "import { publish } from 'linger-client';", "publish({ base: 'http://x.test', message: 'x' });");
  await write('none.js', "import 'linger-client';", 'console.log(1);');
  const sizes = {};
  for (const name of ['all', 'some', 'none']) {
    const outfile = join(project, `${name}.bundle.mjs`);
    await bundle({ entryPoints: [join(project, `${name}.js`)], outfile, bundle: true, minify: true, format: 'esm', logLevel: 'error' });
    sizes[name] = (await readFile(outfile)).length;
  }
  const { stdout } = await run(process.execPath, ['all.bundle.mjs'], { cwd: project });
  assert.equal(stdout, 'true bundled\n');
  assert.ok(sizes.some < sizes.all / 1.5 && sizes.none < 200, JSON.stringify(sizes));
});

test('vite builds a page with it, and the page works', async () => {
  const site = join(project, 'site');
  await mkdir(site);
  await writeFile(join(site, 'index.html'), '<!doctype html><ul></ul><script type="module" src="main.js"></script>');
  await writeFile(join(site, 'main.js'), `import { subscribe } from 'linger-client';
    subscribe({ channel: 'vite', last: 5, onMessages: (messages) => messages.forEach(({ message }) => {
      document.querySelector('ul').appendChild(document.createElement('li')).textContent = message;
    }) });`);
  await viteBuild({ root: site, logLevel: 'error', configFile: false });
  const served = await startServer('--static-dir', join(site, 'dist'));
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    await publish(served.base, 'from vite', { channel: 'vite' });
    await page.goto(served.base);
    await until('it is shown', async () => (await page.locator('li').allTextContents()).join() === 'from vite');
  } finally {
    await Promise.all([browser.close(), served.stop()]);
  }
});
