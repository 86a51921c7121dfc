// The exponential of the sampler against the machine's own.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { exponential } from './exponential.ts';

test('as Math.exp, from 0 to where nothing is left', () => {
  fc.assert(
    fc.property(fc.double({ min: -708, max: 0, noNaN: true }), x => {
      expect(Math.abs(exponential(x) / Math.exp(x) - 1)).toBeLessThan(2e-15 * Math.max(1, -x));
    }),
    { numRuns: 20_000 },
  );
});

test('its ends', () => {
  expect(exponential(0)).toBe(1);
  expect(exponential(-0)).toBe(1);
  expect(exponential(-1e-300)).toBe(1);
  for (const x of [-708.1, -745, -1e300, -Infinity]) expect(exponential(x)).toBe(0);
});
