// Encoding to the "K" formats: blocks of 256 values in sub-blocks of 16 or 32 whose scales are themselves rounded.
// Layouts: backends/reference/blocks256.ts. Rounding: ggml-quants.c (ggml-org/ggml), bit for bit.
import { halfAt } from '../../backends/reference/half.ts';
import { roundAffine, roundPositive, roundSigned, roundSignedInTurns, type Search, tiny } from './rounding.ts';
import { clamp, f, nearest, putHalf, sumOfSquares, weigh } from './single.ts';

/** The levels of one block, and the scales and depths of its sub-blocks (a depth is a minimum below zero, its sign off). */
const levels = new Uint8Array(256);
const scales = new Float32Array(16);
const depths = new Float32Array(16);
const sums = new Float32Array(16);
const scaleLevels = new Uint8Array(16);
const depthLevels = new Uint8Array(16);

type Block = (x: Float32Array, out: Uint8Array, importance: Float32Array | undefined) => void;

/** An encoder of rows from an encoder of blocks. */
const rows =
  (blockBytes: number, block: Block) =>
  (row: Float32Array, out: Uint8Array, importance?: Float32Array): void => {
    for (let from = 0, at = 0; from < row.length; from += 256, at += blockBytes)
      block(row.subarray(from, from + 256), out.subarray(at, at + blockBytes), importance?.subarray(from, from + 256));
  };

const sum = (values: Float32Array): number => {
  let total = 0;
  for (const value of values) total = f(total + value);
  return total;
};

/** Gives every sub-block its scale, depth and levels; with importance also the sum of its weights. */
function roundSubBlocks(
  x: Float32Array,
  size: 16 | 32,
  importance: Float32Array | undefined,
  highest: number,
  search: Search,
): void {
  // Q2_K takes the mean square, the others twice it.
  const factor = size === 16 ? 1 : 2;
  const sigma2 = importance ? f(f(factor * sumOfSquares(x)) / 256) : 0;
  for (let sub = 0; sub < 256 / size; sub++) {
    const part = x.subarray(sub * size, (sub + 1) * size);
    const weights = importance
      ? weigh(part, importance.subarray(sub * size, (sub + 1) * size), sigma2)
      : size === 16
        ? part.map(Math.abs)
        : plainWeights(part);
    sums[sub] = sum(weights);
    const into = levels.subarray(sub * size, (sub + 1) * size);
    const { scale, depth } = roundAffine(
      part,
      weights,
      highest,
      into,
      importance ? { from: -0.9, by: 0.05, count: 36 } : search,
    );
    scales[sub] = scale;
    depths[sub] = depth;
  }
}

/** A value's size over the root of the mean square. */
function plainWeights(x: Float32Array): Float32Array {
  const root = f(Math.sqrt(f(sumOfSquares(x) / x.length)));
  return x.map(value => f(root + Math.abs(value)));
}

const largest = (values: Float32Array): number => values.reduce((most, value) => (value > most ? value : most), 0);

/** Levels anew, now that scales and depths are those that will be read; where a scale became 0 they stay. */
function roundAgain(
  x: Float32Array,
  size: 16 | 32,
  highest: number,
  scaleOf: (sub: number) => number,
  depthOf: (sub: number) => number,
): void {
  for (let sub = 0; sub < 256 / size; sub++) {
    const scale = scaleOf(sub);
    if (scale === 0) continue;
    const depth = depthOf(sub);
    for (let j = sub * size; j < (sub + 1) * size; j++)
      levels[j] = clamp(nearest(f(f(x[j]! + depth) / scale)), 0, highest);
  }
}

/** Two bits of each level: byte l of 32 holds values l, l + 32, l + 64 and l + 96, lowest bits first. */
function putPairs(out: Uint8Array, at: number, shift: number): void {
  for (let half = 0; half < 2; half++)
    for (let l = 0; l < 32; l++) {
      let byte = 0;
      for (let quarter = 0; quarter < 4; quarter++)
        byte |= ((levels[128 * half + 32 * quarter + l]! >> shift) & 3) << (2 * quarter);
      out[at + 32 * half + l] = byte;
    }
}

