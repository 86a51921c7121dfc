// The compiled kernels, as a module that every thread instantiates on the same memories.
import { readFile } from 'node:fs/promises';

/** What kernels/program.cpp exports. Addresses are 64-bit integers, everything else is a number. */
export interface Kernels {
  readonly __stack_pointer: WebAssembly.Global;
  readonly __heap_base: WebAssembly.Global;
  /** Runs a program as one of `threads` threads; 0 when done, 1 when a thread was lost. */
  run(control: bigint, program: bigint, commands: number, thread: number, threads: number): number;
  wait_for_task(control: bigint, seen: number): number;
  begin_task(control: bigint): void;
  uses_q8(format: number): number;
  q8_row_bytes(n: number): number;
  expert_scratch_bytes(experts: number, rows: number, threads: number): number;
  measure_dot(form: number, iterations: number): void;
  choose_dot(form: number): void;
}

/** Mirrors `enum class Kind` in kernels/program.h. */
export const commands = {
  Embed: 1,
  Quantize: 2,
  Matmul: 3,
  ExpertMatmul: 4,
  RmsNorm: 5,
  Rope: 6,
  TopK: 7,
  Swiglu: 8,
  Sigmoid: 9,
  Add: 10,
  ScaleRows: 11,
  GatherRows: 12,
  Append: 13,
  Attention: 14,
  AttentionMerge: 15,
} as const satisfies Record<string, number>;

/** Mirrors `enum class Task` and the offsets of `struct Control` in kernels/program.h, in 32-bit words. */
export const task = { Run: 0, Attach: 1, Leave: 2 } as const;
export const control = {
  bytes: 448,
  generation: 16,
  failed: 48,
  task: 65,
  bank: 66,
  commands: 67,
  attached: 81,
  /** In 64-bit words. */
  weightBytes: 48,
  multiplyAdds: 49,
} as const;

const url = new URL('../../../dist/kernels/kernels.wasm', import.meta.url);
let compiled: Promise<WebAssembly.Module> | undefined;

/** The module, compiled once a process. @throws Error when the build has not made it. */
export function loadKernels(): Promise<WebAssembly.Module> {
  compiled ??= readFile(url).then(
    bytes => WebAssembly.compile(bytes),
    cause => {
      compiled = undefined;
      throw new Error(`The kernels are missing (${url.pathname}); build them with: npm run build`, { cause });
    },
  );
  return compiled;
}

/** An instance whose stack ends at address `stackEnd` (0: the module's own small stack, to look around only). */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory, stackEnd: number): Kernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = exports as unknown as Kernels;
  if (stackEnd > 0) kernels.__stack_pointer.value = BigInt(stackEnd);
  return kernels;
}
