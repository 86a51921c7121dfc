// One shared memory of up to 16 GiB with the kernels on it.
import { Bank, type BankMemory } from '../compiled/bank.ts';
import { instantiate, type Kernels } from './kernels.ts';

const pageBytes = 65536;
const initialBytes = 4 * 2 ** 20;
/** The kernels keep their tiles on the stack. */
const stackBytes = 512 * 1024;

export const largestBank = 16 * 2 ** 30;

export class WasmMemory implements BankMemory {
  readonly memory: WebAssembly.Memory;
  readonly base = 0;
  readonly start: number;
  readonly end: number;
  /** Where each thread's stack ends. */
  stacks: readonly number[] = [];
  private committed = initialBytes;

  /** @throws RangeError when the system grants no such memory. */
  constructor(module: WebAssembly.Module, bytes: number) {
    this.memory = reserve(initialBytes, bytes);
    this.start = Number(instantiate(module, this.memory, 0).__heap_base.value);
    this.end = bytes;
  }

  get buffer(): ArrayBufferLike {
    return this.memory.buffer;
  }

  reach(end: number): number {
    const pages = Math.max(0, Math.ceil((end - this.committed) / pageBytes));
    try {
      // With 64-bit addresses the page count is a bigint, which the DOM types do not know.
      (this.memory.grow as unknown as (pages: bigint) => bigint)(BigInt(pages));
    } catch (cause) {
      throw new RangeError(
        `The system grants no ${end} bytes of memory. Free some, or use a smaller model or a shorter context.`,
        { cause },
      );
    }
    this.committed += pages * pageBytes;
    return this.committed;
  }
}

export type WasmBank = Bank<WasmMemory> & { readonly kernels: Kernels };

/** @param configure sets what the kernels keep in their memory. @throws RangeError when the system grants no such memory. */
export function createWasmBank(
  index: number,
  module: WebAssembly.Module,
  bytes: number,
  threads: number,
  configure: (kernels: Kernels) => void = () => {},
): WasmBank {
  return new Bank(index, new WasmMemory(module, bytes), bank => {
    const { memory } = bank;
    memory.stacks = Array.from({ length: threads }, () => bank.allocate(stackBytes, 'a stack') + stackBytes);
    const kernels = instantiate(module, memory.memory, memory.stacks[0]!);
    configure(kernels);
    return kernels;
  }) as WasmBank;
}

function reserve(initial: number, maximum: number): WebAssembly.Memory {
  const descriptor = {
    address: 'i64',
    shared: true,
    initial: BigInt(initial / pageBytes),
    maximum: BigInt(maximum / pageBytes),
  };
  try {
    return new WebAssembly.Memory(descriptor as unknown as WebAssembly.MemoryDescriptor);
  } catch (cause) {
    throw new RangeError(
      `A memory of up to ${maximum} bytes cannot be reserved (it takes no room until used); raise the limit on address space (ulimit -v), and use Node 24.`,
      { cause },
    );
  }
}
