// Full pass = token by token = ragged batch = after truncate, on every backend and every kind of layer, over chunk borders too.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Backend, cacheTypes } from '../../src/backends/backend.ts';
import { createReferenceBackend } from '../../src/backends/reference/reference.ts';
import { createWasmBackend } from '../../src/backends/wasm/wasm.ts';
import type { DType } from '../../src/checkpoint/dtype.ts';
import { type Geometry, writeRandomModel } from '../../src/hub/random-model.ts';
import { golden, load, type Runner } from './harness.ts';

const base = {
  layers: 4,
  dim: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ff: 96,
  expertFf: 32,
  vocab: 300,
  contextLength: 64,
};
const sparse: Geometry = { ...base, architecture: 'llama4', experts: 5, moeStep: 2, chunk: 8 };
const models: Record<string, [Geometry, DType]> = {
  'llama4 with experts, chunks of 8': [sparse, 'F16'],
  'llama4 with experts everywhere, no QK-norm': [{ ...sparse, moeStep: 1, qkNorm: false }, 'Q8_0'],
  'dense llama4, chunks of 8': [{ ...sparse, experts: 0 }, 'Q4_0'],
  'llama, output tied': [{ ...base, architecture: 'llama', experts: 0, moeStep: 1, tied: true }, 'Q8_0'],
};
const backends: Record<string, () => Backend | Promise<Backend>> = {
  reference: () => createReferenceBackend(),
  wasm: () => createWasmBackend({ threads: 2 }),
};

const folder = mkdtempSync(join(tmpdir(), 'maverick-laws-'));
afterAll(() => rmSync(folder, { recursive: true }));
const pathOf = new Map<string, string>([['maverick-tiny', golden('maverick-tiny.gguf')]]);
beforeAll(async () => {
  for (const [name, [geometry, dtype]] of Object.entries(models)) {
    const path = join(folder, `${pathOf.size}.gguf`);
    pathOf.set(name, await writeRandomModel(path, geometry, { dtype, seed: 11 }));
  }
});

const tokensOf = (seed: number, length: number): number[] =>
  Array.from({ length }, (_, i) => (i * 7919 + seed * 104729 + ((i * i) % 31)) % 256);
const [a, b] = [tokensOf(1, 30), tokensOf(2, 19)];

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

for (const [backend, create] of Object.entries(backends))
  describe.each(cacheTypes)(`laws, ${backend}, cache %s`, type => {
    test.each(['maverick-tiny', ...Object.keys(models)])('%s', async name => {
      await using runner: Runner = await load(pathOf.get(name)!, await create(), { maxTokens: 30, maxBatch: 49, type });
      const { step, cache, config } = runner;
      const full = await step({ sequence: 0, tokens: a });
      const fullOfB = await step({ sequence: 1, tokens: b });
      expect(full.length).toBe(a.length * config.vocab);
      expect(full.every(Number.isFinite)).toBe(true);

      const single: Float32Array[] = [];
      for (const token of a) single.push(await step({ sequence: 2, tokens: [token] }));
      expect(concatenate(single), 'token by token').toEqual(full);

      // Two sequences in one batch, in pieces that end at other places, where one wants no logits of some pieces.
      cache.truncate(2, 0);
      const parts: [Float32Array[], Float32Array[]] = [[], []];
      let [i, j] = [0, 0];
      for (const [m, n] of [
        [7, 1],
        [2, 9],
        [1, 0],
        [11, 3],
        [9, 6],
      ] as const) {
        const rows = await step({ sequence: 3, tokens: b.slice(j, j + n) }, { sequence: 2, tokens: a.slice(i, i + m) });
        parts[1].push(rows.subarray(0, n * config.vocab));
        parts[0].push(rows.subarray(n * config.vocab));
        i += m;
        j += n;
      }
      expect(concatenate(parts[0]), 'ragged batch, first').toEqual(full);
      expect(concatenate(parts[1]), 'ragged batch, second').toEqual(fullOfB);

      for (const length of [23, 16, 9, 1]) {
        const kept = cache.truncate(0, length);
        expect(kept).toBeLessThanOrEqual(length);
        const rest = await step({ sequence: 0, tokens: a.slice(kept) });
        expect(rest, `after truncate to ${length}`).toEqual(full.subarray(kept * config.vocab));
      }

      // A pass without logits still fills the cache.
      cache.truncate(0, 0);
      expect((await step({ sequence: 0, tokens: a.slice(0, 29), rows: [] })).length).toBe(0);
      expect(cache.length(0)).toBe(29);
      expect(await step({ sequence: 0, tokens: a.slice(29) }), 'after a pass without logits').toEqual(
        full.subarray(29 * config.vocab),
      );
    });
  });
