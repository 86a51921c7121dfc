// The products' kernels against the reference decoder and exact arithmetic, for every format, row count and odd size.
import { beforeEach, describe, expect, test } from 'vitest';
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { dequantize } from '../reference/dequantize.ts';
import { toHalf } from '../reference/half.ts';
import { RawKernels } from './raw.ts';

const dtypes = (Object.keys(formats) as DType[]).filter(name => name !== 'I32');
const quantized = dtypes.filter(name => formats[name].blockSize > 1);
const idOf = (dtype: DType): number => formats[dtype].ggmlType;

/** Bytes from a block's start where a half-precision number lies. */
const halvesOf: Partial<Record<DType, number[]>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ4_XS: [0],
  IQ3_S: [0],
  IQ3_XXS: [0],
  IQ2_XXS: [0],
  IQ2_XS: [0],
  IQ2_S: [0],
  IQ1_S: [0],
  TQ1_0: [52],
  TQ2_0: [64],
  Q1_0: [0],
  Q2_0: [0],
};

const memory = RawKernels.memory(32 << 20);
let kernels: RawKernels;
let seed = 1;
beforeEach(() => {
  kernels = new RawKernels(memory);
  kernels.bytes(kernels.allocate(0), 1 << 20).fill(0xa5); // what is not written must show
  activationBits = 8;
  seed = 1;
});

/** Bits of the activations that products take. */
let activationBits = 8;

/** Uniform in [0, 1): a linear congruential generator, so that a failure repeats. */
function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
}
const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

/** Sets the half-precision numbers of the block at `at`, or what the format has in their place, of ordinary size. */
function setScales(view: DataView, dtype: DType, at: number, half: () => number): void {
  if (dtype === 'IQ1_M') {
    // Four bits of one half are the upper bits of four words.
    const bits = half();
    for (let i = 0; i < 4; i++) {
      const place = at + 48 + 2 * i;
      view.setUint16(place, (view.getUint16(place, true) & 0x0fff) | (((bits >> (4 * i)) & 15) << 12), true);
    }
  } else if (dtype === 'MXFP4') view.setUint8(at, 110 + random() * 20);
  else for (const place of halvesOf[dtype] ?? []) view.setUint16(at + place, half(), true);
}

/** `elements` stored numbers: any bit pattern, but for scales of ordinary size. */
function randomWeights(dtype: DType, elements: number): Uint8Array {
  const bytes = Uint8Array.from({ length: byteLengthOf(dtype, elements) }, () => random() * 256);
  const view = new DataView(bytes.buffer);
  const { blockBytes } = formats[dtype];
  for (let at = 0; at < bytes.length; at += blockBytes) {
    if (dtype === 'F32') view.setFloat32(at, normal(), true);
    else if (dtype === 'F16') view.setUint16(at, toHalf(normal()), true);
    else if (dtype === 'BF16') view.setUint16(at, (view.getUint16(at, true) & 0x80ff) | 0x3f00, true);
    else setScales(view, dtype, at, () => toHalf(normal() / 50));
  }
  return bytes;
}

/** What `quantize_rows` means: the activations as the kernels see them. */
function rounded(x: Float32Array): Float64Array {
  const out = new Float64Array(x.length);
  const limit = activationBits === 16 ? 127 * 256 : 127;
  for (let block = 0; block < x.length; block += 32) {
    let most = 0;
    for (let i = block; i < block + 32; i++) most = Math.max(most, Math.abs(x[i]!));
    const scale = Math.fround(most / limit);
    const inverse = Math.fround(limit / most);
    for (let i = block; i < block + 32; i++) {
      const value = Math.fround(x[i]! * inverse);
      const down = Math.floor(value);
      const tie = value - down === 0.5;
      out[i] = scale * (tie ? down + (down & 1) : Math.round(value));
    }
  }
  return out;
}

