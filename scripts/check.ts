// `npm test`: formatting and lint, types, then the tests. Arguments go to the test runner (`npm test -- src/tokenizer`).
import { spawnSync } from 'node:child_process';

const filters = process.argv.slice(2);
const steps: [string, string[]][] = filters.length
  ? [['vitest', ['run', ...filters]]]
  : [
      ['biome', ['check', '--error-on-warnings']],
      ['tsc', ['--noEmit', '-p', 'tsconfig.json']],
      ['vitest', ['run']],
    ];
for (const [command, args] of steps) {
  console.log(`\n> ${command} ${args.join(' ')}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
