// maverick logprobs: the model's own numbers for a list of tokens, as a file that programs compare.
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { Command } from 'commander';
import { UsageError } from './failures.ts';
import { readTokenFile } from './input.ts';
import { modelArgument, openTokenEngine } from './model-argument.ts';
import { addEngineOptions, addStatsOption, type EngineFlags, wholeNumbers } from './options.ts';
import { bytesText, durationText, rateText } from './quantities.ts';
import { note, print, progressBar, type Terminal } from './terminal.ts';

interface Flags extends EngineFlags {
  tokens: string;
  rows?: number[];
  out: string;
  json?: boolean;
}

export const addLogprobs = (program: Command, terminal: Terminal): Command =>
  addStatsOption(
    addEngineOptions(
      program
        .command('logprobs')
        .summary('write log-probabilities of a list of tokens')
        .description(
          'Computes log-softmax at positions of a token list and writes little-endian float32 [rows, vocabulary]. Row i predicts token i + 1.',
        )
        .argument(...modelArgument)
        .requiredOption('--tokens <file>', 'JSON: an array of token ids, or an object with "tokens" and perhaps "rows"')
        .option('--rows <list>', 'positions to write, as in 0,5,9 (default: those of the file, else all)', wholeNumbers)
        .requiredOption('--out <file>', 'where the numbers go')
        .option('--json', 'print what was written as JSON')
        .action((model: string, flags: Flags) => logprobs(model, flags, terminal)),
    ),
  );

async function logprobs(name: string, flags: Flags, terminal: Terminal): Promise<void> {
  const file = await readTokenFile(flags.tokens);
  const { tokens } = file;
  const rows = sortedRows(flags.rows ?? file.rows, tokens.length);
  // One sequence with room for all of its tokens; more than the checkpoint's usual 8192 where the list is longer.
  const context = flags.context ?? Math.max(tokens.length, 1);
  await using engine = await openTokenEngine(name, { ...flags, context, maxSequences: 1 }, terminal);
  const { vocab } = engine.info.config;
  const wrong = tokens.find(token => token >= vocab);
  if (wrong !== undefined)
    throw new UsageError(
      `${flags.tokens}: token ${wrong} is outside the model's vocabulary of ${vocab} tokens (0 to ${vocab - 1}).`,
    );
  const start = performance.now();
  const temporary = `${flags.out}.${process.pid}.tmp`;
  let written = 0;
  try {
    using bar = progressBar(terminal, 'Computing');
    await using out = await open(temporary, 'w');
    for await (const row of engine.logprobs(tokens, { ...(rows && { rows }), signal: terminal.signal })) {
      await writeWhole(out, littleEndian(row.logprobs));
      written++;
      bar.update(row.row + 1, tokens.length, `row ${written} of ${rows?.length ?? tokens.length}`);
    }
    await out.close();
    await rename(temporary, flags.out);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const ms = performance.now() - start;
  if (flags.json) print(terminal, JSON.stringify({ out: flags.out, rows: written, vocab, tokens: tokens.length, ms }));
  else
    note(
      terminal,
      `${flags.out}: ${written} rows of ${vocab}, ${bytesText(written * vocab * 4)}; ${tokens.length} tokens in ${durationText(ms)} (${rateText((tokens.length / ms) * 1000)} tok/s)`,
    );
}

function sortedRows(rows: readonly number[] | null, length: number): number[] | undefined {
  if (rows === null) return undefined;
  const outside = rows.find(row => row >= length);
  if (outside !== undefined)
    throw new UsageError(
      `--rows: there is no position ${outside}; the list has ${length} tokens (0 to ${length - 1}).`,
    );
  for (let i = 1; i < rows.length; i++)
    if (rows[i]! <= rows[i - 1]!)
      throw new UsageError(`--rows: positions must ascend; ${rows[i]} follows ${rows[i - 1]}.`);
  return [...rows];
}

function littleEndian(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? bytes : Buffer.from(bytes).swap32();
}

async function writeWhole(out: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; )
    written += (await out.write(bytes, written, bytes.length - written)).bytesWritten;
}
