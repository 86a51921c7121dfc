// The compiled kernels, as a module that every thread instantiates on the same memories.
import { readFile } from 'node:fs/promises';
import type { KernelQueries } from '../compiled/commands.ts';

/** What kernels/program.cpp exports. Addresses are 64-bit integers, everything else is a number. */
export interface Kernels extends KernelQueries {
  readonly __stack_pointer: WebAssembly.Global;
  readonly __heap_base: WebAssembly.Global;
  /** Runs a program as one of `threads` threads; 0 when done, 1 when a thread was lost. */
  run(control: bigint, program: bigint, thread: number, threads: number): number;
  /** Waits until a program may be written anew; 1 when a thread was lost. */
  await_program(control: bigint, program: bigint): number;
  wait_for_task(control: bigint, seen: number): number;
  begin_task(control: bigint, task: number): void;
  measure_dot(form: number, iterations: number): void;
  choose_dot(form: number): void;
}

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
