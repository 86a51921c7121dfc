// The backend that runs everywhere: the kernels as WebAssembly with SIMD, on several threads over shared memory.
import type { Backend } from '../backend.ts';
import { createCompiledBackend } from '../compiled/compiled.ts';
import { availableThreads, type CompiledOptions, checkOptions } from '../compiled/options.ts';
import { type Kernels, loadKernels } from './kernels.ts';
import { createWasmBank, largestBank, type WasmBank } from './memory.ts';
import { WasmThreads } from './threads.ts';

/**
 * Makes a backend on WebAssembly. A bank is at most 16 GiB, of which only what is used takes room.
 * @throws RangeError when an option is out of its range or memory cannot be reserved; Error when the kernels are not built.
 */
export async function createWasmBackend(options: CompiledOptions = {}): Promise<Backend> {
  const { threads = availableThreads(), bankBytes = largestBank, sixteenBitsBelow = 2048 } = options;
  checkOptions(threads, bankBytes, largestBank);
  const module = await loadKernels();
  let dotForm: number | undefined;
  const configure = (kernels: Kernels): void => {
    dotForm ??= fasterDot(kernels);
    kernels.choose_dot(dotForm);
  };
  return createCompiledBackend({
    name: 'wasm',
    maker: 'createWasmBackend',
    threads,
    sixteenBitsBelow,
    createBank: index => createWasmBank(index, module, bankBytes, threads, configure),
    start: bank => WasmThreads.start(threads, module, bank as WasmBank),
  });
}

/** Which lowering of the dot product this processor runs faster. */
function fasterDot(kernels: Kernels): number {
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
