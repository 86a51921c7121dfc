// Sixteen-bit floats: IEEE half (F16) and the upper half of a float32 (BF16), both ways and exactly.

const bits = new Uint32Array(1);
const number = new Float32Array(bits.buffer);

/** Every F16 bit pattern's value. A table, since scales of quantized blocks are read by the million. */
export const halfValues: Float32Array = Float32Array.from({ length: 0x10000 }, (_, pattern) => {
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern >> 10) & 31;
  const fraction = pattern & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24; // zeros and subnormals
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

/** The F16 stored little-endian at `bytes[at]`. */
export const halfAt = (bytes: Uint8Array, at: number): number => halfValues[bytes[at]! | (bytes[at + 1]! << 8)]!;

/** The bit pattern of the F16 nearest to `value`, ties to even; beyond ±65,519 it is ±infinity. */
export function toHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundToEven(size * 2 ** 24); // rounding up to 1024 is the smallest normal number
  let exponent = Math.floor(Math.log2(size));
  if (2 ** exponent > size) exponent--; // log2 may round up to the next integer …
  if (2 ** (exponent + 1) <= size) exponent++; // … or down below one
  return sign | (((exponent + 15) << 10) + roundToEven((size / 2 ** exponent - 1) * 1024)); // a carry raises the exponent
}

/** The bit pattern of the BF16 nearest to the float32 nearest to `value`, ties to even. */
export function toBfloat(value: number): number {
  number[0] = value;
  if (Number.isNaN(value)) return 0x7fc0;
  const pattern = bits[0]!;
  return (pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16;
}

/** The value of a BF16 bit pattern. */
export function fromBfloat(pattern: number): number {
  bits[0] = pattern << 16;
  return number[0]!;
}

/** The nearest whole number, the even one of two. */
export function roundToEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}
