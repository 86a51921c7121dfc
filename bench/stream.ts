// A model twice as large as memory, against the disk it lies on: made of random weights in Maverick's layer geometry (10 layers, Q4_0).
//   node bench/stream.ts FILE.gguf [--memory 22G] [--decode 500] [--warm 64] [--prefill 512] [--long 0] [--context 4096] [--remove]
// FILE is made where there is none, and needs 50 GB of disk; --remove deletes it at the end. The disk is measured in the same run on the
// same file: direct reads, eight of 2 MiB at once. It takes minutes.
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createNativeBackend } from '../src/backends/native/native.ts';
import { byteAmount } from '../src/cli/options.ts';
import { openLocalEngine } from '../src/engine/local-engine.ts';
import type { Engine, EngineStats } from '../src/engine/types.ts';
import { maverickGeometry, modelBytes, writeRandomModel } from '../src/hub/random-model.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    memory: { type: 'string' },
    decode: { type: 'string', default: '500' },
    warm: { type: 'string', default: '64' },
    prefill: { type: 'string', default: '512' },
    long: { type: 'string', default: '0' },
    context: { type: 'string', default: '4096' },
    remove: { type: 'boolean' },
  },
});
const path = positionals[0];
if (!path) {
  console.error('usage: node bench/stream.ts FILE.gguf [--memory 22G] … (needs 50 GB of disk)');
  process.exit(2);
}
/** Ten of Maverick's layers, as they are. */
const geometry = { ...maverickGeometry, layers: 10, contextLength: 16384 };
if (!existsSync(path)) {
  console.log(`Making ${path}: ${(modelBytes(geometry, 'Q4_0') / 1e9).toFixed(1)} GB. Have 50 GB of disk free.`);
  await writeRandomModel(path, geometry, { dtype: 'Q4_0' });
}

const GB = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

/** Direct reads at random places, eight of 2 MiB at once, for so many seconds: bytes a second. */
async function diskBandwidth(size: number, forSeconds: number): Promise<number> {
  await using backend = await createNativeBackend({ threads: 1 });
  const [rows, n, atOnce] = [8192, 1024, 4];
  const bytes = 4 * rows * n;
  const into = backend.reserve('F32', [atOnce, rows, n]); // F32 is copied, not packed
  const start = performance.now();
  let read = 0;
  const one = async (index: number): Promise<void> => {
    while (performance.now() - start < forSeconds * 1000) {
      const offset = Math.floor((Math.random() * (size - bytes)) / 4096) * 4096;
      await backend.fetch!([{ into, index, path: path!, offset, chunkRows: 512 }], true).done;
      read += bytes;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, (_, index) => one(index)));
  return (read / (performance.now() - start)) * 1000;
}

const status = (field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
const available = (): number =>
  Number(/^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))![1]) * 1024;

// Cold, and with memory that is free and not the system's files': as root; others drop them by hand.
try {
  writeFileSync('/proc/sys/vm/drop_caches', '1');
} catch {
  console.log('Files stay in memory: opening waits until the system gives them up (as root they are dropped first).');
}
const size = statSync(path).size;
const before = await diskBandwidth(size, 4);
console.log(`disk: ${GB(before)}/s direct, 8 × 2 MiB; memory available: ${GB(available())}`);

const opening = performance.now();
let firstBytes = 0;
const engine = await openLocalEngine(path, {
  contextTokens: Number(values.context),
  maxSequences: 1,
  onProgress: () => {
    firstBytes ||= performance.now() - opening;
  },
  ...(values.memory && { memory: byteAmount(values.memory) }),
});
const openMs = performance.now() - opening;
const { streaming, weightBytes } = engine.info;
if (!streaming) throw new Error('All of it fits: give less --memory.');
const eachBytes = streaming.heldBytes / streaming.heldExperts;
const denseBytes = weightBytes - streaming.experts * eachBytes;
console.log(
  `opened in ${seconds(openMs)} (header and first tensor ${seconds(firstBytes)}, the others ${seconds(openMs - firstBytes)}): ${GB(denseBytes)} of what every token uses, room for ${streaming.heldExperts} of ${streaming.experts} experts (${GB(streaming.heldBytes)}) in ${GB(streaming.memoryBytes)}`,
);

