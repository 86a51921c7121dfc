// The engine's promises: requests do not touch each other, what is cached changes nothing, everything ends and says why.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { PagedCache } from '../backends/compiled/cache.ts';
import { ReferenceCache } from '../backends/reference/cache.ts';
import { WasmThreads } from '../backends/wasm/threads.ts';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { EngineDraining, EngineFailed, QueueFull } from './errors.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, geometry, POISON, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { Engine, EngineOptions, GenerateOptions } from './types.ts';

const longer = fileURLToPath(new URL('../../test/fixtures/golden/scout-tiny.gguf', import.meta.url));
let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

const open = (options: EngineOptions = {}): Promise<Engine> =>
  openLocalEngine(models.llama4, { backend: 'reference', ...options });

/** Prompts of many lengths, some alike at the beginning, with options of all kinds. */
const requests: [number[], GenerateOptions][] = [
  [tokensOf(1, 20), { maxTokens: 12 }],
  [tokensOf(1, 14), { maxTokens: 9, temperature: 0.8, seed: 3 }],
  [tokensOf(2, 1), { maxTokens: 20, temperature: 1.5, topP: 0.9, seed: 4, topLogprobs: 3 }],
  [tokensOf(3, 33), { maxTokens: 5, repetitionPenalty: 1.2 }],
  [[...tokensOf(1, 14), 9, 9, 9], { maxTokens: 15, temperature: 1, topK: 20, seed: 5 }],
  [tokensOf(4, 7), { maxTokens: 40, minP: 0.05, temperature: 0.7, seed: 6, frequencyPenalty: 0.4 }],
];

describe.each(['reference', 'wasm'] as const)('%s', backend => {
  test('requests that run together give what each gives alone', async () => {
    await using alone = await open({ backend, threads: 2, maxSequences: 1 });
    const solo = [];
    for (const [prompt, options] of requests) solo.push((await collect(alone, prompt, options)).events);
    for (const [maxSequences, maxBatch] of [
      [2, 5],
      [6, 64],
      [3, 1],
    ] as const) {
      await using together = await open({ backend, threads: 2, maxSequences, maxBatch });
      const all = await Promise.all(requests.map(([prompt, options]) => collect(together, prompt, options)));
      expect(all.map(r => r.events)).toEqual(solo);
      expect(all.map(r => r.end.reason)).toEqual(requests.map(() => 'length'));
    }
  });
});

describe('generation', () => {
  test('greedy tokens are the most likely ones of log-probabilities computed apart', async () => {
    await using engine = await open();
    const prompt = tokensOf(5, 10);
    const { events, tokens } = await collect(engine, prompt, { maxTokens: 8, topLogprobs: 2 });
    const whole = [...prompt, ...tokens];
    const rows = tokens.map((_, i) => prompt.length - 1 + i);
    await using other = await open();
    let at = 0;
    for await (const { row, logprobs } of other.logprobs(whole, { rows })) {
      const best = logprobs.indexOf(Math.max(...logprobs));
      const event = events[at]!;
      expect(row).toBe(rows[at]);
      expect(best).toBe(event.token);
      expect(event.logprob).toBeCloseTo(logprobs[best]!, 6);
      expect(event.topLogprobs[0]).toEqual({ token: event.token, logprob: event.logprob });
      expect(event.topLogprobs[1]!.logprob).toBeLessThanOrEqual(event.logprob);
      at++;
    }
    expect(at).toBe(8);
  });

  test('ends at a stop token, which is not given', async () => {
    await using engine = await open();
    const free = await collect(engine, tokensOf(5, 10), { maxTokens: 8 });
    const stop = free.tokens[4]!;
    const { tokens, end } = await collect(engine, tokensOf(5, 10), { stopTokens: [stop] });
    expect(tokens).toEqual(free.tokens.slice(0, free.tokens.indexOf(stop)));
    expect(end.reason).toBe('stop');
  });

  test('ends when the context is full, also for a prompt that fills it', async () => {
    await using engine = await open({ contextTokens: 24 });
    const { tokens, end } = await collect(engine, tokensOf(5, 20));
    // The last token sampled need not be stored.
    expect([tokens.length, end.reason]).toEqual([5, 'context']);
    const full = await collect(engine, tokensOf(6, 24));
    expect([full.tokens.length, full.end.reason]).toEqual([1, 'context']);
  });

  test('no tokens wanted: nothing is computed', async () => {
    await using engine = await open();
    const { tokens, end } = await collect(engine, tokensOf(1, 20), { maxTokens: 0 });
    expect([tokens, end.reason]).toEqual([[], 'length']);
    expect((await engine.stats()).prefillTokens).toBe(0);
  });

  test('says how long it took and what it used', async () => {
    await using engine = await open({ maxSequences: 1 });
    const { end } = await collect(engine, tokensOf(1, 20), { maxTokens: 6 });
    expect(end.stats).toMatchObject({ promptTokens: 20, cachedTokens: 0, generatedTokens: 6 });
    expect(end.stats.prefillMs).toBeGreaterThan(0);
    expect(end.stats.decodeMs).toBeGreaterThan(0);
    const stats = await engine.stats();
    expect(stats).toMatchObject({ prefillTokens: 20, decodeTokens: 5, running: 0, waiting: 0 });
    expect(stats.multiplyAdds).toBeGreaterThan(0);
    expect(stats.memoryBytes).toBeGreaterThan(stats.cacheBytes);
    expect(engine.info).toMatchObject({ backend: 'reference', contextTokens: 64, path: models.llama4 });
  });
});

