// Cases of the products with weights: matmul, expertMatmul, embed and write, in every weight format.
import { byteLengthOf, type DType, formats } from '../checkpoint/dtype.ts';
import type { Backend, Tensor } from './backend.ts';
import {
  type BackendCase,
  expectNear,
  expectSame,
  gaussians,
  type Precision,
  rowAt,
  uploadBytes,
  uploadFloats,
  uploadIds,
} from './comparison.cases.ts';
import { dequantize } from './reference/dequantize.ts';
import { type QuantizedDType, randomBlocks, setScale } from './reference/quantize.ts';
import { seededRandom } from './reference/random.ts';

type WeightDType = Exclude<DType, 'I32'>;
const weightDTypes = (Object.keys(formats) as DType[]).filter((dtype): dtype is WeightDType => dtype !== 'I32');
const isFloat = (dtype: DType): dtype is 'F32' | 'F16' | 'BF16' => formats[dtype].blockSize === 1;

/** [rows, out, in in blocks of the format (of 32 for floats)]: every row count and output count occurs. */
const shapes: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [1, 3, 2],
  [1, 4, 4],
  [1, 7, 1],
  [1, 130, 3],
  [2, 64, 1],
  [3, 7, 2],
  [4, 4, 1],
  [5, 130, 1],
  [8, 3, 3],
  [17, 64, 1],
  [64, 7, 1],
  [513, 3, 1],
];

const longRow = 1024;

/** Activations of which int8 with one scale for 32 numbers loses nothing: whole numbers of ±127 times a power of two. */
function wholeActivations(count: number, random: () => number): Float32Array {
  const values = new Float32Array(count);
  for (let block = 0; block < count; block += 32) {
    const unit = 2 ** (Math.floor(random() * 7) - 10);
    for (let i = 0; i < 32; i++) values[block + i] = Math.round((random() * 2 - 1) * 127) * unit;
    values[block + Math.floor(random() * 32)] = (random() < 0.5 ? -127 : 127) * unit;
  }
  return values;
}

interface Product {
  readonly expected: Float64Array;
  /** Σ|w·x|: what float32 rounding is measured by. */
  readonly size: Float64Array;
  /** Most that int8 activations can be off: Σ over blocks of amax / 254 · Σ|w|. */
  readonly rounding: Float64Array;
  /** Variance of that error, each rounding being uniform within ± amax / 254. */
  readonly variance: Float64Array;
}

/** x [rows, n] · w [outs, n]ᵀ in doubles, and what an error is measured by. */
function product(x: Float32Array, w: Float32Array, n: number): Product {
  const rows = x.length / n;
  const outs = w.length / n;
  const make = (): Float64Array => new Float64Array(rows * outs);
  const result: Product = { expected: make(), size: make(), rounding: make(), variance: make() };
  for (let t = 0; t < rows; t++) {
    const step = new Float64Array(n);
    for (let i = 0; i < n; i += 32)
      step.fill(largest(x.subarray(t * n + i, t * n + Math.min(n, i + 32))) / 127, i, i + 32);
    for (let o = 0; o < outs; o++) {
      const at = t * outs + o;
      for (let i = 0; i < n; i++) {
        const weight = w[o * n + i]!;
        const term = x[t * n + i]! * weight;
        result.expected[at]! += term;
        result.size[at]! += Math.abs(term);
        result.rounding[at]! += (Math.abs(weight) * step[i]!) / 2;
        result.variance[at]! += (weight * step[i]!) ** 2 / 12;
      }
    }
  }
  return result;
}

function largest(values: Float32Array): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/**
 * Float32 rounding: n terms in any order for float weights; formats with offsets form scale · Σq·x and offset · Σx apart, which
 * may each be some times the largest weight times Σ|x|.
 */
function slack(dtype: DType, n: number, w: Float32Array, x: Float32Array, p: Product): (i: number) => number {
  if (isFloat(dtype)) return i => (n + 2) * 2 ** -24 * p.size[i]! + 1e-37;
  const allowed = 2 ** -19 * n * largest(w) * largest(x) + 1e-37;
  return () => allowed;
}

/** A step of rounded activations beside one of int8. */
const stepOf = { f32: 0, q16: 127 / 32767, q8: 1 } as const satisfies Record<Precision['activations'], number>;

/** The float32 slack and, where activations are rounded, what their rounding may cost. */
function bound(precision: Precision, ...[dtype, n, w, x, p]: Parameters<typeof slack>): (i: number) => number {
  const allowed = slack(dtype, n, w, x, p);
  if (isFloat(dtype)) return allowed;
  return i => allowed(i) + 1.001 * stepOf[precision.activations] * p.rounding[i]!;
}

