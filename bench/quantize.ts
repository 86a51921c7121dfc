// How fast `maverick quantize` is: in turns with llama.cpp's llama-quantize where it is given, and with a copy that only reads and writes.
// Usage: node bench/quantize.ts MODEL-BF16.gguf [--type Q4_K_M] [--threads 2] [--rounds 3] [--peer .../llama-quantize] [--folder where results go]
// Each run's result is removed. Between runs the source and the result are dropped from the page cache unless --warm.
import { spawnSync } from 'node:child_process';
import { rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../src/checkpoint/open.ts';
import { mixNamed } from '../src/quantize/mixes.ts';
import { type Plan, planQuantization, rangesOf } from '../src/quantize/plan.ts';
import { quantize } from '../src/quantize/quantize.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    type: { type: 'string', default: 'Q4_K_M' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    peer: { type: 'string' },
    folder: { type: 'string' },
    warm: { type: 'boolean' },
  },
});
const model = positionals[0]!;
const type = mixNamed(values.type)!;
const out = join(values.folder ?? dirname(model), `bench-quantize-${process.pid}.gguf`);
const threads = Number(values.threads);

await using source = await openCheckpoint(model);
const plan = planQuantization(source, out, { type });

/** GNU dd lets go of a file's pages when it is told to copy nothing of it without caching. */
const forget = (path: string): void => {
  if (!values.warm) spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
};

/** Reads what quantizing reads and writes as many bytes as it writes, in the same pieces, six at a time, and nothing else. */
async function copy(plan: Plan): Promise<number> {
  const start = performance.now();
  await using file = await open(out, 'w');
  await file.truncate(plan.byteLength);
  const ranges = rangesOf(plan);
  await Promise.all(
    Array.from({ length: 3 * threads }, async () => {
      const bytes = new Uint8Array(32 * 2 ** 20);
      for (const range of ranges) {
        await source.read(range.tensor.from, range.fromOffset, bytes.subarray(0, range.fromBytes));
        await file.write(bytes, 0, range.bytes, range.offset);
      }
    }),
  );
  await file.sync();
  return performance.now() - start;
}

function peer(): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(values.peer!, [model, out, type, String(threads)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return performance.now() - start;
}

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1]!;
const times: Record<string, number[]> = { ours: [], 'ours, then verified': [], copy: [], peer: [] };
const fresh = (): void => {
  rmSync(out, { force: true });
  forget(model);
};
let variant = '';
const rivals = [
  async () => {
    const made = await quantize(source, plan, { threads });
    variant = made.variant;
    times.ours!.push(made.quantizeMs);
    times['ours, then verified']!.push(made.ms);
  },
  async () => void times.copy!.push(await copy(plan)),
  async () => void (values.peer && times.peer!.push(peer())),
];
// The host of a virtual machine keeps what was read, whatever the guest forgets: who comes first changes from round to round.
await copy(plan);
for (let round = 0; round < Number(values.rounds); round++)
  for (let turn = 0; turn < rivals.length; turn++) {
    fresh();
    await rivals[(round + turn) % rivals.length]!();
  }
rmSync(out, { force: true });
const gigabytes = statSync(model).size / 1e9;
console.log(
  `${type}, ${threads} threads, ${variant}, ${gigabytes.toFixed(2)} GB to ${(plan.byteLength / 1e9).toFixed(2)} GB`,
);
const own = median(times.ours!);
for (const [name, list] of Object.entries(times)) {
  if (list.length === 0) continue;
  const ms = median(list);
  console.log(
    `${name.padEnd(20)} ${(ms / 1000).toFixed(2).padStart(7)} s  ${(gigabytes / (ms / 1000)).toFixed(2)} GB/s read  ${(ms / own).toFixed(2)} × ours  (${list.map(t => (t / 1000).toFixed(2)).join(' ')})`,
  );
}
