// The compiled kernels without a backend around them: what their own test and benchmark call.
import { readFileSync } from 'node:fs';
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';

/** Where the build puts the kernels; from src/ and from dist/ alike. */
export const kernelsUrl: URL = new URL('../../../dist/kernels/kernels.wasm', import.meta.url);

/** matmul.h as JavaScript sees it: pointers are bigint, a `Team` is passed by its address. */
interface Exports {
  __stack_pointer: WebAssembly.Global;
  __heap_base: WebAssembly.Global;
  row_bytes(format: number, n: number): number;
  matrix_bytes(format: number, out: number, inner: number): number;
  pack(format: number, rows: bigint, out: number, inner: number, w: bigint, team: bigint): void;
  activation_bits(format: number, inner: number, wordsBelow: number): number;
  rounded_row_bytes(bits: number, n: number): number;
  choose_dot(form: number): void;
  measure_dot(form: number, iterations: number): void;
  quantize_rows(bits: number, x: bigint, rows: number, n: number, rounded: bigint, team: bigint): void;
  matmul(
    format: number,
    w: bigint,
    out: number,
    inner: number,
    x: bigint,
    bits: number,
    rows: number,
    y: bigint,
    team: bigint,
  ): void;
  expert_scratch_bytes(experts: number, rows: number, threads: number): number;
  expert_matmul(
    format: number,
    w: bigint,
    experts: number,
    out: number,
    inner: number,
    x: bigint,
    bits: number,
    rows: number,
    slots: bigint,
    y: bigint,
    scratch: bigint,
    team: bigint,
  ): void;
  dequantize_row(format: number, w: bigint, out: number, inner: number, row: number, y: bigint): void;
}

/** One thread's view of the kernels on a shared memory. */
export class RawKernels {
  readonly memory: WebAssembly.Memory;
  readonly exports: Exports;
  readonly #team: number;
  #top: number;

  /** @param thread which thread of how many this instance is; each has its own stack and its own `Team` at the memory's start. */
  constructor(memory: WebAssembly.Memory, thread = 0, threads = 1, wasm: URL = kernelsUrl) {
    const stackBytes = 1 << 18;
    this.memory = memory;
    const module = new WebAssembly.Module(readFileSync(wasm));
    this.exports = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Exports;
    const base = align(Number(this.exports.__heap_base.value));
    this.exports.__stack_pointer.value = BigInt(base + (thread + 1) * stackBytes);
    this.#team = base + threads * stackBytes + 64 * (thread + 1);
    const ticket = base + threads * stackBytes;
    new Int32Array(memory.buffer, this.#team, 2).set([thread, threads]);
    new BigInt64Array(memory.buffer, this.#team + 8, 1)[0] = BigInt(ticket);
    this.#top = ticket + 64 * (threads + 1);
  }

  /** A memory of up to `bytes` bytes that threads can share. */
  static memory(bytes: number): WebAssembly.Memory {
    const pages = BigInt(Math.ceil(bytes / 65536));
    const descriptor = { address: 'i64', shared: true, initial: pages, maximum: 262144n };
    return new WebAssembly.Memory(descriptor as unknown as WebAssembly.MemoryDescriptor);
  }

  /** The address of `bytes` bytes that nothing else uses. */
  allocate(bytes: number): number {
    const address = this.#top;
    this.#top = align(address + bytes);
    if (this.#top > this.memory.buffer.byteLength)
      throw new RangeError(`${this.#top} bytes needed, the memory has ${this.memory.buffer.byteLength}.`);
    return address;
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }
  floats(address: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, length);
  }
  ints(address: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, address, length);
  }

  /** The team's address. All threads but the one that calls this must wait until it returns. */
  newTeam(): bigint {
    new Int32Array(this.memory.buffer, this.ticketAddress, 1)[0] = 0;
    return BigInt(this.#team);
  }
  get team(): bigint {
    return BigInt(this.#team);
  }
  get ticketAddress(): number {
    return Number(new BigInt64Array(this.memory.buffer, this.#team + 8, 1)[0]);
  }

  /** Matrices [out, inner] as a file has them, one behind the other as `matmul` takes them; returns their address. */
  weights(dtype: DType, bytes: Uint8Array, out: number, inner: number): number {
    const format = formats[dtype].ggmlType;
    const stored = out * byteLengthOf(dtype, inner);
    const room = this.exports.matrix_bytes(format, out, inner);
    const matrices = bytes.length / stored;
    const address = this.allocate(matrices * room);
    const staging = this.allocate(stored);
    for (let i = 0; i < matrices; i++) {
      this.bytes(staging, stored).set(bytes.subarray(i * stored, (i + 1) * stored));
      this.exports.pack(format, BigInt(staging), out, inner, BigInt(address + i * room), this.newTeam());
    }
    return address;
  }

  /** [rows, inner] in the form that `matmul` takes for this format and bits; returns its address. */
  activations(dtype: DType, x: Float32Array, rows: number, inner: number, bits = 8): number {
    const address = this.allocate(4 * x.length);
    this.floats(address, x.length).set(x);
    if (formats[dtype].blockSize === 1) return address;
    const rounded = this.allocate(rows * this.exports.rounded_row_bytes(bits, inner));
    this.exports.quantize_rows(bits, BigInt(address), rows, inner, BigInt(rounded), this.newTeam());
    return rounded;
  }
}

const align = (address: number): number => Math.ceil(address / 64) * 64;