export const encodeQ2_K = rows(84, (x, out, importance) => {
  roundSubBlocks(x, 16, importance, 3, { from: -0.5, by: 0.1, count: 15, absolute: true });
  if (importance) {
    putHalf(out, 80, roundPositive(scales, 15, scaleLevels, sums));
    putHalf(out, 82, roundPositive(depths, 15, depthLevels, sums));
  } else {
    const put = (values: Float32Array, into: Uint8Array, at: number): void => {
      const most = largest(values);
      const inverse = most > 0 ? f(15 / most) : 0;
      for (let sub = 0; sub < 16; sub++) into[sub] = nearest(f(inverse * values[sub]!));
      putHalf(out, at, f(most / 15));
    };
    put(scales, scaleLevels, 80);
    put(depths, depthLevels, 82);
  }
  for (let sub = 0; sub < 16; sub++) out[sub] = scaleLevels[sub]! | (depthLevels[sub]! << 4);
  const [scale, depth] = [halfAt(out, 80), halfAt(out, 82)];
  roundAgain(
    x,
    16,
    3,
    sub => f(scale * (out[sub]! & 15)),
    sub => f(depth * (out[sub]! >> 4)),
  );
  putPairs(out, 16, 0);
});

/** The larger half of Q4_K and Q5_K: halves of scale and depth, and twelve bytes of those of sub-blocks. */
function putScalesAndDepths(out: Uint8Array, importance: Float32Array | undefined): void {
  if (importance) {
    putHalf(out, 0, roundPositive(scales.subarray(0, 8), 63, scaleLevels.subarray(0, 8), sums));
    putHalf(out, 2, roundPositive(depths.subarray(0, 8), 63, depthLevels.subarray(0, 8), sums));
  } else {
    const put = (values: Float32Array, into: Uint8Array, at: number): void => {
      const most = largest(values.subarray(0, 8));
      const inverse = most > 0 ? f(63 / most) : 0;
      for (let sub = 0; sub < 8; sub++) into[sub] = Math.min(63, nearest(f(inverse * values[sub]!)) & 255);
      putHalf(out, at, f(most / 63));
    };
    put(scales, scaleLevels, 0);
    put(depths, depthLevels, 2);
  }
  out.fill(0, 4, 16);
  for (let sub = 0; sub < 8; sub++) {
    const scale = scaleLevels[sub]!;
    const depth = depthLevels[sub]!;
    if (sub < 4) {
      out[4 + sub] = scale;
      out[8 + sub] = depth;
    } else {
      out[8 + sub] = (scale & 15) | ((depth & 15) << 4);
      out[sub]! |= (scale >> 4) << 6;
      out[4 + sub]! |= (depth >> 4) << 6;
    }
  }
}

const encodeFourOrFive =
  (highest: 15 | 31, search: Search, put: (out: Uint8Array) => void): Block =>
  (x, out, importance) => {
    roundSubBlocks(x, 32, importance, highest, search);
    putScalesAndDepths(out, importance);
    const [scale, depth] = [halfAt(out, 0), halfAt(out, 2)];
    roundAgain(
      x,
      32,
      highest,
      sub => f(scale * scaleLevels[sub]!),
      sub => f(depth * depthLevels[sub]!),
    );
    put(out);
  };

/** The low nibbles of the levels: each 64 values use 32 bytes, the first 32 in their low halves. */
function putNibbles(out: Uint8Array, at: number): void {
  for (let j = 0; j < 128; j++) {
    const value = 64 * (j >> 5) + (j & 31);
    out[at + j] = (levels[value]! & 15) | ((levels[value + 32]! & 15) << 4);
  }
}

export const encodeQ4_K = rows(
  144,
  encodeFourOrFive(15, { from: -1, by: 0.1, count: 20 }, out => putNibbles(out, 16)),
);

