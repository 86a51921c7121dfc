// An engine whose experts are on disk: the tokens of one that holds them all, under every budget, and a file that fails is one request's
// misfortune.
import { readFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadNative } from '../backends/native/load.ts';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { openEngine } from './client.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, memoryFor, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { EngineOptions } from './types.ts';

const limits = { threads: 2, contextTokens: 64, maxSequences: 3 };
let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

const backends: NonNullable<EngineOptions['backend']>[] = ['reference', 'wasm'];
if (!('missing' in loadNative())) backends.push('native');

describe.each(backends)('experts on disk, %s', backend => {
  test('say what resident ones say, whatever there is room for, alone and beside each other', async () => {
    const numberBytes = backend === 'reference' ? 4 : 2;
    const options = { maxTokens: 9, temperature: 1, seed: 3 };
    const prompts = [tokensOf(1, 20), tokensOf(2, 3), tokensOf(3, 30)];
    await using resident = await openLocalEngine(models.llama4, { ...limits, backend });
    const expected = await Promise.all(prompts.map(prompt => collect(resident, prompt, options)));
    expect(resident.info.streaming).toBeUndefined();
    expect((await resident.stats()).experts).toBeNull();
    for (const experts of [1, 2, 7]) {
      const memory = await memoryFor(models.llama4, experts, numberBytes === 4, 3);
      await using engine = await openLocalEngine(models.llama4, { ...limits, backend, memory });
      expect(engine.info.streaming).toMatchObject({ heldExperts: experts, experts: 8, memoryBytes: memory });
      const together = await Promise.all(prompts.map(prompt => collect(engine, prompt, options)));
      expect(together.map(({ events }) => events)).toEqual(expected.map(({ events }) => events));
      const { experts: stats } = await engine.stats();
      expect(stats).toMatchObject({ experts: 8, slots: experts, held: experts, failures: 0 });
      expect(stats!.layers.map(({ layer }) => layer)).toEqual([1, 3]);
      if (stats!.foreseen === 0)
        expect(stats!.bytesRead).toBe(((stats!.wanted - stats!.hits) * stats!.heldBytes) / experts);
    }
  });
});

test.each(backends.slice(1))(
  'a file that is cut short while it is in use, %s: the request is told, the engine stays, and serves when the file is whole again',
  async backend => {
    const path = join(models.folder, `cut-${backend}.gguf`);
    const then = 1_700_000_000; // whole seconds, that they can be put back
    const restore = (): void => {
      writeFileSync(path, readFileSync(models.llama4));
      utimesSync(path, then, then);
    };
    restore();
    await using engine = await openEngine(path, {
      ...limits,
      backend,
      memory: await memoryFor(models.llama4, 1, false, 3),
    });
    const prompt = tokensOf(4, 30);
    const options = { maxTokens: 4, cacheSalt: 'anew' };
    const { tokens } = await collect(engine, prompt, { maxTokens: 4 });
    truncateSync(path, 4096);
    await expect(collect(engine, prompt, options)).rejects.toThrow(CheckpointError);
    await expect(collect(engine, prompt, options)).rejects.toThrow(/gguf: .*blk\.\d\.ffn_.*fetch it again/);
    restore();
    utimesSync(path, then + 1, then + 1);
    await expect(collect(engine, prompt, options)).rejects.toThrow(/was changed while it was in use/);
    expect(engine.state).toBe('ready');
    restore();
    expect((await collect(engine, prompt, options)).tokens).toEqual(tokens);
  },
);
