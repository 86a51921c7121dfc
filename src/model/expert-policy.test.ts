// What the past says of experts: shares, ageing, expected waits, and that all of it survives being saved.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ExpertUse, halfLifeTokens } from './expert-policy.ts';

const once = (use: ExpertUse, layer: number, expert: number): void => use.seen(layer, 1, [[expert, 1]]);

test('shares of a layer sum to one, and what is wanted more waits less', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 300 }), wanted => {
      const use = new ExpertUse(2, 8);
      for (const expert of wanted) once(use, 1, expert);
      const keys = Array.from({ length: 8 }, (_, expert) => 8 + expert);
      expect(keys.reduce((sum, key) => sum + use.shareOf(key), 0)).toBeCloseTo(1, 6);
      const counts = keys.map((_, expert) => wanted.filter(other => other === expert).length);
      // Counts age, so only clear differences must show.
      for (const a of keys)
        for (const b of keys)
          if (counts[a - 8]! > 1.2 * counts[b - 8]! + 1) expect(use.waitOf(a, 0)).toBeLessThan(use.waitOf(b, 0));
    }),
    { numRuns: 100 },
  );
});

test('what was wanted long ago counts less', () => {
  const use = new ExpertUse(1, 4);
  for (let i = 0; i < halfLifeTokens; i++) once(use, 0, 0);
  for (let i = 0; i < halfLifeTokens; i++) once(use, 0, 1);
  expect(use.shareOf(1) / use.shareOf(0)).toBeCloseTo(2, 1);
});

test('in prompts the layer just passed is wanted last', () => {
  const use = new ExpertUse(4, 8);
  const all = Array.from({ length: 8 }, (_, expert) => [expert, 64] as const);
  for (let layer = 0; layer < 4; layer++) use.seen(layer, 512, all);
  const waits = [0, 1, 2, 3].map(layer => use.waitOf(8 * layer, 1)); // layer 1 is being computed
  expect(waits.indexOf(Math.max(...waits))).toBe(1);
  expect(waits.indexOf(Math.min(...waits))).toBe(2);
});

test('saved and restored, it says the same', () => {
  const use = new ExpertUse(2, 8);
  for (let i = 0; i < 3000; i++) once(use, i % 2, (i * i) % 8);
  const again = new ExpertUse(2, 8);
  again.restore(use.save());
  for (let key = 0; key < 16; key++) expect(again.shareOf(key)).toBeCloseTo(use.shareOf(key), 3);
  const absurd = new ExpertUse(2, 8);
  absurd.restore(use.save().map(count => count * 1e12));
  for (let key = 0; key < 16; key++) expect(absurd.shareOf(key)).toBeGreaterThanOrEqual(0);
});