describe('the cache of earlier requests', () => {
  test('a conversation that goes on is not computed again, and answers as if it were', async () => {
    await using engine = await open({ maxSequences: 2 });
    const first = await collect(engine, tokensOf(1, 20), { maxTokens: 6 });
    const history = [...tokensOf(1, 20), ...first.tokens, ...tokensOf(2, 10)];
    const second = await collect(engine, history, { maxTokens: 6 });
    // The last token of an answer was sampled and never computed.
    expect(second.end.stats.cachedTokens).toBe(25);
    const changed = [...history.slice(0, 22), 9, ...tokensOf(3, 4)];
    const third = await collect(engine, changed, { maxTokens: 6 });
    expect(third.end.stats.cachedTokens).toBeGreaterThanOrEqual(16);
    expect(third.end.stats.cachedTokens).toBeLessThanOrEqual(22);
    for (const [prompt, { tokens }] of [
      [history, second],
      [changed, third],
    ] as const) {
      await using fresh = await open();
      expect((await collect(fresh, prompt, { maxTokens: 6 })).tokens).toEqual(tokens);
    }
  });

  test('the same prompt again needs its last token only', async () => {
    await using engine = await open();
    const first = await collect(engine, tokensOf(1, 20), { maxTokens: 1 });
    const again = await collect(engine, tokensOf(1, 20), { maxTokens: 1 });
    expect(again.tokens).toEqual(first.tokens);
    expect(again.end.stats.cachedTokens).toBe(19);
  });

  test('another conversation takes an empty place, and leaves the first its own', async () => {
    await using engine = await open({ maxSequences: 2 });
    await collect(engine, tokensOf(1, 40), { maxTokens: 2 });
    const other = await collect(engine, [...tokensOf(1, 3), ...tokensOf(9, 20)], { maxTokens: 2 });
    expect(other.end.stats.cachedTokens).toBe(0);
    const back = await collect(engine, [...tokensOf(1, 40), 5], { maxTokens: 2 });
    expect(back.end.stats.cachedTokens).toBe(40);
  });

  test('log-probabilities of an early row are not skipped for what is cached', async () => {
    await using engine = await open({ maxSequences: 1 });
    await collect(engine, tokensOf(1, 20), { maxTokens: 1 });
    const scores = await engine.score(tokensOf(1, 20));
    await using fresh = await open();
    expect(scores).toEqual(await fresh.score(tokensOf(1, 20)));
  });
});

