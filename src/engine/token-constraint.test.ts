// The law of constraints: whatever the options, what is sampled is allowed, and the row of logits comes back as it was.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createSampler, createScratch } from './sampler.ts';
import { isAllowed, type TokenConstraint } from './token-constraint.ts';

/** Allows in step i what masks[i] says; ended behind the last. */
const steps = (masks: readonly Uint32Array[], heard: number[], at = 0): TokenConstraint => ({
  allowed: masks[at] ?? new Uint32Array(4),
  ended: at >= masks.length,
  after(token) {
    heard.push(token);
    return steps(masks, heard, at + 1);
  },
});

const VOCAB = 100;
const mask = fc.uniqueArray(fc.integer({ min: 0, max: VOCAB - 1 }), { minLength: 1 }).map(tokens => {
  const bits = new Uint32Array(4);
  for (const token of tokens) bits[token >> 5]! |= 1 << (token & 31);
  return bits;
});
const row = fc
  .array(fc.oneof(fc.float({ min: -60, max: 60, noNaN: true }), fc.constant(-Infinity)), {
    minLength: VOCAB - 1,
    maxLength: VOCAB - 1,
  })
  .map(values => Float32Array.from([1, ...values]));
const options = fc.record({
  temperature: fc.constantFrom(0, 0.2, 1.5, 30),
  topK: fc.constantFrom(0, 1, 3),
  topP: fc.constantFrom(1, 0.9, 0.01),
  minP: fc.constantFrom(0, 0.1, 1),
  repetitionPenalty: fc.constantFrom(1, 1.3, 100),
  presencePenalty: fc.constantFrom(0, 50),
  seed: fc.integer(),
});

test('sampled tokens are always allowed, and the constraint hears each once', () => {
  fc.assert(
    fc.property(fc.array(mask, { minLength: 1, maxLength: 5 }), row, options, (masks, logits, sampling) => {
      const heard: number[] = [];
      const sampler = createSampler(sampling, createScratch(VOCAB), steps(masks, heard));
      const before = logits.slice();
      const history: number[] = [0, 1, 2];
      for (const bits of masks) {
        expect(sampler.ended).toBe(false);
        const { token } = sampler.sample(logits, history);
        expect(isAllowed(bits, token)).toBe(true);
        history.push(token);
        expect(logits).toEqual(before);
      }
      expect(sampler.ended).toBe(true);
      expect(heard).toEqual(history.slice(3));
    }),
    { numRuns: 2000 },
  );
});

test('where everything is allowed, a constraint changes nothing', () => {
  fc.assert(
    fc.property(row, options, (logits, sampling) => {
      const all = [0, 1, 2].map(() => new Uint32Array(4).fill(0xffffffff));
      const free = createSampler(sampling, createScratch(VOCAB));
      const bound = createSampler(sampling, createScratch(VOCAB), steps(all, []));
      for (let i = 0; i < 3; i++) expect(bound.sample(logits, [5])).toEqual(free.sample(logits, [5]));
    }),
  );
});
