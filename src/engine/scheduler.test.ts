// What a pass computes: within the budget, who decodes first, nobody starved.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { plan, type Work } from './scheduler.ts';

/** A prompt wants the logits of its last token only. */
const generation = (remaining: number, waited = 0): Work => ({
  remaining,
  waited,
  logitRows: count => (count === remaining ? 1 : 0),
});
const allRows = (remaining: number): Work => ({ remaining, waited: 0, logitRows: count => count });
const budget = { tokens: 10, logitRows: 4 };

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
    expect(plan(works, { tokens: 2, logitRows: 9 }).map(p => p.index)).toEqual([1, 2]);
    expect(plan(works, { tokens: 9, logitRows: 1 }).map(p => p.index)).toEqual([1]);
  });

  test('nothing to do', () => {
    expect(plan([], budget)).toEqual([]);
    expect(plan([generation(0)], budget)).toEqual([]);
  });

  test('always within the budget, each at most once, and never idle while there is work', () => {
    const work = fc.record({
      remaining: fc.integer({ min: 0, max: 40 }),
      kind: fc.boolean(),
      waited: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(
        fc.array(work, { maxLength: 12 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 8 }),
        (list, tokens, logitRows) => {
          const works = list.map(w => ({
            ...(w.kind ? generation(w.remaining) : allRows(w.remaining)),
            waited: w.waited,
          }));
          const pieces = plan(works, { tokens, logitRows });
          expect(new Set(pieces.map(p => p.index)).size).toBe(pieces.length);
          expect(pieces.every(p => p.count >= 1 && p.count <= works[p.index]!.remaining)).toBe(true);
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
          const pieces = plan(works, { tokens: 7, logitRows: 2 });
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
