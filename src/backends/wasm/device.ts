// The banks, the threads and the program under way: where things lie, when they are freed, when commands run.

import type { DType } from '../../checkpoint/dtype.ts';
import { Bank, programCommands } from './bank.ts';
import { type CommandSpec, Program, type Range } from './program.ts';
import { type Copy, type Storage, WasmTensor } from './tensor.ts';
import { Threads } from './threads.ts';

/** Activations of one step. */
interface Scope {
  storages: Set<Storage>;
}

/** A command as operations give it: who reads and writes what is named by storage. */
export interface Work extends Omit<CommandSpec, 'reads' | 'writes'> {
  readonly reads: readonly (Range | Storage)[];
  readonly writes: readonly (Range | Storage)[];
}

export class Device {
  readonly module: WebAssembly.Module;
  readonly threadCount: number;
  readonly banks: Bank[] = [];
  private readonly programs: Program[] = [];
  private readonly bankBytes: number;
  private threads!: Threads;
  private dotForm = 0;
  /** The bank whose program is being written. */
  private pending = 0;
  /** Steps under way, innermost last. */
  private readonly scopes: Scope[] = [];
  /** What the host wrote for commands (tokens, angles, page lists); freed when the outermost step ends. */
  private inputs: Copy[] = [];
  private readonly inputCache = new Map<string, number>();
  private readonly identities = new WeakMap<object, number>();
  private identityCount = 0;
  private disposed = false;

  private constructor(module: WebAssembly.Module, threadCount: number, bankBytes: number) {
    this.module = module;
    this.threadCount = threadCount;
    this.bankBytes = bankBytes;
  }

  static async open(module: WebAssembly.Module, threads: number, bankBytes: number): Promise<Device> {
    const device = new Device(module, threads, bankBytes);
    const bank = new Bank(0, module, bankBytes, threads);
    device.dotForm = fasterDot(bank);
    device.adopt(bank);
    device.threads = await Threads.start(threads, module, bank);
    return device;
  }

  /** @throws Error after dispose. */
  checkLive(): void {
    if (this.disposed) throw new Error('This backend was disposed; make another with createWasmBackend.');
  }

  addBank(): Bank {
    const bank = new Bank(this.banks.length, this.module, this.bankBytes, this.threadCount);
    this.threads.attach(bank);
    return this.adopt(bank);
  }

  /** A storage for a weight, in the last bank or a new one, so that layers lie in order. */
  allocateWeight(bytes: number, what: string): Storage {
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
    return { bank, address, bytes, weight: true, freed: false, copies: null, quantized: null };
  }

  /** A tensor of the step under way (outside of a step it lives as long as the backend). */
  activation(bank: Bank, dtype: 'F32' | 'I32', shape: readonly number[], size: number): WasmTensor {
    const bytes = 4 * size;
    const storage: Storage = {
      bank,
      address: bank.allocate(bytes, 'An activation'),
      bytes,
      weight: false,
      freed: false,
      copies: null,
      quantized: null,
    };
    this.scopes.at(-1)?.storages.add(storage);
    return new WasmTensor(dtype as DType, shape, storage);
  }

  /** Bytes in a bank that live until the outermost step ends and that no command writes. */
  input(bank: Bank, bytes: number): number {
    const address = bank.allocate(bytes, 'Input of a step');
    this.inputs.push({ bank, address });
    return address;
  }

  /** An input that several commands of a step share, made once for each bank and set of keys; objects count by identity. */
  sharedInput(bank: Bank, name: string, keys: readonly (object | number | null)[], make: () => number): number {
    let key = `${name} ${bank.index}`;
    for (const part of keys) key += ` ${part instanceof Object ? `#${this.identity(part)}` : part}`;
    const found = this.inputCache.get(key);
    if (found !== undefined) return found;
    const address = make();
    this.inputCache.set(key, address);
    return address;
  }

  integers(bank: Bank, values: ArrayLike<number>): number {
    const address = this.input(bank, 4 * values.length);
    bank.integers(address, values.length).set(values);
    return address;
  }

  doubles(bank: Bank, values: ArrayLike<number>): number {
    const address = this.input(bank, 8 * values.length);
    bank.doubles(address, values.length).set(values);
    return address;
  }

