// maverick bench: how fast a model runs here, in tokens, bytes and multiply-adds a second.
import { basename } from 'node:path';
import type { Command } from 'commander';
import type { Engine, EngineStats, GenerationStats } from '../engine/types.ts';
import { UsageError } from './failures.ts';
import { modelArgument, openTokenEngine } from './model-argument.ts';
import {
  addEngineOptions,
  addPromptLookup,
  addStatsOption,
  type EngineFlags,
  numberBetween,
  positiveInteger,
  wholeNumber,
} from './options.ts';
import { bytesText, computedBy, countText, durationText, perSecond, rateText } from './quantities.ts';
import { columns, print, progressBar, type Terminal, table } from './terminal.ts';

interface Flags extends EngineFlags {
  prompt: number;
  generate: number;
  depth: number;
  repeat: number;
  promptLookup?: number | true;
  json?: boolean;
}

export const addBench = (program: Command, terminal: Terminal): Command =>
  addStatsOption(
    addEngineOptions(
      addPromptLookup(program.command('bench'))
        .summary('measure speed and memory')
        .description(
          'Computes random tokens and measures prefill (a prompt at once) and decode (token by token). Shown is the median of the runs; the first run warms up and is not counted.',
        )
        .argument(...modelArgument)
        .option('--prompt <tokens>', 'length of the prompt', positiveInteger, 512)
        .option('--generate <tokens>', 'tokens to decode (at least 2)', numberBetween(2, 1e6, 'integer'), 64)
        .option('--depth <tokens>', 'tokens in the context before the prompt', wholeNumber, 0)
        .option('--repeat <times>', 'runs', positiveInteger, 3)
        .option('--json', 'print JSON')
        .action((model: string, flags: Flags) => bench(model, flags, terminal)),
    ),
  );

interface Result {
  readonly model: string;
  readonly architecture: string;
  readonly parameters: number;
  readonly activeParameters: number;
  readonly weightBytes: number;
  readonly backend: string;
  readonly variant?: string;
  readonly threads: number;
  readonly loadMs: number;
  readonly prompt: number;
  readonly generate: number;
  readonly depth: number;
  readonly repeat: number;
  readonly prefill: Speed;
  readonly decode: Speed;
  /** What the backend holds now. */
  readonly engineMemoryBytes: number;
  /** The most this process has held, Node itself included. */
  readonly peakMemoryBytes: number;
}

interface Phase {
  readonly tokens: number;
  readonly ms: number;
  readonly bytesRead: number;
  readonly multiplyAdds: number;
}

async function bench(name: string, flags: Flags, terminal: Terminal): Promise<void> {
  const { prompt, generate, depth, repeat, promptLookup } = flags;
  const needed = depth + prompt + generate;
  if (flags.context !== undefined && flags.context < needed)
    throw new UsageError(`--context: depth, prompt and generated tokens need ${needed}; got ${flags.context}.`);
  await using engine = await openTokenEngine(
    name,
    { ...flags, context: flags.context ?? needed, maxSequences: 1 },
    terminal,
  );
  const { seededRandom } = await import('../backends/reference/random.ts');
  const prefills: Phase[] = [];
  const decodes: Phase[] = [];
  {
    using bar = progressBar(terminal, 'Measuring');
    for (let run = 0; run <= repeat; run++) {
      bar.update(run, repeat + 1, run === 0 ? 'warming up' : `run ${run} of ${repeat}`);
      const next = seededRandom(run + 1);
      const random = (count: number) =>
        Array.from({ length: count }, () => Math.floor(next() * engine.info.config.vocab));
      const before = random(depth);
      if (depth > 0) await measure(engine, before, 1, terminal.signal); // its keys and values stay for the next request
      const prefill = await measure(engine, [...before, ...random(prompt)], 1, terminal.signal);
      const decode = await measure(engine, [...before, ...random(1)], generate, terminal.signal, promptLookup);
      if (run === 0) continue;
      prefills.push(phase(prefill, prefill.stats.promptTokens - prefill.stats.cachedTokens, prefill.stats.prefillMs));
      decodes.push(decodePhase(decode));
    }
  }
  const { info } = engine;
  const stats = await engine.stats();
  const result: Result = {
    model: info.path,
    architecture: info.config.architecture,
    parameters: info.parameters,
    activeParameters: info.activeParameters,
    weightBytes: info.weightBytes,
    backend: info.backend,
    ...(info.variant && { variant: info.variant }),
    threads: info.threads,
    loadMs: info.loadMs,
    prompt,
    generate,
    depth,
    repeat,
    prefill: summary(prefills),
    decode: summary(decodes),
    engineMemoryBytes: stats.memoryBytes,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  };
  if (flags.json) print(terminal, JSON.stringify(result));
  else print(terminal, describe(result));
}

