// maverick card: the model card of a file, from what it says and what was measured.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { parsePartPath, partPath } from '../checkpoint/gguf-format.ts';
import type { Comparison } from '../eval/compare.ts';
import { derivedTerms } from '../licence/derived.ts';
import { UsageError } from './failures.ts';
import { readTextFile } from './input.ts';
import { modelArgument, modelPath } from './model-argument.ts';
import { type CardFacts, modelCard } from './model-card.ts';
import { note, progressBar, type Terminal } from './terminal.ts';

interface Flags {
  out?: string;
  compare?: string;
  imatrix?: string;
  hash: boolean;
}

export const addCard = (program: Command, terminal: Terminal): Command =>
  program
    .command('card')
    .summary('write the model card of a file')
    .description(
      'Writes the card of a model from facts: what its header says, sizes and formats by part, sha256 of its files, the importance matrix, a report of maverick compare, and what its licence asks. With --out a Llama model also gets the file Notice that its licence asks for, beside it.',
    )
    .argument(...modelArgument)
    .option('--out <file>', 'where it goes, such as README.md (default: print it)')
    .option('--compare <file>', 'a report that maverick compare --json wrote, in which this model is B')
    .option('--imatrix <file>', 'the importance matrix that the model was made with')
    .option('--no-hash', 'do not hash the files: quicker with large ones')
    .action((model: string, flags: Flags) => card(model, flags, terminal));

async function card(name: string, flags: Flags, terminal: Terminal): Promise<void> {
  const path = await modelPath(name, terminal);
  const { openCheckpoint } = await import('../checkpoint/open.ts');
  await using checkpoint = await openCheckpoint(path);
  const comparison = flags.compare === undefined ? null : await readComparison(flags.compare);
  if (comparison && basename(comparison.b.path) !== basename(path))
    throw new UsageError(
      `--compare: ${flags.compare} is about ${basename(comparison.b.path)}, and the card about ${basename(path)}. Compare this model first: maverick compare SOURCE ${path} TEXT --json REPORT.json`,
    );
  const facts: CardFacts = {
    checkpoint,
    files: await filesOf(path, flags.hash, terminal),
    imatrix: flags.imatrix === undefined ? null : await readImportance(flags.imatrix),
    comparison,
    program: 'open-maverick',
  };
  const markdown = modelCard(facts);
  const derived = derivedTerms(checkpoint.metadata, path);
  for (const warning of derived?.warnings ?? []) note(terminal, warning);
  if (flags.out === undefined) {
    terminal.stdout.write(markdown);
    return;
  }
  const written = [flags.out];
  await writeWhole(flags.out, markdown);
  if (derived) {
    written.push(join(dirname(flags.out), derived.notice.fileName));
    await writeWhole(written[1]!, derived.notice.text);
  }
  note(terminal, `Written: ${written.join(', ')}`);
  if (derived)
    note(
      terminal,
      `A copy of the ${derived.terms.title} belongs beside them when they are passed on: ${derived.terms.link}`,
    );
}

async function readComparison(file: string): Promise<Comparison> {
  let report: unknown;
  try {
    report = JSON.parse(await readTextFile(file));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new UsageError(`--compare: ${file} is no JSON (${cause.message}).`, { cause });
  }
  const has = (...keys: string[]): boolean =>
    keys.every(key => typeof report === 'object' && report !== null && key in report);
  if (!has('a', 'b', 'kl', 'top1', 'perplexity', 'predictions', 'drift', 'tasks'))
    throw new UsageError(`--compare: ${file} is no report that maverick compare --json wrote.`);
  return report as Comparison; // ours, by its keys
}

async function readImportance(file: string): Promise<CardFacts['imatrix']> {
  const [{ readImatrix }, { coverageOf }] = await Promise.all([
    import('../calibrate/imatrix.ts'),
    import('../calibrate/calibrate.ts'),
  ]);
  const imatrix = await readImatrix(file);
  const { datasets, chunks, chunkSize } = imatrix;
  // The older form counts all experts together, which says nothing of one.
  const experts = coverageOf(imatrix).filter(({ counts }) => counts.length > 1);
  return { file, datasets, chunks, chunkSize, experts };
}

/** All parts of the model, hashed one after the other. */
async function filesOf(path: string, hash: boolean, terminal: Terminal): Promise<CardFacts['files']> {
  const part = parsePartPath(path);
  const paths = part
    ? Array.from({ length: part.parts }, (_, i) => partPath(part.stem, i + 1, part.parts))
    : (await stat(path)).isFile()
      ? [path]
      : [];
  const sizes = await Promise.all(paths.map(async each => (await stat(each)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  using bar = progressBar(terminal, 'Hashing');
  let done = 0;
  const files: CardFacts['files'][number][] = [];
  for (const [index, each] of paths.entries()) {
    const digest = createHash('sha256');
    if (hash)
      for await (const chunk of createReadStream(each, { highWaterMark: 2 ** 20, signal: terminal.signal })) {
        digest.update(chunk as Buffer);
        done += (chunk as Buffer).length;
        bar.update(done, total);
      }
    files.push({ name: basename(each), bytes: sizes[index]!, sha256: hash ? digest.digest('hex') : null });
  }
  return files;
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}
