// maverick plan: what of a model will fit on this machine, and how fast it will be, before it is loaded or even downloaded.
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname } from 'node:path';
import type { Command } from 'commander';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { MemoryPlan } from '../engine/memory-plan.ts';
import type { NamedModel, NamedQuantization } from '../hub/models.ts';
import type { BoundModel } from '../model/weights.ts';
import type { MachineSpeed } from '../plan/machine.ts';
import type { ModelSpeedPlan, PlanOptions } from '../plan/plan.ts';
import { UsageError } from './failures.ts';
import { modelPath } from './model-argument.ts';
import { addEngineOptions, type EngineFlags, positiveInteger } from './options.ts';
import { bytesText, computedBy, countText, durationText, rateText } from './quantities.ts';
import { columns, print, progressBar, styled, type Terminal, table } from './terminal.ts';

interface Flags extends EngineFlags {
  prompt: number;
  trace?: string;
  measure?: boolean;
  json?: boolean;
}

export const addPlan = (program: Command, terminal: Terminal): Command =>
  addEngineOptions(
    program
      .command('plan')
      .summary('say what will fit and how fast it will be')
      .description(
        'Says before any download what of a model will be in memory here, how fast it will read and answer, and why: for every quantization of a name (llama4-scout, llama4-maverick, smollm2), or for a file. Measures this machine for some seconds with the kernels that will compute, and keeps that for a day beside the library. Afterwards bench shows plan against fact.',
      )
      .argument(
        '<model>',
        'a GGUF file, a name that pull knows, as llama4-maverick or llama4-maverick:Q4_0, or a name in the library',
      )
      .option('--prompt <tokens>', 'length of the prompt that reading is told for', positiveInteger, 512)
      .option('--trace <file>', 'JSON that route wrote: experts are found in memory as that text would find them')
      .option('--measure', 'measure this machine anew')
      .option('--json', 'print JSON')
      .addHelpText('after', `\n${examples}`)
      .action((model: string, flags: Flags) => plan(model, flags, terminal)),
  );

const examples = `Examples:
  maverick plan llama4-maverick
  maverick plan llama4-scout:Q4_0 --memory 20G
  maverick plan model.gguf --json`;

/** A model in one form. */
interface Candidate {
  readonly name: string;
  readonly checkpoint: Checkpoint;
  /** Null for a file that is here. */
  readonly download: NamedQuantization | null;
}

interface Row {
  readonly candidate: Candidate;
  readonly bound: BoundModel;
  readonly memory: MemoryPlan | string;
}

async function plan(name: string, flags: Flags, terminal: Terminal): Promise<void> {
  if (flags.backend === 'reference')
    throw new UsageError(
      "--backend: 'reference' is for exactness, and its speed is not foretold; take native or wasm.",
    );
  const [{ planModel }, { bindWeights }, { contextOf, checkEngineOptions }, planning, { availableMemory }] =
    await Promise.all([
      import('../model/config.ts'),
      import('../model/weights.ts'),
      import('../engine/options.ts'),
      import('../plan/plan.ts'),
      import('../engine/machine-memory.ts'),
    ]);
  await using opened = new AsyncDisposableStack();
  const candidates = await candidatesOf(name, terminal, opened);
  const available = availableMemory();
  const engine = checkEngineOptions({ ...(flags.context && { contextTokens: flags.context }) });
  const rows: { row: Row; options: PlanOptions }[] = candidates.map(candidate => {
    const bound = bindWeights(candidate.checkpoint, planModel(candidate.checkpoint));
    const options: PlanOptions = {
      memory: flags.memory,
      available,
      contextTokens: contextOf(engine, bound.plan.config),
      maxSequences: engine.maxSequences,
      promptTokens: flags.prompt,
      generateTokens: 128,
      depth: 0,
    };
    return { row: { candidate, bound, memory: planning.memoryOrReason(bound, options) }, options };
  });

  const file = candidates.length === 1 && candidates[0]!.download === null ? candidates[0]!.checkpoint.path : null;
  const fitting = rows.filter(({ row }) => typeof row.memory !== 'string').map(({ row }) => row);
  const known = await measured(fitting, file, flags, terminal);
  const hitRateOf = flags.trace === undefined ? null : await traceHitRate(flags.trace);
  const planned = rows.map(({ row, options }) => ({
    row,
    speed:
      typeof row.memory === 'string' || !known.machine
        ? null
        : planning.planSpeed(
            row.bound,
            row.memory,
            { machine: known.machine, disk: known.disk },
            options,
            hitRateOf && row.memory.experts ? hitRateOf(row.memory.experts.held / row.memory.experts.all) : undefined,
          ),
  }));
  const about = { available, ...known, prompt: flags.prompt, memory: flags.memory ?? null };
  if (flags.json) print(terminal, JSON.stringify(asJson(name, planned, about)));
  else print(terminal, describe(name, planned, about, terminal));
}

