// The sampler against plain definitions that sort everything, and against the distribution it must draw from.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { massTokens } from '../backends/backend.ts';
import { type LogitSummary, logSoftmax, mostLikely, summarize } from './log-softmax.ts';
import { seededRandom } from './random.ts';
import { createSampler, createScratch, keptOf } from './sampler.ts';
import type { SamplingOptions } from './types.ts';

/** Sorts the vocabulary and cuts it by the book. `edge` is true where rounding may decide a cut either way. */
function naive(logits: Float32Array, options: SamplingOptions): { kept: Set<number>; edge: boolean } {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = options;
  const max = Math.max(...logits);
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  const weight = (i: number): number => Math.exp((logits[i]! - max) / temperature);
  let kept = topK > 0 ? order.slice(0, topK) : order;
  const total = kept.reduce((sum, i) => sum + weight(i), 0);
  let edge = false;
  let n = kept.length;
  if (topP < 1) {
    let sum = 0;
    for (n = 0; n < kept.length && sum < topP * total; n++) {
      sum += weight(kept[n]!);
      if (Math.abs(sum - topP * total) < 1e-12 * total) edge = true;
    }
  }
  kept = kept.slice(0, Math.max(1, n)).filter(i => weight(i) >= minP);
  return { kept: new Set(kept), edge };
}

const logitsOf = (values: number[]): Float32Array => Float32Array.from(values);
const finite = fc.float({ min: -60, max: 60, noNaN: true });
/** Few distinct values, so that ties are common. */
const tied = fc.integer({ min: -3, max: 3 });
const logits = fc.oneof(
  fc.array(finite, { minLength: 1, maxLength: 200 }),
  fc.array(tied, { minLength: 1, maxLength: 60 }),
  fc.array(fc.oneof(finite, fc.constant(-Infinity)), { minLength: 1, maxLength: 40 }).map(a => [1, ...a]),
);
const cuts = fc.record({
  temperature: fc.double({ min: 0.05, max: 4, noNaN: true }),
  topK: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 220 })),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0.001, max: 1, noNaN: true })),
  // Not so little that it is among numbers that `exponential` rounds to 0.
  minP: fc.oneof(fc.constant(0), fc.double({ min: 1e-300, max: 1, noNaN: true })),
});

describe('what is kept', () => {
  test('top-k, top-p and min-p are the sets of the plain definitions', () => {
    fc.assert(
      fc.property(logits, cuts, (values, options) => {
        const row = logitsOf(values);
        const { kept, edge } = naive(row, options);
        fc.pre(!edge);
        expect(new Set(keptOf(row, options))).toEqual(kept);
      }),
      { numRuns: 3000 },
    );
  });

  test('a drawn token is a kept one, and the logits are put back', () => {
    fc.assert(
      fc.property(
        logits,
        cuts,
        fc.integer(),
        fc.double({ min: 0.1, max: 3, noNaN: true }),
        (values, options, seed, penalty) => {
          const row = logitsOf(values);
          const before = row.slice();
          const sampler = createSampler({ ...options, seed }, createScratch(row.length));
          const { token } = sampler.sample(row, []);
          expect(keptOf(row, options)).toContain(token);
          createSampler(
            { ...options, seed, repetitionPenalty: penalty, presencePenalty: 1 },
            createScratch(row.length),
          ).sample(row, [0, row.length - 1, 0]);
          expect(row).toEqual(before);
        },
      ),
    );
  });

  test('202,048 logits are quick', () => {
    const random = seededRandom(3);
    const row = Float32Array.from({ length: 202_048 }, () => (random() + random() + random() - 1.5) * 8);
    const scratch = createScratch(row.length);
    const sampler = createSampler({ temperature: 0.7, topK: 40, topP: 0.95, minP: 0.05, seed: 1 }, scratch);
    const nucleus = createSampler({ temperature: 1, topP: 0.9, seed: 1 }, scratch);
    const start = performance.now();
    for (let i = 0; i < 5; i++) {
      sampler.sample(row, []);
      nucleus.sample(row, []);
    }
    // Around 5 ms each on one core; a full sort alone takes 50 to 100.
    expect((performance.now() - start) / 10).toBeLessThan(100);
  });
});

