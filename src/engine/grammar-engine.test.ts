// Grammars in an engine: what it says is a text of the grammar, guesses or not, and neighbours change nothing.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from './client.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, geometry, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { Engine, GenerateOptions } from './types.ts';

/** Tokens 0 … 255 are bytes, 256 … 289 pairs of letters; the rest steer. */
const pieces = Array.from({ length: 290 }, (_, token) =>
  token < 256 ? [token] : [97 + (token % 26), 97 + ((token * 7) % 26)],
);
const tokenBytes = {
  bytes: Uint8Array.from(pieces.flat()),
  offsets: Uint32Array.from([
    0,
    ...pieces.map(
      (
        (sum: number) => piece =>
          (sum += piece.length)
      )(0),
    ),
  ]),
};
const STOP = 295;
const textOf = (tokens: readonly number[]): string =>
  new TextDecoder().decode(Uint8Array.from(tokens.flatMap(token => pieces[token] ?? [])));

let models: SmallModels;
let engine: Engine;
beforeAll(async () => {
  models = await writeSmallModels();
  engine = await openLocalEngine(models.llama4, { backend: 'reference', tokenBytes });
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  models[Symbol.dispose]();
});

const list = 'root ::= "[" word (", " word){2,4} "]"\nword ::= "\\"" [a-z]{1,5} "\\""';
const lists = /^\["[a-z]{1,5}"(, "[a-z]{1,5}"){2,4}\]$/;
const options = (seed: number, temperature = 1.5): GenerateOptions => ({
  grammar: list,
  temperature,
  seed,
  stopTokens: [STOP],
});

describe('a grammar', () => {
  test('is kept to, at any temperature, and the answer ends where nothing can follow', async () => {
    for (const temperature of [0, 0.7, 1.5, 20]) {
      const { tokens, end } = await collect(engine, tokensOf(1, 5), options(3, temperature));
      expect(textOf(tokens)).toMatch(lists);
      expect(end.reason).toBe('stop');
    }
  });

  test('is cut by maxTokens', async () => {
    const { tokens, end } = await collect(engine, tokensOf(1, 5), { ...options(3), maxTokens: 4 });
    expect([tokens.length, end.reason]).toEqual([4, 'length']);
  });

  test('gives the same tokens with guesses and beside others', async () => {
    const alone = [];
    for (const seed of [1, 2, 3]) alone.push((await collect(engine, tokensOf(seed, 5), options(seed))).tokens);
    const together = await Promise.all(
      [1, 2, 3].map(seed => collect(engine, tokensOf(seed, 5), { ...options(seed), promptLookup: 8 })),
    );
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
  });

  test('that is none is refused by name, as is one without the bytes of tokens', async () => {
    await expect(collect(engine, [1], { grammar: 'root ::= ' + '(' })).rejects.toThrow(/^grammar at line 1, column 11/);
    await expect(collect(engine, [1], { grammar: 7 as unknown as string })).rejects.toThrow(/^grammar: got 7/);
    await using plain = await openLocalEngine(models.llama4, { backend: 'reference' });
    await expect(collect(plain, [1], { grammar: list })).rejects.toThrow(
      /^grammar: this engine knows no bytes of tokens/,
    );
    const offsets = new Uint32Array(geometry.vocab + 2);
    await expect(
      openLocalEngine(models.llama4, { backend: 'reference', tokenBytes: { bytes: new Uint8Array(), offsets } }),
    ).rejects.toThrow(/^tokenBytes: got 301 tokens, wanted at most the model's 300/);
  });

  test('works in the thread of openEngine', async () => {
    await using threaded = await openEngine(models.llama4, { threads: 1, tokenBytes });
    const { tokens } = await collect(threaded, tokensOf(1, 5), options(5));
    expect(textOf(tokens)).toMatch(lists);
    await expect(collect(threaded, [1], { grammar: 'root ::= a' })).rejects.toThrow(RangeError);
  });
});
