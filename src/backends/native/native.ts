// The fastest backend: the kernels as machine code for this processor, on threads and memory of an addon's.
import { totalmem } from 'node:os';
import type { Backend } from '../backend.ts';
import { Bank, type BankMemory } from '../compiled/bank.ts';
import { createCompiledBackend } from '../compiled/compiled.ts';
import { availableThreads, type CompiledOptions, checkOptions } from '../compiled/options.ts';
import { NativeFiles, type ReadingAddon } from './files.ts';
import { type Addon, loadNative, type Pool } from './load.ts';
import { NativeThreads } from './threads.ts';

const GiB = 2 ** 30;
/** Addresses are doubles in commands, and processors give out fewer than 2⁴⁸. */
const largestBank = 2 ** 45;
/** One bank is enough for what a machine can hold; addresses take no room. */
const usualBank = Math.min(largestBank, Math.max(64 * GiB, 4 * Math.ceil(totalmem() / GiB) * GiB));
const smallestBank = 8 * GiB;
const pageBytes = 4096;

class NativeMemory implements BankMemory {
  readonly buffer: ArrayBuffer;
  readonly base: number;
  private readonly addon: Addon;
  private readonly pool: Pool;
  private readonly index: number;
  private committed = 0;

  constructor(addon: Addon, pool: Pool, index: number, bytes: number) {
    const range = addon.reserve(pool, bytes);
    if (!range)
      throw new RangeError(
        `The system grants no ${bytes} bytes of addresses (they take no room until used); raise the limit on address space (ulimit -v).`,
      );
    this.buffer = range.buffer;
    this.base = range.base;
    this.addon = addon;
    this.pool = pool;
    this.index = index;
  }

  get start(): number {
    return this.base;
  }

  get end(): number {
    return this.base + this.buffer.byteLength;
  }

  reach(end: number): number {
    const to = Math.min(this.buffer.byteLength, Math.ceil((end - this.base) / pageBytes) * pageBytes);
    if (to > this.committed && !this.addon.commit(this.pool, this.index, this.committed, to))
      throw new RangeError(
        `The system grants no ${to} bytes of memory. Free some, or use a smaller model or a shorter context.`,
      );
    this.committed = Math.max(this.committed, to);
    return this.base + this.committed;
  }

  expect(address: number, bytes: number): void {
    this.addon.expect(this.pool, this.index, address - this.base, address - this.base + bytes);
  }

  discard(address: number, bytes: number): void {
    this.addon.discard(this.pool, this.index, address - this.base, address - this.base + bytes);
  }
}

/**
 * Makes a backend of machine code. Its one bank spans four times the machine's memory, at least 64 GiB, or what the system grants,
 * of which only what is used takes room.
 * @throws RangeError when an option is out of its range or memory cannot be reserved; Error when there are no kernels for this
 * machine, saying why.
 */
export async function createNativeBackend(options: CompiledOptions = {}): Promise<Backend> {
  const { threads = availableThreads(), bankBytes, sixteenBitsBelow = 2048 } = options;
  checkOptions(threads, bankBytes ?? usualBank, largestBank);
  const native = loadNative();
  if ('missing' in native)
    throw new Error(
      `There are no native kernels (${native.missing}); install a C++20 compiler and run npm run build, or use the backend wasm.`,
    );
  const { addon, variant } = native;
  const pool = addon.createPool(threads);
  const createMemory = (index: number): NativeMemory => {
    if (bankBytes !== undefined) return new NativeMemory(addon, pool, index, bankBytes);
    // Where the address space is limited, a smaller range may be granted.
    for (let bytes = usualBank; ; bytes /= 2) {
      try {
        return new NativeMemory(addon, pool, index, bytes);
      } catch (error) {
        if (bytes / 2 < smallestBank) throw error;
      }
    }
  };
  return createCompiledBackend({
    name: 'native',
    variant,
    maker: 'createNativeBackend',
    threads,
    sixteenBitsBelow,
    ...(addon.createReader && { files: new NativeFiles(addon as ReadingAddon, pool) }),
    createBank: index => new Bank(index, createMemory(index), () => addon),
    start: async bank => new NativeThreads(addon, pool, threads, bank),
  });
}
