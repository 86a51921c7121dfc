// maverick bench: how fast a model runs here, in tokens, bytes and multiply-adds a second.
import { basename } from 'node:path';
import type { Command } from 'commander';
import type { Engine, EngineStats, GenerationStats, ModelInfo } from '../engine/types.ts';
import { UsageError } from './failures.ts';
import { modelArgument, modelPath, openTokenEngine } from './model-argument.ts';
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
  /** What `maverick plan` says of it, where this machine was measured before; tokens a second. */
  readonly plan: { readonly prefill: number | null; readonly decode: number | null } | null;
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
  const planned = await planFor(name, flags, terminal, { depth, prompt, generate, context: flags.context ?? needed });
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
    plan: planned?.(info) ?? null,
    engineMemoryBytes: stats.memoryBytes,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  };
  if (flags.json) print(terminal, JSON.stringify(result));
  else print(terminal, describe(result));
}

/** Foretells before the model takes its memory; asked when it is known what computes. Measures nothing: `maverick plan` has, or has not. */
async function planFor(
  name: string,
  flags: Flags,
  terminal: Terminal,
  { depth, prompt, generate, context }: Record<'depth' | 'prompt' | 'generate' | 'context', number>,
): Promise<(info: ModelInfo) => Result['plan']> {
  const [{ openCheckpoint }, { planModel }, { bindWeights }, { availableMemory }, planning, work, measured, settings] =
    await Promise.all([
      import('../checkpoint/open.ts'),
      import('../model/config.ts'),
      import('../model/weights.ts'),
      import('../engine/machine-memory.ts'),
      import('../plan/plan.ts'),
      import('../plan/work.ts'),
      import('../plan/measured.ts'),
      import('../hub/settings.ts'),
    ]);
  const path = await modelPath(name, terminal);
  await using checkpoint = await openCheckpoint(path);
  const bound = bindWeights(checkpoint, planModel(checkpoint));
  const kept = await measured.Measured.open(settings.hubSettings(terminal.environment).cache);
  const disk = await kept.diskOf(path);
  const options = {
    memory: flags.memory,
    available: availableMemory(),
    contextTokens: context,
    maxSequences: 1,
    promptTokens: prompt,
    generateTokens: generate,
    depth,
  };
  const memory = planning.memoryOrReason(bound, options);
  return info => {
    const machine = kept.speedOf(info, work.formatsOf(work.workOf(bound)));
    if (!machine || typeof memory === 'string') return null;
    const { decode, prefill } = planning.planSpeed(bound, memory, { machine, disk }, options);
    return { decode: decode.tokensPerSecond, prefill: prefill.tokensPerSecond };
  };
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
  const { plan } = result;
  const planned = (value: number | null | undefined, fact: number): string[] =>
    !plan
      ? []
      : value == null
        ? ['–', '']
        : [rateText(value), `${value >= fact ? '+' : '−'}${Math.abs(100 * (value / fact - 1)).toFixed(0)} %`];
  const row = (name: string, speed: Speed, plan: number | null | undefined) => [
    name,
    String(speed.tokens),
    rateText(speed.tokensPerSecond),
    `${rateText(Math.min(...speed.runs))}–${rateText(Math.max(...speed.runs))}`,
    speed.gigabytesPerSecond.toFixed(1),
    (speed.multiplyAddsPerSecond / 1e9).toFixed(1),
    ...planned(plan, speed.tokensPerSecond),
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
        ['', 'TOKENS', 'TOK/S', 'RANGE', 'GB/S', 'G MAC/S', ...(plan ? ['PLAN', 'OFF BY'] : [])],
        row(`prefill${depth}`, prefill, plan?.prefill),
        row(`decode${depth}`, decode, plan?.decode),
      ],
      [1, 2, 3, 4, 5, 6, 7],
    ),
    ...(plan ? [] : ['', `For a plan to compare with: maverick plan ${result.model}`]),
  ].join('\n');
}