describe('log-probabilities and scores', () => {
  test('rows in order, whatever the batch; scores are their entries', async () => {
    const tokens = tokensOf(1, 40);
    const collected: Float32Array[][] = [];
    for (const maxBatch of [64, 7, 1]) {
      await using engine = await open({ maxBatch });
      const rows: Float32Array[] = [];
      for await (const { row, logprobs } of engine.logprobs(tokens)) {
        expect(row).toBe(rows.length);
        rows.push(logprobs);
      }
      collected.push(rows);
      const scores = await engine.score(tokens);
      expect(scores.length).toBe(39);
      for (const [i, score] of scores.entries()) expect(score).toBeCloseTo(rows[i]![tokens[i + 1]!]!, 5);
    }
    expect(collected[1]).toEqual(collected[0]);
    expect(collected[2]).toEqual(collected[0]);
  });

  test('chosen rows only, none at all, and a single token', async () => {
    await using engine = await open();
    const rows: number[] = [];
    for await (const { row } of engine.logprobs(tokensOf(1, 40), { rows: [3, 4, 30] })) rows.push(row);
    expect(rows).toEqual([3, 4, 30]);
    for await (const _ of engine.logprobs(tokensOf(1, 5), { rows: [] })) expect.unreachable();
    expect(await engine.score([5])).toEqual(new Float32Array(0));
    // Nothing after the last row wanted is computed.
    expect((await engine.stats()).prefillTokens).toBe(31);
  });

  test('stops when told to, with the reason', async () => {
    await using engine = await open({ maxBatch: 1 });
    const controller = new AbortController();
    const rows = engine.logprobs(tokensOf(1, 40), { signal: controller.signal });
    await rows.next();
    controller.abort(new Error('enough'));
    await expect(
      (async () => {
        for await (const _ of rows);
      })(),
    ).rejects.toThrow('enough');
    await expect(engine.score(tokensOf(1, 40), { signal: controller.signal })).rejects.toThrow('enough');
    const late = new AbortController();
    const score = engine.score(tokensOf(1, 40), { signal: late.signal });
    late.abort(new Error('late'));
    await expect(score).rejects.toThrow('late');
    expect((await collect(engine, tokensOf(2, 3), { maxTokens: 2 })).tokens.length).toBe(2);
  });
});

