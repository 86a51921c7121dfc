// Where tokens go: what a plain computation finds, however the tokens are cut, cached, guessed or mixed with others'; each request its own.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../checkpoint/open.ts';
import { plainPass } from '../model/plain-llama4.cases.ts';
import { openChat } from './chat.ts';
import { openEngine } from './client.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, memoryFor, POISON, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { Engine, EngineOptions, Routing } from './types.ts';

let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

const open = (options: EngineOptions = {}): Promise<Engine> =>
  openLocalEngine(models.llama4, { backend: 'reference', ...options });
/** From a later token on. */
const tail = (routing: Routing, from: number): number[] => [
  ...routing.ids.subarray((from - routing.from) * routing.layers.length * routing.expertsPerToken),
];

test('is what a plain computation of the graph finds', async () => {
  const tokens = tokensOf(1, 40);
  await using checkpoint = await openCheckpoint(models.llama4);
  const plain = await plainPass(checkpoint, tokens);
  const inLayer = (layer: number): number[] =>
    plain.inputs.get(`blk.${layer}.ffn_gate_exps.weight`)!.map(({ expert }) => expert);
  const wanted = tokens.flatMap((_, token) => [inLayer(1)[token]!, inLayer(3)[token]!]);
  await using engine = await open();
  const routing = await engine.routing(tokens);
  expect(routing).toMatchObject({ from: 0, tokens: 40, layers: [1, 3], experts: 4, expertsPerToken: 1 });
  expect([...routing.ids]).toEqual(wanted);
  expect(new Set(routing.ids).size).toBeGreaterThan(2);
});

describe.each(['reference', 'wasm'] as const)('%s', backend => {
  test('one record however it comes about: whole, in pieces, in waves from disk, beside others, and by answering', async () => {
    const prompt = tokensOf(2, 20);
    await using engine = await open({ backend, threads: 2, cacheBytes: 0 });
    const { tokens, end } = await collect(engine, prompt, { maxTokens: 12, temperature: 1, seed: 3, routing: true });
    const all = [...prompt, ...tokens];
    const whole = await engine.routing(all);
    expect(whole.tokens).toBe(32);
    // The last token of an answer is not computed.
    expect(end.routing).toEqual({ ...whole, tokens: 31, ids: whole.ids.slice(0, 62) });
    const memory = await memoryFor(models.llama4, 2, backend === 'reference', 4);
    for (const options of [{ maxBatch: 1 }, { maxBatch: 7 }, { memory, contextTokens: 64 }]) {
      await using other = await open({ backend, threads: 2, ...options });
      expect(other.info.streaming?.heldExperts).toBe('memory' in options ? 2 : undefined);
      expect((await other.routing(all)).ids).toEqual(whole.ids);
    }
    const others = [tokensOf(4, 30), tokensOf(5, 9)];
    const alone = [];
    for (const other of others) alone.push(await engine.routing(other));
    const [mixed, second, third, quiet] = await Promise.all([
      engine.routing(all),
      engine.routing(others[0]!),
      engine.routing(others[1]!),
      collect(engine, prompt, { maxTokens: 12, temperature: 1, seed: 3 }),
    ]);
    expect([mixed, second, third]).toEqual([whole, ...alone]);
    expect(quiet.tokens).toEqual(tokens);
    expect(quiet.end).not.toHaveProperty('routing');
  });

  test('tokens in the cache are not recorded, unless they are asked for; wrong guesses are not', async () => {
    await using engine = await open({ backend, threads: 2 });
    const tokens = tokensOf(6, 30);
    const whole = await engine.routing(tokens);
    const cached = await collect(engine, [...tokens, 9], { maxTokens: 3, routing: true });
    expect(cached.end.stats.cachedTokens).toBe(30);
    expect(cached.end.routing).toMatchObject({ from: 30, tokens: 3 });
    const { promptTokens, reusedTokens } = await engine.stats();
    const later = await engine.routing(tokens, { from: 25 });
    expect(later).toMatchObject({ from: 25, tokens: 5 });
    expect([...later.ids]).toEqual(tail(whole, 25));
    const after = await engine.stats();
    expect([after.promptTokens - promptTokens, after.reusedTokens - reusedTokens]).toEqual([30, 25]);
    // Past the border of a chunk of 16 the cache goes back to the chunk's beginning; nothing of that shows.
    expect([...(await engine.routing(tokens, { from: 20 })).ids]).toEqual(tail(whole, 20));

    const repeated = [...tokensOf(7, 6), ...tokensOf(7, 6), ...tokensOf(7, 6)];
    // Two tokens in random turns: many guesses, some of them wrong.
    const logitBias = new Map([20, 21].map(token => [token, 100]));
    const sums = { drafted: 0, accepted: 0 };
    await using fresh = await open({ backend, threads: 2 });
    for (const seed of [1, 2, 3, 4]) {
      const options = { maxTokens: 30, temperature: 5, seed, logitBias, routing: true, cacheSalt: `plain ${seed}` };
      const plain = await collect(fresh, repeated, options);
      const guessed = await collect(fresh, repeated, { ...options, promptLookup: 6, cacheSalt: `guessed ${seed}` });
      sums.drafted += guessed.end.stats.draftedTokens;
      sums.accepted += guessed.end.stats.acceptedTokens;
      expect(guessed.end.routing).toEqual(plain.end.routing);
    }
    expect(sums.accepted).toBeGreaterThan(0);
    expect(sums.drafted).toBeGreaterThan(sums.accepted);
  });
});

