// The kinds of request an engine computes: what logits each wants, and what it makes of them.
import { createHash } from 'node:crypto';
import { type Channel, createChannel } from './channel.ts';
import { mostLikely, summarize } from './log-softmax.ts';
import { draftedAtMost } from './options.ts';
import type { Row, Wanted } from './pass.ts';
import { PromptLookup } from './prompt-lookup.ts';
import type { RoutingLog } from './routing-log.ts';
import { createSampler, type Sampler, type Scratch } from './sampler.ts';
import type { TokenConstraint } from './token-constraint.ts';
import type { FinishReason, GenerateOptions, GenerationEnd, RowsOptions, TokenEvent } from './types.ts';

/** A sequence of tokens to compute, as the engine's loop sees it. */
export interface Task {
  /** What its rows are wanted for. */
  readonly wants: Wanted;
  /** At which temperature tokens are drawn from its rows, where it helps to know the masses of their parts; else 0. */
  readonly temperature: number;
  /** All tokens known so far; a generation's grow. */
  readonly tokens: readonly number[];
  /** How many of them were given; those behind were generated. */
  readonly promptTokens: number;
  /** Under which its tokens are looked for in the cache, and kept. */
  readonly salt: string;
  /** Whose it is. */
  readonly key: string;
  /** The first position that is wanted. */
  readonly firstRow: number;
  /** True once nothing more is wanted of it. */
  readonly ended: boolean;
  /** Where its tokens are sent is recorded here; null where nobody asked. */
  readonly routing: RoutingLog | null;
  /** False while its consumer has not taken what is there. */
  readonly ready: boolean;
  /** Guesses at what follows its tokens. They are computed behind them, and their logits are handed over as far as they come true. */
  draft(): readonly number[];
  /** How many of the positions [from, to) are wanted. */
  rowsBetween(from: number, to: number): number;
  /** Those positions, ascending. */
  rowsIn(from: number, to: number): number[];
  /** A place was found, which holds so many of the tokens already. */
  admitted(cachedTokens: number): void;
  /** A pass that computes tokens of it begins, with so many guessed ones behind them. */
  begun(drafted: number): void;
  /** A wanted position's row. */
  row(position: number, row: Row): void;
  fail(error: unknown): void;
}

/** A salt may be a secret, and what is kept of it may be written to a file. */
export const saltKey = ({ cacheSalt = '' }: RowsOptions): string =>
  cacheSalt === '' ? '' : createHash('sha256').update(cacheSalt).digest('hex');

/** Tokens, one by one, until something ends them. */
export class GenerationTask implements Task {
  readonly wants: Wanted;
  readonly temperature: number;
  readonly tokens: number[];
  readonly channel: Channel<TokenEvent, GenerationEnd> = createChannel();
  ended = false;
  readonly ready = true;
  readonly salt: string;
  readonly key: string;
  readonly #options: GenerateOptions;
  readonly promptTokens: number;
  readonly #maxTokens: number;
  readonly #contextTokens: number;
  readonly #stopTokens: ReadonlySet<number>;
  readonly #sampler: Sampler;
  readonly routing: RoutingLog | null;
  readonly #lookup: PromptLookup | null;
  readonly #queuedAt = performance.now();
  #admittedAt: number | null = null;
  #begunAt: number | null = null;
  #firstAt: number | null = null;
  #lastAt = 0;
  #cachedTokens = 0;
  #generated = 0;
  #drafted = 0;
  #accepted = 0;
  /** Of the last pass: tokens guessed, and rows handed over. */
  #guess = 0;
  #rows = 0;

  constructor(
    prompt: readonly number[],
    options: GenerateOptions,
    contextTokens: number,
    scratch: Scratch,
    constraint: TokenConstraint | null = null,
    routing: RoutingLog | null = null,
  ) {
    this.routing = routing;
    this.tokens = [...prompt];
    this.#options = options;
    this.salt = saltKey(options);
    this.key = options.fairnessKey ?? '';
    this.promptTokens = prompt.length;
    this.#maxTokens = options.maxTokens ?? Infinity;
    this.#contextTokens = contextTokens;
    this.#stopTokens = new Set(options.stopTokens);
    this.#sampler = createSampler(options, scratch, constraint);
    this.temperature = this.#sampler.drawsAt;
    this.wants = this.#sampler.takesBest && !options.topLogprobs ? 'best' : 'logits';
    const most = draftedAtMost(options);
    this.#lookup = most > 0 ? new PromptLookup(most) : null;
  }