interface Measured {
  readonly stats: GenerationStats;
  readonly before: EngineStats;
  readonly after: EngineStats;
}

async function measure(
  engine: Engine,
  tokens: readonly number[],
  maxTokens: number,
  signal: AbortSignal,
  promptLookup: number | boolean = false,
): Promise<Measured> {
  const before = await engine.stats();
  const events = engine.generate(tokens, { maxTokens, temperature: 1, seed: tokens.length, promptLookup, signal });
  let next = await events.next();
  while (!next.done) next = await events.next();
  signal.throwIfAborted();
  return { stats: next.value.stats, before, after: await engine.stats() };
}

const phase = ({ before, after }: Measured, tokens: number, ms: number): Phase => ({
  tokens,
  ms,
  bytesRead: after.weightBytesRead - before.weightBytesRead,
  multiplyAdds: after.multiplyAdds - before.multiplyAdds,
});

/** The steps after the first token; the step before it, which computes the last prompt token, reads as much and is taken off. */
function decodePhase(measured: Measured): Phase {
  const { promptTokens, cachedTokens, generatedTokens, decodeMs } = measured.stats;
  const { bytesRead, multiplyAdds } = phase(measured, 0, 0);
  const share = (generatedTokens - 1) / (promptTokens - cachedTokens + generatedTokens - 1);
  return {
    tokens: generatedTokens - 1,
    ms: decodeMs,
    bytesRead: bytesRead * share,
    multiplyAdds: multiplyAdds * share,
  };
}

interface Speed {
  readonly tokens: number;
  /** Medians over the runs. */
  readonly tokensPerSecond: number;
  readonly gigabytesPerSecond: number;
  readonly multiplyAddsPerSecond: number;
  /** Tokens a second of each run. */
  readonly runs: readonly number[];
}

function summary(phases: readonly Phase[]): Speed {
  const runs = phases.map(({ tokens, ms }) => perSecond(tokens, ms));
  return {
    tokens: phases[0]!.tokens,
    tokensPerSecond: median(runs),
    gigabytesPerSecond: median(phases.map(({ bytesRead, ms }) => perSecond(bytesRead, ms))) / 1e9,
    multiplyAddsPerSecond: median(phases.map(({ multiplyAdds, ms }) => perSecond(multiplyAdds, ms))),
    runs,
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function describe(result: Result): string {
  const { prefill, decode } = result;
  const row = (name: string, speed: Speed) => [
    name,
    String(speed.tokens),
    rateText(speed.tokensPerSecond),
    `${rateText(Math.min(...speed.runs))}–${rateText(Math.max(...speed.runs))}`,
    speed.gigabytesPerSecond.toFixed(1),
    (speed.multiplyAddsPerSecond / 1e9).toFixed(1),
  ];
  const depth = result.depth > 0 ? ` at depth ${result.depth}` : '';
  return [
    columns([
      ['model', `${basename(result.model)} (${result.architecture})`],
      [
        'parameters',
        `${countText(result.parameters)}, ${countText(result.activeParameters)} a token; ${bytesText(result.weightBytes)}`,
      ],
      ['computed by', computedBy(result)],
      ['load', durationText(result.loadMs)],
      ['peak memory', bytesText(result.peakMemoryBytes)],
    ]),
    '',
    table(
      [
        ['', 'TOKENS', 'TOK/S', 'RANGE', 'GB/S', 'G MAC/S'],
        row(`prefill${depth}`, prefill),
        row(`decode${depth}`, decode),
      ],
      [1, 2, 3, 4, 5],
    ),
  ].join('\n');
}
