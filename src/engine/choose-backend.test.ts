// The backend an engine takes when nobody says which, with native kernels and without.
import { afterEach, expect, test, vi } from 'vitest';
import { loadNative } from '../backends/native/load.ts';
import { type BackendName, chooseBackend } from './choose-backend.ts';

afterEach(() => vi.unstubAllEnvs());

const chosen = async (name?: BackendName): Promise<string> => {
  await using backend = await chooseBackend(name, 1);
  return backend.name;
};

test('native where there are kernels for this processor, else WebAssembly', async () => {
  expect(await chosen()).toBe('missing' in loadNative() ? 'wasm' : 'native');
  vi.stubEnv('MAVERICK_NATIVE', 'off');
  expect(await chosen()).toBe('wasm');
});

test('a name is what it says, or an error', async () => {
  expect(await chosen('wasm')).toBe('wasm');
  expect(await chosen('reference')).toBe('reference');
  vi.stubEnv('MAVERICK_NATIVE', 'off');
  await expect(chooseBackend('native', 1)).rejects.toThrow(/no native kernels \(MAVERICK_NATIVE is off\)/);
});