  draft(): readonly number[] {
    if (!this.#lookup) return [];
    if (this.#guess > 0) this.#lookup.verified(this.#guess, this.#rows - 1);
    this.#guess = 0;
    // Each pass gives one token more than was guessed, and the last of all is not computed.
    const room = Math.min(this.#maxTokens - this.#generated - 1, this.#contextTokens - this.tokens.length);
    return room > 0 ? this.#lookup.draft(this.tokens, room) : [];
  }

  get firstRow(): number {
    return this.promptTokens - 1;
  }

  rowsBetween(from: number, to: number): number {
    return Math.max(0, to - Math.max(from, this.tokens.length - 1));
  }

  rowsIn(from: number, to: number): number[] {
    const rows = this.rowsBetween(from, to);
    return Array.from({ length: rows }, (_, i) => to - rows + i);
  }

  admitted(cachedTokens: number): void {
    this.#admittedAt = performance.now();
    this.#cachedTokens = cachedTokens;
    this.routing?.begin(cachedTokens);
  }

  begun(drafted: number): void {
    this.#begunAt ??= performance.now();
    this.#guess = drafted;
    this.#drafted += drafted;
    this.#rows = 0;
  }

  row(_position: number, { numbers: logits, summary }: Row): void {
    if (this.#rows++ > 0) this.#accepted++;
    const { token, logSum } = this.#sampler.sample(logits, this.tokens, summary);
    this.#lastAt = performance.now();
    this.#firstAt ??= this.#lastAt;
    if (this.#stopTokens.has(token)) {
      this.end('stop');
      return;
    }
    this.tokens.push(token);
    this.#generated++;
    this.channel.push({
      token,
      logprob: (logits[token] ?? summary!.max) - logSum,
      topLogprobs: mostLikely(logits, logSum, this.#options.topLogprobs ?? 0),
    });
    if (this.#sampler.ended) this.end('stop');
    else if (this.#generated >= this.#maxTokens) this.end('length');
    else if (this.tokens.length > this.#contextTokens) this.end('context');
  }

  end(reason: FinishReason): void {
    if (this.ended) return;
    this.ended = true;
    const now = performance.now();
    this.channel.end({
      reason,
      stats: {
        promptTokens: this.promptTokens,
        cachedTokens: this.#cachedTokens,
        generatedTokens: this.#generated,
        queueMs: (this.#admittedAt ?? now) - this.#queuedAt,
        prefillMs: this.#begunAt === null ? 0 : (this.#firstAt ?? now) - this.#begunAt,
        decodeMs: this.#firstAt === null ? 0 : this.#lastAt - this.#firstAt,
        draftedTokens: this.#drafted,
        acceptedTokens: this.#accepted,
      },
      ...(this.routing && { routing: this.routing.end(this.#firstAt === null ? 0 : this.tokens.length - 1) }),
    });
  }

  fail(error: unknown): void {
    this.ended = true;
    this.channel.fail(error);
  }
}

/** Rows of given positions of given tokens, handed to a sink. */
export class RowsTask implements Task {
  readonly wants: Wanted;
  readonly temperature = 0;
  readonly tokens: readonly number[];
  readonly salt: string;
  readonly key: string;
  ended = false;
  readonly routing = null;
  readonly #rows: readonly number[];
  readonly #sink: RowSink;

  /** @param rows ascending, at least one */
  constructor(
    tokens: readonly number[],
    rows: readonly number[],
    options: RowsOptions,
    sink: RowSink,
    wants: Wanted = 'logits',
  ) {
    this.wants = wants;
    this.salt = saltKey(options);
    this.key = options.fairnessKey ?? '';
    this.tokens = tokens.slice(0, rows[rows.length - 1]! + 1);
    this.#rows = rows;
    this.#sink = sink;
  }

  get promptTokens(): number {
    return this.tokens.length;
  }

  get firstRow(): number {
    return this.#rows[0]!;
  }

  draft(): readonly number[] {
    return [];
  }

  get ready(): boolean {
    return this.#sink.ready();
  }

  rowsBetween(from: number, to: number): number {
    return this.#firstAtOrAfter(to) - this.#firstAtOrAfter(from);
  }

  rowsIn(from: number, to: number): number[] {
    return this.#rows.slice(this.#firstAtOrAfter(from), this.#firstAtOrAfter(to));
  }

  admitted(): void {}

  begun(): void {}

  row(position: number, row: Row): void {
    this.#sink.row(position, row);
    if (position === this.#rows[this.#rows.length - 1]) {
      this.ended = true;
      this.#sink.end();
    }
  }

  fail(error: unknown): void {
    this.ended = true;
    this.#sink.fail(error);
  }

  #firstAtOrAfter(position: number): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#rows[middle]! < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Where a task's rows go. */
export interface RowSink {
  ready(): boolean;
  row(position: number, row: Row): void;
  end(): void;
  fail(error: unknown): void;
}

/** ln p(the next token) under a row of logits. */
export const logprobOf = ({ numbers: logits, summary = summarize(logits) }: Row, token: number): number =>
  logits[token]! - summary.logSum;
