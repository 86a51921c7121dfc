// The banks, the threads and the program under way: where things lie, when they are freed, when commands run.

import type { DType } from '../../checkpoint/dtype.ts';
import { type Bank, programCommands } from './bank.ts';
import { alignUp } from './heap.ts';
import type { Machine, Threads } from './machine.ts';
import { type CommandSpec, Program } from './program.ts';
import { type Place, PlacedTensor, type Storage } from './tensor.ts';

interface SharedInput {
  readonly bank: Bank;
  readonly purpose: string;
  readonly owner: object | null;
  readonly numbers: Int32Array;
  readonly start: number;
}

/** Inputs are small; a chunk holds those of many commands. */
const inputChunkBytes = 256 * 1024;

export class Device {
  readonly machine: Machine;
  readonly banks: Bank[] = [];
  private readonly programs: Program[] = [];
  private readonly threads: Threads;
  /** The bank whose program is being written. */
  private pending = 0;
  /** Activations of the steps under way, innermost last. */
  private readonly scopes: Set<Storage>[] = [];
  /** What the host wrote for commands (tokens, angles, page lists), in chunks; freed when the outermost step ends. */
  private inputs: { readonly place: Place; used: number }[] = [];
  private sharedInputs: SharedInput[] = [];
  private disposed = false;
  /** What reads files into banks. */
  private readonly underWay = new Set<Promise<void>>();

  private constructor(machine: Machine, bank: Bank, threads: Threads) {
    this.machine = machine;
    this.threads = threads;
    this.adopt(bank);
  }

  static async open(machine: Machine): Promise<Device> {
    const bank = machine.createBank(0);
    return new Device(machine, bank, await machine.start(bank));
  }

  get threadCount(): number {
    return this.machine.threads;
  }

  /** @throws Error after dispose, and ever after a thread was lost: numbers computed since may be wrong. */
  checkLive(): void {
    if (this.disposed) throw new Error(`This backend was disposed; make another with ${this.machine.maker}.`);
    this.threads.checkAlive();
  }

  addBank(): Bank {
    const bank = this.machine.createBank(this.banks.length);
    this.threads.attach(bank);
    return this.adopt(bank);
  }

  /** A storage for a weight, in the last bank or a new one, so that layers lie in order. */
  allocateWeight(bytes: number, what: string): Storage {
    this.flush();
    let bank = this.banks.at(-1)!;
    if (bytes > bank.mostWeightBytes)
      throw new RangeError(
        `${what} of ${bytes} bytes is larger than what one memory holds (${bank.mostWeightBytes}); choose a smaller quantization.`,
      );
    let address = bank.allocateWeight(bytes, what);
    if (address === undefined) {
      bank = this.addBank();
      address = bank.allocateWeight(bytes, what)!;
    }
    return storageAt(bank, address, bytes, true);
  }

  /** Lets memory live until `work`, which fills it, is over. */
  async during(work: Promise<void>): Promise<void> {
    this.underWay.add(work);
    try {
      await work;
    } finally {
      this.underWay.delete(work);
    }
  }

  /** A tensor of the step under way (outside of a step it lives as long as the backend). */
  activation(bank: Bank, dtype: 'F32' | 'I32', shape: readonly number[], size: number): PlacedTensor {
    const storage = storageAt(bank, bank.allocate(4 * size, 'An activation'), 4 * size);
    this.scopes.at(-1)?.add(storage);
    return new PlacedTensor(dtype as DType, shape, storage);
  }

  /** Bytes for commands alone, that live as long as an activation made now. */
  scratch(bank: Bank, bytes: number): Place {
    const storage = storageAt(bank, bank.allocate(bytes, 'Scratch'), bytes);
    this.scopes.at(-1)?.add(storage);
    return storage;
  }

  /**
   * Bytes that the caller writes at once. Commands still to run may use any byte that is free by now, so they run first.
   * @throws RangeError naming `what` when the bank is full.
   */
  hostBytes(bank: Bank, bytes: number, what: string): number {
    this.flush();
    return bank.allocate(bytes, what);
  }

  /** Bytes that the caller writes at once and that live until the outermost step ends. */
  input(bank: Bank, bytes: number): number {
    const size = alignUp(bytes);
    const last = this.inputs.findLast(({ place }) => place.bank === bank);
    if (last && last.place.start + last.used + size <= last.place.end) {
      last.used += size;
      return last.place.start + last.used - size;
    }
    const chunk = Math.max(size, inputChunkBytes);
    const start = this.hostBytes(bank, chunk, 'Input of a step');
    this.inputs.push({ place: { bank, start, end: start + chunk }, used: size });
    return start;
  }

  /**
   * An input that several commands of a step share: made once for each bank, purpose, owner and list of numbers. The numbers
   * are compared, because the caller may change them between two operations.
   */
  sharedInput(bank: Bank, purpose: string, owner: object | null, numbers: Int32Array, make: () => number): number {
    const known = this.sharedInputs.find(
      input =>
        input.bank === bank && input.purpose === purpose && input.owner === owner && equal(input.numbers, numbers),
    );
    if (known) return known.start;
    const start = make();
    this.sharedInputs.push({ bank, purpose, owner, numbers: numbers.slice(), start });
    return start;
  }

  integers(bank: Bank, values: ArrayLike<number>): number {
    const start = this.input(bank, 4 * values.length);
    bank.integers(start, values.length).set(values);
    return start;
  }

