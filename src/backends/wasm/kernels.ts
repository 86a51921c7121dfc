// The compiled kernels, as a module that every thread instantiates on the same memories.
import { readFile } from 'node:fs/promises';

/** What kernels/program.cpp exports. Addresses are 64-bit integers, everything else is a number. */
export interface Kernels {
  readonly __stack_pointer: WebAssembly.Global;
  readonly __heap_base: WebAssembly.Global;
  /** Runs a program as one of `threads` threads; 0 when done, 1 when a thread was lost. */
  run(control: bigint, program: bigint, thread: number, threads: number): number;
  /** Waits until a program may be written anew; 1 when a thread was lost. */
  await_program(control: bigint, program: bigint): number;
  wait_for_task(control: bigint, seen: number): number;
  begin_task(control: bigint, task: number): void;
  activation_bits(format: number, n: number): number;
  rounded_row_bytes(bits: number, n: number): number;
  choose_words(below: number): void;
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

/** Mirrors `enum class Task` in kernels/program.h. */
export const task = { Run: 0, Attach: 1, Leave: 2 } as const;

/** Where the fields of `struct Control` in kernels/program.h lie, in 32-bit words. */
export const control = {
  bytes: 320,
  failed: 16,
  task: 32,
  attached: 49,
  /** In 64-bit words. */
  weightBytes: 32,
  multiplyAdds: 33,
} as const;

/** A task as the control block holds it: a number that no other recent task has, and what is to do. */
export const packTask = (number: number, what: number, bank = 0, program = 0): number =>
  (number << 12) | (bank << 4) | (program << 2) | what;
export const unpackTask = (word: number): { what: number; bank: number; program: number } => ({
  what: word & 3,
  bank: (word >> 4) & 255,
  program: (word >> 2) & 3,
});

const url = new URL('../../../dist/kernels/kernels.wasm', import.meta.url);
let compiled: Promise<WebAssembly.Module> | undefined;

/** The module, compiled once a process. @throws Error when the build has not made it. */
export function loadKernels(): Promise<WebAssembly.Module> {
  compiled ??= compile().catch(error => {
    compiled = undefined;
    throw error;
  });
  return compiled;
}

async function compile(): Promise<WebAssembly.Module> {
  let what = 'are missing';
  try {
    const bytes = await readFile(url);
    what = 'are damaged, or this is not Node 24';
    return await WebAssembly.compile(bytes);
  } catch (cause) {
    throw new Error(`The kernels ${what} (${url.pathname}); build them with: npm run build`, { cause });
  }
}

/** An instance whose stack ends at address `stackEnd` (0: the module's own small stack, to look around only). */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory, stackEnd: number): Kernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = exports as unknown as Kernels;
  if (stackEnd > 0) kernels.__stack_pointer.value = BigInt(stackEnd);
  return kernels;
}
