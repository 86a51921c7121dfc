// Every format's encoder gives the bytes that ggml's own quantizer gave (test/fixtures/quantize), and refuses what it cannot encode.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dequantize } from '../../backends/reference/dequantize.ts';
import { gaussian, seededRandom } from '../../backends/reference/random.ts';
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { encodableDTypes, encodeRows, needsImportance } from './encode.ts';
import { nearest } from './single.ts';

const fixtures = new URL('../../../test/fixtures/quantize/', import.meta.url);
const { columns, rows, vectors } = JSON.parse(readFileSync(new URL('vectors.json', fixtures), 'utf8')) as {
  columns: number;
  rows: number;
  vectors: { dtype: Exclude<DType, 'I32'>; weighted: boolean; at: number }[];
};
const bytes = new Uint8Array(readFileSync(new URL('vectors.bin', fixtures))); // copied, so that floats lie at their place
const values = new Float32Array(bytes.buffer, 0, rows * columns);
const importance = new Float32Array(bytes.buffer, 4 * rows * columns, columns);

describe('bytes of ggml', () => {
  test.each(vectors)('$dtype, weighted: $weighted', ({ dtype, weighted, at }) => {
    const rowBytes = byteLengthOf(dtype, columns);
    const got = encodeRows(dtype, values, columns, weighted ? importance : undefined);
    for (let row = 0; row < rows; row++)
      expect(got.subarray(row * rowBytes, (row + 1) * rowBytes), `row ${row}`).toEqual(
        bytes.subarray(at + row * rowBytes, at + (row + 1) * rowBytes),
      );
  });

  test('there are vectors of every format of blocks', () => {
    const blocks = encodableDTypes.filter(dtype => formats[dtype].blockSize > 1);
    expect([...new Set(vectors.map(({ dtype }) => dtype))].sort()).toEqual([...blocks].sort());
  });
});

describe('encodeRows', () => {
  test.each(encodableDTypes.filter(dtype => formats[dtype].blockSize > 1))(
    '%s: what is read again is nearer than nothing, and zeros stay zeros',
    dtype => {
      const random = seededRandom(3);
      const row = Float32Array.from({ length: 256 }, () => gaussian(random));
      const even = new Float32Array(256).fill(1);
      const again = dequantize(dtype, encodeRows(dtype, row, 256, even), 256);
      const error = row.reduce((sum, value, i) => sum + (value - again[i]!) ** 2, 0);
      expect(error).toBeLessThan(row.reduce((sum, value) => sum + value ** 2, 0));
      const zeros = dequantize(dtype, encodeRows(dtype, new Float32Array(256), 256, even), 256);
      expect(zeros.every(value => value === 0)).toBe(true);
    },
  );

  test('importance moves errors to where they cost least', () => {
    const random = seededRandom(4);
    const row = Float32Array.from({ length: 256 }, () => gaussian(random));
    const weights = Float32Array.from({ length: 256 }, (_, i) => (i % 4 === 0 ? 100 : 0.01));
    const cost = (bytes: Uint8Array): number =>
      dequantize('Q2_K', bytes, 256).reduce((sum, value, i) => sum + weights[i]! * (value - row[i]!) ** 2, 0);
    expect(cost(encodeRows('Q2_K', row, 256, weights))).toBeLessThan(0.7 * cost(encodeRows('Q2_K', row, 256)));
  });

  test('a sub-block of zeros does not displace the others of IQ3_S', () => {
    const random = seededRandom(5);
    const row = Float32Array.from({ length: 256 }, (_, i) => (i < 32 ? 0 : gaussian(random)));
    const again = dequantize('IQ3_S', encodeRows('IQ3_S', row, 256), 256);
    for (let i = 0; i < 256; i++) expect(Math.abs(again[i]! - row[i]!)).toBeLessThan(0.8);
  });

  test('floats are rounded to the nearest, ties to even', () => {
    const row = Float32Array.of(1, -0, 65504, 2 ** -24, 1 + 2 ** -11, 1 + 3 * 2 ** -11);
    expect(dequantize('F16', encodeRows('F16', row, 6), 6)).toEqual(
      Float32Array.of(1, -0, 65504, 2 ** -24, 1, 1 + 2 ** -9),
    );
    expect(dequantize('BF16', encodeRows('BF16', row, 6), 6)[2]).toBe(65536);
    expect(dequantize('F32', encodeRows('F32', row, 6), 6)).toEqual(row);
  });

  test('what is no row is refused', () => {
    expect(() => encodeRows('Q4_K', new Float32Array(100), 100)).toThrow(/256.*100/);
    expect(() => encodeRows('Q8_0', new Float32Array(33), 32)).toThrow(/33.*32/);
    expect(() => encodeRows('Q8_0', new Float32Array(32), 32, new Float32Array(31))).toThrow(/31.*32/);
    for (const dtype of needsImportance)
      expect(() => encodeRows(dtype as 'IQ1_S', new Float32Array(256), 256)).toThrow(/importance/);
  });
});

test('nearest is round to even within its range', () => {
  fc.assert(
    fc.property(fc.float({ min: -4e6, max: 4e6, noNaN: true }), value => {
      const down = Math.floor(value);
      const rest = value - down;
      const want = rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
      expect(nearest(value) - want).toBe(0);
    }),
  );
  expect(nearest(Number.NaN)).toBe(0);
  expect(nearest(Number.POSITIVE_INFINITY)).toBe(-(2 ** 22));
});
