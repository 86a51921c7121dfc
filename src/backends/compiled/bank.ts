// One range of memory that kernels compute in: what lies where. Weights that exceed one bank are spread over several.
import { control, type KernelQueries } from './commands.ts';
import { Heap } from './heap.ts';
import { programBytes } from './program.ts';

/** A bank's memory grows by at least this much; pages that are not touched take no room. */
const growthBytes = 16 * 2 ** 20;
/** Of a bank, for weights; the rest is for activations and caches. */
const weightShare = 3 / 4;
/** Weights from this size on are made ready before they are filled, and given back to the system when they are freed. */
const worthTelling = 2 ** 20;

/** Commands of one program. A decode step of 48 layers has about 1,000; a longer step is run in several programs. */
export const programCommands = 1024;

/** Where a bank's bytes are: what differs between WebAssembly's memories and the machine's own. */
export interface BankMemory {
  /** Address of the first byte of `buffer`. */
  readonly base: number;
  /** Addresses [start, end) are for the bank to use. */
  readonly start: number;
  readonly end: number;
  /** All bytes that may be used by now, from `base` on. */
  readonly buffer: ArrayBufferLike;
  /** Makes the bytes below address `end` usable, and says up to where they are. @throws RangeError when the system grants none. */
  reach(end: number): number;
  /** Bytes that will be written soon: they may be made ready meanwhile. */
  expect?(address: number, bytes: number): void;
  /** Bytes whose contents matter no more: the system may have their pages. */
  discard?(address: number, bytes: number): void;
}

export class Bank<Memory extends BankMemory = BankMemory> {
  readonly index: number;
  readonly memory: Memory;
  readonly heap: Heap;
  readonly kernels: KernelQueries;
  /** Addresses. */
  readonly control: number;
  readonly program: number;
  /** Bytes promised to layers of caches, which take them as they fill. */
  promised = 0;
  private weightBytes = 0;
  private reached: number;
  private readonly baseBytes: number;

  /**
   * @param prepare allocates what else the kernels need, such as stacks, and returns what answers for them.
   * @throws RangeError when the system grants no such memory.
   */
  constructor(index: number, memory: Memory, prepare: (bank: Bank<Memory>) => KernelQueries) {
    this.index = index;
    this.memory = memory;
    this.reached = memory.start;
    this.heap = new Heap(memory.start, memory.end);
    this.control = this.allocate(control.bytes, 'the control block');
    this.program = this.allocate(programBytes(programCommands), 'the command buffers');
    this.kernels = prepare(this);
    this.baseBytes = this.heap.allocated;
  }

  /** @throws RangeError naming `what` when the bank is full. */
  allocate(bytes: number, what: string): number {
    const address = this.heap.allocate(bytes);
    if (address === undefined)
      throw new RangeError(
        `${what} of ${bytes} bytes does not fit: ${this.heap.available} of the memory's ${this.heap.size} bytes are free, not all in one piece. Use a shorter context, smaller batches or fewer sequences.`,
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

  /** A weight will be written soon. */
  expect(address: number, bytes: number): void {
    if (bytes >= worthTelling) this.memory.expect?.(address, bytes);
  }

  freeWeight(address: number, bytes: number): void {
    this.heap.free(address, bytes);
    this.weightBytes -= bytes;
    if (bytes >= worthTelling) this.memory.discard?.(address, bytes);
  }

  get mostWeightBytes(): number {
    return Math.floor((this.heap.size - this.baseBytes) * weightShare);
  }

  /** Bytes in use for weights, caches and activations. */
  get usedBytes(): number {
    return this.heap.allocated - this.baseBytes;
  }

  // Views are made anew for each use: a memory that has grown may have a new, longer buffer.
  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address - this.memory.base, length);
  }

  floats(address: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address - this.memory.base, length);
  }

  integers(address: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, address - this.memory.base, length);
  }

  doubles(address: number, length: number): Float64Array {
    return new Float64Array(this.memory.buffer, address - this.memory.base, length);
  }

  /** A number that the kernels count in the control block, by its index in `control`. */
  counter(at: number): number {
    return Number(new BigInt64Array(this.memory.buffer, this.control - this.memory.base, control.bytes / 8)[at]);
  }

  private reach(end: number): void {
    if (end > this.reached)
      this.reached = this.memory.reach(Math.min(this.memory.end, Math.max(end, this.reached + growthBytes)));
  }
}
