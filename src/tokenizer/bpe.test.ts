// Merging: short and long pieces agree with the plain meaning, by rank and by list, and hostile pieces stay fast.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bpe } from './bpe.ts';
import { MergeReader } from './merges.ts';
import { processorTime } from './processor-time.cases.ts';
import { makeVocabulary } from './synthetic-vocabulary.cases.ts';
import { NORMAL, type Vocabulary, VocabularyBuilder } from './vocabulary.ts';

const synthetic = makeVocabulary(500);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function vocabularyOf(tokens: readonly Uint8Array[]): Vocabulary {
  const builder = new VocabularyBuilder(tokens.length);
  for (const token of tokens) builder.add(token, token.length, NORMAL);
  return builder.build();
}
const vocabulary = vocabularyOf(synthetic.tokens);
const reader = new MergeReader(vocabulary, synthetic.merges.length);
for (const [left, right] of synthetic.merges)
  expect(reader.add(new Uint8Array([...left, ...right]), left.length, left.length + right.length)).toBe(null);

/** The definition: merge the pair that comes first, leftmost, until none merges. */
function simple(bytes: Uint8Array, rankOf: (left: Uint8Array, right: Uint8Array) => number): string[] {
  const parts = [...bytes].map(byte => Uint8Array.of(byte));
  for (;;) {
    let best = -1;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = rankOf(parts[i]!, parts[i + 1]!);
      if (rank >= 0 && rank < bestRank) {
        best = i;
        bestRank = rank;
      }
    }
    if (best < 0) return parts.map(hex);
    parts.splice(best, 2, new Uint8Array([...parts[best]!, ...parts[best + 1]!]));
  }
}
const ranks = new Map(synthetic.tokens.map((token, rank) => [hex(token), rank]));
const places = new Map(synthetic.merges.map(([left, right], place) => [`${hex(left)} ${hex(right)}`, place]));
const byRank = (left: Uint8Array, right: Uint8Array): number => ranks.get(hex(left) + hex(right)) ?? -1;
const byList = (left: Uint8Array, right: Uint8Array): number => places.get(`${hex(left)} ${hex(right)}`) ?? -1;

const run = (bpe: Bpe, bytes: Uint8Array): string[] => {
  const count = bpe.encode(bytes, bytes.length);
  return [...bpe.ids.subarray(0, count)].map(id => hex(vocabulary.bytes(id)));
};

/** Made of few different parts, so that merges are many; up to 200 bytes, on both sides of the short form's limit. */
const pieces = fc
  .array(fc.constantFrom(...synthetic.tokens.slice(256), ...synthetic.tokens.slice(97, 105)), { maxLength: 40 })
  .map(parts => new Uint8Array(parts.flatMap(part => [...part])));

describe('byte-pair encoding', () => {
  test('by rank', () => {
    const bpe = new Bpe(vocabulary, { merges: null, wholePieces: true, unknown: null });
    fc.assert(
      fc.property(pieces, bytes => {
        const whole = ranks.get(hex(bytes));
        expect(run(bpe, bytes)).toEqual(whole === undefined ? simple(bytes, byRank) : [hex(bytes)]);
      }),
      { numRuns: 500 },
    );
  });

  test('by a list of merges', () => {
    const bpe = new Bpe(vocabulary, { merges: reader.table, wholePieces: false, unknown: null });
    fc.assert(
      fc.property(pieces, bytes => {
        expect(run(bpe, bytes)).toEqual(simple(bytes, byList));
      }),
      { numRuns: 500 },
    );
  });

  test('a piece that is a token but no merges make is that token only where whole pieces count', () => {
    const tokens = [...synthetic.tokens, Buffer.from('qzx')];
    const wider = vocabularyOf(tokens);
    const table = new MergeReader(wider, 1).table;
    const bytes = Buffer.from('qzx');
    expect(new Bpe(wider, { merges: table, wholePieces: true, unknown: null }).encode(bytes, 3)).toBe(1);
    expect(new Bpe(wider, { merges: table, wholePieces: false, unknown: null }).encode(bytes, 3)).toBe(3);
  });

  test('bytes the vocabulary lacks are left out, or stand as the unknown token', () => {
    const few = vocabularyOf([Buffer.from('a'), Buffer.from('b'), Buffer.from('ab'), Buffer.from('?')]);
    const text = Buffer.from('abxab');
    const ids = (bpe: Bpe, bytes: Uint8Array): number[] => {
      const count = bpe.encode(bytes, bytes.length);
      return [...bpe.ids.subarray(0, count)];
    };
    expect(ids(new Bpe(few, { merges: null, wholePieces: true, unknown: null }), text)).toEqual([2, 2]);
    const bpe = new Bpe(few, { merges: null, wholePieces: true, unknown: 3 });
    expect(ids(bpe, text)).toEqual([2, 3, 2]);
    const long = Buffer.from('abx'.repeat(100));
    expect(ids(bpe, long)).toEqual(Array.from({ length: 200 }, (_, i) => (i % 2 ? 3 : 2)));
  });

  test('400,000 repeated or periodic bytes take no quadratic time', () => {
    const time = processorTime();
    for (const merges of [null, reader.table]) {
      const bpe = new Bpe(vocabulary, { merges, wholePieces: true, unknown: null });
      for (const part of ['a', 'the ', 'and', 'ab', '\u0000']) {
        const bytes = Buffer.from(part.repeat(400_000 / part.length));
        const count = bpe.encode(bytes, bytes.length);
        let length = 0;
        for (let i = 0; i < count; i++) length += vocabulary.bytes(bpe.ids[i]!).length;
        expect(length).toBe(bytes.length);
      }
    }
    expect(time()).toBeLessThan(8000);
  });
});
