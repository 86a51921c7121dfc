// Our speed beside node-llama-cpp's on the same file, in turns within one run; prints medians and ratios, appends a CSV. A plain read
// of memory in every round says what decoding could reach; without a C++ compiler that is left out. Ours is the median of three runs
// behind one that warms up: after loading, pages of memory are made huge for some seconds.
//   node bench/compare.ts [MODEL.gguf] [--rounds 5] [--prompt 512] [--generate 128] [--threads 2] [--backend native|wasm]
// Without MODEL it makes the random Llama 4 (2.3 B parameters, Q4_0, 1.3 GB) under bench/models.
// The peer: (cd bench/peers && npm run setup).
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { benchmarkGeometry, writeRandomModel } from '../src/hub/random-model.ts';
import { compile } from './compile.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    prompt: { type: 'string', default: '512' },
    generate: { type: 'string', default: '128' },
    threads: { type: 'string', default: '2' },
    backend: { type: 'string', default: 'native' },
  },
});
const model = positionals[0] ?? 'bench/models/random-llama4-2.3b-q4_0.gguf';
if (!existsSync(model)) {
  mkdirSync('bench/models', { recursive: true });
  console.log(`Making ${model} …`);
  await writeRandomModel(model, benchmarkGeometry, { dtype: 'Q4_0' });
}
if (!existsSync('bench/peers/node_modules/node-llama-cpp')) {
  console.error('The peer is missing. Install it: (cd bench/peers && npm run setup)');
  process.exit(1);
}

interface Speed {
  prefill: number;
  decode: number;
  /** GB/s of weights that decoding reads; of the peer it is not known. */
  reading?: number;
  peakMemory: number;
}
function run(args: string[]): string {
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${args.join(' ')} failed:\n${stderr}`);
  return stdout;
}
const ours = (): Speed => {
  const args = ['bin/maverick.mjs', 'bench', model, '--json', '--repeat', '3'];
  const report = JSON.parse(
    run([
      ...args,
      '--prompt',
      values.prompt,
      '--generate',
      values.generate,
      '--threads',
      values.threads,
      '--backend',
      values.backend,
    ]),
  );
  return {
    prefill: report.prefill.tokensPerSecond,
    decode: report.decode.tokensPerSecond,
    reading: report.decode.gigabytesPerSecond,
    peakMemory: report.peakMemoryBytes,
  };
};
const peer = (): Speed =>
  JSON.parse(
    run(['bench/peers/speed.mjs', model, values.prompt, values.generate, values.threads]).trim().split('\n').at(-1)!,
  );

/** What a plain read reaches, GB/s: run beside ours, since memory is shared with other machines. */
let readBandwidth: (() => number) | null = null;
try {
  const program = compile([fileURLToPath(new URL('read-bandwidth.cpp', import.meta.url))], ['-march=native']);
  readBandwidth = () => Number(spawnSync(program, [values.threads], { encoding: 'utf8' }).stdout);
} catch (error) {
  console.log(`No read of memory to compare with: ${(error as Error).message.split('\n')[0]}`);
}

const median = (xs: number[]): number => xs.toSorted((a, b) => a - b)[Math.floor(xs.length / 2)]!;
const rounds: { ours: Speed; peer: Speed; bandwidth: number }[] = [];
for (let i = 0; i < Number(values.rounds); i++) {
  const before = readBandwidth?.() ?? NaN;
  const round = i % 2 ? { peer: peer(), ours: ours() } : { ours: ours(), peer: peer() };
  const bandwidth = (before + (readBandwidth?.() ?? NaN)) / 2;
  rounds.push({ ...round, bandwidth });
  const show = (s: Speed): string => `prefill ${s.prefill.toFixed(1)}, decode ${s.decode.toFixed(2)} tok/s`;
  console.log(
    `round ${i + 1}: open-maverick ${show(round.ours)} | node-llama-cpp ${show(round.peer)} | read ${bandwidth.toFixed(1)} GB/s`,
  );
}
const of = (side: 'ours' | 'peer', key: Exclude<keyof Speed, 'reading'>): number =>
  median(rounds.map(r => r[side][key]));
const ratio = (key: Exclude<keyof Speed, 'reading'>): number => median(rounds.map(r => r.ours[key] / r.peer[key]));
const bytes = statSync(model).size;
for (const key of ['prefill', 'decode'] as const)
  console.log(
    `${key}: ${of('ours', key).toFixed(2)} against ${of('peer', key).toFixed(2)} tok/s, ratio ${ratio(key).toFixed(2)}`,
  );
const read = median(rounds.map(r => r.bandwidth));
const reading = median(rounds.map(r => r.ours.reading!));
if (readBandwidth)
  console.log(
    `decode reads ${reading.toFixed(1)} GB/s of weights; a plain read ${read.toFixed(1)}, share ${median(rounds.map(r => r.ours.reading! / r.bandwidth)).toFixed(2)}`,
  );
console.log(
  `peak memory: file + ${((of('ours', 'peakMemory') - bytes) / 1e6).toFixed(0)} MB (${(bytes / 1e9).toFixed(2)} GB file)`,
);

const csv = 'bench/results.csv';
if (!existsSync(csv))
  writeFileSync(
    csv,
    'date,cpu,node,model,backend,threads,prompt,prefill,peer_prefill,prefill_ratio,decode,peer_decode,decode_ratio,peak_bytes,file_bytes\n',
  );
const row = [
  new Date().toISOString().slice(0, 10),
  cpus()[0]!.model.trim(),
  process.version,
  basename(model),
  values.backend,
  values.threads,
  values.prompt,
  of('ours', 'prefill').toFixed(2),
  of('peer', 'prefill').toFixed(2),
  ratio('prefill').toFixed(3),
  of('ours', 'decode').toFixed(2),
  of('peer', 'decode').toFixed(2),
  ratio('decode').toFixed(3),
  of('ours', 'peakMemory'),
  bytes,
];
appendFileSync(csv, `${row.join(',')}\n`);