test('a pass that fails beside it leaves nothing in the record', async () => {
  await using engine = await openLocalEngine(models.poisoned, { backend: 'reference', cacheBytes: 0 });
  const tokens = tokensOf(8, 30);
  const alone = await engine.routing(tokens);
  const [routing] = await Promise.all([
    engine.routing(tokens),
    collect(engine, [8, POISON, 9], { maxTokens: 4, routing: true }).catch(() => {}),
  ]);
  expect(routing).toEqual(alone);
});

test('through a thread and through a chat model: the tokens of the answer, its end left out', async () => {
  await using engine = await openEngine(models.llama4, { backend: 'reference' });
  await using local = await open();
  const tokens = tokensOf(9, 30);
  expect(await engine.routing(tokens, { from: 4 })).toEqual(await local.routing(tokens, { from: 4 }));
  const { end } = await collect(engine, tokens, { maxTokens: 4, routing: true });
  expect(end.routing!.ids).toBeInstanceOf(Uint16Array);

  const golden = fileURLToPath(new URL('../../test/fixtures/golden/maverick-tiny.gguf', import.meta.url));
  await using chat = await openChat(golden, { backend: 'reference', contextTokens: 256 });
  const question = { role: 'user', content: 'the sea' } as const;
  const answer = { role: 'assistant', content: 'and the sky' } as const;
  const read = await chat.routing([question, answer]);
  expect(chat.tokenizer.decode(read.tokens)).toBe('and the sky');
  expect(read.routing.tokens).toBe(read.tokens.length);
  const whole = await chat.engine.routing([...chat.format.encode([question]), ...read.tokens]);
  expect([...read.routing.ids]).toEqual(tail(whole, read.routing.from));
  expect(read.promptTokens).toBe(whole.tokens);
  await expect(chat.routing([question])).rejects.toThrow(
    "messages: got one of 'user' at the end, wanted the assistant's",
  );
  await expect(chat.routing([question, { ...answer, content: '' }])).rejects.toThrow('got an answer without text');
});

test('what is refused, and an abort', async () => {
  await using engine = await open({ maxBatch: 1 });
  const tokens = tokensOf(1, 20);
  await expect(engine.routing([])).rejects.toThrow('tokens: got 0 tokens');
  await expect(engine.routing(tokens, { from: 20 })).rejects.toThrow(
    'from: got 20, wanted a whole number from 0 to 19',
  );
  const wrong = engine.generate(tokens, { routing: 1 as unknown as boolean });
  await expect(wrong.next()).rejects.toThrow('routing: got 1, wanted true or false');
  const controller = new AbortController();
  const asked = engine.routing(tokens, { signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(asked).rejects.toThrow('enough');
  expect((await engine.routing(tokens)).tokens).toBe(20);
});