describe('ends and failures', () => {
  test('an abort ends a generation at once, frees its place, and its neighbours never know', async () => {
    await using engine = await open({ maxSequences: 2 });
    const controller = new AbortController();
    const neighbour = collect(engine, tokensOf(2, 8), { maxTokens: 30 });
    const waiting = collect(engine, tokensOf(3, 8), { maxTokens: 3 });
    const generation = engine.generate(tokensOf(1, 8), { signal: controller.signal });
    await generation.next();
    controller.abort();
    let after = 0;
    let next = await generation.next();
    while (!next.done) {
      after++;
      next = await generation.next();
    }
    expect(after).toBeLessThanOrEqual(2);
    expect(next.value.reason).toBe('abort');
    expect((await waiting).tokens.length).toBe(3);
    const { tokens } = await neighbour;
    await using fresh = await open();
    expect((await collect(fresh, tokensOf(2, 8), { maxTokens: 30 })).tokens).toEqual(tokens);
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  test('after an abort at most one pass is computed, in the middle of a prompt too', async () => {
    await using engine = await openLocalEngine(longer, { backend: 'reference', threads: 1, passMs: 1e-6 });
    let passes = 0;
    const append = ReferenceCache.prototype.append;
    const counted = vi.spyOn(ReferenceCache.prototype, 'append').mockImplementation(function (this: never, ...args) {
      if (args[0] === 0) passes++;
      append.apply(this, args);
    });
    try {
      const controller = new AbortController();
      const generation = collect(engine, tokensOf(1, 200), { signal: controller.signal });
      const rows = new AbortController();
      const scores = engine.score(tokensOf(2, 200), { signal: rows.signal });
      while (passes < 2) await new Promise(resolve => setImmediate(resolve));
      const before = passes;
      controller.abort();
      rows.abort(new Error('enough'));
      await expect(scores).rejects.toThrow('enough');
      expect((await generation).end.reason).toBe('abort');
      await new Promise(resolve => setTimeout(resolve, 20));
      expect(passes).toBeLessThanOrEqual(before + 1);
      expect((await engine.stats()).prefillTokens).toBeLessThan(200);
    } finally {
      counted.mockRestore();
    }
    expect((await collect(engine, tokensOf(3, 9), { maxTokens: 2 })).tokens.length).toBe(2);
  });

  test('a deadline ends who computes and who waits, and gives what there is', async () => {
    await using engine = await openLocalEngine(longer, { backend: 'reference', maxSequences: 1, contextTokens: 512 });
    const long = collect(engine, tokensOf(1, 8), { timeoutMs: 150 });
    const waiting = collect(engine, tokensOf(2, 8), { timeoutMs: 10 });
    const patient = collect(engine, tokensOf(3, 8), { maxTokens: 3, timeoutMs: 60_000 });
    expect((await waiting).end).toMatchObject({ reason: 'deadline', stats: { generatedTokens: 0, prefillMs: 0 } });
    const { tokens, end } = await long;
    expect([end.reason, tokens.length]).toEqual(['deadline', end.stats.generatedTokens]);
    expect(tokens.length).toBeGreaterThan(0);
    expect((await patient).end.reason).toBe('length');
  });

  test('leaving the loop aborts; an aborted signal never starts; who waits can be aborted', async () => {
    await using engine = await open({ maxSequences: 1 });
    for await (const _ of engine.generate(tokensOf(1, 8))) break;
    await new Promise(resolve => setImmediate(resolve));
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 });
    const { tokens, end } = await collect(engine, tokensOf(1, 8), { signal: AbortSignal.abort() });
    expect([tokens, end.reason]).toEqual([[], 'abort']);

    const first = collect(engine, tokensOf(2, 8), { maxTokens: 20 });
    const controller = new AbortController();
    const second = collect(engine, tokensOf(3, 8), { signal: controller.signal });
    await new Promise(resolve => setImmediate(resolve));
    controller.abort();
    expect((await second).end).toMatchObject({ reason: 'abort', stats: { generatedTokens: 0, prefillMs: 0 } });
    expect((await first).tokens.length).toBe(20);
  });

  test.each(['reference', 'wasm'] as const)('NaN in one request is its own, %s', async backend => {
    await using engine = await openLocalEngine(models.poisoned, { backend, threads: 2 });
    const healthy = collect(engine, tokensOf(1, 12), { maxTokens: 10 });
    const sick = collect(engine, [...tokensOf(2, 5), POISON], { maxTokens: 10 });
    await expect(sick).rejects.toThrow(/no usable distribution: a logit is NaN/);
    await expect(engine.score([...tokensOf(2, 5), POISON, 8])).rejects.toThrow(/is NaN/);
    await using alone = await open({ backend, threads: 2 });
    expect((await healthy).tokens).toEqual((await collect(alone, tokensOf(1, 12), { maxTokens: 10 })).tokens);
  });

  test('a backend that fails in the middle: every request is told, none waits for ever, closing frees all', async () => {
    const engine = await open({ backend: 'wasm', threads: 2, maxSequences: 2 });
    const generation = engine.generate(tokensOf(5, 3));
    await generation.next();
    const lost = vi.spyOn(WasmThreads.prototype, 'begin').mockImplementation(() => {
      throw new Error('out of luck');
    });
    try {
      await expect(
        (async () => {
          while (!(await generation.next()).done);
        })(),
      ).rejects.toThrow('out of luck');
      const told = [...[1, 2, 3].map(seed => collect(engine, tokensOf(seed, 8))), engine.score(tokensOf(4, 20))];
      for (const result of await Promise.allSettled(told))
        expect(result.status === 'rejected' && String(result.reason)).toMatch('out of luck');
      await expect(collect(engine, tokensOf(1, 8))).rejects.toThrow('out of luck');
      expect(engine.state).toBe('failed');
      await expect(engine.stats()).rejects.toThrow(EngineFailed);
    } finally {
      lost.mockRestore();
    }
    await Promise.all([engine[Symbol.asyncDispose](), engine[Symbol.asyncDispose]()]);
  });

  test.each([
    ['reference', ReferenceCache],
    ['wasm', PagedCache],
  ] as const)('a pass that one request spoils is computed again without it, %s', async (backend, Cache) => {
    const append = Cache.prototype.append;
    const spoilt = 255;
    const spoil = vi.spyOn(Cache.prototype, 'append').mockImplementation(function (this: never, ...args) {
      const [layer, , , batch] = args;
      if (layer === 2 && batch.tokens.includes(spoilt)) throw new Error('out of luck');
      append.apply(this, args);
    });
    try {
      await using engine = await open({ backend, threads: 1, maxSequences: 5, maxBatch: 40 });
      const states: string[] = [];
      engine.onState(state => states.push(state));
      const sick = collect(engine, [...tokensOf(7, 5), spoilt, 9], { maxTokens: 9 });
      const together = await Promise.allSettled([
        ...requests.slice(0, 3).map(([prompt, options]) => collect(engine, prompt, options)),
        engine.score(tokensOf(8, 30)),
        sick,
        ...requests.slice(3).map(([prompt, options]) => collect(engine, prompt, { ...options, promptLookup: true })),
      ]);
      expect(together.map(({ status }) => status)).toEqual(
        together.map((_, i) => (i === 4 ? 'rejected' : 'fulfilled')),
      );
      await expect(sick).rejects.toThrow('out of luck');
      expect(states).toEqual([]);
      await using alone = await open({ backend, threads: 1 });
      const got = together.map(r => (r.status === 'fulfilled' ? r.value : null));
      expect(got[3]).toEqual(await alone.score(tokensOf(8, 30)));
      got.splice(3, 2);
      for (const [i, [prompt, options]] of requests.entries())
        expect(got[i]).toMatchObject({ events: (await collect(alone, prompt, options)).events });
      expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 });
    } finally {
      spoil.mockRestore();
    }
  });

  test('a key that asks for much does not keep another waiting', async () => {
    await using engine = await open({ maxSequences: 1, cacheBytes: 0 });
    const order: string[] = [];
    const ask = async (fairnessKey: string, seed: number): Promise<void> => {
      await collect(engine, tokensOf(seed, 12), { maxTokens: 4, fairnessKey });
      order.push(fairnessKey);
    };
    const crowd = Array.from({ length: 12 }, (_, i) => ask('a', i));
    while (order.length < 3) await new Promise(resolve => setImmediate(resolve));
    await Promise.all([...crowd, ask('b', 20), ask('b', 21)]);
    const places = order.flatMap((key, i) => (key === 'b' ? [i] : []));
    expect(places[0]).toBeLessThanOrEqual(5);
    expect(places[1]).toBeLessThanOrEqual(7);
  });

  test('who is too many is refused, told when to come again, and let in then', async () => {
    await using engine = await open({ maxSequences: 1, maxWaiting: 2 });
    const first = collect(engine, tokensOf(1, 9), { maxTokens: 4 });
    const others = [2, 3].map(seed => collect(engine, tokensOf(seed, 9), { maxTokens: 4 }));
    await new Promise(resolve => setImmediate(resolve));
    const refused = collect(engine, tokensOf(4, 9));
    await expect(refused).rejects.toThrow(QueueFull);
    await expect(refused).rejects.toThrow(/llama4\.gguf: 2 requests wait already/);
    await expect(refused).rejects.toMatchObject({ retryAfterMs: expect.any(Number) });
    await Promise.all([first, ...others]);
    expect((await collect(engine, tokensOf(4, 9), { maxTokens: 4 })).tokens.length).toBe(4);
    // A crowd of which most give up leaves no place taken.
    for (let round = 0; round < 50; round++)
      await Promise.allSettled(
        [1, 2, 3].map(async seed => {
          for await (const _ of engine.generate(tokensOf(seed, 5))) break;
        }),
      );
    await new Promise(resolve => setTimeout(resolve, 5));
    const all = await Promise.allSettled([5, 6, 7].map(seed => collect(engine, tokensOf(seed, 9), { maxTokens: 2 })));
    expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
  });

  test('draining finishes what is there and refuses what comes', async () => {
    await using engine = await open({ maxSequences: 1 });
    const running = [1, 2].map(seed => collect(engine, tokensOf(seed, 8), { maxTokens: 5 }));
    await new Promise(resolve => setImmediate(resolve));
    let drained = false;
    const draining = engine.drain().then(() => {
      drained = true;
    });
    expect(engine.state).toBe('draining');
    await expect(collect(engine, [1])).rejects.toThrow(EngineDraining);
    await expect(engine.score([1, 2])).rejects.toThrow(EngineDraining);
    await running[0];
    expect(drained).toBe(false);
    expect((await running[1]!).tokens.length).toBe(5);
    await draining;
    await engine.drain();
  });

  test('a cache that fails ends the engine, with a reason that names the file', async () => {
    await using engine = await open({ backend: 'wasm', threads: 1, maxSequences: 1 });
    const append = vi.spyOn(PagedCache.prototype, 'append').mockImplementation(() => {
      throw new Error('out of luck');
    });
    const broken = vi.spyOn(PagedCache.prototype, 'truncate').mockImplementation(() => {
      throw new Error('out of luck');
    });
    try {
      const told = await Promise.allSettled([1, 2, 3].map(seed => collect(engine, tokensOf(seed, 8))));
      const reasons = told.map(result => (result.status === 'rejected' ? String(result.reason) : result.status));
      expect(reasons[0]).toMatch('out of luck');
      for (const reason of reasons.slice(1))
        expect(reason).toMatch(/llama4\.gguf: .*no more \(out of luck\)\. Open it again/);
    } finally {
      broken.mockRestore();
      append.mockRestore();
    }
    await expect(engine.score([1, 2])).rejects.toThrow('out of luck');
    await expect(engine.stats()).rejects.toThrow('out of luck');
  });

  test('a model for which no memory is granted is refused before it is read', async () => {
    const open = () => openLocalEngine(models.llama4, { backend: 'reference', memory: 1000 });
    await expect(open()).rejects.toThrow(CheckpointError);
    await expect(open()).rejects.toThrow(/llama4\.gguf: even with its experts on disk it takes .* are granted/);
  });
  test('closing rejects what is under way and what comes after', async () => {
    const engine = await open({ maxBatch: 1 });
    const running = collect(engine, tokensOf(1, 8));
    const rows = engine.score(tokensOf(1, 40));
    const caught = Promise.allSettled([running, rows]);
    await new Promise(resolve => setImmediate(resolve));
    await engine[Symbol.asyncDispose]();
    for (const result of await caught)
      expect(result.status === 'rejected' && String(result.reason)).toMatch('This engine is closed');
    await expect(collect(engine, tokensOf(1, 8))).rejects.toThrow('This engine is closed');
    await expect(engine.stats()).rejects.toThrow('This engine is closed');
    await engine[Symbol.asyncDispose]();
  });

  test('opening can be aborted, and reports progress', async () => {
    const seen: number[] = [];
    await using _ = await open({ onProgress: (loaded, total) => seen.push(loaded / total) });
    expect(seen.at(-1)).toBe(1);
    await expect(open({ signal: AbortSignal.abort(new Error('no longer')) })).rejects.toThrow('no longer');
    const controller = new AbortController();
    const opening = open({ signal: controller.signal, onProgress: () => controller.abort(new Error('stop it')) });
    await expect(opening).rejects.toThrow('stop it');
  });
});

