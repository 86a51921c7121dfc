// maverick quantize: a checkpoint in another format, whatever it is in, in little memory; a run that is ended goes on.
import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { DerivedTerms } from '../licence/derived.ts';
import type { Plan, PlanOptions } from '../quantize/plan.ts';
import { UsageError } from './failures.ts';
import { modelPath } from './model-argument.ts';
import { numberBetween } from './options.ts';
import { amount, bytesText, countText, durationText } from './quantities.ts';
import { columns, note, print, progressBar, type Terminal, table } from './terminal.ts';

interface Flags {
  type: string;
  imatrix?: string;
  splitMaxSize?: number;
  threads?: number;
  requantize?: boolean;
  overwrite?: boolean;
  restart?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

const examples = `Examples:
  maverick quantize model-BF16.gguf Llama-Q4_K_M.gguf --type Q4_K_M
  maverick quantize ./Llama-4-Scout-17B-16E-Instruct Llama-4-Scout-BF16.gguf --type BF16      convert only
  maverick quantize model-BF16.gguf Llama-IQ2.gguf --type IQ2_XXS --imatrix model.imatrix.gguf
  maverick quantize model-BF16.gguf Llama-mine.gguf --type mine.recipe --dry-run

A recipe is a text of lines, a glob of tensor names and a type each; the first that matches decides:
  blk.*.ffn_down_exps.weight  Q6_K
  *                           Q4_K_M`;

export const addQuantize = (program: Command, terminal: Terminal): Command =>
  program
    .command('quantize')
    .summary('write a model in another format')
    .description(
      "Writes a model as GGUF in another format of weights, byte for byte what llama.cpp's quantizer makes of them. It takes a few hundred MB of memory whatever the size of the model. A run that is ended goes on when it is begun again; the file has its name only when it is complete and verified.",
    )
    .argument('<in>', "a GGUF file, a folder of Hugging Face's or Meta's, or a name that 'maverick list' shows")
    .argument('<out>', 'the GGUF file to be written')
    .requiredOption('--type <type>', 'a mix such as Q4_K_M, F16 or BF16 to convert only, or a file NAME.recipe')
    .option('--imatrix <file>', 'weigh errors by an importance matrix (maverick calibrate, or llama-imatrix)')
    .option(
      '--split-max-size <bytes>',
      'write parts of at most so much, such as 40G: OUT-00001-of-0000N.gguf',
      sizeOption,
    )
    .option(
      '--threads <number>',
      'threads that encode (default: the processors there are)',
      numberBetween(1, 256, 'integer'),
    )
    .option('--requantize', 'quantize also what is quantized already, which loses more than quantizing the original')
    .option('--overwrite', 'replace OUT where it exists, once the new file is complete')
    .option('--restart', 'do not go on with what an ended run left')
    .option('--dry-run', 'show what each tensor would become, and the size; write nothing')
    .option('--json', 'print JSON')
    .addHelpText('after', () => `\n${examples}`)
    .action((from: string, to: string, flags: Flags) => runQuantize(from, to, flags, terminal));

/** 40G, 500M, 123456: bytes, in decimal units as llama.cpp's splitter takes them. */
function sizeOption(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)B?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * 1000 ** ['', 'K', 'M', 'G', 'T'].indexOf(match[2]!.toUpperCase()) : 0;
  if (!(bytes >= 1)) throw new InvalidArgumentError('Wanted: a size such as 40G or 500M.');
  return Math.floor(bytes);
}

async function runQuantize(from: string, to: string, flags: Flags, terminal: Terminal): Promise<void> {
  const path = await modelPath(from, terminal);
  if (!/\.gguf$/i.test(to)) throw new UsageError(`${to}: the name of a GGUF file ends in .gguf.`);
  const [{ openCheckpoint }, { planQuantization }, { derivedTerms }] = await Promise.all([
    import('../checkpoint/open.ts'),
    import('../quantize/plan.ts'),
    import('../licence/derived.ts'),
  ]);
  const type = await typeOf(flags.type);
  await using source = await openCheckpoint(path);
  const terms = derivedTerms(source.metadata, to);
  const plan = planQuantization(source, to, {
    type,
    ...(flags.imatrix && { importance: await importanceFrom(flags.imatrix) }),
    ...(flags.requantize && { requantize: true }),
    ...(flags.splitMaxSize && { splitMaxBytes: flags.splitMaxSize }),
    ...(terms && { metadata: terms.metadata }),
  });
  if (flags.dryRun) {
    print(terminal, flags.json ? JSON.stringify(described(plan)) : summary(plan, true));
    return;
  }
  for (const warning of terms?.warnings ?? []) note(terminal, warning);
  if (!flags.json) terminal.stderr.write(`${summary(plan, false)}\n`);
  const made = await make(source, plan, flags, terminal);
  if (terms) await leaveNotice(to, terms, terminal);
  if (flags.json) {
    print(terminal, JSON.stringify({ ...described(plan), ...made }));
    return;
  }
  const { paths, quantizeMs, ms, variant, resumedBytes } = made;
  const name = paths.length === 1 ? paths[0]! : `${paths[0]} and ${amount(paths.length - 1, 'further part')}`;
  const rate = plan.sourceBytes / (quantizeMs / 1000);
  const resumed = resumedBytes > 0 ? `, ${bytesText(resumedBytes)} of it from an earlier run` : '';
  print(
    terminal,
    `${name}: ${bytesText(plan.byteLength)}${resumed}, in ${durationText(ms)} (${variant}; ${bytesText(rate)}/s read, then verified)`,
  );
}

