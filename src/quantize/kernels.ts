// The quantizing kernels of one thread: machine code where it was compiled for this processor, else WebAssembly.
import { readFileSync } from 'node:fs';
import { loadAddon } from '../backends/native/load.ts';
import { type DType, formats } from '../checkpoint/dtype.ts';

/** What a row was refused for; as in kernels/encode.h. */
export type Refusal = 'not finite' | 'too large';

export interface RowsToEncode {
  readonly from: 'F32' | 'F16' | 'BF16';
  readonly to: DType;
  readonly rows: number;
  readonly columns: number;
  /** Bytes of the rows, which lie in memory of `allocate`; as all that follows. */
  readonly input: Uint8Array;
  readonly output: Uint8Array;
  /** Float32, one a column. */
  readonly importance: Uint8Array | null;
}

export interface Kernels {
  /** `wasm`, or the instruction set of the machine code. */
  readonly variant: string;
  /** Shared memory, of zeros. */
  allocate(bytes: number): Uint8Array;
  /** Encodes all rows, each by itself; or tells the first that cannot be. */
  encode(rows: RowsToEncode): { readonly row: number; readonly why: Refusal } | null;
}

interface QuantizeAddon {
  supported(): boolean;
  scratchFloats(columns: number): number;
  gridBytes(format: number): number;
  makeGrid(format: number, into: Uint8Array): void;
  encode(
    from: number,
    to: number,
    input: Uint8Array,
    rows: number,
    columns: number,
    importance: Float32Array | null,
    output: Uint8Array,
    scratch: Float32Array,
    grid: Uint8Array | null,
  ): number;
}

/** What kernels/exports.cpp exports: addresses are 64-bit integers. */
interface WasmExports {
  readonly __heap_base: WebAssembly.Global;
  scratchFloats(columns: number): number;
  gridBytes(format: number): number;
  makeGrid(format: number, into: bigint): void;
  encode(
    from: number,
    to: number,
    input: bigint,
    rows: number,
    columns: number,
    importance: bigint,
    output: bigint,
    scratch: bigint,
    grid: bigint,
  ): number;
}

const wasmUrl = new URL('../../dist/kernels/quantize.wasm', import.meta.url);

/**
 * Opens kernels for the calling thread. The variable MAVERICK_NATIVE, for diagnosing, chooses as it does for backends.
 * @throws Error when the build has not made them
 */
export function openKernels(): Kernels {
  const native = loadAddon<QuantizeAddon>('quantize');
  return 'addon' in native ? new NativeKernels(native.addon, native.variant) : new WasmKernels();
}

/** @param code 0, or 4 · row and the reason */
function refusal(code: number, dtype: DType): ReturnType<Kernels['encode']> {
  if (code === 0) return null;
  const why = (['not finite', 'too large'] as const)[(code % 4) - 1];
  if (!why) throw new Error(`The quantizing kernels know no ${dtype}; build them anew: npm run build`);
  return { row: Math.floor(code / 4), why };
}

class NativeKernels implements Kernels {
  readonly variant: string;
  readonly #addon: QuantizeAddon;
  readonly #grids = new Map<DType, Uint8Array | null>();
  #scratch = new Float32Array(0);

  constructor(addon: QuantizeAddon, variant: string) {
    this.#addon = addon;
    this.variant = variant;
  }

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  }

  encode({ from, to, rows, columns, input, output, importance }: RowsToEncode): ReturnType<Kernels['encode']> {
    const needed = this.#addon.scratchFloats(columns);
    if (this.#scratch.length < needed) this.#scratch = new Float32Array(needed);
    const format = formats[to].ggmlType;
    const weights = importance && new Float32Array(importance.buffer, importance.byteOffset, columns);
    const code = this.#addon.encode(
      ...([formats[from].ggmlType, format, input, rows, columns, weights, output, this.#scratch] as const),
      this.#grid(to),
    );
    return refusal(code, to);
  }

  #grid(dtype: DType): Uint8Array | null {
    let grid = this.#grids.get(dtype);
    if (grid === undefined) {
      const bytes = this.#addon.gridBytes(formats[dtype].ggmlType);
      grid = bytes > 0 ? new Uint8Array(bytes) : null;
      if (grid) this.#addon.makeGrid(formats[dtype].ggmlType, grid);
      this.#grids.set(dtype, grid);
    }
    return grid;
  }
}

const pageBytes = 65536;

class WasmKernels implements Kernels {
  readonly variant = 'wasm';
  readonly #memory: WebAssembly.Memory;
  readonly #exports: WasmExports;
  readonly #grids = new Map<DType, bigint>();
  #top: number;
  #scratch = { address: 0n, floats: 0 };

  constructor() {
    const descriptor = { address: 'i64', shared: true, initial: 64n, maximum: 262144n };
    this.#memory = new WebAssembly.Memory(descriptor as unknown as WebAssembly.MemoryDescriptor);
    let module: WebAssembly.Module;
    try {
      module = new WebAssembly.Module(readFileSync(wasmUrl));
    } catch (cause) {
      throw new Error(
        `The quantizing kernels are missing or damaged (${wasmUrl.pathname}); build them: npm run build`,
        {
          cause,
        },
      );
    }
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.#memory } });
    this.#exports = exports as unknown as WasmExports;
    this.#top = Number(this.#exports.__heap_base.value);
  }

  #reserve(bytes: number): number {
    const address = Math.ceil(this.#top / 64) * 64;
    this.#top = address + bytes;
    const missing = Math.ceil((this.#top - this.#memory.buffer.byteLength) / pageBytes);
    if (missing > 0) (this.#memory.grow as unknown as (pages: bigint) => bigint)(BigInt(missing));
    return address;
  }

  allocate(bytes: number): Uint8Array {
    const address = this.#reserve(bytes); // first, since growing makes a new buffer
    return new Uint8Array(this.#memory.buffer, address, bytes);
  }

  encode({ from, to, rows, columns, input, output, importance }: RowsToEncode): ReturnType<Kernels['encode']> {
    const needed = this.#exports.scratchFloats(columns);
    if (this.#scratch.floats < needed) this.#scratch = { address: BigInt(this.#reserve(4 * needed)), floats: needed };
    const format = formats[to].ggmlType;
    const code = this.#exports.encode(
      ...([formats[from].ggmlType, format, BigInt(input.byteOffset), rows, columns] as const),
      ...([
        BigInt(importance?.byteOffset ?? 0),
        BigInt(output.byteOffset),
        this.#scratch.address,
        this.#grid(to),
      ] as const),
    );
    return refusal(code, to);
  }

  #grid(dtype: DType): bigint {
    let grid = this.#grids.get(dtype);
    if (grid === undefined) {
      const bytes = this.#exports.gridBytes(formats[dtype].ggmlType);
      grid = bytes > 0 ? BigInt(this.#reserve(bytes)) : 0n;
      if (bytes > 0) this.#exports.makeGrid(formats[dtype].ggmlType, grid);
      this.#grids.set(dtype, grid);
    }
    return grid;
  }
}