/** Matrices [out, inner] in the kernels' memory; returns their address. */
const upload = (dtype: DType, weights: Uint8Array, out: number, inner: number): bigint =>
  BigInt(kernels.weights(dtype, weights, out, inner));

function product(dtype: DType, w: bigint, out: number, inner: number, x: Float32Array, rows: number): Float32Array {
  const y = kernels.allocate(4 * rows * out + 64);
  kernels.floats(y, rows * out + 16).fill(-7);
  const a = BigInt(kernels.activations(dtype, x, rows, inner, activationBits));
  kernels.exports.matmul(idOf(dtype), w, out, inner, a, activationBits, rows, BigInt(y), kernels.newTeam());
  expect([...kernels.floats(y + 4 * rows * out, 16)]).toEqual(Array(16).fill(-7)); // nothing past the end
  return kernels.floats(y, rows * out).slice();
}

/** The largest |got − exact| relative to Σ |w·x| of the same product. */
function worst(got: Float32Array, weights: Float32Array, x: ArrayLike<number>, out: number, inner: number): number {
  let error = 0;
  for (let i = 0; i < got.length; i++) {
    const row = Math.floor(i / out) * inner;
    const o = (i % out) * inner;
    let sum = 0;
    let size = 0;
    for (let k = 0; k < inner; k++) {
      const term = weights[o + k]! * x[row + k]!;
      sum += term;
      size += Math.abs(term);
    }
    error = Math.max(error, Math.abs(got[i]! - sum) / size);
  }
  return error;
}

const vector = (length: number): Float32Array => Float32Array.from({ length }, () => normal());

