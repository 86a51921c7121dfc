// `npm start` and `npm test`: install what is missing, build what is stale, then go on under the checkout's own Node 24.
// Plain JavaScript, because it starts on whatever Node the machine has.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = join(root, 'node_modules/node/bin/node');
const bin = join(root, 'node_modules/.bin');

function run(command, args) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: bin + delimiter + process.env.PATH },
    shell: process.platform === 'win32',
  });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const installed = join(root, 'node_modules/.package-lock.json');
const lock = join(root, 'package-lock.json');
if (!existsSync(installed) || !existsSync(node) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  console.log('Installing dependencies (npm ci) …');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}
const link = join(bin, 'maverick');
if (!existsSync(link) && process.platform !== 'win32') {
  mkdirSync(bin, { recursive: true });
  symlinkSync('../../bin/maverick.mjs', link);
}
run(node, ['scripts/build.ts']);

const [verb = 'start', ...rest] = process.argv.slice(2);
if (verb === 'start') run(node, ['bin/maverick.mjs', 'serve', '--first-run', ...rest]);
else if (verb === 'test') run(node, ['scripts/check.ts', ...rest]);
else if (verb !== 'build') {
  console.error(
    `run.mjs: unknown verb '${verb}'; expected start, test or build. See ${JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).name}'s README.`,
  );
  process.exit(2);
}
