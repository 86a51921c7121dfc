// Hugging Face folders, read as they are, give the log-probabilities that transformers' own models give (fixtures/huggingface.py).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { loadNative } from '../../src/backends/native/load.ts';
import { createNativeBackend } from '../../src/backends/native/native.ts';
import { createReferenceBackend } from '../../src/backends/reference/reference.ts';
import type { HostTensor } from '../../src/backends/reference/tensor.ts';
import { createWasmBackend } from '../../src/backends/wasm/wasm.ts';
import { compare, load } from './harness.ts';

const at = (name: string, kind = 'huggingface'): string =>
  fileURLToPath(new URL(`../fixtures/${kind}/${name}`, import.meta.url));
const tokens: number[] = JSON.parse(readFileSync(at('tokens.json'), 'utf8'));
const expected = (name: string): Float32Array => {
  const bytes = readFileSync(at(`${name}.logprobs.f32`));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
};

const native = loadNative();
if ('missing' in native) process.stderr.write(`Hugging Face folders on native kernels: skipped, ${native.missing}\n`);
const backends: Record<string, () => Backend | Promise<Backend>> = {
  reference: createReferenceBackend,
  wasm: () => createWasmBackend({ threads: 2 }),
  ...('missing' in native ? {} : { native: () => createNativeBackend({ threads: 2 }) }),
};

/** The exact backend, but that keys and values are halves, as the others keep them. */
function referenceWithHalves(): Backend {
  const exact = createReferenceBackend();
  const createCache = exact.createCache.bind(exact);
  exact.createCache = shape => {
    const cache = createCache(shape);
    const append = cache.append.bind(cache);
    cache.append = (layer, keys, values, batch) => {
      for (const tensor of [keys, values] as HostTensor[]) {
        const numbers = tensor.floats();
        for (let i = 0; i < numbers.length; i++) numbers[i] = Math.f16round(numbers[i]!);
      }
      append(layer, keys, values, batch);
    };
    return cache;
  };
  return exact;
}

describe.each(Object.keys(backends))('transformers, on %s', backend => {
  test.each(['maverick', 'scout', 'guard', 'odd', 'llama'])('%s', async name => {
    await using runner = await load(at(name), await backends[backend]!());
    const got = await runner.step({ sequence: 0, tokens });
    const { maxDifference, meanKl, top1 } = compare(got, expected(name), runner.config.vocab);
    // transformers computed in float32 with the same BF16 weights. The bar is 2e-3; the others keep keys and values in F16.
    if (backend === 'reference') expect(maxDifference).toBeLessThanOrEqual(2e-5);
    expect(maxDifference).toBeLessThanOrEqual(5e-3);
    expect(meanKl).toBeLessThanOrEqual(1e-6);
    expect(top1).toBe(1);
    if (backend === 'reference') return;
    // That is all that separates them: with the same halves the exact backend says the same.
    await using halves = await load(at(name), referenceWithHalves());
    const wanted = await halves.step({ sequence: 0, tokens });
    expect(compare(got, wanted, runner.config.vocab).maxDifference).toBeLessThanOrEqual(1e-3);
    // And with a cache of floats they are where the bar wants them.
    await using floats = await load(at(name), await backends[backend]!(), { type: 'F32' });
    const unrounded = await floats.step({ sequence: 0, tokens });
    expect(compare(unrounded, expected(name), runner.config.vocab).maxDifference).toBeLessThanOrEqual(5e-4);
  });
});

describe("Meta's shards", () => {
  test.each(['scout', 'guard'])('%s: the same bits as the Hugging Face folder', async name => {
    await using folder = await load(at(name), createReferenceBackend());
    await using shards = await load(at(name, 'meta'), createReferenceBackend());
    expect(shards.config).toEqual({ ...folder.config, contextLength: shards.config.contextLength });
    const want = await folder.step({ sequence: 0, tokens });
    expect(await shards.step({ sequence: 0, tokens })).toEqual(want);
  });

  test('FP8 as llama-models writes it: near the numbers that were rounded', async () => {
    await using exact = await load(at('scout', 'meta'), createReferenceBackend());
    await using rounded = await load(at('scout-fp8', 'meta'), createReferenceBackend());
    const want = await exact.step({ sequence: 0, tokens });
    const { meanKl, maxDifference } = compare(await rounded.step({ sequence: 0, tokens }), want, exact.config.vocab);
    expect(meanKl).toBeLessThan(2e-3);
    expect(maxDifference).toBeGreaterThan(0);
  });
});
