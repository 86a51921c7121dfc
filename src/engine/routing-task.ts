// A request that wants to know which experts its tokens go to, and nothing else.

import type { RoutingLog } from './routing-log.ts';
import { saltKey, type Task } from './tasks.ts';
import type { Routing, RowsOptions } from './types.ts';

export interface RoutingSink {
  end(routing: Routing): void;
  fail(error: unknown): void;
}

export class RoutingTask implements Task {
  readonly tokens: readonly number[];
  readonly wants = 'best';
  readonly temperature = 0;
  readonly salt: string;
  readonly key: string;
  /** What is before it may come from the cache, where no routing is. */
  readonly firstRow: number;
  readonly routing: RoutingLog;
  readonly ready = true;
  ended = false;
  readonly #sink: RoutingSink;

  /** @param from the first position that is recorded */
  constructor(tokens: readonly number[], from: number, options: RowsOptions, log: RoutingLog, sink: RoutingSink) {
    this.tokens = [...tokens];
    this.salt = saltKey(options);
    this.key = options.fairnessKey ?? '';
    this.firstRow = from;
    this.routing = log;
    log.begin(from);
    this.#sink = sink;
  }

  get promptTokens(): number {
    return this.tokens.length;
  }

  draft(): readonly number[] {
    return [];
  }

  /** The last token's row tells that all are computed. */
  rowsBetween(from: number, to: number): number {
    const last = this.tokens.length - 1;
    return from <= last && last < to ? 1 : 0;
  }

  rowsIn(from: number, to: number): number[] {
    return this.rowsBetween(from, to) > 0 ? [this.tokens.length - 1] : [];
  }

  admitted(): void {}

  begun(): void {}

  row(): void {
    this.ended = true;
    this.#sink.end(this.routing.end(this.tokens.length));
  }

  fail(error: unknown): void {
    this.ended = true;
    this.#sink.fail(error);
  }
}
