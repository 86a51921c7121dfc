// The plain number types of tensors outside of GGUF, and how each becomes one that backends take.
import type { DType } from './dtype.ts';

/** Bytes of a number, by the names safetensors gives the types. */
export const numberBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  U64: 8,
  I32: 4,
  U32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type NumberType = keyof typeof numberBytes;

export const isNumberType = (name: unknown): name is NumberType =>
  typeof name === 'string' && Object.hasOwn(numberBytes, name);

/** What matrices of a type are computed in: FP8 becomes BF16 when it is read. Undefined where nothing computes it. */
export const matrixType = (type: NumberType): DType | undefined =>
  type === 'F8_E4M3'
    ? 'BF16'
    : type === 'F32' || type === 'F16' || type === 'BF16' || type === 'I32'
      ? type
      : undefined;

const scratch = new DataView(new ArrayBuffer(4));

/** A BF16 number, from the upper half of a float. */
export function fromBf16(half: number): number {
  scratch.setUint32(0, half << 16);
  return scratch.getFloat32(0);
}

/** IEEE half precision (binary16). */
export function fromF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** FP8 E4M3 without infinities (OCP "FN"): exponent bias 7, 0x7f and 0xff are no numbers, the largest is 448. */
export function fromF8(byte: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 15;
  const fraction = byte & 7;
  if (exponent === 15 && fraction === 7) return Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -9 : sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** To the nearest BF16, ties to even, as the upper half of a float. */
export function toBf16(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40; // not a number stays one
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