async function make(source: Checkpoint, plan: Plan, flags: Flags, terminal: Terminal) {
  const [{ quantize }, { acquireLock }, { writeFailure }] = await Promise.all([
    import('../quantize/quantize.ts'),
    import('../hub/lock.ts'),
    import('../quantize/errors.ts'),
  ]);
  if (!(await stat(dirname(plan.path)).catch(() => null))?.isDirectory())
    throw new UsageError(`${dirname(plan.path)} is no folder; make it first.`);
  await using _ = await acquireLock(`${plan.path}.lock`, {
    signal: terminal.signal,
    onWait: () => note(terminal, `Another process is making ${plan.path}; waiting for it.`),
  }).catch(error => Promise.reject(writeFailure(plan.path, error)));
  using bar = progressBar(terminal, 'Quantizing');
  return await quantize(source, plan, {
    ...(flags.threads && { threads: flags.threads }),
    ...(flags.overwrite && { overwrite: true }),
    ...(flags.restart && { restart: true }),
    signal: terminal.signal,
    onProgress: (done, total, phase) =>
      bar.update(
        done,
        total,
        phase === 'verifying' ? `verifying: ${bytesText(done)} of ${bytesText(total)}` : undefined,
      ),
  });
}

/** The mix of this name, or the recipe in this file. */
async function typeOf(text: string): Promise<PlanOptions['type']> {
  const [{ mixNamed }, { parseRecipe, unknownType }] = await Promise.all([
    import('../quantize/mixes.ts'),
    import('../quantize/recipe.ts'),
  ]);
  const mix = mixNamed(text);
  if (mix) return mix;
  if (!/\.recipe$/i.test(text) && !(await stat(text).catch(() => null))?.isFile())
    throw new UsageError(unknownType(text));
  const recipe = await readFile(text, 'utf8').catch(error => {
    throw new UsageError(`${text}: the recipe cannot be read (${(error as Error).message}).`);
  });
  return parseRecipe(text, recipe);
}

async function importanceFrom(file: string): Promise<NonNullable<PlanOptions['importance']>> {
  const { importanceOf, readImatrix } = await import('../calibrate/imatrix.ts');
  const { entries, datasets, chunks } = await readImatrix(file);
  return {
    of: name => {
      const entry = entries.get(name);
      return entry ? (importanceOf(entry)?.values ?? null) : null;
    },
    file: basename(file),
    ...(datasets[0] && { dataset: datasets[0] }),
    entries: entries.size,
    chunks,
  };
}

/** The licence asks for a notice in every copy; one that lies there already is left. */
async function leaveNotice(out: string, { notice }: DerivedTerms, terminal: Terminal): Promise<void> {
  const path = join(dirname(out), notice.fileName);
  try {
    await writeFile(path, notice.text, { flag: 'wx' });
    note(terminal, `${path}: the licence's notice, which belongs with every copy.`);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST'))
      note(
        terminal,
        `${path} cannot be written, but the licence asks for this notice with every copy:\n${notice.text}`,
      );
  }
}

const described = (plan: Plan) => ({
  parts: plan.parts.map(({ path, byteLength }) => ({ path, bytes: byteLength })),
  parameters: plan.parameters,
  sourceBytes: plan.sourceBytes,
  bytes: plan.byteLength,
  tensors: plan.parts.flatMap(({ tensors }) =>
    tensors.map(({ name, shape, from, dtype, insteadOf, byteLength, importance }) => ({
      ...{ name, shape, from: from.dtype, dtype, bytes: byteLength, weighted: importance !== null },
      ...(insteadOf && { insteadOf }),
    })),
  ),
});

function summary(plan: Plan, detailed: boolean): string {
  const placed = plan.parts.flatMap(({ tensors }) => tensors);
  const kinds = new Map<string, { count: number; bytes: number }>();
  for (const { dtype, byteLength } of placed) {
    const kind = kinds.get(dtype) ?? { count: 0, bytes: 0 };
    kinds.set(dtype, { count: kind.count + 1, bytes: kind.bytes + byteLength });
  }
  const formats = [...kinds]
    .sort((a, b) => b[1].bytes - a[1].bytes)
    .map(([dtype, { count, bytes }]) => `${dtype} ${bytesText(bytes)} (${amount(count, 'tensor')})`);
  const bits = (bytes: number): string => ((8 * bytes) / plan.parameters).toFixed(2);
  const instead = placed.filter(({ insteadOf }) => insteadOf);
  const rows: [string, string][] = [
    ['parameters', countText(plan.parameters)],
    ['from', `${bytesText(plan.sourceBytes)}, ${bits(plan.sourceBytes)} bits a weight`],
    [
      'to',
      `${bytesText(plan.byteLength)}, ${bits(plan.byteLength)} bits a weight, ${amount(plan.parts.length, 'file')}`,
    ],
    ['formats', formats.join(', ')],
  ];
  if (instead.length > 0)
    rows.push([
      'instead',
      `${amount(instead.length, 'tensor')} in another format than the mix has, as the rows are no whole number of its blocks (${instead[0]!.name}: ${instead[0]!.dtype} for ${instead[0]!.insteadOf})`,
    ]);
  if (!detailed) return columns(rows);
  const tensors = placed.map(({ name, shape, from, dtype, byteLength }) => [
    name,
    shape.join(' × '),
    from.dtype,
    dtype,
    bytesText(byteLength),
  ]);
  return `${table([['TENSOR', 'SHAPE', 'FROM', 'TO', 'SIZE'], ...tensors], [4])}\n\n${columns(rows)}`;
}
