// Writes commands for the kernels into a bank's command buffer, and decides where threads must wait for each other.
import type { Bank } from './bank.ts';
import type { commands } from './commands.ts';

// Mirrors `struct Program` and `struct Command` in kernels/program.h; words are of 32 bits.
const headerBytes = 64;
const commandBytes = 192;
const mostArguments = 15;
const header = { gate: 0, length: 1 } as const;
const word = { ticket: 0, gate: 1, taken: 2, kind: 16, flags: 17 } as const;
const argumentsDouble = 9;
const gateShut = 1 << 30;
const flagWait = 1;
const groupShift = 8;

/** Programs of a bank that take turns, so that a thread that is late can leave the last one while the next is written. */
const turns = 2;

/** Bytes that a bank's programs of `capacity` commands take together. */
export const programBytes = (capacity: number): number => turns * (headerBytes + capacity * commandBytes);

/** Where they lie, when the first one lies at `start`. */
export const programAddresses = (start: number, capacity: number): readonly number[] =>
  Array.from({ length: turns }, (_, turn) => start + turn * (headerBytes + capacity * commandBytes));

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
 * Commands that touch nothing in common run without waiting for each other. Commands marked `single` that follow each other form
 * a group that one thread does in order.
 */
export class Program {
  /** Commands written. */
  length = 0;
  /** Which of the bank's programs is being written. */
  turn = 0;
  private readonly bank: Bank;
  private readonly addresses: readonly number[];
  private readonly capacity: number;
  private readonly words: Int32Array;
  private readonly doubles: Float64Array;
  /** The first command of the group that the last command belongs to, or −1. */
  private group = -1;
  private groupOnly = true;
  // What was touched since the last wait: by the group under way, and by all before it.
  private readonly reads = new Ranges();
  private readonly writes = new Ranges();
  private readonly groupReads = new Ranges();
  private readonly groupWrites = new Ranges();

  constructor(bank: Bank, capacity: number) {
    this.bank = bank;
    this.capacity = capacity;
    this.addresses = programAddresses(bank.program, capacity);
    const bytes = programBytes(capacity);
    this.words = bank.integers(bank.program, bytes / 4);
    this.doubles = bank.doubles(bank.program, bytes / 8);
    for (const address of this.addresses) this.words[(address - bank.program) / 4 + header.gate] = gateShut;
  }

  get full(): boolean {
    return this.length === this.capacity;
  }

  /** Every command is `single`: one thread is enough. */
  get single(): boolean {
    return this.groupOnly;
  }

  /** Where the program lies that is being written. */
  get address(): number {
    return this.addresses[this.turn]!;
  }

  add({ kind, arguments: values, reads, writes, single = false }: CommandSpec): void {
    if (values.length > mostArguments) throw new Error(`Command ${kind} has too many arguments.`);
    let wait = this.reads.touch(writes) || this.writes.touch(writes) || this.writes.touch(reads);
    const joins = single && this.group >= 0 && !wait;
    if (!joins) {
      wait ||= this.groupReads.touch(writes) || this.groupWrites.touch(writes) || this.groupWrites.touch(reads);
      if (wait) this.forget();
      else this.closeGroup();
      this.group = single ? this.length : -1;
    }
    (single ? this.groupReads : this.reads).add(reads);
    (single ? this.groupWrites : this.writes).add(writes);
    if (!single) this.groupOnly = false;

    const { words, doubles } = this;
    const start = this.commandAt(this.length);
    words[start + word.ticket] = 0;
    words[start + word.gate] = joins ? gateShut : 0;
    words[start + word.taken] = 0;
    words[start + word.kind] = kind;
    words[start + word.flags] = (wait ? flagWait : 0) | (single && !joins ? 1 << groupShift : 0);
    if (joins) words[this.commandAt(this.group) + word.flags]! += 1 << groupShift;
    const double = start / 2 + argumentsDouble;
    for (let i = 0; i < values.length; i++) doubles[double + i] = values[i]!;
    this.length++;
  }

  /** Opens the program for threads to come in. Nothing may be added until `next`. */
  open(): void {
    const at = (this.address - this.bank.program) / 4;
    this.words[at + header.length] = this.length;
    // Not a plain 0: a thread that was late may just be counting itself in and out.
    Atomics.and(this.words, at + header.gate, ~gateShut);
  }

  /** After a program has run: goes on to the next one, which is empty. Who calls waits until no thread is inside that. */
  next(): void {
    this.turn = (this.turn + 1) % turns;
    this.length = 0;
    this.group = -1;
    this.groupOnly = true;
    this.forget();
  }

  /** Index of a command's first word. */
  private commandAt(index: number): number {
    return (this.address - this.bank.program + headerBytes + index * commandBytes) / 4;
  }

  private closeGroup(): void {
    this.reads.take(this.groupReads);
    this.writes.take(this.groupWrites);
  }

  private forget(): void {
    this.reads.length = 0;
    this.writes.length = 0;
    this.groupReads.length = 0;
    this.groupWrites.length = 0;
  }
}

/** Ranges that were touched, in memory that is used again: a token asks and adds some thousand times. */
class Ranges {
  length = 0;
  /** Start and end in turns. */
  private bounds = new Float64Array(128);

  add(ranges: readonly Range[]): void {
    for (let i = 0; i < ranges.length; i++) this.push(ranges[i]!.start, ranges[i]!.end);
  }

  /** Adds all of another list, which is empty then. */
  take(other: Ranges): void {
    for (let i = 0; i < other.length; i++) this.push(other.bounds[2 * i]!, other.bounds[2 * i + 1]!);
    other.length = 0;
  }

  /** Whether one of these overlaps one of `ranges`. */
  touch(ranges: readonly Range[]): boolean {
    const { bounds, length } = this;
    for (let i = 0; i < ranges.length; i++) {
      const { start, end } = ranges[i]!;
      for (let at = 0; at < 2 * length; at += 2) if (start < bounds[at + 1]! && bounds[at]! < end) return true;
    }
    return false;
  }

  private push(start: number, end: number): void {
    if (2 * this.length === this.bounds.length) {
      const longer = new Float64Array(2 * this.bounds.length);
      longer.set(this.bounds);
      this.bounds = longer;
    }
    this.bounds[2 * this.length] = start;
    this.bounds[2 * this.length + 1] = end;
    this.length++;
  }
}
