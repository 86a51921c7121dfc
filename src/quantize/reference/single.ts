// Arithmetic in single precision as C has it, operation by operation, so that encoded bytes do not depend on who encodes.
import { toHalf } from '../../backends/reference/half.ts';

/** Rounds to float32. Of two float32 it makes +, −, · and / what a processor gives: a double holds enough to round once more. */
export const f: (value: number) => number = Math.fround;

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/**
 * The nearest whole number, ties to even, for |value| < 2²²: adding 1.5 · 2²³ leaves it in the low bits. Beyond, it is what those bits
 * then are (0 for NaN, −2²² for infinities): llama.cpp's quantizers meet such values in blocks of subnormal numbers.
 */
export function nearest(value: number): number {
  float[0] = value + 12582912;
  return (bits[0]! & 0x7fffff) - 0x400000;
}

/** The bits of a float32. */
export function bitsOf(value: number): number {
  float[0] = value;
  return bits[0]!;
}

/** Toward zero, as an integer of 32 bits; −2³¹ for what has none (what x86 gives, C leaves it open). */
export const truncate = (value: number): number =>
  value > -2147483649 && value < 2147483648 ? Math.trunc(value) : -2147483648;

/** The nearest whole number, ties away from zero; then as `truncate`. */
export const roundAway = (value: number): number => {
  const whole = Math.trunc(value);
  return truncate(Math.abs(value - whole) >= 0.5 ? whole + Math.sign(value) : whole);
};

export const clamp = (value: number, low: number, high: number): number =>
  value < low ? low : value > high ? high : value;

export function putHalf(out: Uint8Array, at: number, value: number): void {
  const pattern = toHalf(value);
  out[at] = pattern;
  out[at + 1] = pattern >> 8;
}
export function putWord16(out: Uint8Array, at: number, value: number): void {
  out[at] = value;
  out[at + 1] = value >> 8;
}
export function putWord32(out: Uint8Array, at: number, value: number): void {
  putWord16(out, at, value);
  putWord16(out, at + 2, value >> 16);
}

/** Σ x², added in order. */
export function sumOfSquares(x: Float32Array): number {
  let sum = 0;
  for (const value of x) sum = f(sum + f(value * value));
  return sum;
}

/** Importance times the size of a value beside others of the mean square sigma2: importance · √(sigma2 + x²). */
export function weigh(x: Float32Array, importance: Float32Array, sigma2: number): Float32Array {
  return x.map((value, i) => f(importance[i]! * f(Math.sqrt(f(sigma2 + f(value * value))))));
}
