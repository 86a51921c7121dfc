// The decoders against ggml's own numbers, against those of the gguf package for Python, against blocks worked out by hand, and on
// hostile sizes.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { openGguf } from '../../checkpoint/gguf.ts';
import * as tables from '../formats-tables.ts';
import { dequantize } from './dequantize.ts';
import { fromBfloat, halfValues, toBfloat, toHalf } from './half.ts';
import { seededRandom } from './random.ts';

/**
 * Digest of 16,384 decoded numbers, made by ggml's C functions `dequantize_row_*` (ggml-quants.c of August 2026, without
 * contraction to fused multiply-add) from the same random bytes, which hold every kind of scale, infinities and NaN too.
 */
const ggmlDigests: Partial<Record<DType, string>> = {
  Q4_0: 'f1422dc5',
  Q4_1: '587df8e1',
  Q5_0: '2deefbc5',
  Q5_1: 'ae3f9bc0',
  Q8_0: '5e1299c5',
  Q2_K: '72a101ab',
  Q3_K: 'bc13fe85',
  Q4_K: 'f0da7419',
  Q5_K: '333a27d6',
  Q6_K: 'd80b7859',
  IQ4_NL: '3cf2a0c5',
  IQ4_XS: '64419453',
  IQ3_S: '3773a255',
  IQ3_XXS: '8d20cc1d',
  IQ2_S: 'b4d24df9',
  IQ2_XS: '0cfd5d7d',
  IQ2_XXS: '9395c76d',
  IQ1_M: '998ed625',
  IQ1_S: 'c74a1ca5',
  MXFP4: 'eb299dc5',
  NVFP4: '5f5d9dc5',
  TQ1_0: '42d2bdc5',
  TQ2_0: '3cf81dc5',
  Q1_0: 'adca9dc5',
  Q2_0: '18dbddc5',
};

/** FNV-1a over the numbers' bits, 32 at a time; every NaN counts as one. */
function digest(values: Float32Array): string {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const hash = bits.reduce(
    (hash, pattern, i) => Math.imul(hash ^ (Number.isNaN(values[i]) ? 0x7fc00000 : pattern), 0x01000193),
    0x811c9dc5,
  );
  return (hash >>> 0).toString(16).padStart(8, '0');
}

describe('dequantize', () => {
  const blocked = (Object.keys(formats) as DType[]).filter(dtype => formats[dtype].blockSize > 1);
  test.each(blocked)('%s equals ggml bit for bit', dtype => {
    const elements = 256 * 64;
    const random = seededRandom(formats[dtype].ggmlType);
    const bytes = Uint8Array.from({ length: byteLengthOf(dtype, elements) }, () => random() * 256);
    expect(digest(dequantize(dtype, bytes, elements))).toBe(ggmlDigests[dtype]);
  });

  // Q1_0 and Q2_0 the package does not decode.
  const described = [...blocked, 'BF16' as const].filter(dtype => dtype !== 'Q1_0' && dtype !== 'Q2_0');
  test.each(described)('%s equals the gguf package bit for bit', async dtype => {
    await using file = await openGguf(fileURLToPath(new URL('../../../test/fixtures/formats.gguf', import.meta.url)));
    const read = async (name: string): Promise<Uint8Array> => {
      const tensor = file.tensors.get(name)!;
      const bytes = new Uint8Array(tensor.byteLength);
      await file.read(tensor, 0, bytes);
      return bytes;
    };
    expect(file.tensors.get(dtype)).toMatchObject({ dtype, shape: [2, 256] });
    const actual = dequantize(dtype, await read(dtype), 512);
    const expected = await read(`${dtype}.values`);
    expect(new Uint32Array(actual.buffer)).toEqual(new Uint32Array(expected.buffer));
  });

  test('blocks worked out by hand', () => {
    const one = [0x00, 0x3c]; // F16 1
    const q4 = dequantize('Q4_0', Uint8Array.of(...one, 0x0f, 0xf0, ...new Array<number>(14).fill(0x88)), 32);
    expect([q4[0], q4[16], q4[1], q4[17], q4[2], q4[18]]).toEqual([7, -8, -8, 7, 0, 0]);
    const q8 = dequantize('Q8_0', Uint8Array.of(...one, 0x80, 0x7f, 0xff, ...new Array<number>(29).fill(1)), 32);
    expect([...q8.subarray(0, 4)]).toEqual([-128, 127, -1, 1]);
    const q6 = new Uint8Array(210).fill(0);
    q6[0] = 0x21; // low nibbles of values 0 and 64
    q6[128] = 0b11_00_00_10; // upper bits of values 0, 32, 64, 96
    q6[192] = 2;
    q6[192 + 4] = 0xff; // −1 for values 64 to 79
    q6[192 + 6] = 1;
    q6.set(one, 208);
    const values = dequantize('Q6_K', q6, 256);
    expect([values[0], values[1], values[64], values[96]]).toEqual([2 * (33 - 32), -64, -(2 - 32), 48 - 32]);
  });

  test('floats at any byte offset, with their NaN and infinities', () => {
    const source = Float32Array.of(1.5, -0, Infinity, NaN, 1e-45);
    const shifted = new Uint8Array(21);
    shifted.set(new Uint8Array(source.buffer), 1);
    expect(dequantize('F32', shifted.subarray(1), 5)).toEqual(source);
    const halves = Uint8Array.of(9, 0x00, 0x3c, 0x01, 0x80, 0x00, 0x7c);
    expect([...dequantize('F16', halves.subarray(1), 3)]).toEqual([1, -(2 ** -24), Infinity]);
    const bfloats = Uint8Array.of(9, 0x80, 0x3f, 0x80, 0xff);
    expect([...dequantize('BF16', bfloats.subarray(1), 2)]).toEqual([1, -Infinity]);
    expect([...dequantize('I32', Uint8Array.of(0xfe, 0xff, 0xff, 0xff), 1)]).toEqual([-2]);
  });

  test('fills a given array from its start and nothing behind', () => {
    const into = new Float32Array(40).fill(9);
    expect(dequantize('Q8_0', new Uint8Array(34), 32, into)).toBe(into);
    expect([into[31], into[32]]).toEqual([0, 9]);
  });

  test('says which size is wrong', () => {
    expect(() => dequantize('Q4_K', new Uint8Array(144), 200)).toThrow(/256.*200/);
    expect(() => dequantize('Q4_K', new Uint8Array(143), 256)).toThrow(/144 bytes; got 143/);
    expect(() => dequantize('Q4_K', new Uint8Array(144), 256, new Float32Array(8))).toThrow(/only 8/);
  });
});