async function candidatesOf(name: string, terminal: Terminal, opened: AsyncDisposableStack): Promise<Candidate[]> {
  const [{ namedModel }, { checkpointOfName }, { openCheckpoint }] = await Promise.all([
    import('../hub/models.ts'),
    import('../plan/geometry-checkpoint.ts'),
    import('../checkpoint/open.ts'),
  ]);
  const isFile = await stat(name).then(
    () => true,
    () => false,
  );
  const named = isFile ? null : namedModel(name);
  if (!named) {
    const checkpoint = opened.use(await openCheckpoint(await modelPath(name, terminal)));
    return [{ name: basename(checkpoint.path), checkpoint, download: null }];
  }
  const { model } = named;
  return quantizationsOf(model, name).flatMap(download => {
    const checkpoint = checkpointOfName(model.name, download.name);
    return checkpoint ? [{ name: `${model.name}:${download.name}`, checkpoint, download }] : [];
  });
}

function quantizationsOf(model: NamedModel, name: string): readonly NamedQuantization[] {
  const wanted = name.includes(':') ? name.slice(name.indexOf(':') + 1).toLowerCase() : null;
  if (wanted === null) return model.quantizations;
  const found = model.quantizations.filter(({ name }) => name.toLowerCase() === wanted);
  if (found.length > 0) return found;
  const known = model.quantizations.map(({ name }) => name).join(', ');
  throw new UsageError(`There is no quantization '${wanted}' of ${model.name} in the plan. There are: ${known}.`);
}

interface KnownMachine {
  readonly machine: MachineSpeed | null;
  readonly computing: { readonly backend: string; readonly variant?: string; readonly threads: number } | null;
  readonly disk: number | null;
}

async function measured(
  rows: readonly Row[],
  file: string | null,
  flags: Flags,
  terminal: Terminal,
): Promise<KnownMachine> {
  const [{ Measured }, { formatsOf, workOf }, { hubSettings }, { chooseBackend }] = await Promise.all([
    import('../plan/measured.ts'),
    import('../plan/work.ts'),
    import('../hub/settings.ts'),
    import('../engine/choose-backend.ts'),
  ]);
  const { cache } = hubSettings(terminal.environment);
  const kept = await Measured.open(cache);
  const again = flags.measure ?? false;
  using bar = progressBar(terminal, 'Measuring this machine');
  bar.update(0, 10, 'the disk');
  await using backend = await chooseBackend(flags.backend, flags.threads ?? availableParallelism());
  const disk = await kept.measureDisk(file === null ? cache : dirname(file), file, again, backend);
  if (rows.length === 0) return { machine: null, computing: null, disk };
  const wanted = rows.flatMap(({ bound }) => formatsOf(workOf(bound)));
  const machine = await kept.measure(backend, wanted, again, (done, all) => bar.update(done, all, 'products'));
  const { name, variant, threads } = backend;
  return { machine, computing: { backend: name, ...(variant && { variant }), threads }, disk };
}

async function traceHitRate(path: string): Promise<(share: number) => number> {
  const [{ readTextFile }, { hitRate, readTrace }] = await Promise.all([
    import('./input.ts'),
    import('../plan/hit-rate.ts'),
  ]);
  const trace = readTrace(await readTextFile(path), path);
  return share => hitRate(trace, share);
}

interface Planned {
  readonly row: Row;
  readonly speed: ModelSpeedPlan | null;
}

interface About extends KnownMachine {
  readonly available: number;
  readonly prompt: number;
  readonly memory: number | null;
}

