// The simple encoders lose no more than their steps, and random blocks are as large as asked.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { dequantize } from './dequantize.ts';
import { quantize, randomBlocks, setScale } from './quantize.ts';
import { gaussian, seededRandom } from './random.ts';

const block = fc.array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: 32, maxLength: 32 });
const error = (dtype: 'F16' | 'BF16' | 'Q4_0' | 'Q8_0', values: Float32Array): number[] =>
  Array.from(dequantize(dtype, quantize(dtype, values), values.length), (value, i) => Math.abs(value - values[i]!));

describe('quantize', () => {
  test('each value is off by half a step at most, as the format’s range allows', () => {
    fc.assert(
      fc.property(block, list => {
        const values = Float32Array.from(list);
        const largest = Math.max(...values.map(Math.abs));
        // The scale is an F16: rounded by 2⁻¹¹ of itself, or by half of 2⁻²⁴ where it is subnormal.
        const scaleError = (steps: number): number => steps * (2 ** -11 * (largest / steps) + 2 ** -25);
        const q8 = largest / 127 / 2 + scaleError(127);
        expect(Math.max(...error('Q8_0', values))).toBeLessThanOrEqual(q8 * 1.0001);
        // The largest magnitude is −8 steps; on the other side there are only 7, so a value may be a whole step off.
        const q4 = largest / 8 + scaleError(8);
        expect(Math.max(...error('Q4_0', values))).toBeLessThanOrEqual(q4 * 1.0001);
        for (const [dtype, relative] of [
          ['F16', 2 ** -11],
          ['BF16', 2 ** -8],
        ] as const)
          error(dtype, values).forEach((difference, i) => {
            expect(difference).toBeLessThanOrEqual(relative * Math.abs(values[i]!) + 2 ** -25);
          });
      }),
    );
  });

  test('what a format can hold comes back exactly', () => {
    const steps = Float32Array.from({ length: 32 }, (_, i) => ((i % 16) - 8) / 4);
    expect(dequantize('Q4_0', quantize('Q4_0', steps), 32)).toEqual(steps);
    const bytes = Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? -127 : 4 * i) / 8);
    expect(dequantize('Q8_0', quantize('Q8_0', bytes), 32)).toEqual(bytes);
    expect(dequantize('Q4_0', quantize('Q4_0', new Float32Array(32)), 32).every(value => value === 0)).toBe(true);
    expect(() => quantize('Q8_0', new Float32Array(33))).toThrow(/32.*33/);
  });
});

describe('randomBlocks', () => {
  const weights = (Object.keys(formats) as DType[]).filter(dtype => dtype !== 'I32');
  test.each(weights)('%s: mean 0, the deviation asked for, nothing far outside', dtype => {
    const elements = 256 * 200;
    for (const scale of [0.02, 3]) {
      const bytes = randomBlocks(dtype, elements, seededRandom(5), scale);
      expect(bytes.length).toBe(byteLengthOf(dtype, elements));
      const values = dequantize(dtype, bytes, elements);
      const mean = values.reduce((sum, value) => sum + value, 0) / elements;
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / elements);
      expect(Math.abs(mean)).toBeLessThan(0.05 * scale);
      expect(deviation / scale).toBeGreaterThan(0.9);
      expect(deviation / scale).toBeLessThan(1.1);
      expect(Math.max(...values.map(Math.abs))).toBeLessThan(8 * scale);
    }
  });

  test('scales that are small floats are the nearest there are', () => {
    const scaleOf = (dtype: 'MXFP4' | 'NVFP4', scale: number): number => {
      const block = new Uint8Array(formats[dtype].blockBytes).fill(0x22); // E2M1 1
      setScale(dtype, block, 0, scale);
      const values = dequantize(dtype, block, formats[dtype].blockSize);
      expect(values.every(value => value === values[0])).toBe(true);
      return values[0]!;
    };
    expect([1, -0.25, 6, 2 ** 126, 2 ** -127].map(scale => scaleOf('MXFP4', scale))).toEqual([
      1,
      0.25,
      8,
      2 ** 126,
      2 ** -127,
    ]);
    const stored = [0, 2 ** -9, 7 * 2 ** -9, 2 ** -6, 1.875 * 2 ** -6, 1, 1.125, 240, 448];
    expect(stored.map(scale => scaleOf('NVFP4', -scale))).toEqual(stored);
    expect([2 ** -11, 1.05, 1.95, 1.97, 1e4].map(scale => scaleOf('NVFP4', scale))).toEqual([0, 1, 2, 2, 448]);
  });

  test('the same seed gives the same bytes, another others', () => {
    const make = (seed: number): Uint8Array => randomBlocks('Q5_K', 512, seededRandom(seed), 1);
    expect(make(1)).toEqual(make(1));
    expect(make(1)).not.toEqual(make(2));
    expect(() => randomBlocks('I32', 32, seededRandom(1), 1)).toThrow(/I32/);
  });
});

test('random numbers are spread evenly, and normal ones normally', () => {
  const random = seededRandom(9);
  const bins = new Array<number>(16).fill(0);
  for (let i = 0; i < 32_000; i++) bins[Math.floor(random() * 16)]!++;
  expect(bins.reduce((chi, count) => chi + (count - 2000) ** 2 / 2000, 0)).toBeLessThan(45);
  const normal = Float64Array.from({ length: 20_000 }, () => gaussian(random));
  expect(Math.abs(normal.reduce((a, b) => a + b) / normal.length)).toBeLessThan(0.03);
  expect(normal.reduce((a, b) => a + b * b, 0) / normal.length).toBeCloseTo(1, 1);
  expect(normal.filter(value => Math.abs(value) > 2).length / normal.length).toBeCloseTo(0.0455, 2);
});