export const encodeQ5_K = rows(
  176,
  encodeFourOrFive(31, { from: -0.5, by: 0.1, count: 15 }, out => {
    putBits(out, 16, 4);
    putNibbles(out, 48);
  }),
);

/** One bit of each level: byte l of 32, bit ⌊value / 32⌋. */
function putBits(out: Uint8Array, at: number, shift: number): void {
  for (let l = 0; l < 32; l++) {
    let byte = 0;
    for (let eighth = 0; eighth < 8; eighth++) byte |= ((levels[32 * eighth + l]! >> shift) & 1) << eighth;
    out[at + l] = byte;
  }
}

export const encodeQ3_K = rows(110, (x, out, importance) => {
  const sigma2 = importance ? f(f(2 * sumOfSquares(x)) / 256) : 0;
  for (let sub = 0; sub < 16; sub++) {
    const part = x.subarray(16 * sub, 16 * (sub + 1));
    const into = levels.subarray(16 * sub, 16 * (sub + 1));
    if (importance) {
      const weights = weigh(part, importance.subarray(16 * sub, 16 * (sub + 1)), sigma2);
      sums[sub] = sum(weights);
      scales[sub] = roundSigned(part, 4, into, weights);
    } else scales[sub] = roundSignedInTurns(part, 4, into);
  }
  if (importance) putHalf(out, 108, roundSigned(scales, 32, scaleLevels, sums));
  else {
    const most = scales.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
    const inverse = most === 0 ? 0 : f(-32 / most);
    for (let sub = 0; sub < 16; sub++)
      scaleLevels[sub] = most === 0 ? 0 : clamp((nearest(f(inverse * scales[sub]!)) << 24) >> 24, -32, 31) + 32;
    putHalf(out, 108, most === 0 ? 0 : f(1 / inverse));
  }
  out.fill(0, 96, 108);
  for (let sub = 0; sub < 16; sub++) {
    const level = scaleLevels[sub]!;
    out[96 + (sub & 7)]! |= (level & 15) << (4 * (sub >> 3));
    out[104 + (sub & 3)]! |= (level >> 4) << (2 * (sub >> 2));
  }
  const scale = halfAt(out, 108);
  for (let sub = 0; sub < 16; sub++) {
    const subScale = f(scale * (scaleLevels[sub]! - 32));
    if (subScale === 0) continue;
    for (let j = 16 * sub; j < 16 * (sub + 1); j++) levels[j] = clamp(nearest(f(x[j]! / subScale)), -4, 3) + 4;
  }
  putBits(out, 0, 2);
  putPairs(out, 32, 0);
});

export const encodeQ6_K = rows(210, (x, out, importance) => {
  for (let sub = 0; sub < 16; sub++) {
    const [from, to] = [16 * sub, 16 * (sub + 1)];
    const into = levels.subarray(from, to);
    scales[sub] = roundSigned(x.subarray(from, to), 32, into, importance?.subarray(from, to));
  }
  const most = scales.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
  if (Math.abs(most) < tiny) {
    out.fill(0);
    return;
  }
  const inverse = f(-128 / most);
  putHalf(out, 208, f(1 / inverse));
  const scale = halfAt(out, 208);
  for (let sub = 0; sub < 16; sub++) {
    const level = (Math.min(127, nearest(f(inverse * scales[sub]!))) << 24) >> 24;
    out[192 + sub] = level;
    const subScale = f(scale * level);
    if (subScale === 0) continue;
    for (let j = 16 * sub; j < 16 * (sub + 1); j++) levels[j] = clamp(nearest(f(x[j]! / subScale)), -32, 31) + 32;
  }
  for (let half = 0; half < 2; half++)
    for (let l = 0; l < 64; l++)
      out[64 * half + l] = (levels[128 * half + l]! & 15) | ((levels[128 * half + 64 + l]! & 15) << 4);
  putPairs(out, 128, 4);
});