describe('what is drawn', () => {
  test('temperature 0 is the largest, the first on ties', () => {
    fc.assert(
      fc.property(logits, values => {
        const row = logitsOf(values);
        const { token } = createSampler({}, createScratch(row.length)).sample(row, []);
        expect(token).toBe(row.indexOf(Math.max(...row)));
      }),
    );
  });

  /** A row, and what a backend says of it at a temperature. */
  const summaryAt = (row: Float32Array, temperature: number): LogitSummary => {
    const max = Math.max(...row);
    const masses = new Float32Array(Math.ceil(row.length / massTokens));
    row.forEach((x, i) => {
      masses[Math.floor(i / massTokens)]! += Math.exp((x - max) / temperature);
    });
    return { ...summarize(row), masses };
  };
  /** Of three parts, the last one short; most of it unlikely, some of it impossible. */
  const long = (seed: number): Float32Array => {
    const random = seededRandom(seed);
    return Float32Array.from({ length: 1300 }, (_, i) =>
      i % 31 === 7 ? -Infinity : (random() + random() + random() - 1.5) * 9,
    );
  };

  test('a draw by masses is one from the same distribution', () => {
    const row = long(11);
    for (const temperature of [0.4, 1, 2.5]) {
      const summary = summaryAt(row, temperature);
      const sampler = createSampler({ temperature, seed: 5 }, createScratch(row.length));
      expect(sampler.drawsAt).toBe(temperature);
      const counts = new Float64Array(row.length);
      const draws = 60_000;
      for (let i = 0; i < draws; i++) counts[sampler.sample(row, [], summary).token]!++;
      const weights = Float64Array.from(row, x => Math.exp((x - summary.max) / temperature));
      const total = weights.reduce((a, b) => a + b, 0);
      // χ² of tokens that are expected often enough; its mean is their number, its deviation √(2 · number).
      let squares = 0;
      let cells = 0;
      for (const [i, weight] of weights.entries()) {
        const expected = (draws * weight) / total;
        if (weight === 0) expect(counts[i]).toBe(0);
        if (expected < 8) continue;
        squares += (counts[i]! - expected) ** 2 / expected;
        cells++;
      }
      expect(cells).toBeGreaterThan(10);
      expect(Math.abs(squares - cells)).toBeLessThan(5 * Math.sqrt(2 * cells));
    }
  });

  test('with masses the cuts leave what they leave without', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e6 }), cuts, (seed, options) => {
        const row = long(seed);
        const { edge } = naive(row, options);
        fc.pre(!edge);
        const kept = new Set(keptOf(row, options));
        const sampler = createSampler({ ...options, seed }, createScratch(row.length));
        const summary = summaryAt(row, options.temperature);
        for (let i = 0; i < 30; i++) expect(kept).toContain(sampler.sample(row, [], summary).token);
      }),
      { numRuns: 100 },
    );
  });

  test('the same seed gives the same tokens, another seed others', () => {
    const row = Float32Array.from({ length: 500 }, (_, i) => Math.sin(i));
    const draw = (seed: number): number[] => {
      const sampler = createSampler({ temperature: 1, seed }, createScratch(row.length));
      return Array.from({ length: 20 }, () => sampler.sample(row, []).token);
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(draw(7)).not.toEqual(draw(7 + 2 ** 40));
    expect(draw(-1)).not.toEqual(draw(1));
  });

  test.each([
    ['everything', { temperature: 1 }],
    ['warmer', { temperature: 2 }],
    ['cut', { temperature: 0.8, topK: 6, topP: 0.9, minP: 0.02 }],
  ] as const)('chi-square: %s', (_, options) => {
    const row = Float32Array.of(2, 1.5, 1, 1, 0, -1, 0.5, -2, 1.9, -0.3);
    const { kept } = naive(row, options);
    const weights = Array.from(row, (x, i) => (kept.has(i) ? Math.exp(x / options.temperature) : 0));
    const total = weights.reduce((a, b) => a + b, 0);
    const draws = 60_000;
    const counts = row.map(() => 0);
    const sampler = createSampler({ ...options, seed: 12 }, createScratch(row.length));
    for (let i = 0; i < draws; i++) counts[sampler.sample(row, []).token]!++;
    let chi = 0;
    weights.forEach((weight, i) => {
      const wanted = (weight / total) * draws;
      if (wanted === 0) expect(counts[i]).toBe(0);
      else chi += (counts[i]! - wanted) ** 2 / wanted;
    });
    // 99.9th percentile of chi-square with 9 degrees of freedom.
    expect(chi).toBeLessThan(27.9);
  });

  test("the log-sum is the plain model's, whatever is set", () => {
    const row = Float32Array.of(1, 2, 3);
    const { logSum } = createSampler({ temperature: 3, presencePenalty: 2, seed: 1 }, createScratch(3)).sample(
      row,
      [2],
    );
    expect(logSum).toBeCloseTo(Math.log(Math.E + Math.E ** 2 + Math.E ** 3), 12);
  });
});