interface Window {
  readonly tokens: number;
  readonly ms: number;
  readonly before: EngineStats;
  readonly after: EngineStats;
}
async function generate(on: Engine, prompt: readonly number[], tokens: number, from: number): Promise<Window> {
  let started = performance.now();
  let first = await on.stats();
  let count = 0;
  for await (const _ of on.generate(prompt, { maxTokens: tokens, temperature: 100, seed: 1, cacheSalt: String(count) }))
    if (++count === from) {
      first = await on.stats();
      started = performance.now();
    }
  return { tokens: count - from, ms: performance.now() - started, before: first, after: await on.stats() };
}
function show(name: string, { tokens, ms, before: b, after: a }: Window, bandwidth: number): void {
  const [x, y] = [b.experts!, a.experts!];
  const read = y.bytesRead - x.bytesRead;
  const busy = y.busyMs - x.busyMs;
  const wanted = y.wanted - x.wanted;
  const hits = y.hits - x.hits;
  const disk = (read / bandwidth) * 1000;
  const stalled = y.stalledMs - x.stalledMs;
  console.log(
    `${name}: ${tokens} tokens, ${(ms / tokens).toFixed(1)} ms a token (${((tokens / ms) * 1000).toFixed(2)} tok/s); ` +
      `${((100 * hits) / wanted).toFixed(1)} % of ${wanted} experts held; read ${GB(read / tokens)} a token = ${(disk / tokens).toFixed(1)} ms of disk; ` +
      `computing ${((ms - stalled) / tokens).toFixed(1)}; time ÷ disk ${(ms / disk).toFixed(2)}, ÷ the larger of disk and computing ${(ms / Math.max(disk, ms - stalled)).toFixed(2)}; reading ${((100 * busy) / ms).toFixed(0)} % of the time at ${GB((read / busy) * 1000)}/s (${((100 * read) / busy / bandwidth / 0.001).toFixed(0)} % of the disk); ` +
      `stalled ${(stalled / tokens).toFixed(1)} ms a token; foreseen ${y.foreseen - x.foreseen}, right ${y.foreseenRight - x.foreseenRight}; ` +
      `held ${y.held} (${GB(y.heldBytes)}); memory ${GB(status('VmRSS'))}, peak ${GB(status('VmHWM'))}`,
  );
}
const random = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104729 + i * i * 31) % geometry.vocab);

const first = performance.now();
await generate(engine, random(1, 1), 1, 1);
const [fromCold, computed] = [performance.now() - opening, performance.now() - first];
const { stalledMs, bytesRead } = (await engine.stats()).experts!;
console.log(
  `first token after ${seconds(fromCold)} from cold (computed in ${seconds(computed)}, of which ${seconds(stalledMs)} were waited for ${GB(bytesRead)} of experts); bar ${seconds(2000 + (denseBytes / before) * 1000)}`,
);
if (Number(values.decode) > 0) {
  await generate(engine, random(Number(values.warm), 2), 1, 1); // a prompt fills memory sooner than tokens do
  const filled = (await engine.stats()).experts!;
  console.log(`warm: ${filled.held} of ${filled.slots} held`);
  while ((await engine.stats()).experts!.held < streaming.heldExperts) await generate(engine, random(1, 3), 50, 50);
  show('decode', await generate(engine, random(1, 4), Number(values.decode), 1), before);
}
if (Number(values.prefill) > 0)
  for (const round of [1, 2]) {
    const touchedBefore = await engine.stats();
    const start = performance.now();
    await generate(engine, random(Number(values.prefill), 5 + round), 1, 1);
    const ms = performance.now() - start;
    const after = await engine.stats();
    const touched = (after.experts!.wanted - touchedBefore.experts!.wanted) * eachBytes;
    show(`prefill ${round}`, { tokens: Number(values.prefill), ms, before: touchedBefore, after }, before);
    console.log(
      `prefill ${round}: ${seconds(ms)}; touched ${GB(touched)} = ${seconds((touched / before) * 1000)} of disk: ratio ${(ms / ((touched / before) * 1000)).toFixed(2)}`,
    );
  }
if (Number(values.long) > 0) {
  show('long', await generate(engine, random(1, 9), Number(values.long), 1), before);
  console.log(
    `peak memory ${GB(status('VmHWM'))} of ${GB(streaming.memoryBytes)}: ${((100 * status('VmHWM')) / streaming.memoryBytes).toFixed(1)} %`,
  );
}
for (const layer of (await engine.stats()).experts!.layers)
  console.log(
    `layer ${layer.layer}: wanted ${layer.wanted}, held ${((100 * layer.hits) / layer.wanted).toFixed(1)} %, read ${GB(layer.bytesRead)}, stalled ${seconds(layer.stalledMs)}`,
  );
await engine[Symbol.asyncDispose]();
console.log(`disk, once more: ${GB(await diskBandwidth(size, 4))}/s`);
if (values.remove) rmSync(path);
