// Decoding of the formats whose values are one scale times −1, 0 or 1 (or 2, where two bits leave room): TQ1_0 TQ2_0 Q1_0 Q2_0.
// Source of the layouts: ggml-common.h (ggml-org/ggml). Numbers are little-endian; `half` is an F16.
import { halfAt } from './half.ts';

/**
 * TQ1_0, 54 bytes: 32 and 16 bytes of five ternary digits each, 4 bytes of four; half scale. A byte is a fraction of 256 written
 * in base three, so digit n is the whole part of 3 · frac(3ⁿ · byte / 256). Digit n of the first 32 bytes is value 32n + byte, of
 * the next 16 value 160 + 16n + byte, of the last 4 value 240 + 4n + byte. Value = scale · (digit − 1).
 */
export function decodeTQ1_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 54) {
    const scale = halfAt(bytes, at + 52);
    const decode = (from: number, count: number, digits: number, to: number): void => {
      for (let n = 0; n < digits; n++)
        for (let m = 0; m < count; m++) {
          const fraction = (bytes[at + from + m]! * 3 ** n) & 255;
          out[block * 256 + to + n * count + m] = scale * (((fraction * 3) >> 8) - 1);
        }
    };
    decode(0, 32, 5, 0);
    decode(32, 16, 5, 160);
    decode(48, 4, 4, 240);
  }
}

/** TQ2_0, 66 bytes: 64 bytes of 2-bit q, laid out as in Q2_K; half scale. Value = scale · (q − 1). */
export function decodeTQ2_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 66) {
    const scale = halfAt(bytes, at + 64);
    for (let i = 0; i < 256; i++) {
      const q = (bytes[at + 32 * (i >> 7) + (i & 31)]! >> (2 * ((i >> 5) & 3))) & 3;
      out[block * 256 + i] = scale * (q - 1);
    }
  }
}

/** Q1_0, 18 bytes for 128 values: half scale; 16 bytes of bits, lowest first. Value = scale where the bit is set, else −scale. */
export function decodeQ1_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 18) {
    const scale = halfAt(bytes, at);
    for (let i = 0; i < 128; i++) out[block * 128 + i] = (bytes[at + 2 + (i >> 3)]! >> (i & 7)) & 1 ? scale : -scale;
  }
}

/** Q2_0, 18 bytes for 64 values: half scale; 16 bytes of 2-bit q, lowest first. Value = scale · (q − 1). */
export function decodeQ2_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 18) {
    const scale = halfAt(bytes, at);
    for (let i = 0; i < 64; i++) out[block * 64 + i] = scale * (((bytes[at + 2 + (i >> 2)]! >> (2 * (i & 3))) & 3) - 1);
  }
}
