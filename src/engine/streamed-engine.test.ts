// An engine whose experts are on disk: the tokens of one that holds them all, under every budget, and a file that fails is one request's
// misfortune.
import { copyFileSync, truncateSync, writeFileSync } from 'node:fs';
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
      const memory = await memoryFor(models.llama4, experts, numberBytes, 3);
      await using engine = await openLocalEngine(models.llama4, { ...limits, backend, memory });
      expect(engine.info.streaming).toMatchObject({ heldExperts: experts, experts: 8, memoryBytes: memory });
      const together = await Promise.all(prompts.map(prompt => collect(engine, prompt, options)));
      expect(together.map(({ events }) => events)).toEqual(expected.map(({ events }) => events));
      const { experts: stats } = await engine.stats();
      expect(stats).toMatchObject({ experts: 8, slots: experts, held: experts, failures: 0 });
      expect(stats!.layers.map(({ layer }) => layer)).toEqual([1, 3]);
      expect(stats!.bytesRead).toBe(((stats!.wanted - stats!.hits) * stats!.heldBytes) / experts);
    }
  });
});

test('a file that is cut short while the engine runs: the request is told, others that need nothing from there are served, and when the file is whole again all are', async () => {
  const path = join(models.folder, 'cut.gguf');
  copyFileSync(models.llama4, path);
  await using engine = await openEngine(path, {
    ...limits,
    backend: 'wasm',
    memory: await memoryFor(models.llama4, 1, 2, 3),
  });
  const prompt = tokensOf(4, 30);
  const { tokens } = await collect(engine, prompt, { maxTokens: 4 });
  truncateSync(path, 4096);
  await expect(collect(engine, prompt, { maxTokens: 4, cacheSalt: 'anew' })).rejects.toThrow(CheckpointError);
  await expect(collect(engine, prompt, { maxTokens: 4, cacheSalt: 'anew' })).rejects.toThrow(
    /cut\.gguf: tensor blk\.\d\.ffn_.*fetch it again/,
  );
  expect(engine.state).toBe('ready');
  const whole = await import('node:fs').then(({ readFileSync }) => readFileSync(models.llama4));
  writeFileSync(path, whole);
  expect((await collect(engine, prompt, { maxTokens: 4, cacheSalt: 'anew' })).tokens).toEqual(tokens);
});