describe.each(dtypes)('%s', dtype => {
  const blockSize = formats[dtype].blockSize;
  const inner = blockSize > 32 ? 512 : 96;

  test('row_bytes and activation_bits agree with the table of formats', () => {
    expect(kernels.exports.row_bytes(idOf(dtype), 512)).toBe(byteLengthOf(dtype, 512));
    const bits = (inner: number) => kernels.exports.activation_bits(idOf(dtype), inner, 2048);
    expect([bits(1792), bits(2048), bits(16384)]).toEqual(blockSize > 1 ? [16, 8, 8] : [32, 32, 32]);
  });

  test('dequantize_row equals the reference', () => {
    const [matrices, out, n] = [2, 19, 512];
    const weights = randomWeights(dtype, matrices * out * n);
    const y = kernels.allocate(4 * matrices * out * n);
    const w = upload(dtype, weights, out, n);
    for (let row = 0; row < matrices * out; row++)
      kernels.exports.dequantize_row(idOf(dtype), w, out, n, row, BigInt(y + 4 * row * n));
    const want = dequantize(dtype, weights, matrices * out * n);
    const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    kernels.floats(y, want.length).forEach((value, i) => {
      expect(Math.abs(value - want[i]!)).toBeLessThanOrEqual(
        3e-7 * (Math.abs(want[i]!) + (blockSize > 1 ? largest : 0)),
      );
    });
  });

  test.each(blockSize > 1 ? [8, 16] : [32])(
    'products are right, and a row does not depend on the rows beside it: activations of %i bits',
    bits => {
      activationBits = bits;
      for (const out of [1, 2, 3, 4, 5, 7, 16, 19, 37]) {
        const weights = randomWeights(dtype, out * inner);
        const w = upload(dtype, weights, out, inner);
        const decoded = dequantize(dtype, weights, out * inner);
        for (const rows of [1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 70]) {
          const x = vector(rows * inner);
          const y = product(dtype, w, out, inner, x, rows);
          expect(worst(y, decoded, blockSize > 1 ? rounded(x) : x, out, inner)).toBeLessThan(5e-7);
          for (const row of new Set([0, rows >> 1, rows - 1])) {
            const alone = product(dtype, w, out, inner, x.subarray(row * inner, (row + 1) * inner), 1);
            expect(alone).toEqual(y.subarray(row * out, (row + 1) * out));
          }
        }
      }
    },
  );

  test('the team changes nothing', () => {
    const [out, rows] = [101, 3];
    const w = upload(dtype, randomWeights(dtype, out * inner), out, inner);
    const x = vector(rows * inner);
    const alone = product(dtype, w, out, inner, x, rows);
    // One of three threads that happens to be given all the work, in pieces of another size.
    kernels = new RawKernels(memory, 1, 3);
    kernels.allocate(16 << 20); // beyond what this test has stored
    expect(product(dtype, w, out, inner, x, rows)).toEqual(alone);
  });

  test('both lowerings of the dot product give the same bits', () => {
    const [out, rows] = [21, 5];
    const w = upload(dtype, randomWeights(dtype, out * inner), out, inner);
    const x = vector(rows * inner);
    const results = [0, 1].map(form => {
      kernels.exports.choose_dot(form);
      return [rows, 1].map(count => product(dtype, w, out, inner, x.subarray(0, count * inner), count));
    });
    kernels.exports.choose_dot(0);
    expect(results[1]).toEqual(results[0]);
  });

  test('experts: each row is the product with its own matrix, −1 is zeros', () => {
    const [experts, out, rows] = [5, 18, 23];
    const matrixBytes = kernels.exports.matrix_bytes(idOf(dtype), out, inner);
    const w = upload(dtype, randomWeights(dtype, experts * out * inner), out, inner);
    const x = vector(rows * inner);
    for (const pick of [() => Math.floor(random() * 6) - 1, () => 3, () => -1, (row: number) => (row === 7 ? 4 : -1)]) {
      const slots = Int32Array.from({ length: rows }, (_, row) => pick(row));
      const at = kernels.allocate(slots.byteLength);
      kernels.ints(at, rows).set(slots);
      const y = kernels.allocate(4 * rows * out);
      kernels.floats(y, rows * out).fill(NaN);
      const a = kernels.activations(dtype, x, rows, inner, activationBits);
      const scratch = kernels.allocate(kernels.exports.expert_scratch_bytes(experts, rows, 1));
      const { expert_matmul } = kernels.exports;
      const arrays = [BigInt(a), BigInt(at), BigInt(y), BigInt(scratch)] as const;
      expert_matmul(
        idOf(dtype),
        w,
        experts,
        out,
        inner,
        arrays[0],
        activationBits,
        rows,
        arrays[1],
        arrays[2],
        arrays[3],
        kernels.newTeam(),
      );
      for (let row = 0; row < rows; row++) {
        const slot = slots[row]!;
        const own = x.subarray(row * inner, (row + 1) * inner);
        const want =
          slot < 0 ? new Float32Array(out) : product(dtype, w + BigInt(slot * matrixBytes), out, inner, own, 1);
        expect(kernels.floats(y + 4 * row * out, out)).toEqual(want);
      }
    }
  });
});

test('F32, F16 and BF16 rows need not be a whole number of vectors', () => {
  for (const dtype of ['F32', 'F16', 'BF16'] as const)
    for (const inner of [1, 5, 8, 13, 130, 301]) {
      const [out, rows] = [6, 3];
      const weights = randomWeights(dtype, out * inner);
      const x = vector(rows * inner);
      const y = product(dtype, upload(dtype, weights, out, inner), out, inner, x, rows);
      expect(worst(y, dequantize(dtype, weights, out * inner), x, out, inner)).toBeLessThan(5e-7);
      const alone = product(dtype, upload(dtype, weights, out, inner), out, inner, x.subarray(0, inner), 1);
      expect(alone).toEqual(y.subarray(0, out));
    }
});

test('every bit pattern of a half', () => {
  const weights = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, pattern) => pattern).buffer);
  const out = kernels.allocate(4 * 65536);
  kernels.exports.dequantize_row(idOf('F16'), upload('F16', weights, 1, 65536), 1, 65536, 0, BigInt(out));
  expect(kernels.floats(out, 65536)).toEqual(dequantize('F16', weights, 65536));
});

