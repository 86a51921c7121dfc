// What callers ask for, checked before anything is computed: an error names the option, what it got and what it wanted.
import { availableParallelism } from 'node:os';
import type { Llama4Config } from '../model/llama4.ts';
import { type BackendName, backendNames } from './choose-backend.ts';
import type { EngineOptions, GenerateOptions } from './types.ts';

/** Options of an engine with all defaults filled in; the context is still open until the checkpoint is known. */
export interface CheckedEngineOptions {
  /** Undefined: the fastest there is. */
  readonly backend: BackendName | undefined;
  readonly threads: number;
  readonly contextTokens: number | undefined;
  readonly maxSequences: number;
  readonly maxBatch: number;
}

const DEFAULT_CONTEXT = 8192;
const MOST_THREADS = 64;

/** @throws RangeError naming the option, what it got and what it wanted */
export function checkEngineOptions(options: EngineOptions): CheckedEngineOptions {
  const { backend, threads = availableParallelism(), contextTokens, maxSequences = 4, maxBatch = 512 } = options;
  if (backend !== undefined && !backendNames.includes(backend))
    throw wrong('backend', backend, backendNames.map(name => `'${name}'`).join(' or '));
  whole('threads', threads, 1, MOST_THREADS);
  if (contextTokens !== undefined) whole('contextTokens', contextTokens, 1, 2 ** 31 - 1);
  whole('maxSequences', maxSequences, 1, 1024);
  whole('maxBatch', maxBatch, 1, 65536);
  return { backend, threads, contextTokens, maxSequences, maxBatch };
}

/** Positions a sequence may hold: as asked for, but no more than the checkpoint was made for. */
export function contextOf({ contextTokens }: CheckedEngineOptions, { contextLength }: Llama4Config): number {
  if (contextTokens !== undefined && contextTokens > contextLength)
    throw wrong('contextTokens', contextTokens, `at most ${contextLength}, the context this checkpoint was made for`);
  return contextTokens ?? Math.min(contextLength, DEFAULT_CONTEXT);
}

/** What a request's tokens are checked against. */
export interface Bounds {
  readonly vocab: number;
  readonly contextTokens: number;
}

/** @throws RangeError naming the option, what it got and what it wanted */
export function checkGenerate(prompt: readonly number[], options: GenerateOptions, bounds: Bounds): void {
  checkTokens('prompt', prompt, 1, bounds);
  real('temperature', options.temperature, 0, 100);
  whole('topK', options.topK ?? 0, 0, 2 ** 31 - 1);
  real('topP', options.topP, 0, 1);
  if (options.topP === 0) throw wrong('topP', 0, 'more than 0 and at most 1');
  real('minP', options.minP, 0, 1);
  real('repetitionPenalty', options.repetitionPenalty, 0.01, 100);
  real('presencePenalty', options.presencePenalty, -100, 100);
  real('frequencyPenalty', options.frequencyPenalty, -100, 100);
  whole('repetitionWindow', options.repetitionWindow ?? 0, 0, 2 ** 31 - 1);
  whole('seed', options.seed ?? 0, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  whole('maxTokens', options.maxTokens ?? 0, 0, Number.MAX_SAFE_INTEGER);
  whole('topLogprobs', options.topLogprobs ?? 0, 0, 20);
}

/** Tokens are a list of ids of the vocabulary that fits the context. */
export function checkTokens(name: string, tokens: readonly number[], least: number, bounds: Bounds): void {
  const { vocab, contextTokens } = bounds;
  if (tokens.length < least)
    throw wrong(name, `${tokens.length} tokens`, `at least ${least}${least === 1 ? ': begin with BOS' : ''}`);
  if (tokens.length > contextTokens)
    throw wrong(
      name,
      `${tokens.length} tokens`,
      `at most ${contextTokens}: shorten it, or open the engine with more contextTokens`,
    );
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (!Number.isInteger(token) || token < 0 || token >= vocab)
      throw wrong(`${name}[${i}]`, token, `a token id from 0 to ${vocab - 1}`);
  }
}

/** Rows are ascending positions of the tokens. */
export function checkRows(rows: readonly number[], tokens: number): void {
  rows.forEach((row, i) => {
    whole(`rows[${i}]`, row, 0, tokens - 1);
    if (i > 0 && row <= rows[i - 1]!)
      throw wrong(`rows[${i}]`, row, `more than rows[${i - 1}], which is ${rows[i - 1]}`);
  });
}

function whole(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw wrong(name, value, `a whole number from ${least} to ${most}`);
}

function real(name: string, value: number | undefined, least: number, most: number): void {
  if (value !== undefined && !(typeof value === 'number' && value >= least && value <= most))
    throw wrong(name, value, `a number from ${least} to ${most}`);
}

function wrong(name: string, got: unknown, wanted: string): RangeError {
  const shown = typeof got === 'string' ? got.slice(0, 80) : String(got);
  return new RangeError(`${name}: got ${shown}, wanted ${wanted}.`);
}
