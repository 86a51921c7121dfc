// Encoding to blocks of 32 values with one scale: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, plainly or weighted by importance.
// Layouts: backends/reference/blocks32.ts. Rounding: ggml-quants.c (ggml-org/ggml), bit for bit.
import { roundAffine, roundSigned, type Search } from './rounding.ts';
import { f, putHalf, putWord32, roundAway, sumOfSquares, truncate, weigh } from './single.ts';

/** Puts 32 levels of 4 bits: byte j holds values j and j + 16. */
function putNibbles(levels: Uint8Array, out: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) out[at + j] = (levels[j]! & 15) | (levels[j + 16]! << 4);
}

/** Puts 32 levels of 5 bits: first the fifth bits, then nibbles. */
function putFives(levels: Uint8Array, out: Uint8Array, at: number): void {
  let fifth = 0;
  for (let j = 0; j < 32; j++) fifth |= ((levels[j]! >> 4) & 1) << j;
  putWord32(out, at, fifth);
  putNibbles(levels, out, at + 4);
}

const levels = new Uint8Array(32);

/** Steps −steps … steps − 1, the farthest value at −steps. */
function encodeSigned(
  row: Float32Array,
  out: Uint8Array,
  importance: Float32Array | undefined,
  steps: 8 | 16,
  blockBytes: number,
  put: typeof putNibbles,
): void {
  const sigma2 = importance ? f(sumOfSquares(row) / row.length) : 0;
  for (let from = 0, at = 0; from < row.length; from += 32, at += blockBytes) {
    const x = row.subarray(from, from + 32);
    if (importance) {
      putHalf(out, at, roundSigned(x, steps, levels, weigh(x, importance.subarray(from, from + 32), sigma2)));
    } else {
      const most = x.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
      const scale = f(most / -steps);
      const inverse = scale === 0 ? 0 : f(1 / scale);
      putHalf(out, at, scale);
      for (let j = 0; j < 32; j++) {
        const level = (truncate(f(f(x[j]! * inverse) + (steps + 0.5))) << 24) >> 24; // a signed byte, as C has it
        levels[j] = Math.min(2 * steps - 1, level);
      }
    }
    put(levels, out, at + 2);
  }
}

const affineSearch: Search = { from: -0.9, by: 0.05, count: 36 };

/** Levels 0 … highest between the least and the greatest value. */
function encodeAffine(
  row: Float32Array,
  out: Uint8Array,
  importance: Float32Array | undefined,
  highest: 15 | 31,
  blockBytes: number,
  put: typeof putNibbles,
): void {
  const sigma2 = importance ? f(sumOfSquares(row) / row.length) : 0;
  for (let from = 0, at = 0; from < row.length; from += 32, at += blockBytes) {
    const x = row.subarray(from, from + 32);
    if (importance) {
      const weights = weigh(x, importance.subarray(from, from + 32), sigma2);
      const { scale, depth } = roundAffine(x, weights, highest, levels, affineSearch);
      putHalf(out, at, scale);
      putHalf(out, at + 2, -depth);
    } else {
      const low = x.reduce((least, value) => (value < least ? value : least));
      const high = x.reduce((most, value) => (value > most ? value : most));
      const scale = f(f(high - low) / highest);
      const inverse = scale === 0 ? 0 : f(1 / scale);
      putHalf(out, at, scale);
      putHalf(out, at + 2, low);
      for (let j = 0; j < 32; j++) {
        const level = truncate(f(f(f(x[j]! - low) * inverse) + 0.5));
        levels[j] = highest === 15 ? Math.min(15, (level << 24) >> 24) : level;
      }
    }
    put(levels, out, at + 4);
  }
}

export const encodeQ4_0 = (row: Float32Array, out: Uint8Array, importance?: Float32Array): void =>
  encodeSigned(row, out, importance, 8, 18, putNibbles);
export const encodeQ5_0 = (row: Float32Array, out: Uint8Array, importance?: Float32Array): void =>
  encodeSigned(row, out, importance, 16, 22, putFives);
export const encodeQ4_1 = (row: Float32Array, out: Uint8Array, importance?: Float32Array): void =>
  encodeAffine(row, out, importance, 15, 20, putNibbles);
export const encodeQ5_1 = (row: Float32Array, out: Uint8Array, importance?: Float32Array): void =>
  encodeAffine(row, out, importance, 31, 24, putFives);

/** Importance changes nothing here. */
export function encodeQ8_0(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 32, at += 34) {
    const x = row.subarray(from, from + 32);
    const scale = f(x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
    const inverse = scale === 0 ? 0 : f(1 / scale);
    putHalf(out, at, scale);
    for (let j = 0; j < 32; j++) out[at + 2 + j] = roundAway(f(x[j]! * inverse));
  }
}