function asJson(name: string, planned: readonly Planned[], about: About): object {
  return {
    name,
    availableBytes: about.available,
    memoryBytes: about.memory,
    diskBytesPerSecond: about.disk,
    computing: about.computing,
    machine: about.machine,
    promptTokens: about.prompt,
    models: planned.map(({ row: { candidate, bound, memory }, speed }) => ({
      name: candidate.name,
      downloadBytes: candidate.download?.bytes ?? 0,
      downloadExact: candidate.download?.exact ?? true,
      parameters: bound.parameters,
      activeParameters: bound.activeParameters,
      weightBytes: bound.weightBytes,
      fits: typeof memory !== 'string',
      ...(typeof memory === 'string'
        ? { reason: memory }
        : { memory: { ...memory, memoryBytes: Number.isFinite(memory.memoryBytes) ? memory.memoryBytes : null } }),
      ...(speed && { speed }),
    })),
  };
}

const rate = (value: number | null | undefined): string => (value == null ? '–' : rateText(value));

function describe(name: string, planned: readonly Planned[], about: About, terminal: Terminal): string {
  const rows = planned.map(({ row: { candidate, bound, memory }, speed }) => {
    if (typeof memory === 'string')
      return [candidate.name, bytesText(candidate.download?.bytes ?? bound.weightBytes), 'no room', '', '', '', ''];
    const { experts } = memory;
    const held = experts
      ? `${bytesText(memory.residentBytes + experts.heldBytes)}, ${experts.held} of ${experts.all} experts`
      : 'all of it';
    return [
      candidate.name,
      bytesText(candidate.download?.bytes ?? bound.weightBytes),
      held,
      rate(speed?.decode.tokensPerSecond),
      rate(speed?.prefill.tokensPerSecond),
      speed?.loadSeconds == null ? '–' : durationText(speed.loadSeconds * 1000),
      experts ? `${(100 * speed!.hitRate).toFixed(0)} %` : '',
    ];
  });
  const { bound } = planned[0]!.row;
  const machine = columns([
    ['model', `${countText(bound.parameters)} parameters, a token uses ${countText(bound.activeParameters)}`],
    ['memory', `${bytesText(about.available)} free${about.memory ? `, ${bytesText(about.memory)} granted` : ''}`],
    ['disk', about.disk === null ? 'not measured' : `${bytesText(about.disk)}/s, read directly`],
    ...(about.computing ? [['computed by', computedBy(about.computing)] as const] : []),
  ]);
  const shown = planned.find(({ speed }) => speed);
  return [
    styled(terminal.stdout, 'bold', name),
    machine,
    '',
    table(
      [['', 'ON DISK', 'IN MEMORY', 'DECODE TOK/S', `PREFILL ${about.prompt} TOK/S`, 'LOAD', 'HITS'], ...rows],
      [1, 3, 4, 5, 6],
    ),
    '',
    shown
      ? why(shown, about)
      : `Nothing of it fits. ${planned.map(({ row }) => row.memory).find(memory => typeof memory === 'string') ?? ''}`,
  ].join('\n');
}

/** One paragraph. */
function why({ row: { candidate, bound, memory }, speed }: Planned, about: About): string {
  const { decode, prefill, hitRate } = speed!;
  const { experts } = memory as MemoryPlan;
  const ms = (seconds: number): string => `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
  const memoryRate = decode.time.bytesFromMemory / decode.time.computing;
  const parts = [
    `Why, of ${candidate.name}: a token reads ${bytesText(decode.time.bytesFromMemory)} of weights, which the kernels did at ${bytesText(memoryRate)}/s here, all costs of a pass included: ${ms(decode.time.computing)}.`,
  ];
  if (experts)
    parts.push(
      `${experts.held} of ${experts.all} experts have room beside ${bytesText((memory as MemoryPlan).residentBytes)} that every token uses, so with ${about.disk === null ? 'a disk of unknown speed' : `even routing ${((1 - hitRate) * 100).toFixed(0)} % of the wanted ones`} are read: ${bytesText(decode.time.bytesFromDisk)} a token${about.disk === null ? '' : ` at ${bytesText(about.disk)}/s, of which ${ms(decode.time.waiting)} are waited for`}.`,
    );
  parts.push(
    `A prompt of ${about.prompt} tokens takes ${durationText(prefill.time.seconds * 1000)}: ${durationText(prefill.time.computing * 1000)} of products${experts ? `, and ${bytesText(prefill.time.bytesFromDisk)} of experts from disk` : ''}.`,
  );
  if (candidate.download && !candidate.download.exact)
    parts.push(
      'Sizes of files are approximate: the hub says the true ones, and mixes hold some tensors in larger formats.',
    );
  if (bound.plan.config.experts === 0 || !experts) parts.push('All weights stay in memory.');
  return parts.join(' ');
}