  /** Where `storage`'s bytes lie in `bank`; they are copied there if need be. */
  addressIn(bank: Bank, storage: Storage): number {
    if (storage.bank === bank) return storage.address;
    const there = storage.copies?.get(bank.index);
    if (there) return there.address;
    this.flush();
    const address = bank.allocate(storage.bytes, 'A copy of an activation');
    bank.bytes(address, storage.bytes).set(storage.bank.bytes(storage.address, storage.bytes));
    storage.copies ??= new Map();
    storage.copies.set(bank.index, { bank, address });
    return address;
  }

  /** Of the operands' banks, the one to compute in: where a program is under way, else the last operand's. */
  bankOf(...storages: readonly Storage[]): Bank {
    const current = this.programs[this.pending]!;
    if (current.length > 0) for (const { bank } of storages) if (bank.index === this.pending) return bank;
    return storages.at(-1)!.bank;
  }

  enqueue(bank: Bank, work: Work): void {
    this.checkLive();
    if (bank.index !== this.pending || this.programs[this.pending]!.full) this.flush();
    this.pending = bank.index;
    this.programs[bank.index]!.add({
      kind: work.kind,
      arguments: work.arguments,
      single: work.single ?? false,
      reads: work.reads.flatMap(x => rangeIn(bank, x)),
      writes: work.writes.flatMap(x => rangeIn(bank, x)),
    });
  }

  /** Runs what is enqueued. */
  flush(): void {
    const program = this.programs[this.pending]!;
    const { length } = program;
    if (length > 0) {
      program.clear();
      this.threads.run(this.banks[this.pending]!, length);
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
    const scope: Scope = { storages: new Set() };
    this.scopes.push(scope);
    let result: T | undefined;
    try {
      result = await run();
      return result;
    } finally {
      const around = this.scopes[this.scopes.indexOf(scope) - 1];
      this.scopes.splice(this.scopes.indexOf(scope), 1);
      if (!this.disposed) {
        if (around && result instanceof WasmTensor && scope.storages.delete(result.storage))
          around.storages.add(result.storage);
        try {
          // Caches must hold what was appended; within an outer step, freed bytes are reused in program order.
          if (!around) this.flush();
        } finally {
          for (const storage of scope.storages) freeStorage(storage);
          if (!around) this.freeInputs();
        }
      }
    }
  }

  get memoryBytes(): number {
    return this.banks.reduce((sum, bank) => sum + bank.usedBytes, 0);
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.threads.dispose();
    this.banks.length = 0;
    this.programs.length = 0;
    this.inputs = [];
    this.inputCache.clear();
  }

  private adopt(bank: Bank): Bank {
    bank.kernels.choose_dot(this.dotForm);
    this.banks.push(bank);
    this.programs.push(new Program(bank, programCommands));
    return bank;
  }

  private identity(part: object): number {
    const known = this.identities.get(part);
    if (known !== undefined) return known;
    this.identityCount++;
    this.identities.set(part, this.identityCount);
    return this.identityCount;
  }

  private freeInputs(): void {
    for (const { bank, address } of this.inputs) bank.heap.free(address);
    this.inputs = [];
    this.inputCache.clear();
  }
}

/** Which lowering of the dot product this processor runs faster. */
function fasterDot({ kernels }: Bank): number {
  const iterations = 2000;
  const best = [0, 1].map(form => {
    let least = Infinity;
    for (let round = 0; round < 5; round++) {
      const start = performance.now();
      kernels.measure_dot(form, iterations);
      least = Math.min(least, performance.now() - start);
    }
    return least;
  });
  return best[1]! < best[0]! ? 1 : 0;
}

function rangeIn(bank: Bank, x: Range | Storage): Range[] {
  if (!('bank' in x)) return [x];
  // Weights only change between programs.
  if (x.weight) return [];
  const start = x.bank === bank ? x.address : x.copies!.get(bank.index)!.address;
  return [{ start, end: start + Math.max(1, x.bytes) }];
}

function freeStorage(storage: Storage): void {
  if (storage.freed) return;
  storage.freed = true;
  storage.bank.heap.free(storage.address);
  for (const { bank, address } of storage.copies?.values() ?? []) bank.heap.free(address);
  for (const { bank, address } of storage.quantized?.values() ?? []) bank.heap.free(address);
}
