// Options that several verbs share, checked while the command line is read.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { CacheType } from '../backends/backend.ts';
import { type BackendName, backendNames } from '../engine/choose-backend.ts';
import type { EngineOptions, GenerateOptions } from '../engine/types.ts';

/** A number from `low` to `high`. */
export const numberBetween =
  (low: number, high: number, kind: 'integer' | 'number' = 'number') =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!(value >= low && value <= high) || (kind === 'integer' && !Number.isInteger(value)))
      throw new InvalidArgumentError(
        `Wanted: ${kind === 'integer' ? 'an integer' : 'a number'} ${high === Number.POSITIVE_INFINITY || high === Number.MAX_SAFE_INTEGER ? `from ${low}` : `from ${low} to ${high}`}.`,
      );
    return value;
  };
export const positiveInteger = numberBetween(1, Number.MAX_SAFE_INTEGER, 'integer');
export const wholeNumber = numberBetween(0, Number.MAX_SAFE_INTEGER, 'integer');

/** A list of whole numbers: 0,5,9. */
export function wholeNumbers(text: string): number[] {
  if (!/^\s*\d+(\s*,\s*\d+)*\s*$/.test(text))
    throw new InvalidArgumentError('Wanted: whole numbers with commas, as in 0,5,9.');
  return text.split(',').map(Number);
}

/** Collects an option that may be given several times; \n, \t and \\ are what they are in code. */
export const collectText = (text: string, before: readonly string[] | undefined): string[] => [
  ...(before ?? []),
  text.replace(/\\([nt\\])/g, (_, letter: string) => ({ n: '\n', t: '\t' })[letter] ?? '\\'),
];

export interface EngineFlags {
  backend?: BackendName;
  threads?: number;
  context?: number;
  memory?: number;
  stats?: boolean;
  cacheType?: 'f16' | 'f32' | 'q8_0';
}

/** Bytes with a unit: 20G, 512M, 1.5GiB; decimal units, or binary ones with an i. */
export function byteAmount(text: string): number {
  const [, number, prefix, binary] = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$/i.exec(text) ?? [];
  const power = ' kmgt'.indexOf(prefix?.toLowerCase() || ' ');
  const bytes = Math.round(Number(number) * (binary ? 1024 : 1000) ** power);
  if (!(bytes > 0) || !Number.isSafeInteger(bytes)) throw new InvalidArgumentError('Wanted: bytes, as in 20G or 512M.');
  return bytes;
}

export const addEngineOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        '--backend <name>',
        'what computes (default: native where compiled, else wasm; reference is exact and slow)',
      ).choices(backendNames),
    )
    .option(
      '--threads <number>',
      'threads that compute (default: the processors there are)',
      numberBetween(1, 1024, 'integer'),
    )
    .option('--context <tokens>', "tokens of context (default: the model's, at most 8192)", positiveInteger)
    .addOption(
      new Option(
        '--cache-type <type>',
        'how keys and values are kept: q8_0 takes about half the memory of f16 and rounds them to 8 bits, f32 takes twice and does not round (default: f16)',
      ).choices(['f16', 'f32', 'q8_0']),
    )
    .option(
      '--memory <bytes>',
      'memory to take at most, as in 20G; experts that have no room are read from disk (default: what is free)',
      byteAmount,
    );

/** Of commands that open a model, use it and close it. */
export const addStatsOption = (command: Command): Command =>
  command.option('--stats', 'at the end, say what reading experts from disk cost');

export const engineOptions = ({ backend, threads, context, memory, cacheType }: EngineFlags): EngineOptions => ({
  ...(backend && { backend }),
  ...(threads && { threads }),
  ...(context && { contextTokens: context }),
  ...(memory && { memory }),
  ...(cacheType && { cacheType: cacheType.toUpperCase() as CacheType }),
});

/** Where what is learnt about models larger than memory is kept. */
export const streamingFolder = (environment: Readonly<Record<string, string | undefined>>): string =>
  join(environment.XDG_CACHE_HOME || join(environment.HOME || homedir(), '.cache'), 'open-maverick', 'experts');

export interface SamplingFlags {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  repetitionWindow?: number;
  seed?: number;
  promptLookup?: number | true;
}

export const addPromptLookup = (command: Command): Command =>
  command.option(
    '--prompt-lookup [tokens]',
    'guess up to so many tokens (default 16) from the text so far and verify them at once: the same answer, sooner where it repeats',
    numberBetween(1, 64, 'integer'),
  );

/** @param defaults what the help says of what happens where the user says nothing. */
export const addSamplingOptions = (command: Command, defaults: { temperature: string; topP: string }): Command =>
  addPromptLookup(command)
    .option(
      '--temperature <number>',
      `0 takes the likeliest token, 1 draws as the model says (default: ${defaults.temperature})`,
      numberBetween(0, 100),
    )
    .option(
      '--top-p <share>',
      `draw among the likeliest that have this mass together (default: ${defaults.topP})`,
      numberBetween(0, 1),
    )
    .option('--top-k <number>', 'draw among so many (0: all)', wholeNumber)
    .option('--min-p <share>', 'leave out what is less likely than this share of the likeliest', numberBetween(0, 1))
    .option('--repetition-penalty <factor>', 'make recent tokens less likely (1: off)', numberBetween(0, 100))
    .option('--presence-penalty <number>', 'subtract once for a recent token', numberBetween(-100, 100))
    .option('--frequency-penalty <number>', 'subtract for each time it occurred', numberBetween(-100, 100))
    .option('--repetition-window <tokens>', 'how far back "recent" goes (default: 64)', wholeNumber)
    .option('--seed <number>', 'the same seed gives the same answer', wholeNumber);

export function samplingOptions(flags: SamplingFlags): GenerateOptions {
  const {
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    repetitionWindow,
    seed,
    promptLookup,
  } = flags;
  const all = {
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    repetitionWindow,
    seed,
    promptLookup,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