function formatCases(dtype: WeightDType): BackendCase[] {
  const unit = Math.max(32, formats[dtype].blockSize);

  async function compare(k: Backend, precision: Precision, rows: number, outs: number, n: number): Promise<void> {
    const random = seededRandom(1000 * rows + outs + n);
    const bytes = randomBlocks(dtype, outs * n, random, 0.05);
    const w = dequantize(dtype, bytes, outs * n);
    const weight = await uploadBytes(k, dtype, [outs, n], bytes);
    const what = `${dtype} [${rows}, ${n}] · [${outs}, ${n}]ᵀ`;

    const whole = wholeActivations(rows * n, random);
    const exact = product(whole, w, n);
    expectNear(
      await multiply(k, whole, weight, n),
      exact.expected,
      precision.activations === 'q8' ? slack(dtype, n, w, whole, exact) : bound(precision, dtype, n, w, whole, exact),
      `${what}, activations that int8 holds exactly`,
    );

    const x = gaussians(rows * n, random);
    const p = product(x, w, n);
    const actual = await multiply(k, x, weight, n);
    expectNear(actual, p.expected, bound(precision, dtype, n, w, x, p), `${what}, normal activations`);
    const step = stepOf[precision.activations];
    if (step > 0 && !isFloat(dtype) && actual.length >= 200) {
      const chi = actual.reduce((sum, value, i) => sum + (value - p.expected[i]!) ** 2 / p.variance[i]! / step ** 2, 0);
      expectNear(Float32Array.of(chi / actual.length), [1], 0.6, `${what}, variance of the error`);
    }
  }

  return [
    {
      name: `matmul ${dtype}`,
      run: async (k, precision) => {
        for (const [rows, outs, blocks] of shapes) await compare(k, precision, rows, outs, blocks * unit);
        await compare(k, precision, 3, 5, longRow);
        if (unit === 32) await compare(k, precision, 2, 6, 160);
      },
    },
    {
      name: `matmul ${dtype}: a row does not depend on the rows beside it, bit for bit`,
      run: async k => {
        const random = seededRandom(7);
        const n = 2 * unit;
        const outs = 9;
        const weight = await uploadBytes(k, dtype, [outs, n], randomBlocks(dtype, outs * n, random, 0.05));
        const x = gaussians(19 * n, random);
        const together = await multiply(k, x, weight, n);
        for (let t = 0; t < 19; t++)
          expectSame(await multiply(k, rowAt(x, t, n), weight, n), rowAt(together, t, outs), `row ${t} alone`);
        for (const [from, to] of [
          [0, 2],
          [2, 5],
          [5, 9],
          [9, 16],
          [3, 19],
        ] as const)
          expectSame(
            await multiply(k, x.subarray(from * n, to * n), weight, n),
            together.subarray(from * outs, to * outs),
            `rows ${from} to ${to}`,
          );
      },
    },
    {
      name: `embed ${dtype}`,
      run: async k => {
        const random = seededRandom(11);
        const dim = 2 * unit;
        const bytes = randomBlocks(dtype, 37 * dim, random, 0.05);
        const table = await uploadBytes(k, dtype, [37, dim], bytes);
        const rows = dequantize(dtype, bytes, 37 * dim);
        const tokens = Int32Array.of(36, 0, 5, 5, 1, 36, 20);
        const actual = await k.step(() => k.read(k.embed(table, tokens)));
        tokens.forEach((token, t) => {
          const expected = rowAt(rows, token, dim);
          // Float formats are copies; in others scale · q + minimum may be rounded once more.
          const bound = isFloat(dtype) ? 0 : 2 ** -21 * largest(expected);
          expectNear(rowAt(actual, t, dim), expected, bound, `token ${token}`);
        });
      },
    },
    {
      name: `expertMatmul ${dtype}`,
      run: async (k, precision) => {
        const random = seededRandom(13);
        const lists: readonly (readonly [experts: number, outs: number, slots: readonly number[]])[] = [
          [3, 4, [1]],
          [3, 7, [2, -1, 0, 2, 1]],
          [4, 3, [3, 3, 3, 3, 3, 3]],
          [1, 5, [0, 0, -1]],
          [2, 2, [-1, -1]],
          [5, 66, Array.from({ length: 33 }, () => Math.floor(random() * 6) - 1)],
        ];
        for (const [experts, outs, slots] of lists)
          await compareExperts(k, precision, dtype, experts, outs, unit, slots);
      },
    },
    {
      name: `write ${dtype}: one expert's slot is replaced, its neighbours stay`,
      run: async (k, precision) => {
        const random = seededRandom(17);
        const [experts, outs, n] = [3, 6, unit];
        const bytes = randomBlocks(dtype, experts * outs * n, random, 0.05);
        const weight = await uploadBytes(k, dtype, [experts, outs, n], bytes);
        const fresh = randomBlocks(dtype, outs * n, random, 0.05);
        await k.write(weight, 1, async (into, offset) => into.set(fresh.subarray(offset, offset + into.length)));
        bytes.set(fresh, byteLengthOf(dtype, outs * n));
        const x = wholeActivations(4 * n, random);
        const w = dequantize(dtype, bytes, experts * outs * n);
        await checkExperts(k, precision, dtype, weight, w, outs, n, x, [0, 1, 2, 1]);
      },
    },
    {
      name: `matmul ${dtype}: zero weights and zero activations give zeros`,
      run: async k => {
        const random = seededRandom(23);
        const n = 256;
        const x = gaussians(3 * n, random);
        const zeros = await uploadBytes(k, dtype, [5, n], new Uint8Array(byteLengthOf(dtype, 5 * n)));
        expectSame(await multiply(k, x, zeros, n), new Float32Array(15), 'zero weights');
        const weight = await uploadBytes(k, dtype, [5, n], randomBlocks(dtype, 5 * n, random, 1));
        x.fill(0, n, 2 * n); // a zero row between others …
        x.fill(0, 2 * n, 2 * n + 64); // … and two zero blocks in one
        const actual = await multiply(k, x, weight, n);
        expectSame(rowAt(actual, 1, 5), new Float32Array(5), 'a zero row');
        if (!actual.every(Number.isFinite)) throw new Error(`Zero blocks of activations give ${actual}.`);
      },
    },
    ...(isFloat(dtype) ? [] : [equalBytesCase(dtype)]),
  ];
}

