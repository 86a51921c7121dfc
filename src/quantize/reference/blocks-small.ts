// Encoding to −1, 0 and 1 and to small floats: TQ1_0 TQ2_0 Q1_0 Q2_0 MXFP4 NVFP4. Importance changes nothing here.
// Layouts: backends/reference/blocks-ternary.ts and blocks-fp4.ts. Rounding: ggml-quants.c (ggml-org/ggml), bit for bit.
import { e2m1Values } from '../../backends/formats-tables.ts';
import { exponentOf, floorLog2 } from './rounding.ts';
import { bitsOf, clamp, f, putHalf, roundAway, truncate } from './single.ts';

const largest = (x: Float32Array): number => x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const inverseOf = (scale: number): number => (scale === 0 ? 0 : f(1 / scale));

export function encodeTQ1_0(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 256, at += 54) {
    const x = row.subarray(from, from + 256);
    const scale = largest(x);
    const inverse = inverseOf(scale);
    const put = (to: number, count: number, digits: number, first: number): void => {
      for (let m = 0; m < count; m++) {
        let number = 0;
        for (let n = 0; n < 5; n++)
          number = number * 3 + (n < digits ? roundAway(f(x[first + n * count + m]! * inverse)) + 1 : 0);
        out[at + to + m] = ((number & 255) * 256 + 242) / 243; // rounded up: a fraction of 256
      }
    };
    put(0, 32, 5, 0);
    put(32, 16, 5, 160);
    put(48, 4, 4, 240);
    putHalf(out, at + 52, scale);
  }
}

export function encodeTQ2_0(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 256, at += 66) {
    const x = row.subarray(from, from + 256);
    const scale = largest(x);
    const inverse = inverseOf(scale);
    out.fill(0, at, at + 64);
    for (let i = 0; i < 256; i++)
      out[at + 32 * (i >> 7) + (i & 31)]! |= ((roundAway(f(x[i]! * inverse)) + 1) & 3) << (2 * ((i >> 5) & 3));
    putHalf(out, at + 64, scale);
  }
}

export function encodeQ1_0(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 128, at += 18) {
    let sum = 0;
    out.fill(0, at + 2, at + 18);
    for (let i = 0; i < 128; i++) {
      const value = row[from + i]!;
      sum = f(sum + Math.abs(value));
      if (value >= 0) out[at + 2 + (i >> 3)]! |= 1 << (i & 7);
    }
    putHalf(out, at, f(sum / 128));
  }
}

export function encodeQ2_0(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 64, at += 18) {
    const x = row.subarray(from, from + 64);
    const scale = largest(x);
    const inverse = inverseOf(scale);
    putHalf(out, at, scale);
    out.fill(0, at + 2, at + 18);
    for (let i = 0; i < 64; i++)
      out[at + 2 + (i >> 2)]! |= clamp((roundAway(f(x[i]! * inverse)) + 1) | 0, 0, 3) << (2 * (i & 3));
  }
}

/** The nibble whose value times `half` is nearest to x, the first of equals. */
function nearestE2M1(x: number, half: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let nibble = 0; nibble < 16; nibble++) {
    const error = Math.abs(f(f(e2m1Values[nibble]! * half) - x));
    if (nibble === 0 || error < least) {
      best = nibble;
      least = error;
    }
  }
  return best;
}

function putE2M1(x: Float32Array, half: number, out: Uint8Array, at: number): void {
  const pairs = x.length / 2;
  for (let j = 0; j < pairs; j++) out[at + j] = nearestE2M1(x[j]!, half) | (nearestE2M1(x[j + pairs]!, half) << 4);
}

export function encodeMXFP4(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 32, at += 17) {
    const x = row.subarray(from, from + 32);
    const most = largest(x);
    const exponent = most > 0 ? truncate(floorLog2(most) + 125) & 255 : 0;
    out[at] = exponent;
    putE2M1(x, 2 ** (exponent - 128), out, at + 1);
  }
}

export function encodeNVFP4(row: Float32Array, out: Uint8Array): void {
  for (let from = 0, at = 0; from < row.length; from += 64, at += 36)
    for (let sub = 0; sub < 4; sub++) {
      const x = row.subarray(from + 16 * sub, from + 16 * (sub + 1));
      const code = toUE4M3(f(largest(x) / 6));
      out[at + sub] = code;
      putE2M1(x, fromUE4M3(code) / 2, out, at + 4 + 8 * sub);
    }
}

/** The UE4M3 nearest to a number above zero, ties away from it; 448 for all beyond. */
function toUE4M3(value: number): number {
  if (!(value > 0)) return 0;
  if (value > 448) return 0x7e;
  let exponent = exponentOf(value) + 7;
  if (exponent <= 0) return Math.min(7, truncate(f(f(value * 512) + 0.5)));
  const bits = bitsOf(value);
  let fraction = ((bits >> 20) & 7) + ((bits >> 19) & 1);
  if (fraction > 7) {
    fraction = 0;
    exponent++;
  }
  return exponent >= 15 ? 0x7e : (exponent << 3) | fraction;
}

const fromUE4M3 = (code: number): number => {
  const [exponent, fraction] = [code >> 3, code & 7];
  return exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7);
};
