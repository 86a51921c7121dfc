// Guessing from the prompt: what is guessed, and above all that it changes nothing but the time.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openLocalEngine } from './local-engine.ts';
import { lookUp, PromptLookup } from './prompt-lookup.ts';
import { collect, geometry, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { GenerateOptions } from './types.ts';

describe('what is guessed', () => {
  test('what followed the longest agreement, the latest of equals', () => {
    expect(lookUp([1, 2, 3, 4, 5, 1, 2], 2)).toEqual([3, 4]);
    expect(lookUp([1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 2)).toEqual([4, 8]);
    expect(lookUp([7, 1, 2, 3, 9, 1, 2, 4, 8, 7, 1, 2], 2)).toEqual([3, 9]);
    expect(lookUp([1, 2, 3, 4, 5, 6, 2], 2)).toEqual([]);
    expect(lookUp([], 4)).toEqual([]);
    expect(lookUp([5], 4)).toEqual([]);
  });

  test('a repetition goes on', () => {
    expect(lookUp([1, 2, 3, 1, 2, 3], 7)).toEqual([1, 2, 3, 1, 2, 3, 1]);
    expect(lookUp([4, 4, 4], 3)).toEqual([4, 4, 4]);
  });

  test('is what a search by definition finds', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 40 }), tokens => {
        const end = tokens.length;
        const agreement = (at: number): number => {
          let n = 0;
          while (n < 8 && n < at && tokens[at - 1 - n] === tokens[end - 1 - n]) n++;
          return n;
        };
        const earlier = tokens.map((_, at) => ({ at, n: agreement(at) })).filter(({ n }) => n >= 2);
        const best = earlier.reduce((a, b) => (b.n >= a.n ? b : a), { at: -1, n: 0 });
        const wanted: number[] = [];
        for (let i = best.at; best.at >= 0 && wanted.length < 5; i++) wanted.push([...tokens, ...wanted][i]!);
        expect(lookUp(tokens, 5)).toEqual(wanted);
      }),
    );
  });

  test('failures make guesses shorter and rarer, success brings them back', () => {
    const lookup = new PromptLookup(16);
    const repeated = [1, 2, 1, 2, 1, 2];
    let made = 0;
    for (let pass = 0; pass < 200; pass++) {
      const guess = lookup.draft(repeated, 100);
      if (guess.length === 0) continue;
      made++;
      lookup.verified(guess.length, 0);
    }
    expect(made).toBeLessThan(15);
    const lengths: number[] = [];
    for (let pass = 0; pass < 60; pass++) {
      const guess = lookup.draft(repeated, 100);
      if (guess.length === 0) continue;
      lengths.push(guess.length);
      lookup.verified(guess.length, guess.length);
    }
    expect(lengths.slice(0, 5)).toEqual([1, 2, 4, 8, 16]);
    expect(lengths.at(-1)).toBe(16);
    expect(lookup.draft(repeated, 3).length).toBe(3);
  });
});

describe('tokens are the same as without', () => {
  let models: SmallModels;
  beforeAll(async () => {
    models = await writeSmallModels();
  });
  afterAll(() => models[Symbol.dispose]());

  /** Token t is one printable character. */
  const tokenBytes = {
    bytes: Uint8Array.from({ length: geometry.vocab }, (_, token) => 33 + (token % 94)),
    offsets: Uint32Array.from({ length: geometry.vocab + 1 }, (_, token) => token),
  };

  /** Prompts that repeat themselves, and options under which answers do. */
  const requests: [number[], GenerateOptions][] = Array.from({ length: 24 }, (_, seed) => {
    const stretch = tokensOf(seed, 3 + (seed % 5));
    const prompt = [...stretch, ...stretch, ...stretch].slice(0, 4 + ((seed * 5) % 16));
    const options: GenerateOptions[] = [
      {},
      { temperature: 0.3, seed },
      { temperature: 1.2, topK: 3, seed },
      { temperature: 0.8, topP: 0.4, seed },
      { temperature: 0.5, seed, repetitionPenalty: 0.7, frequencyPenalty: -0.4 },
      { temperature: 1, seed, presencePenalty: -2, repetitionWindow: 6, topLogprobs: 2 },
      { temperature: 0.7, seed, logitBias: new Map(tokensOf(seed, 2).map(token => [token, 9])) },
      { temperature: 1.5, seed, grammar: 'root ::= ("ab" | "c" [a-d]+ "!")+' },
    ];
    return [prompt, { maxTokens: 5 + ((seed * 7) % 60), ...options[seed % 8] }];
  });

  test.each(['reference', 'wasm'] as const)('%s: alone and together, with every kind of option', async backend => {
    const open = (maxBatch: number, maxSequences: number) =>
      openLocalEngine(models.llama4, { backend, threads: 2, maxBatch, maxSequences, tokenBytes });
    await using plain = await open(64, 1);
    const wanted = [];
    for (const [prompt, options] of requests) wanted.push(await collect(plain, prompt, options));
    let accepted = 0;
    let refused = 0;
    // The chunk of 16 is crossed by guesses and by what they are cut back to; a batch of 3 cuts guesses themselves.
    for (const [maxBatch, maxSequences, promptLookup] of [
      [64, 1, true],
      [64, 4, 5],
      [3, 2, 64],
      [1, 1, 8],
    ] as const) {
      await using guessing = await open(maxBatch, maxSequences);
      const all = await Promise.all(
        requests.map(([prompt, options]) => collect(guessing, prompt, { ...options, promptLookup })),
      );
      for (const [i, { events, end }] of all.entries()) {
        expect(events).toEqual(wanted[i]!.events);
        expect(end.reason).toBe(wanted[i]!.end.reason);
        expect(end.stats.generatedTokens).toBe(wanted[i]!.end.stats.generatedTokens);
        if (maxBatch === 1) expect(end.stats.draftedTokens).toBe(0);
      }
      const stats = await guessing.stats();
      const sum = (key: 'draftedTokens' | 'acceptedTokens') =>
        all.reduce((total, { end }) => total + end.stats[key], 0);
      expect([stats.draftedTokens, stats.acceptedTokens]).toEqual([sum('draftedTokens'), sum('acceptedTokens')]);
      accepted += stats.acceptedTokens;
      refused += stats.draftedTokens - stats.acceptedTokens;
    }
    // Both happened, so both are proven.
    expect(accepted).toBeGreaterThan(200);
    expect(refused).toBeGreaterThan(100);
  });

  test('stop tokens within a guess end there; what follows in the conversation is right', async () => {
    await using plain = await openLocalEngine(models.llama4, { backend: 'reference', tokenBytes });
    await using guessing = await openLocalEngine(models.llama4, { backend: 'reference', maxSequences: 1, tokenBytes });
    for (const [prompt, options] of requests) {
      const free = await collect(plain, prompt, options);
      for (const at of [2, 5, 9].filter(n => n < free.tokens.length)) {
        const stopTokens = [free.tokens[at]!];
        const wanted = await collect(plain, prompt, { ...options, stopTokens });
        const got = await collect(guessing, prompt, { ...options, stopTokens, promptLookup: true });
        expect([got.events, got.end.reason]).toEqual([wanted.events, wanted.end.reason]);
        const next = [...prompt, ...got.tokens, 9, 10].slice(0, 60);
        const after = { maxTokens: 3, promptLookup: 4 };
        expect((await collect(guessing, next, after)).events).toEqual((await collect(plain, next, after)).events);
      }
    }
  });
});