/** The ends of every field's range. */
const equalBytesCase = (dtype: QuantizedDType): BackendCase => ({
  name: `matmul ${dtype}: blocks of equal bytes, 00 to ff`,
  run: async k => {
    const random = seededRandom(19);
    const patterns = [0x00, 0x0f, 0x55, 0x7f, 0x80, 0x81, 0xaa, 0xf0, 0xff];
    const n = 256;
    for (const scale of [1, -0.25]) {
      const bytes = new Uint8Array(byteLengthOf(dtype, patterns.length * n));
      for (const [o, pattern] of patterns.entries())
        bytes.set(patternBlocks(dtype, n, pattern, scale), o * byteLengthOf(dtype, n));
      const w = dequantize(dtype, bytes, patterns.length * n);
      const weight = await uploadBytes(k, dtype, [patterns.length, n], bytes);
      // Among these, every number at its negative end: the second operand of an int8 product may not be taken for 7 bits.
      const x = wholeActivations(3 * n, random);
      for (let i = 0; i < n; i++) x[2 * n + i] = i % 32 === 31 ? 127 : -127;
      const p = product(x, w, n);
      const ends = patterns.map((_, o) => 2 ** -19 * n * (largest(rowAt(w, o, n)) + 1) * largest(x));
      expectNear(
        await multiply(k, x, weight, n),
        p.expected,
        i => ends[i % patterns.length]!,
        `scale ${scale}, rows of bytes ${patterns.map(b => b.toString(16))}`,
      );
    }
  },
});

const multiply = (k: Backend, x: Float32Array, weight: Tensor, n: number): Promise<Float32Array> =>
  k.step(async () => k.read(k.matmul(await activations(k, x, n), weight)));

/** An activation with these numbers. Nothing but a weight is ever uploaded, so rows of an F32 table are looked up. */
async function activations(k: Backend, x: Float32Array, n: number): Promise<Tensor> {
  const rows = x.length / n;
  return k.embed(
    await uploadFloats(k, [rows, n], x),
    Int32Array.from({ length: rows }, (_, t) => t),
  );
}