  doubles(bank: Bank, values: ArrayLike<number>): number {
    const start = this.input(bank, 8 * values.length);
    bank.doubles(start, values.length).set(values);
    return start;
  }

  /** Where `storage`'s bytes lie in `bank`; they are copied there if need be. */
  placeIn(bank: Bank, storage: Storage): Place {
    if (storage.bank === bank) return storage;
    const there = storage.copies?.find(copy => copy.bank === bank);
    if (there) return there;
    const bytes = storage.end - storage.start;
    const start = this.hostBytes(bank, bytes, 'A copy of an activation');
    bank.bytes(start, bytes).set(storage.bank.bytes(storage.start, bytes));
    const copy = { bank, start, end: start + bytes };
    storage.copies ??= [];
    storage.copies.push(copy);
    return copy;
  }

  /** Of the operands' banks, the one to compute in: where a program is under way, else the last operand's. */
  bankOf(...storages: readonly Storage[]): Bank {
    const current = this.programs[this.pending]!;
    if (current.length > 0) for (const { bank } of storages) if (bank.index === this.pending) return bank;
    return storages.at(-1)!.bank;
  }

  enqueue(bank: Bank, command: CommandSpec): void {
    if (bank.index !== this.pending || this.programs[this.pending]!.full) this.flush();
    this.pending = bank.index;
    this.programs[bank.index]!.add(command);
  }

  /** Runs what is enqueued, to its end. */
  flush(): void {
    this.begin();
    this.threads.finish();
  }

  /**
   * Lets the other threads begin with what is enqueued, while more is: writing commands and reading the answer are a fifth of a
   * token's time. What touches bytes that commands touch flushes before.
   */
  private begin(): void {
    const program = this.programs[this.pending]!;
    if (program.length === 0) return;
    try {
      this.threads.finish();
      this.threads.begin(this.banks[this.pending]!, program);
    } finally {
      if (program.length > 0) program.next(); // a thread was lost earlier: what is freed from now on needs no commands to end
    }
  }

  /** Runs what is enqueued, at a moment when no operation is half enqueued. */
  settle(): void {
    this.checkLive();
    this.flush();
    if (this.scopes.length === 0) this.freeInputs();
  }

  /** Frees what is made inside `run`, but not the tensor it returns: that belongs to the step around, if there is one. */
  async step<T>(run: () => Promise<T>): Promise<T> {
    this.checkLive();
    const scope = new Set<Storage>();
    this.scopes.push(scope);
    let result: T | undefined;
    try {
      result = await run();
      return result;
    } finally {
      const index = this.scopes.indexOf(scope);
      this.scopes.splice(index, 1);
      if (!this.disposed) this.endStep(scope, this.scopes[index - 1], result);
    }
  }

  /** Frees an activation of a step under way, whose bytes commands to come reuse in program order, or an upload. */
  release(storage: Storage): void {
    if (storage.uploaded) {
      this.settle(); // commands do not name the weights they read
      freeStorage(storage);
    }
    for (const scope of this.scopes) if (scope.delete(storage)) freeStorage(storage);
  }

  /** Before an upload's bytes change: what is enqueued wants the old ones, and what was made of them is forgotten. */
  beforeWrite(storage: Storage): void {
    this.settle();
    freeDerived(storage);
    this.sharedInputs = this.sharedInputs.filter(({ owner }) => owner !== storage);
  }

  private endStep(scope: Set<Storage>, around: Set<Storage> | undefined, result: unknown): void {
    if (around && result instanceof PlacedTensor && scope.delete(result.storage)) around.add(result.storage);
    try {
      // Caches must hold what was appended. Within an outer step, commands to come reuse the bytes in program order.
      if (!around) this.flush();
      else if (this.threadCount > 1 && !this.programs[this.pending]!.single) this.begin();
    } finally {
      scope.forEach(freeStorage);
      if (!around) this.freeInputs();
    }
  }

  get memoryBytes(): number {
    return this.banks.reduce((sum, bank) => sum + bank.usedBytes, 0);
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await Promise.allSettled(this.underWay);
    await this.threads.dispose();
    this.banks.length = 0;
    this.programs.length = 0;
    this.inputs = [];
    this.sharedInputs = [];
  }

  private adopt(bank: Bank): Bank {
    this.banks.push(bank);
    this.programs.push(new Program(bank, programCommands));
    return bank;
  }

  private freeInputs(): void {
    for (const { place } of this.inputs) free(place);
    this.inputs = [];
    this.sharedInputs = [];
  }
}

function storageAt(bank: Bank, start: number, bytes: number, uploaded = false): Storage {
  return { bank, start, end: start + bytes, uploaded, freed: false, copies: null, rounded: null };
}

/** A storage over bytes of `Device.input`, which frees them. */
export const inputAt = (bank: Bank, start: number, bytes: number): Storage => storageAt(bank, start, bytes);

function free({ bank, start, end }: Place): void {
  bank.heap.free(start, end - start);
}

function freeStorage(storage: Storage): void {
  if (storage.freed) return;
  storage.freed = true;
  if (storage.uploaded) storage.bank.freeWeight(storage.start, storage.end - storage.start);
  else free(storage);
  freeDerived(storage);
}

/** Frees what was made of a storage's bytes. */
function freeDerived(storage: Storage): void {
  if (storage.copies) for (const copy of storage.copies) free(copy);
  if (storage.rounded) for (const form of storage.rounded) free(form);
  storage.copies = null;
  storage.rounded = null;
}

function equal(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
