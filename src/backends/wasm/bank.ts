// One shared memory of up to 16 GiB with the kernels on it. Weights that exceed one memory are spread over several banks.
import { Heap } from './heap.ts';
import { control, instantiate, type Kernels } from './kernels.ts';
import { programBytes } from './program.ts';

const pageBytes = 65536;
/** A memory grows by at least this much; pages that are not touched take no room. */
const growthBytes = 16 * 2 ** 20;
/** The kernels keep their tiles on the stack. */
const stackBytes = 512 * 1024;
/** Of a bank, for weights; the rest is for activations and caches. */
const weightShare = 3 / 4;

export const largestBank = 16 * 2 ** 30;
/** Commands of one program. A decode step of 48 layers has about 1,000; a longer step is run in several programs. */
export const programCommands = 1024;

export class Bank {
  readonly index: number;
  readonly memory: WebAssembly.Memory;
  readonly heap: Heap;
  readonly kernels: Kernels;
  /** Addresses. */
  readonly control: number;
  readonly program: number;
  /** Where each thread's stack ends. */
  readonly stacks: readonly number[];
  /** Bytes promised to layers of caches, which take them as they fill. */
  promised = 0;
  private weightBytes = 0;
  private committed: number;
  private readonly baseBytes: number;

  /** @throws RangeError when the system grants no such memory. */
  constructor(index: number, module: WebAssembly.Module, bytes: number, threads: number) {
    this.index = index;
    const initial = 4 * 2 ** 20;
    this.memory = reserve(initial, bytes);
    this.committed = initial;
    const base = Number(instantiate(module, this.memory, 0).__heap_base.value);
    this.heap = new Heap(base, bytes);
    this.control = this.allocate(control.bytes, 'the control block');
    this.program = this.allocate(programBytes(programCommands), 'the command buffers');
    this.stacks = Array.from({ length: threads }, () => this.allocate(stackBytes, 'a stack') + stackBytes);
    this.kernels = instantiate(module, this.memory, this.stacks[0]!);
    this.baseBytes = this.heap.allocated;
  }

  /** @throws RangeError naming `what` when the bank is full. */
  allocate(bytes: number, what: string): number {
    const address = this.heap.allocate(bytes);
    if (address === undefined)
      throw new RangeError(
        `${what} of ${bytes} bytes does not fit: ${this.heap.available} of the memory's ${this.heap.limit} bytes are free, not all in one piece. Use a shorter context, smaller batches or fewer sequences.`,
      );
    try {
      this.reach(this.heap.top);
    } catch (error) {
      this.heap.free(address, bytes);
      throw error;
    }
    return address;
  }

  /** Room for a weight, or undefined when this bank has taken its share. */
  allocateWeight(bytes: number, what: string): number | undefined {
    if (this.weightBytes + bytes > this.mostWeightBytes) return undefined;
    const address = this.allocate(bytes, what);
    this.weightBytes += bytes;
    return address;
  }

  freeWeight(address: number, bytes: number): void {
    this.heap.free(address, bytes);
    this.weightBytes -= bytes;
  }

  get mostWeightBytes(): number {
    return Math.floor((this.heap.limit - this.baseBytes) * weightShare);
  }

  /** Bytes in use for weights, caches and activations. */
  get usedBytes(): number {
    return this.heap.allocated - this.baseBytes;
  }

  // Views are made anew for each use: a memory that has grown has a new, longer buffer.
  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }

  floats(address: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, length);
  }

  integers(address: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, address, length);
  }

  doubles(address: number, length: number): Float64Array {
    return new Float64Array(this.memory.buffer, address, length);
  }

  private reach(end: number): void {
    if (end <= this.committed) return;
    const wanted = Math.min(this.heap.limit, Math.max(end, this.committed + growthBytes));
    const pages = Math.ceil((wanted - this.committed) / pageBytes);
    try {
      // With 64-bit addresses the page count is a bigint, which the DOM types do not know.
      (this.memory.grow as unknown as (pages: bigint) => bigint)(BigInt(pages));
    } catch (cause) {
      throw new RangeError(
        `The system grants no ${wanted} bytes of memory. Free some, or use a smaller model or a shorter context.`,
        { cause },
      );
    }
    this.committed += pages * pageBytes;
  }
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
