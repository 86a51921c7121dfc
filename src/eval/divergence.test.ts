// Divergences and spreads against their definitions.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logSoftmax } from '../engine/log-softmax.ts';
import { divergenceOf, driftOf, perplexitiesOf, spreadOf } from './divergence.ts';

const logits = fc.array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 5, maxLength: 5 });
const logprobs = (values: number[]): Float32Array => {
  const row = Float32Array.from(values);
  logSoftmax(row);
  return row;
};

describe('KL divergence', () => {
  test('is its definition, is never negative, and is 0 for the same', () => {
    fc.assert(
      fc.property(logits, logits, (a, b) => {
        const [p, q] = [logprobs(a), logprobs(b)];
        const wanted = [...p].reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]!), 0);
        expect(divergenceOf(p, q).kl).toBeCloseTo(Math.max(0, wanted), 6);
        expect(divergenceOf(p, q).kl).toBeGreaterThanOrEqual(0);
        expect(divergenceOf(p, p)).toEqual({ kl: 0, agrees: true });
      }),
    );
  });

  test('an impossible token adds nothing, and one that only B rules out is infinitely far', () => {
    const even = Float32Array.of(Math.log(0.5), Math.log(0.5), -Infinity);
    expect(divergenceOf(even, Float32Array.of(Math.log(0.25), Math.log(0.25), Math.log(0.5))).kl).toBeCloseTo(
      Math.log(2),
    );
    expect(divergenceOf(even, Float32Array.of(0, -Infinity, -Infinity)).kl).toBe(Infinity);
  });

  test('agreement is on the likeliest, the first of equals', () => {
    const [a, b] = [Float32Array.of(-1, -1, -2), Float32Array.of(-1.5, -1.2, -2)];
    expect(divergenceOf(a, a).agrees).toBe(true);
    expect(divergenceOf(a, b).agrees).toBe(false);
  });
});

test('spread: mean, standard error, and quantiles by nearest rank', () => {
  const spread = spreadOf(Array.from({ length: 200 }, (_, i) => 200 - i));
  expect(spread).toEqual({
    mean: 100.5,
    error: expect.closeTo(57.879 / Math.sqrt(200), 3),
    median: 100,
    p99: 198,
    max: 200,
  });
  expect(spreadOf([3])).toEqual({ mean: 3, error: 0, median: 3, p99: 3, max: 3 });
});

describe('perplexities', () => {
  test('are those of both, and their difference knows that the tokens are the same', () => {
    const a = [-1, -2, -3, -0.5];
    const b = a.map(value => value - 0.1);
    const { ratio, ratioError, difference, differenceError, ...both } = perplexitiesOf(a, b);
    expect(both.a).toBeCloseTo(Math.exp(1.625), 6);
    expect(both.b).toBeCloseTo(Math.exp(1.725), 6);
    expect([ratio, ratioError]).toEqual([expect.closeTo(Math.exp(0.1), 6), expect.closeTo(0, 6)]);
    // B is A times a factor: the difference errs as A does, times what the factor is above 1.
    expect(difference).toBeCloseTo(both.b - both.a, 9);
    expect(differenceError).toBeCloseTo(both.aError * (ratio - 1), 6);
  });

  test('of two samples that err apart: the delta method against many draws', () => {
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const draws = Array.from({ length: 400 }, () => {
      const a = Array.from({ length: 100 }, () => -1 - random());
      return perplexitiesOf(
        a,
        a.map(value => value + 0.3 * (random() - 0.5)),
      );
    });
    const seen = spreadOf(draws.map(draw => draw.difference));
    const scatter = seen.error * Math.sqrt(400);
    const told = spreadOf(draws.map(draw => draw.differenceError)).mean;
    expect(told / scatter).toBeGreaterThan(0.85);
    expect(told / scatter).toBeLessThan(1.18);
  });
});

test('drift: relative error and cosine', () => {
  expect(driftOf(Float32Array.of(3, 4), Float32Array.of(3, 4))).toEqual({ relativeError: 0, cosine: 1 });
  expect(driftOf(Float32Array.of(3, 4), Float32Array.of(4, -3))).toEqual({
    relativeError: expect.closeTo(Math.SQRT2, 9),
    cosine: 0,
  });
  expect(driftOf(Float32Array.of(3, 4), Float32Array.of(6, 8))).toEqual({ relativeError: 1, cosine: 1 });
  expect(driftOf(Float32Array.of(1), Float32Array.of(0)).cosine).toBe(0);
});
