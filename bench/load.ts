// Time to the first token beside node-llama-cpp's, in turns within one run, the file warm in the system's cache; prints medians.
//   node bench/load.ts [MODEL.gguf] [--rounds 7] [--threads 2] [--backend native|wasm]
// Two times of each: from the call that loads to the first token of a prompt of four tokens, and from the start of the process.
// The peer: (cd bench/peers && npm run setup). Ours is the built package: npm run build.
import { spawn } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    backend: { type: 'string', default: 'native' },
    child: { type: 'boolean', default: false },
  },
});
const model = positionals[0] ?? 'bench/models/b-Q4_0.gguf';
const prompt = [300, 1234, 777, 4321];

interface Times {
  /** Seconds from the call that loads to the first token. */
  readonly loading: number;
  /** Seconds from the start of the process to the first token. */
  readonly process: number;
  /** Most bytes the process has held. */
  readonly peakMemory: number;
}

/** Our side, in a process of its own. */
async function child(): Promise<void> {
  const built = new URL('../dist/index.js', import.meta.url).href;
  const { openEngine } = (await import(built)) as typeof import('../src/index.ts');
  const start = performance.now();
  await using engine = await openEngine(model, {
    threads: Number(values.threads),
    backend: values.backend as 'native' | 'wasm',
  });
  const first = await engine.generate(prompt, { maxTokens: 1, temperature: 0 }).next();
  if (first.done) throw new Error('No token was generated.');
  console.log(report((performance.now() - start) / 1000));
}

const report = (loading: number): string =>
  JSON.stringify({ loading, peakMemory: process.resourceUsage().maxRSS * 1024 });

/** Runs a process until it says how long it took. */
async function measure(args: string[]): Promise<Times> {
  const start = performance.now();
  const running = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  for await (const text of running.stdout.setEncoding('utf8')) {
    printed += text;
    const line = printed.split('\n').find(line => line.startsWith('{') && line.endsWith('}'));
    if (!line) continue;
    const times = { ...JSON.parse(line), process: (performance.now() - start) / 1000 };
    await new Promise(resolve => (running.exitCode === null ? running.once('exit', resolve) : resolve(null)));
    return times;
  }
  throw new Error(`${args.join(' ')} ended without a token.`);
}

async function main(): Promise<void> {
  for (const [path, how] of [
    [model, 'Make it with bench/make-model.ts.'],
    ['bench/peers/node_modules/node-llama-cpp', 'Install the peer: (cd bench/peers && npm run setup)'],
    ['dist/index.js', 'Build the package: npm run build'],
  ] as const)
    if (!existsSync(path)) {
      console.error(`There is no ${path}. ${how}`);
      process.exit(1);
    }
  for await (const _ of createReadStream(model, { highWaterMark: 1 << 22 })); // into the system's cache
  const { threads, backend } = values;
  const sides = {
    ours: ['bench/load.ts', model, '--child', '--threads', threads, '--backend', backend],
    peer: ['bench/peers/first-token.mjs', model, prompt.join(), threads],
  } as const;
  const rounds: Record<keyof typeof sides, Times>[] = [];
  for (let i = 0; i < Number(values.rounds); i++) {
    const times: Partial<Record<keyof typeof sides, Times>> = {};
    for (const side of i % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const))
      times[side] = await measure([...sides[side]]);
    const { ours, peer } = times as Record<keyof typeof sides, Times>;
    rounds.push({ ours, peer });
    const show = (t: Times): string => `${t.loading.toFixed(3)} s, process ${t.process.toFixed(3)} s`;
    console.log(`round ${i + 1}: open-maverick ${show(ours)} | node-llama-cpp ${show(peer)}`);
  }
  const median = (xs: number[]): number => xs.toSorted((a, b) => a - b)[Math.floor(xs.length / 2)]!;
  for (const key of ['loading', 'process'] as const) {
    const of = (side: keyof typeof sides): string => median(rounds.map(round => round[side][key])).toFixed(3);
    const ratio = median(rounds.map(({ ours, peer }) => ours[key] / peer[key]));
    console.log(`${key} to first token: ${of('ours')} against ${of('peer')} s, ratio ${ratio.toFixed(2)}`);
  }
  const peak = (side: keyof typeof sides): string =>
    (median(rounds.map(round => round[side].peakMemory)) / 1e9).toFixed(2);
  console.log(`peak memory: ${peak('ours')} against ${peak('peer')} GB`);
}

await (values.child ? child() : main());
