// Decoding of the "K" formats: blocks of 256 values in sub-blocks of 16 or 32 whose scales are themselves quantized.
// Source of the layouts: ggml-common.h (ggml-org/ggml). Numbers are little-endian; `half` is an F16.
import { halfAt } from './half.ts';

/**
 * Q2_K, 84 bytes: 16 bytes of sub-block scales (low nibble) and minima (high nibble), one per 16 values; 64 bytes of 2-bit q;
 * half scale; half minimum. Each 128 values use 32 bytes of q: byte l holds values l, l + 32, l + 64, l + 96, lowest bits first.
 * Value = scale · subScale · q − minimum · subMinimum.
 */
export function decodeQ2_K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 84) {
    const scale = halfAt(bytes, at + 80);
    const minimum = halfAt(bytes, at + 82);
    for (let sub = 0; sub < 16; sub++) {
      const packed = bytes[at + sub]!;
      const subScale = scale * (packed & 15);
      const subMinimum = minimum * (packed >> 4);
      const from = at + 16 + 32 * (sub >> 3) + 16 * (sub & 1);
      const shift = 2 * ((sub >> 1) & 3);
      const to = block * 256 + sub * 16;
      for (let l = 0; l < 16; l++) out[to + l] = subScale * ((bytes[from + l]! >> shift) & 3) - subMinimum;
    }
  }
}

/**
 * Q3_K, 110 bytes: 32 bytes of third bits; 64 bytes of low 2 bits, laid out as in Q2_K; 12 bytes of sixteen 6-bit sub-block
 * scales; half scale. Third bits: byte l mod 32, bit ⌊value / 32⌋. Sub-block scale s: low 4 bits in bytes 0–7 (low nibble for
 * s < 8, then high), upper 2 bits in bytes 8–11 (byte s mod 4, bits 2⌊s / 4⌋). Value = scale · (subScale − 32) · (q − 4).
 */
export function decodeQ3_K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 110) {
    const scales = at + 96;
    const scale = halfAt(bytes, at + 108);
    for (let sub = 0; sub < 16; sub++) {
      const low = (bytes[scales + (sub & 7)]! >> (4 * (sub >> 3))) & 15;
      const high = (bytes[scales + 8 + (sub & 3)]! >> (2 * (sub >> 2))) & 3;
      const subScale = scale * ((low | (high << 4)) - 32);
      const third = at + 16 * (sub & 1);
      const from = at + 32 + 32 * (sub >> 3) + 16 * (sub & 1);
      const shift = 2 * ((sub >> 1) & 3);
      const to = block * 256 + sub * 16;
      for (let l = 0; l < 16; l++) {
        const q = ((bytes[from + l]! >> shift) & 3) | (((bytes[third + l]! >> (sub >> 1)) & 1) << 2);
        out[to + l] = subScale * (q - 4);
      }
    }
  }
}

/**
 * Q4_K and Q5_K keep eight 6-bit scales and minima in 12 bytes. Sub-blocks 0–3: scale in byte s, minimum in byte s + 4, low
 * 6 bits. Sub-blocks 4–7: scale's low 4 bits in byte s + 4 (low nibble), minimum's in its high nibble; the upper 2 bits are
 * the top 2 bits of bytes s − 4 and s.
 */
const subScaleAt = (bytes: Uint8Array, at: number, sub: number): number =>
  sub < 4 ? bytes[at + sub]! & 63 : (bytes[at + sub + 4]! & 15) | ((bytes[at + sub - 4]! >> 6) << 4);
const subMinimumAt = (bytes: Uint8Array, at: number, sub: number): number =>
  sub < 4 ? bytes[at + sub + 4]! & 63 : (bytes[at + sub + 4]! >> 4) | ((bytes[at + sub]! >> 6) << 4);

/**
 * Q4_K, 144 bytes: half scale; half minimum; 12 bytes of sub-block scales and minima (above), one per 32 values; 128 bytes of
 * nibbles. Each 64 values use 32 bytes: low nibbles are the first 32 values, high nibbles the next.
 * Value = scale · subScale · q − minimum · subMinimum.
 */
export function decodeQ4_K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 144) {
    const scale = halfAt(bytes, at);
    const minimum = halfAt(bytes, at + 2);
    for (let sub = 0; sub < 8; sub++) {
      const subScale = scale * subScaleAt(bytes, at + 4, sub);
      const subMinimum = minimum * subMinimumAt(bytes, at + 4, sub);
      const from = at + 16 + 32 * (sub >> 1);
      const shift = 4 * (sub & 1);
      const to = block * 256 + sub * 32;
      for (let l = 0; l < 32; l++) out[to + l] = subScale * ((bytes[from + l]! >> shift) & 15) - subMinimum;
    }
  }
}

/** Q5_K, 176 bytes: as Q4_K, with 32 bytes of fifth bits (byte l mod 32, bit ⌊value / 32⌋) between scales and nibbles. */
export function decodeQ5_K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 176) {
    const scale = halfAt(bytes, at);
    const minimum = halfAt(bytes, at + 2);
    const fifth = at + 16;
    for (let sub = 0; sub < 8; sub++) {
      const subScale = scale * subScaleAt(bytes, at + 4, sub);
      const subMinimum = minimum * subMinimumAt(bytes, at + 4, sub);
      const from = at + 48 + 32 * (sub >> 1);
      const shift = 4 * (sub & 1);
      const to = block * 256 + sub * 32;
      for (let l = 0; l < 32; l++) {
        const q = ((bytes[from + l]! >> shift) & 15) | (((bytes[fifth + l]! >> sub) & 1) << 4);
        out[to + l] = subScale * q - subMinimum;
      }
    }
  }
}

/**
 * Q6_K, 210 bytes: 128 bytes of low nibbles; 64 bytes of upper 2 bits; 16 signed sub-block scales, one per 16 values; half
 * scale. Each 128 values use 64 bytes of nibbles (low nibbles are values 0–63, high nibbles 64–127) and 32 bytes of upper bits
 * (byte l holds values l, l + 32, l + 64, l + 96, lowest bits first). Value = scale · subScale · (q − 32).
 */
export function decodeQ6_K(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 210) {
    const scale = halfAt(bytes, at + 208);
    for (let sub = 0; sub < 16; sub++) {
      const subScale = scale * ((bytes[at + 192 + sub]! << 24) >> 24);
      const within = (sub & 7) * 16; // first value within its 128
      const low = at + 64 * (sub >> 3) + (within & 63);
      const shiftLow = within < 64 ? 0 : 4;
      const high = at + 128 + 32 * (sub >> 3) + (within & 31);
      const shiftHigh = 2 * (within >> 5);
      const to = block * 256 + sub * 16;
      for (let l = 0; l < 16; l++) {
        const q = ((bytes[low + l]! >> shiftLow) & 15) | (((bytes[high + l]! >> shiftHigh) & 3) << 4);
        out[to + l] = subScale * (q - 32);
      }
    }
  }
}