describe('options are checked', () => {
  test.each([
    [{ backend: 'cuda' as 'wasm' }, /^backend: got cuda, wanted 'native' or 'wasm' or 'reference'/],
    [{ threads: 0 }, /^threads: got 0, wanted a whole number from 1 to 64/],
    [{ maxSequences: 1.5 }, /^maxSequences: got 1.5/],
    [{ passMs: 0 }, /^passMs: got 0, wanted milliseconds/],
    [{ maxBatch: NaN }, /^maxBatch: got NaN/],
    [{ contextTokens: -4 }, /^contextTokens: got -4/],
    [{ contextTokens: 65 }, /^contextTokens: got 65, wanted at most 64, the context this checkpoint was made for/],
  ])('opening with %o', async (options, message) => {
    await expect(open(options)).rejects.toThrow(message);
  });

  test.each<[number[], GenerateOptions, RegExp]>([
    [[], {}, /^prompt: got 0 tokens, wanted at least 1: begin with BOS/],
    [[1, geometry.vocab], {}, /^prompt\[1\]: got 300, wanted a token id from 0 to 299/],
    [[-1], {}, /^prompt\[0\]: got -1/],
    [[0.5], {}, /^prompt\[0\]: got 0.5/],
    [tokensOf(1, 65), {}, /^prompt: got 65 tokens, wanted at most 64: shorten it/],
    [[1], { temperature: -1 }, /^temperature: got -1/],
    [[1], { temperature: NaN }, /^temperature: got NaN/],
    [[1], { topK: -1 }, /^topK: got -1/],
    [[1], { topP: 0 }, /^topP: got 0, wanted more than 0/],
    [[1], { topP: 1.1 }, /^topP: got 1.1/],
    [[1], { minP: 2 }, /^minP: got 2/],
    [[1], { repetitionPenalty: 0 }, /^repetitionPenalty: got 0/],
    [[1], { presencePenalty: Infinity }, /^presencePenalty: got Infinity/],
    [[1], { repetitionWindow: -1 }, /^repetitionWindow: got -1/],
    [[1], { seed: 0.5 }, /^seed: got 0.5/],
    [[1], { timeoutMs: -1 }, /^timeoutMs: got -1/],
    [[1], { promptLookup: 65 }, /^promptLookup: got 65, wanted a whole number from 0 to 64/],
    [[1], { maxTokens: -1 }, /^maxTokens: got -1/],
    [[1], { topLogprobs: 21 }, /^topLogprobs: got 21, wanted a whole number from 0 to 20/],
  ])('generating from %j with %o', async (prompt, options, message) => {
    await using engine = await open();
    await expect(collect(engine, prompt, options)).rejects.toThrow(message);
  });

  test.each([
    [[0, 0], /^rows\[1\]: got 0, wanted more than rows\[0\]/],
    [[5], /^rows\[0\]: got 5, wanted a whole number from 0 to 3/],
  ])('rows %j', async (rows, message) => {
    await using engine = await open();
    await expect(engine.logprobs([1, 2, 3, 4], { rows }).next()).rejects.toThrow(message);
  });
});