/** The scales of the others are small floats without infinities. */
const scaleMayBeInfinite = (dtype: DType): boolean => dtype !== 'MXFP4' && dtype !== 'NVFP4';

describe.each(quantized)('%s at its ends', dtype => {
  const inner = formats[dtype].blockSize * 2;

  test.each([0x00, 0xff, 0x80, 0x7f, 0x88, 0xf0, 0x0f])('blocks of the byte %i do not overflow', byte => {
    const out = 4;
    const weights = new Uint8Array(byteLengthOf(dtype, out * inner)).fill(byte);
    const view = new DataView(weights.buffer);
    for (let at = 0; at < weights.length; at += formats[dtype].blockBytes) setScales(view, dtype, at, () => 0x3c00); // 1
    const w = upload(dtype, weights, out, inner);
    const decoded = dequantize(dtype, weights, out * inner);
    for (const x of [
      new Float32Array(2 * inner).fill(127),
      new Float32Array(2 * inner).fill(-127),
      Float32Array.from({ length: 2 * inner }, (_, k) => (k & 1 ? 127 : -127)),
    ]) {
      for (const form of [0, 1, 2]) {
        kernels.exports.choose_dot(form % 2);
        activationBits = form === 2 ? 16 : 8;
        for (const rows of [1, 2]) {
          const y = product(dtype, w, out, inner, x.subarray(0, rows * inner), rows);
          for (let o = 0; o < y.length; o++) {
            let sum = 0;
            let size = 1e-30;
            for (let k = 0; k < inner; k++) {
              sum += decoded[(o % out) * inner + k]! * x[k]!;
              size += Math.abs(decoded[(o % out) * inner + k]! * x[k]!);
            }
            expect(Math.abs(y[o]! - sum) / size).toBeLessThan(5e-7);
          }
        }
      }
      kernels.exports.choose_dot(0);
    }
  });

  test.skipIf(!scaleMayBeInfinite(dtype))('an infinite or NaN scale shows in its own result only', () => {
    const [out, rows] = [6, 3];
    for (const half of [0x7c00, 0x7e01, 0xfc00]) {
      const weights = randomWeights(dtype, out * inner);
      setScales(new DataView(weights.buffer), dtype, 2 * byteLengthOf(dtype, inner), () => half);
      const y = product(dtype, upload(dtype, weights, out, inner), out, inner, vector(rows * inner), rows);
      y.forEach((value, i) => {
        expect(Number.isFinite(value)).toBe(i % out !== 2);
      });
    }
  });

  test('an infinite or NaN activation shows in its own result only', () => {
    const [out, rows] = [6, 3];
    for (const value of [Infinity, NaN]) {
      const x = vector(rows * inner);
      x[inner + 3] = value;
      const y = product(dtype, upload(dtype, randomWeights(dtype, out * inner), out, inner), out, inner, x, rows);
      y.forEach((result, i) => {
        expect(Number.isFinite(result)).toBe(Math.floor(i / out) !== 1);
      });
    }
  });
});

test('activations: zeros, denormals and huge numbers', () => {
  const weights = randomWeights('Q4_0', 64);
  const w = upload('Q4_0', weights, 2, 32);
  for (const bits of [8, 16])
    for (const size of [0, 1e-44, 1e-37, 1e-30, 1e30, 3e38]) {
      activationBits = bits;
      const x = vector(64).map(value => Math.tanh(value) * size);
      const y = product('Q4_0', w, 2, 32, x, 2);
      expect(y.every(Number.isFinite)).toBe(true);
      if (size >= 1e-30) expect(worst(y, dequantize('Q4_0', weights, 64), rounded(x), 2, 32)).toBeLessThan(1e-6);
      else expect(y.every(value => Math.abs(value) <= 64 * size)).toBe(true);
    }
});