async function compareExperts(
  k: Backend,
  precision: Precision,
  dtype: WeightDType,
  experts: number,
  outs: number,
  n: number,
  slots: readonly number[],
): Promise<void> {
  const random = seededRandom(experts + outs);
  const bytes = randomBlocks(dtype, experts * outs * n, random, 0.05);
  const w = dequantize(dtype, bytes, experts * outs * n);
  const weight = await uploadBytes(k, dtype, [experts, outs, n], bytes);
  await checkExperts(k, precision, dtype, weight, w, outs, n, wholeActivations(slots.length * n, random), slots);
  const x = gaussians(slots.length * n, random);
  await checkExperts(k, precision, dtype, weight, w, outs, n, x, slots);
  // A row alone gives the same bits as among others.
  const all = await expertProduct(k, x, weight, n, slots);
  for (let t = 0; t < Math.min(slots.length, 6); t++)
    expectSame(
      await expertProduct(k, rowAt(x, t, n), weight, n, [slots[t]!]),
      rowAt(all, t, outs),
      `row ${t} of slots ${slots} alone`,
    );
}

const expertProduct = (
  k: Backend,
  x: Float32Array,
  weight: Tensor,
  n: number,
  slots: readonly number[],
): Promise<Float32Array> =>
  k.step(async () => k.read(k.expertMatmul(await activations(k, x, n), weight, await uploadIds(k, slots))));

async function checkExperts(
  k: Backend,
  precision: Precision,
  dtype: WeightDType,
  weight: Tensor,
  w: Float32Array,
  outs: number,
  n: number,
  x: Float32Array,
  slots: readonly number[],
): Promise<void> {
  const actual = await expertProduct(k, x, weight, n, slots);
  slots.forEach((slot, t) => {
    const what = `${dtype}, row ${t}, slot ${slot} of slots ${slots}`;
    if (slot < 0) {
      expectSame(rowAt(actual, t, outs), new Float32Array(outs), what);
      return;
    }
    const expert = w.subarray(slot * outs * n, (slot + 1) * outs * n);
    const row = rowAt(x, t, n);
    const p = product(row, expert, n);
    expectNear(rowAt(actual, t, outs), p.expected, bound(precision, dtype, n, expert, row, p), what);
  });
}

/** Blocks whose bytes are all alike, with this scale: the ends of every field's range. */
function patternBlocks(dtype: QuantizedDType, elements: number, pattern: number, scale: number): Uint8Array {
  const bytes = new Uint8Array(byteLengthOf(dtype, elements)).fill(pattern);
  for (let at = 0; at < bytes.length; at += formats[dtype].blockBytes) setScale(dtype, bytes, at, scale);
  return bytes;
}