describe('tables', () => {
  /** FNV-1a over the bytes of ggml's arrays (ggml-common.h of August 2026), as C stores them. */
  const ggmlTables: Record<keyof typeof tables, string> = {
    iq4Values: 'b3805235',
    e2m1Values: '100a6cd5',
    evenSigns: 'aba69a45',
    iq3xxsGrid: '49a45035',
    iq3sGrid: '71cc6c89',
    iq2xxsGrid: '3db4a16e',
    iq2xsGrid: 'ebeb17dd',
    iq2sGrid: '82981110',
    iq1Grid: '2fe8cbce',
  };
  test.each(Object.entries(tables))('%s is ggml’s', (name, table) => {
    const hash = [...table].reduce((hash, value) => Math.imul(hash ^ (value & 255), 0x01000193), 0x811c9dc5);
    expect((hash >>> 0).toString(16).padStart(8, '0')).toBe(ggmlTables[name as keyof typeof tables]);
  });

  test('evenSigns: 7 bits stay, and the number of ones is even', () => {
    const signs = [...tables.evenSigns];
    expect(signs.every((sign, bits) => (sign & 127) === bits)).toBe(true);
    expect(signs.every(sign => sign.toString(2).replaceAll('0', '').length % 2 === 0)).toBe(true);
  });
});

describe('sixteen-bit floats', () => {
  test('F16 equals the language’s own, both ways', () => {
    const patterns = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
    const own = Float32Array.from(new Float16Array(patterns.buffer));
    expect(halfValues).toEqual(own);
    const wrong = patterns.filter(pattern => !Number.isNaN(own[pattern]) && toHalf(own[pattern]!) !== pattern);
    expect(wrong).toHaveLength(0);
    const random = seededRandom(3);
    const cell = new Float16Array(1);
    for (let i = 0; i < 100_000; i++) {
      const exact = (random() - 0.5) * 2 ** (44 * random() - 26);
      cell[0] = exact;
      expect(halfValues[toHalf(exact)]).toBe(cell[0]);
    }
    expect([toHalf(65519.9), toHalf(65520), toHalf(-Infinity), toHalf(NaN) & 0x7e00]).toEqual([
      0x7bff, 0x7c00, 0xfc00, 0x7e00,
    ]);
  });

  test('BF16 is the upper half of a float32, rounded to even', () => {
    expect([1, -2, 0.15625, Infinity].map(value => fromBfloat(toBfloat(value)))).toEqual([1, -2, 0.15625, Infinity]);
    expect([toBfloat(1 + 2 ** -8), toBfloat(1 + 3 * 2 ** -8), toBfloat(1 + 2 ** -8 + 2 ** -20)]).toEqual([
      0x3f80, 0x3f82, 0x3f81,
    ]);
    expect(Number.isNaN(fromBfloat(toBfloat(NaN)))).toBe(true);
  });
});
