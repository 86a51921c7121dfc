// Writes commands for the kernels into a bank's command buffer, and decides where threads must wait for each other.
import type { Bank } from './bank.ts';
import type { commands } from './kernels.ts';

/** Mirrors `struct Command` in kernels/program.h. */
export const commandBytes = 192;
const ticketWord = 0;
const kindWord = 16;
const flagsWord = 17;
const argumentsDouble = 9;
const mostArguments = 15;
const flag = { barrier: 1, single: 2 } as const;

/** Bytes [start, end) of a bank; a cache is named by a range below zero. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Ranges of the numbers that a command touches; weights need not be named, as they change between programs only. */
export interface CommandSpec {
  readonly kind: (typeof commands)[keyof typeof commands];
  /** In the order in which kernels/program.cpp takes them. */
  readonly arguments: readonly number[];
  readonly reads: readonly Range[];
  readonly writes: readonly Range[];
  /** So little work that one thread does it sooner than several. */
  readonly single?: boolean;
}

/**
 * Commands that touch nothing in common run without a barrier between them: a fast thread goes on to the next while a slow one
 * finishes the last. Commands marked `single` all run on one thread, in order, and so wait for each other without a barrier.
 */
export class Program {
  length = 0;
  /** Every command is `single`: no other thread is needed. */
  single = true;
  private readonly words: Int32Array;
  private readonly doubles: Float64Array;
  private readonly capacity: number;
  // What was touched since the last barrier, by all threads and by thread 0 alone.
  private readonly teamReads: Range[] = [];
  private readonly teamWrites: Range[] = [];
  private readonly singleReads: Range[] = [];
  private readonly singleWrites: Range[] = [];

  constructor(bank: Bank, capacity: number) {
    this.words = bank.integers(bank.program, (capacity * commandBytes) / 4);
    this.doubles = bank.doubles(bank.program, (capacity * commandBytes) / 8);
    this.capacity = capacity;
  }

  get full(): boolean {
    return this.length === this.capacity;
  }

  add(spec: CommandSpec): void {
    const { reads, writes, single = false } = spec;
    const barrier =
      touches(writes, this.teamReads) ||
      touches(writes, this.teamWrites) ||
      touches(reads, this.teamWrites) ||
      (!single &&
        (touches(writes, this.singleReads) || touches(writes, this.singleWrites) || touches(reads, this.singleWrites)));
    if (barrier) this.forget();
    if (!single) this.single = false;
    (single ? this.singleReads : this.teamReads).push(...reads);
    (single ? this.singleWrites : this.teamWrites).push(...writes);
    if (spec.arguments.length > mostArguments) throw new Error(`Command ${spec.kind} has too many arguments.`);
    const word = (this.length * commandBytes) / 4;
    this.words[word + ticketWord] = 0;
    this.words[word + kindWord] = spec.kind;
    this.words[word + flagsWord] = (barrier ? flag.barrier : 0) | (single ? flag.single : 0);
    const double = (this.length * commandBytes) / 8 + argumentsDouble;
    for (let i = 0; i < spec.arguments.length; i++) this.doubles[double + i] = spec.arguments[i]!;
    this.length++;
  }

  /** Begins a new program. */
  clear(): void {
    this.length = 0;
    this.single = true;
    this.forget();
  }

  private forget(): void {
    this.teamReads.length = 0;
    this.teamWrites.length = 0;
    this.singleReads.length = 0;
    this.singleWrites.length = 0;
  }
}

function touches(ranges: readonly Range[], earlier: readonly Range[]): boolean {
  for (const range of ranges)
    for (const other of earlier) if (range.start < other.end && other.start < range.end) return true;
  return false;
}
