// Keys and values in 8 bits, by an option: about half the memory, the same laws, and files that the other type refuses.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openLocalEngine } from './local-engine.ts';
import { collect, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { EngineOptions } from './types.ts';

let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

const open = (options: EngineOptions) => openLocalEngine(models.llama4, { threads: 1, ...options });

describe.each(['wasm', 'reference'] as const)('a Q8_0 cache, %s', backend => {
  test('answers alike with and without what was kept, and takes less memory', async () => {
    const prompt = tokensOf(3, 40);
    await using bytes = await open({ backend, cacheType: 'Q8_0' });
    await using halves = await open({ backend });
    const first = await collect(bytes, prompt, { maxTokens: 8 });
    const again = await collect(bytes, prompt, { maxTokens: 8 });
    expect(again.tokens).toEqual(first.tokens);
    await collect(halves, prompt, { maxTokens: 8 });
    await collect(halves, prompt, { maxTokens: 8 });
    const [less, more] = [(await bytes.stats()).cacheBytes, (await halves.stats()).cacheBytes];
    if (backend === 'wasm') expect(less).toBeLessThan(0.6 * more);
  });

  test('is saved and restored, but not as the other type', async () => {
    const path = join(models.folder, `${backend}.kv`);
    const prompt = tokensOf(4, 40);
    await using bytes = await open({ backend, cacheType: 'Q8_0' });
    const { tokens } = await collect(bytes, prompt, { maxTokens: 8 });
    await bytes.saveCache(path);
    await using other = await open({ backend, cacheType: 'Q8_0' });
    expect((await other.restoreCache(path)).sequences).toBe(1);
    expect((await collect(other, prompt, { maxTokens: 8 })).tokens).toEqual(tokens);
    await using halves = await open({ backend });
    await expect(halves.restoreCache(path)).rejects.toThrow(/layout/);
  });
});

test('an unknown type is named', async () => {
  await expect(open({ cacheType: 'Q4_0' as 'Q8_0' })).rejects.toThrow(
    /cacheType: got Q4_0, wanted 'F16' or 'F32' or 'Q8_0'/,
  );
});