describe('penalties', () => {
  const greedy = (row: number[], history: number[], options: SamplingOptions): number =>
    createSampler(options, createScratch(row.length)).sample(logitsOf(row), history).token;

  test('repetition divides what is positive and multiplies what is negative', () => {
    expect(greedy([4, 3], [0], { repetitionPenalty: 1.3 })).toBe(0);
    expect(greedy([4, 3], [0], { repetitionPenalty: 1.4 })).toBe(1);
    expect(greedy([-1, -1.5], [0], { repetitionPenalty: 1.4 })).toBe(0);
    expect(greedy([-1, -1.5], [0], { repetitionPenalty: 1.6 })).toBe(1);
  });

  test('presence counts once, frequency every time', () => {
    expect(greedy([2, 0.5], [0, 0], { presencePenalty: 1 })).toBe(0);
    expect(greedy([2, 0.5], [0, 0], { frequencyPenalty: 1 })).toBe(1);
    expect(greedy([2, 2.5], [1, 1], { presencePenalty: -1 })).toBe(1);
  });

  test('only the window counts', () => {
    const penalties = { presencePenalty: 10, repetitionWindow: 2 };
    expect(greedy([2, 1], [0, 1, 1], penalties)).toBe(0);
    expect(greedy([2, 1], [1, 0, 1], { ...penalties, repetitionWindow: 3 })).toBe(0);
    expect(greedy([2, 1, 0], [0, 1], penalties)).toBe(2);
    expect(greedy([2, 1], [0], { ...penalties, repetitionWindow: 0 })).toBe(0);
  });

  test('the likeliest of changed logits is that of all of them, whichever was the likeliest before', () => {
    const few = fc.array(fc.tuple(fc.nat(59), fc.integer({ min: -3, max: 3 })), { maxLength: 5 });
    fc.assert(
      fc.property(logits, few, fc.array(fc.nat(59), { maxLength: 4 }), (values, biases, window) => {
        const row = logitsOf(values);
        const logitBias = new Map(biases.map(([token, bias]) => [token % row.length, bias]));
        const history = window.map(token => token % row.length);
        const changed = logitsOf(values);
        for (const [token, bias] of logitBias) changed[token]! += bias;
        for (const token of new Set(history)) changed[token]! -= 1;
        const wanted = changed.indexOf(changed.reduce((a, b) => Math.max(a, b), -Infinity));
        expect(greedy(values, history, { logitBias, presencePenalty: 1 })).toBe(wanted);
      }),
      { numRuns: 1000 },
    );
  });

  test('a bias is added before the penalties, and the logits are put back', () => {
    const logitBias = new Map([[1, 1.5]]);
    expect(greedy([2, 1], [], { logitBias })).toBe(1);
    expect(greedy([2, 1], [], { logitBias: new Map([[0, -0.9]]) })).toBe(0);
    expect(greedy([2, 1], [], { logitBias: new Map([[0, -100]]), temperature: 5, seed: 1 })).toBe(1);
    expect(greedy([2, 1], [1], { logitBias, repetitionPenalty: 1.3 })).toBe(0); // 2.5 / 1.3 < 2
    const row = logitsOf([2, 1, 0]);
    createSampler({ logitBias, presencePenalty: 1 }, createScratch(3)).sample(row, [1, 2]);
    expect([...row]).toEqual([2, 1, 0]);
  });
});

describe('logits that are none', () => {
  test.each([
    [[1, NaN, 2], /token 1 is NaN/],
    [[NaN], /token 0 is NaN/],
    [[1, 2, Infinity], /token 2 is Infinity/],
    [[-Infinity, -Infinity], /all logits are -Infinity/],
  ])('%s', (row, message) => {
    expect(() => createSampler({ temperature: 1 }, createScratch(row.length)).sample(logitsOf(row), [])).toThrow(
      message,
    );
  });
});

describe('log-probabilities', () => {
  test('sum to one; the most likely come first, lower ids first on ties', () => {
    fc.assert(
      fc.property(logits, fc.integer({ min: 0, max: 20 }), (values, n) => {
        const row = logitsOf(values);
        const { logSum, argmax } = summarize(row);
        const sorted = [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b);
        expect(argmax).toBe(sorted[0]);
        expect(mostLikely(row, logSum, n).map(t => t.token)).toEqual(sorted.slice(0, n));
        logSoftmax(row);
        expect(row.reduce((sum, x) => sum + Math.exp(x), 0)).toBeCloseTo(1, 3);
      }),
    );
  });
});
