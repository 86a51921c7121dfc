// What a pass computes: within the budget, who decodes first, nobody starved.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Budget, nextOf, plan, type Work } from './scheduler.ts';

/** A prompt wants the logits of its last token only. */
const generation = (remaining: number, waited = 0, key = ''): Work => ({
  key,
  remaining,
  drafts: 0,
  waited,
  logitRows: count => (count === remaining ? 1 : 0),
});
/** One token left, and guesses behind it, whose logits are all wanted. */
const guess = ({ remaining, drafts }: { remaining: number; drafts: number }) => ({
  drafts: remaining === 1 ? drafts : 0,
  logitRows: (count: number) => Math.max(0, count - remaining + 1),
});
const allRows = (remaining: number): Work => ({ key: '', remaining, drafts: 0, waited: 0, logitRows: count => count });
const budget = { tokens: 10, logitRows: 4, drafts: 8 };

describe('plan', () => {
  test('who decodes comes first, then prompts in pieces', () => {
    expect(plan([generation(30), generation(1), generation(1)], budget)).toEqual([
      { index: 0, count: 8 },
      { index: 1, count: 1 },
      { index: 2, count: 1 },
    ]);
  });

  test('the oldest prompt gets half, the rest goes to the shortest', () => {
    expect(plan([generation(100), generation(50), generation(3)], budget)).toEqual([
      { index: 0, count: 5 },
      { index: 1, count: 2 },
      { index: 2, count: 3 },
    ]);
  });

  test('what others leave goes to the oldest', () => {
    expect(plan([generation(100), generation(2)], budget)).toEqual([
      { index: 0, count: 8 },
      { index: 1, count: 2 },
    ]);
  });

  test('rows of logits are bounded as well', () => {
    expect(plan([allRows(100)], budget)).toEqual([{ index: 0, count: 4 }]);
    expect(plan([generation(1), allRows(100)], budget)).toEqual([
      { index: 0, count: 1 },
      { index: 1, count: 3 },
    ]);
  });

  test('when not all who decode fit, the longest waiting go', () => {
    const works = [generation(1, 0), generation(1, 2), generation(1, 1)];
    expect(plan(works, { ...budget, tokens: 2, logitRows: 9 }).map(p => p.index)).toEqual([1, 2]);
    expect(plan(works, { ...budget, tokens: 9, logitRows: 1 }).map(p => p.index)).toEqual([1]);
  });

  test('guesses come before prompts, and share what a pass may guess', () => {
    const guessing = (drafts: number): Work => ({ ...generation(1), ...guess({ remaining: 1, drafts }) });
    const counts = (works: Work[], budget: Budget) => plan(works, budget).map(p => p.count);
    expect(counts([guessing(3), generation(30)], { tokens: 10, logitRows: 9, drafts: 8 })).toEqual([4, 6]);
    expect(counts([guessing(6), guessing(2)], { tokens: 10, logitRows: 9, drafts: 6 })).toEqual([4, 3]);
    expect(counts([guessing(6), guessing(6)], { tokens: 10, logitRows: 5, drafts: 6 })).toEqual([4, 1]);
    expect(counts([guessing(6), generation(1)], { tokens: 2, logitRows: 5, drafts: 6 })).toEqual([1, 1]);
  });

  test('keys share what prompts get, whatever each of them asks for', () => {
    const counts = (works: Work[], tokens: number): number[] => {
      const pieces = plan(works, { ...budget, logitRows: 99, tokens });
      return works.map((_, i) => pieces.find(({ index }) => index === i)?.count ?? 0);
    };
    const crowd = Array.from({ length: 9 }, () => generation(100, 0, 'a'));
    expect(counts([...crowd, generation(100, 0, 'b')], 60).at(-1)).toBe(30);
    // Who needs less leaves the rest; nothing is left unused.
    expect(counts([...crowd, generation(10, 0, 'b')], 60).at(-1)).toBe(10);
    expect(counts([generation(9, 0, 'a'), generation(99, 0, 'b'), generation(99, 0, 'c')], 60)).toEqual([9, 26, 25]);
    // Who decodes takes turns too, when not all can.
    const decoders = Array.from({ length: 5 }, () => generation(1, 3, 'a'));
    expect(counts([...decoders, generation(1, 0, 'b')], 2)).toEqual([1, 0, 0, 0, 0, 1]);
    // More keys than tokens: the longest waiting.
    expect(counts([generation(50, 0, 'a'), generation(5, 1, 'b'), generation(90, 2, 'c')], 1)).toEqual([0, 0, 1]);
  });

  test('next is who was served least, then who came first', () => {
    const served = new Map([
      ['a', 50],
      ['b', 20],
    ]);
    expect(nextOf(['a', 'a', 'b', 'b'], served)).toBe(2);
    expect(nextOf(['a', 'c', 'b'], served)).toBe(1);
    expect(nextOf(['a', 'a'], served)).toBe(0);
  });

  test('nothing to do', () => {
    expect(plan([], budget)).toEqual([]);
    expect(plan([generation(0)], budget)).toEqual([]);
  });

  test('always within the budget, each at most once, and never idle while there is work', () => {
    const work = fc.record({
      remaining: fc.integer({ min: 0, max: 40 }),
      kind: fc.boolean(),
      key: fc.constantFrom('', 'a', 'b'),
      drafts: fc.integer({ min: 0, max: 6 }),
      waited: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(
        fc.array(work, { maxLength: 12 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 0, max: 9 }),
        (list, tokens, logitRows, drafts) => {
          const works = list.map(w => ({
            ...(w.kind ? { ...generation(w.remaining), ...guess(w) } : allRows(w.remaining)),
            waited: w.waited,
            key: w.key,
          }));
          const pieces = plan(works, { tokens, logitRows, drafts });
          expect(new Set(pieces.map(p => p.index)).size).toBe(pieces.length);
          expect(pieces.every(p => p.count >= 1 && p.count <= works[p.index]!.remaining + works[p.index]!.drafts)).toBe(
            true,
          );
          expect(pieces.reduce((n, p) => n + p.count, 0)).toBeLessThanOrEqual(tokens);
          expect(pieces.reduce((n, p) => n + works[p.index]!.logitRows(p.count), 0)).toBeLessThanOrEqual(logitRows);
          expect(pieces.length > 0).toBe(works.some(w => w.remaining > 0));
        },
      ),
    );
  });

  test('everything is computed in the end, in a bounded number of passes', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }), lengths => {
        const left = [...lengths];
        const waited = lengths.map(() => 0);
        let passes = 0;
        while (left.some(n => n > 0)) {
          const works = left.map((n, i) => generation(n, waited[i]));
          const pieces = plan(works, { ...budget, tokens: 7, logitRows: 2 });
          waited.forEach((_, i) => {
            waited[i]!++;
          });
          for (const { index, count } of pieces) {
            left[index]! -= count;
            waited[index] = 0;
          }
          expect(++passes).toBeLessThanOrEqual(lengths.reduce((a, b) => a + b, 0));
        }
      }),
    );
  });
});
