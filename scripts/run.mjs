// `npm start` and `npm test`: install what is missing, build what is stale, then go on under the checkout's own Node 24.
// Plain JavaScript, because it starts on whatever Node the machine has.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = join(root, 'node_modules/node/bin/node');
const bin = join(root, 'node_modules/.bin');

const verbs = {
  start: ['bin/maverick.mjs', 'serve', '--first-run'],
  test: ['scripts/check.ts'],
  build: null,
};
const [verb = 'start', ...rest] = process.argv.slice(2);
if (!(verb in verbs)) {
  console.error(`run.mjs: unknown verb '${verb}'; expected ${Object.keys(verbs).join(', ')}.`);
  process.exit(2);
}

/** Runs a program of the checkout to its end, and ends with it if it fails. Who ends this process ends the program. */
async function run(command, args) {
  const program = spawn(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: bin + delimiter + process.env.PATH },
    shell: process.platform === 'win32',
  });
  const pass = signal => program.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, pass);
  const [code, signal] = await once(program, 'exit');
  for (const name of ['SIGINT', 'SIGTERM']) process.off(name, pass);
  if (code !== 0) process.exit(code ?? 128 + constants.signals[signal]);
}

const installed = join(root, 'node_modules/.package-lock.json');
const lock = join(root, 'package-lock.json');
if (!existsSync(installed) || !existsSync(node) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  console.log('Installing dependencies (npm ci) …');
  await run('npm', ['ci', '--no-audit', '--no-fund']);
}
await run(node, ['scripts/build.ts']);
if (verbs[verb]) await run(node, [...verbs[verb], ...rest]);
