// What callers ask for, checked before anything is computed: an error names the option, what it got and what it wanted.
import { availableParallelism } from 'node:os';
import { type CacheType, cacheTypes } from '../backends/backend.ts';
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
  /** Undefined: as the plan of memory says. */
  readonly maxBatch: number | undefined;
  readonly memory: number | undefined;
  readonly maxWaiting: number;
  readonly cacheBytes: number | undefined;
  readonly cacheType: CacheType;
  /** Undefined: 250, or unlimited where experts are streamed. */
  readonly passMs: number | undefined;
  readonly maxRestarts: number;
}

const DEFAULT_CONTEXT = 8192;
const MOST_THREADS = 64;
/** Tokens that prompt lookup guesses at once: by default, and at most. */
const DEFAULT_DRAFTED = 16;
const MOST_DRAFTED = 64;

/** @throws RangeError naming the option, what it got and what it wanted */
export function checkEngineOptions(options: EngineOptions): CheckedEngineOptions {
  const {
    backend,
    threads = availableParallelism(),
    contextTokens,
    maxSequences = 4,
    maxBatch,
    memory,
    maxWaiting = 256,
    cacheBytes,
    cacheType = 'F16',
    passMs,
    maxRestarts = 3,
  } = options;
  if (backend !== undefined && !backendNames.includes(backend))
    throw wrong('backend', backend, backendNames.map(name => `'${name}'`).join(' or '));
  if (!cacheTypes.includes(cacheType))
    throw wrong('cacheType', cacheType, cacheTypes.map(name => `'${name}'`).join(' or '));
  whole('threads', threads, 1, MOST_THREADS);
  if (contextTokens !== undefined) whole('contextTokens', contextTokens, 1, 2 ** 31 - 1);
  whole('maxSequences', maxSequences, 1, 1024);
  if (maxBatch !== undefined) whole('maxBatch', maxBatch, 1, 65536);
  if (memory !== undefined) whole('memory', memory, 1, Number.MAX_SAFE_INTEGER);
  if (passMs !== undefined && !(passMs > 0)) throw wrong('passMs', passMs, 'milliseconds, more than 0');
  whole('maxWaiting', maxWaiting, 0, 2 ** 31 - 1);
  if (cacheBytes !== undefined) whole('cacheBytes', cacheBytes, 0, Number.MAX_SAFE_INTEGER);
  whole('maxRestarts', maxRestarts, 0, 1000);
  return {
    backend,
    threads,
    contextTokens,
    maxSequences,
    maxBatch,
    memory,
    maxWaiting,
    cacheBytes,
    cacheType,
    passMs,
    maxRestarts,
  };
}

/** Positions a sequence may hold: as asked for, but no more than the checkpoint was made for. */
export function contextOf({ contextTokens }: CheckedEngineOptions, { contextLength }: Llama4Config): number {
  if (contextTokens !== undefined && contextTokens > contextLength)
    throw wrong('contextTokens', contextTokens, `at most ${contextLength}, the context this checkpoint was made for`);
  return contextTokens ?? Math.min(contextLength, DEFAULT_CONTEXT);
}

/** What a request's tokens are checked against. */
const MOST_BIASES = 1024;

export interface Bounds {
  readonly vocab: number;
  /** Routed experts of a layer. */
  readonly experts: number;
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
  checkBiases(options.logitBias, bounds.vocab);
  whole('repetitionWindow', options.repetitionWindow ?? 0, 0, 2 ** 31 - 1);
  whole('seed', options.seed ?? 0, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  whole('maxTokens', options.maxTokens ?? 0, 0, Number.MAX_SAFE_INTEGER);
  whole('topLogprobs', options.topLogprobs ?? 0, 0, 20);
  for (const name of ['cacheSalt', 'fairnessKey'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'string') throw wrong(name, options[name], 'a string');
  real('timeoutMs', options.timeoutMs, 0, 2 ** 31 - 1);
  const { grammar, routing = false } = options;
  if (typeof routing !== 'boolean') throw wrong('routing', routing, 'true or false');
  if (routing) checkRouting(bounds, 0, prompt.length);
  if (grammar !== undefined && typeof grammar !== 'string') throw wrong('grammar', grammar, 'a text in GBNF');
  if (typeof options.promptLookup !== 'boolean') whole('promptLookup', options.promptLookup ?? 0, 0, MOST_DRAFTED);
}

/** Tokens that a request's prompt lookup may guess at once; 0 where it is off. */
export const draftedAtMost = ({ promptLookup = 0 }: GenerateOptions): number =>
  promptLookup === true ? DEFAULT_DRAFTED : Number(promptLookup);

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

/** A bias is for a token of the vocabulary. */
function checkBiases(biases: GenerateOptions['logitBias'], vocab: number): void {
  if (biases === undefined) return;
  if (!(biases instanceof Map) || biases.size > MOST_BIASES)
    throw wrong('logitBias', biases, `a Map of at most ${MOST_BIASES} token ids`);
  for (const [token, bias] of biases) {
    whole('logitBias', token, 0, vocab - 1);
    real(`logitBias of token ${token}`, bias, -100, 100);
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

/** Routing is of tokens from `from` on, in a model that has experts. */
export function checkRouting({ experts }: { readonly experts: number }, from: number, tokens: number): void {
  if (experts === 0)
    throw wrong('routing', 'a model without experts', 'one that has some, as Llama 4 Scout and Maverick');
  whole('from', from, 0, tokens - 1);
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
