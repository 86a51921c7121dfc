// Embeddings: the mean of the graph's own states, the same alone, in pieces and beside others, on every backend.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../checkpoint/open.ts';
import { cacheShape, planModel } from '../model/config.ts';
import { hiddenStates } from '../model/llama4.ts';
import { bindWeights, loadWeights } from '../model/weights.ts';
import { chooseBackend } from './choose-backend.ts';
import { openEngine } from './client.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, POISON, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';

let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

/** Computed by the graph alone, without an engine. */
async function expected(tokens: readonly number[]): Promise<Float32Array> {
  await using checkpoint = await openCheckpoint(models.llama4);
  await using k = await chooseBackend('reference', 1);
  const plan = planModel(checkpoint);
  const model = await loadWeights(bindWeights(checkpoint, plan), k, {});
  const { length } = tokens;
  using cache = k.createCache(cacheShape(plan, { maxTokens: 64, maxSequences: 1, longSequences: 1, maxBatch: 64 }));
  const rows = Int32Array.from(tokens, (_, i) => i);
  const batch = {
    tokens: Int32Array.from(tokens),
    positions: rows,
    sequences: new Int32Array(length),
    logitRows: rows,
  };
  const states = await k.step(async () => k.read(await hiddenStates(k, model, batch, cache)));
  const { dim } = plan.config;
  return Float32Array.from({ length: dim }, (_, i) => {
    let sum = 0;
    for (let row = 0; row < length; row++) sum += states[row * dim + i]!;
    return sum / length;
  });
}

test('the mean of the states that logits are made of', async () => {
  await using engine = await openLocalEngine(models.llama4, { backend: 'reference' });
  for (const tokens of [tokensOf(1, 1), tokensOf(2, 40)])
    expect(await engine.embed(tokens)).toEqual(await expected(tokens));
});

test.each(['reference', 'wasm'] as const)('%s: alone, in pieces and beside others the same bits', async backend => {
  const tokens = tokensOf(3, 37);
  await using whole = await openLocalEngine(models.llama4, { backend, threads: 1 });
  const alone = await whole.embed(tokens);
  const said = await collect(whole, tokensOf(4, 20), { maxTokens: 20, seed: 1, temperature: 1 });
  const scores = await whole.score(tokens);
  await using pieces = await openLocalEngine(models.llama4, { backend, threads: 1, maxBatch: 8 });
  const generation = collect(pieces, tokensOf(4, 20), { maxTokens: 20, seed: 1, temperature: 1 });
  const [a, b, besides] = await Promise.all([pieces.embed(tokens), pieces.embed(tokens), pieces.score(tokens)]);
  expect([a, b]).toEqual([alone, alone]);
  expect(besides).toEqual(scores);
  expect((await generation).tokens).toEqual(said.tokens);
});

test('what is cached is neither used nor pushed out', async () => {
  await using engine = await openLocalEngine(models.llama4, { backend: 'reference' });
  const prompt = tokensOf(5, 30);
  await collect(engine, prompt, { maxTokens: 2 });
  await expect.poll(async () => (await engine.stats()).keptSequences).toBe(1);
  const { cacheBytes } = await engine.stats();
  for (let i = 0; i < 5; i++) await engine.embed(prompt);
  await expect.poll(() => engine.stats()).toMatchObject({ keptSequences: 1, cacheBytes, reusedTokens: 0, running: 0 });
  expect((await collect(engine, prompt, { maxTokens: 2 })).end.stats.cachedTokens).toBe(29);
});

test('in a thread: the same; aborted and wrong ones are told so', async () => {
  await using engine = await openEngine(models.llama4, { backend: 'reference' });
  const tokens = tokensOf(6, 12);
  expect(await engine.embed(tokens)).toEqual(await expected(tokens));
  await expect(engine.embed([])).rejects.toThrow('tokens: got 0 tokens, wanted at least 1');
  await expect(engine.embed([300])).rejects.toThrow('tokens[0]: got 300, wanted a token id from 0 to 299');
  await expect(engine.embed(tokensOf(1, 65))).rejects.toThrow('at most 64');
  await expect(engine.embed(tokens, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
  const controller = new AbortController();
  const many = Array.from({ length: 60 }, (_, i) => engine.embed(tokensOf(i, 60), { signal: controller.signal }));
  controller.abort(new Error('gone'));
  expect((await Promise.allSettled(many)).map(({ status }) => status)).toEqual(Array(60).fill('rejected'));
  await expect.poll(() => engine.stats()).toMatchObject({ running: 0, waiting: 0 });
});

test('NaN is its own', async () => {
  await using engine = await openLocalEngine(models.poisoned, { backend: 'reference' });
  const [poisoned, sound] = await Promise.all([engine.embed([9, POISON, 10]), engine.embed([9, 10])]);
  expect([poisoned.every(Number.isNaN), sound.some(Number.isNaN)]).toEqual([true, false]);
});
