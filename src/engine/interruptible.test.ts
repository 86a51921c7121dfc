// A pass ends between two layers when nobody wants it, and leaves nothing behind.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from './client.ts';
import { type LocalEngineOptions, openLocalEngine } from './local-engine.ts';
import { collect, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';

const longer = fileURLToPath(new URL('../../test/fixtures/golden/scout-tiny.gguf', import.meta.url));
let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

describe.each(['reference', 'wasm'] as const)('%s', backend => {
  const open = (options: LocalEngineOptions) =>
    openLocalEngine(models.llama4, { backend, threads: 1, maxSequences: 2, ...options });

  test('a pass ends where its only request is aborted, whichever layer that is', async () => {
    const [prompt, other] = [tokensOf(1, 20), [...tokensOf(1, 20), ...tokensOf(2, 6)]];
    let at = Number.POSITIVE_INFINITY;
    let looks = 0;
    let abort = (): void => {};
    await using engine = await open({
      look() {
        if (looks++ === at) abort();
      },
    });
    const { layers } = engine.info.config;
    const wanted = await collect(engine, prompt, { maxTokens: 8 });
    const wantedOfOther = await collect(engine, other, { maxTokens: 8 });
    // A look a layer and pass: the prompt's is the first, or the last token of it where the rest is in the cache.
    for (let layer = 0; layer < 3 * layers; layer++) {
      const controller = new AbortController();
      abort = () => controller.abort();
      [looks, at] = [0, layer];
      const before = (await engine.stats()).passes;
      const { end, tokens } = await collect(engine, prompt, { maxTokens: 8, signal: controller.signal });
      const whole = Math.floor(layer / layers); // passes before that one
      expect(end.reason).toBe('abort');
      expect(looks).toBe(layer + 1);
      expect((await engine.stats()).passes - before).toBe(whole);
      expect(tokens).toEqual(wanted.tokens.slice(0, whole));
      expect((await collect(engine, prompt, { maxTokens: 8 })).tokens).toEqual(wanted.tokens);
      expect((await collect(engine, other, { maxTokens: 8 })).tokens).toEqual(wantedOfOther.tokens);
    }
  });

  test('a pass goes on while one of its requests is wanted', async () => {
    const prompts = [tokensOf(3, 9), tokensOf(4, 9)] as const;
    let looks = 0;
    let abort = (): void => {};
    await using engine = await open({
      look() {
        if (looks++ === 5) abort();
      },
    });
    const wanted = await collect(engine, prompts[1], { maxTokens: 12 });
    const controller = new AbortController();
    abort = () => controller.abort();
    looks = 0;
    const [left, stayed] = await Promise.all([
      collect(engine, prompts[0], { maxTokens: 12, signal: controller.signal }),
      collect(engine, prompts[1], { maxTokens: 12 }),
    ]);
    expect(left.end.reason).toBe('abort');
    expect(stayed.tokens).toEqual(wanted.tokens);
    expect(stayed.end.reason).toBe('length');
  });
});

test('in its thread an engine hears in the middle of a pass that its only request was aborted', async () => {
  // One pass of many tokens: without a look in its middle all of it would be computed.
  const options = { backend: 'reference', contextTokens: 1024, maxBatch: 1024, passMs: 1e6 } as const;
  await using engine = await openEngine(longer, options);
  await collect(engine, tokensOf(9, 64), { maxTokens: 1 }); // it is known now how fast it is
  const { passes } = await engine.stats();
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  const { end } = await collect(engine, tokensOf(1, 800), { maxTokens: 4, signal: controller.signal });
  expect(end.reason).toBe('abort');
  expect((await engine.stats()).passes).toBe(passes);
});
