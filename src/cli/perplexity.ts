// maverick perplexity: how well a model predicts a text, over windows that overlap.
import type { Command } from 'commander';
import { UsageError } from './failures.ts';
import { readTextFile } from './input.ts';
import { modelArgument, openChatModel } from './model-argument.ts';
import { addEngineOptions, addStatsOption, type EngineFlags, positiveInteger } from './options.ts';
import { durationText, perSecond, rateText } from './quantities.ts';
import { columns, print, progressBar, type Terminal } from './terminal.ts';

interface Flags extends EngineFlags {
  stride?: number;
  maxTokens?: number;
  json?: boolean;
}

export const addPerplexity = (program: Command, terminal: Terminal): Command =>
  addStatsOption(
    addEngineOptions(
      program
        .command('perplexity')
        .summary('measure how well a model predicts a text')
        .description(
          'Scores every token of FILE once, in windows of --context tokens that move on by --stride, so that a token sees at least context − stride tokens before it.',
        )
        .argument(...modelArgument)
        .argument('<file>', 'a text file (UTF-8)')
        .option('--stride <tokens>', 'how far a window moves on (default: half of it)', positiveInteger)
        .option('-n, --max-tokens <number>', 'score only so many tokens', positiveInteger)
        .option('--json', 'print JSON')
        .action((model: string, file: string, flags: Flags) => perplexity(model, file, flags, terminal)),
    ),
  );

/** Windows over `length` tokens: [from, to) is computed, and of these [scored, to) are scored. */
export function windows(length: number, size: number, stride: number): { from: number; to: number; scored: number }[] {
  const all: { from: number; to: number; scored: number }[] = [];
  for (let from = 0, scored = 0; scored < length; from += stride) {
    const to = Math.min(length, from + size);
    all.push({ from, to, scored });
    scored = to;
  }
  return all;
}

async function perplexity(name: string, file: string, flags: Flags, terminal: Terminal): Promise<void> {
  const text = await readTextFile(file);
  await using model = await openChatModel(name, flags, terminal);
  const { engine, tokenizer } = model;
  const bos = tokenizer.bos === null ? [] : [tokenizer.bos];
  const context = Math.min(engine.info.contextTokens, flags.context ?? 2048);
  const size = context - bos.length;
  const stride = flags.stride ?? Math.max(1, Math.floor(size / 2));
  if (size < 2) throw new UsageError(`--context: wanted at least ${bos.length + 2} tokens; got ${context}.`);
  if (stride > size) throw new UsageError(`--stride: wanted at most the window's ${size} tokens; got ${stride}.`);
  const tokens = tokenizer.encode(text).slice(0, flags.maxTokens);
  if (tokens.length < 2)
    throw new UsageError(`${file}: a text of at least 2 tokens is needed; this one has ${tokens.length}.`);

  const start = performance.now();
  using bar = progressBar(terminal, 'Scoring');
  let count = 0;
  let sum = 0;
  let squares = 0;
  for (const { from, to, scored } of windows(tokens.length, size, stride)) {
    // scores[i] belongs to the sequence's token i + 1: with BOS in front to the window's token i.
    const scores = await engine.score([...bos, ...tokens.slice(from, to)], { signal: terminal.signal });
    const first = scored - from + bos.length - 1;
    for (const logprob of scores.subarray(Math.max(0, first))) {
      count++;
      sum -= logprob;
      squares += logprob * logprob;
    }
    bar.update(to, tokens.length, `${to} of ${tokens.length} tokens · perplexity ${Math.exp(sum / count).toFixed(3)}`);
  }
  const ms = performance.now() - start;
  const nll = sum / count;
  const error = count > 1 ? Math.sqrt(Math.max(0, squares / count - nll * nll) / (count - 1)) : 0;
  const result = {
    perplexity: Math.exp(nll),
    perplexityError: Math.exp(nll) * error,
    nll,
    nllError: error,
    tokens: count,
    context,
    stride,
    bitsPerByte: ((nll / Math.LN2) * count) / Buffer.byteLength(tokenizer.decode(tokens)),
    ms,
  };
  if (flags.json) {
    print(terminal, JSON.stringify(result));
    return;
  }
  print(
    terminal,
    columns([
      ['perplexity', `${result.perplexity.toFixed(4)} ± ${result.perplexityError.toFixed(4)}`],
      ['nll', `${nll.toFixed(5)} ± ${error.toFixed(5)} nats a token`],
      ['bits a byte', result.bitsPerByte.toFixed(4)],
      ['scored', `${count} tokens in windows of ${context}, moved on by ${stride}`],
      ['time', `${durationText(ms)} (${rateText(perSecond(count, ms))} tok/s)`],
    ]),
  );
}
