// Which backend an engine computes with: machine code where it was compiled for this processor, WebAssembly everywhere else.
import type { Backend } from '../backends/backend.ts';

export const backendNames = ['native', 'wasm', 'reference'] as const;
export type BackendName = (typeof backendNames)[number];

/**
 * @param name undefined takes the fastest there is
 * @throws Error when native kernels are asked for by name and there are none, saying why
 */
export async function chooseBackend(name: BackendName | undefined, threads: number): Promise<Backend> {
  if (name === 'reference') {
    const { createReferenceBackend } = await import('../backends/reference/reference.ts');
    return createReferenceBackend();
  }
  if (name !== 'wasm') {
    const { loadNative } = await import('../backends/native/load.ts');
    if (name === 'native' || !('missing' in loadNative())) {
      const { createNativeBackend } = await import('../backends/native/native.ts');
      return createNativeBackend({ threads });
    }
  }
  const { createWasmBackend } = await import('../backends/wasm/wasm.ts');
  return createWasmBackend({ threads });
}