const extremeCases: readonly BackendCase[] = [
  {
    name: 'matmul: with so many results that a kernel takes several tiles at once, a row does not depend on the rows beside it',
    run: async k => {
      const random = seededRandom(43);
      const [n, outs, rows] = [256, 1031, 7];
      for (const dtype of ['Q4_0', 'Q5_1', 'Q4_K', 'Q6_K', 'Q8_0', 'IQ4_XS'] as const) {
        const weight = await uploadBytes(k, dtype, [outs, n], randomBlocks(dtype, outs * n, random, 0.05));
        const x = gaussians(rows * n, random);
        const together = await multiply(k, x, weight, n);
        for (let t = 0; t < rows; t++)
          expectSame(
            await multiply(k, rowAt(x, t, n), weight, n),
            rowAt(together, t, outs),
            `${dtype}, row ${t} alone`,
          );
      }
    },
  },
  {
    name: 'matmul Q8_0: −128 and the largest scale',
    run: async k => {
      const n = 64;
      const bytes = patternBlocks('Q8_0', 3 * n, 0x80, 65504);
      const w = dequantize('Q8_0', bytes, 3 * n);
      const x = new Float32Array(2 * n).fill(127).fill(-127, n);
      const p = product(x, w, n);
      const weight = await uploadBytes(k, 'Q8_0', [3, n], bytes);
      expectNear(await multiply(k, x, weight, n), p.expected, i => 2 ** -20 * p.size[i]!, 'all weights −128 · 65504');
    },
  },
  {
    name: 'matmul: tiny and huge activations stay finite',
    run: async (k, precision) => {
      const random = seededRandom(29);
      for (const dtype of ['F32', 'F16', 'Q4_0', 'Q8_0', 'Q4_K', 'Q6_K'] as const) {
        const n = 256;
        const bytes = randomBlocks(dtype, 3 * n, random, 0.5);
        const w = dequantize(dtype, bytes, 3 * n);
        const weight = await uploadBytes(k, dtype, [3, n], bytes);
        for (const unit of [1e-44, 1e-40, 1e-37, 1e-30, 1e25]) {
          const x = gaussians(2 * n, random).map(value => value * unit);
          const p = product(x, w, n);
          const allowed = bound(precision, dtype, n, w, x, p);
          // Subnormal numbers may be taken for 0, and where amax / 127 is subnormal, int8 steps are coarse: up to n · 2⁻¹²⁰.
          expectNear(
            await multiply(k, x, weight, n),
            p.expected,
            i => allowed(i) + n * 2 ** -120,
            `${dtype}, activations of about ${unit}`,
          );
        }
      }
    },
  },
  {
    name: 'matmul and embed: F16 and BF16 at the ends of their range',
    run: async k => {
      const halves = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x3555, 0x8400];
      const bfloats = [0x0000, 0x8000, 0x0080, 0x8080, 0x3f80, 0xbf80, 0x7f00, 0xff00, 0x4049, 0x3eab, 0x0100, 0x3f81];
      for (const [dtype, patterns] of [
        ['F16', halves],
        ['BF16', bfloats],
      ] as const) {
        const n = 32;
        const count = patterns.length;
        const table = new Uint16Array(count * n); // row o holds pattern o at place o and zeros
        for (let o = 0; o < count; o++) table[o * n + o] = patterns[o]!;
        const bytes = new Uint8Array(table.buffer);
        const w = dequantize(dtype, bytes, count * n);
        const weight = await uploadBytes(k, dtype, [count, n], bytes);
        const rows = await k.step(() =>
          k.read(
            k.embed(
              weight,
              Int32Array.from({ length: count }, (_, o) => o),
            ),
          ),
        );
        expectSame(rows, w, `${dtype} rows`);
        const x = new Float32Array(n).fill(0.5);
        const p = product(x, w, n);
        expectNear(await multiply(k, x, weight, n), p.expected, i => 2 ** -20 * p.size[i]! + 2 ** -126, `${dtype}`);
      }
    },
  },
  {
    name: 'matmul: leading axes and no rows at all',
    run: async k => {
      const random = seededRandom(31);
      const weight = await uploadBytes(k, 'Q8_0', [3, 64], randomBlocks('Q8_0', 192, random, 0.1));
      const x = gaussians(4 * 64, random);
      const [flat, none] = await k.step(async () => {
        const rows = await activations(k, x, 64);
        const nothing = k.gatherRows(rows, new Int32Array(0));
        return [await k.read(k.matmul(rows, weight)), await k.read(k.matmul(nothing, weight))] as const;
      });
      expectSame(none, [], 'logits of no rows');
      expectNear(Float32Array.of(flat.length), [12], 0, 'numbers of four rows');
    },
  },
  {
    name: 'expertMatmul: the ids of topK serve as slots',
    run: async (k, precision) => {
      const random = seededRandom(37);
      const [experts, outs, n] = [4, 5, 64];
      const bytes = randomBlocks('Q8_0', experts * outs * n, random, 0.1);
      const weight = await uploadBytes(k, 'Q8_0', [experts, outs, n], bytes);
      const w = dequantize('Q8_0', bytes, experts * outs * n);
      const x = wholeActivations(3 * n, random);
      const logits = Float32Array.of(0, 1, 2, -1, 5, 1, 2, -1, -4, -3, -9, -1);
      const picks = [2, 0, 3];
      const actual = await k.step(async () => {
        const { ids } = k.topK(await activations(k, logits, experts), 1);
        return k.read(k.expertMatmul(await activations(k, x, n), weight, ids));
      });
      const viaSlots = await expertProduct(k, x, weight, n, picks);
      expectSame(actual, viaSlots, 'ids as slots');
      await checkExperts(k, precision, 'Q8_0', weight, w, outs, n, x, picks);
    },
  },
  {
    name: 'counters: multiply-adds and bytes of weights',
    run: async k => {
      const random = seededRandom(41);
      const weight = await uploadBytes(k, 'Q4_0', [6, 64], randomBlocks('Q4_0', 384, random, 0.1));
      const before = { ...k.counters };
      const x = gaussians(3 * 64, random);
      await multiply(k, x, weight, 64);
      const { multiplyAdds, weightBytes } = k.counters;
      expectSame(Float32Array.of(multiplyAdds - before.multiplyAdds), [3 * 6 * 64], 'multiply-adds');
      expectSame(Float32Array.of(weightBytes - before.weightBytes), [byteLengthOf('Q4_0', 384)], 'bytes of weights');
    },
  },
];

export const matmulCases: readonly BackendCase[] = [...weightDTypes.flatMap(formatCases), ...extremeCases];
