// Decoding of the formats with blocks of 32 values and one scale: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL.
// Source of the layouts: ggml-common.h (ggml-org/ggml). Numbers are little-endian; `half` is an F16. In all 4-bit parts the
// byte j holds value j in its low nibble and value j + 16 in its high nibble.
import { iq4Values } from '../formats-tables.ts';
import { halfAt } from './half.ts';

/** Q4_0, 18 bytes: half scale; 16 bytes of nibbles. Value = scale · (nibble − 8). */
export function decodeQ4_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 18, to += 32) {
    const scale = halfAt(bytes, at);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j]!;
      out[to + j] = scale * ((pair & 15) - 8);
      out[to + j + 16] = scale * ((pair >> 4) - 8);
    }
  }
}

/** Q4_1, 20 bytes: half scale; half minimum; 16 bytes of nibbles. Value = scale · nibble + minimum. */
export function decodeQ4_1(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 20, to += 32) {
    const scale = halfAt(bytes, at);
    const minimum = halfAt(bytes, at + 2);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 4 + j]!;
      out[to + j] = scale * (pair & 15) + minimum;
      out[to + j + 16] = scale * (pair >> 4) + minimum;
    }
  }
}

/** The 32 fifth bits of a Q5 block: bit j belongs to value j. */
const fifthBits = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

/** Q5_0, 22 bytes: half scale; 32 fifth bits; 16 bytes of nibbles. Value = scale · (q − 16), q of 5 bits. */
export function decodeQ5_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 22, to += 32) {
    const scale = halfAt(bytes, at);
    const high = fifthBits(bytes, at + 2);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 6 + j]!;
      out[to + j] = scale * (((pair & 15) | (((high >>> j) & 1) << 4)) - 16);
      out[to + j + 16] = scale * (((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
    }
  }
}

/** Q5_1, 24 bytes: half scale; half minimum; 32 fifth bits; 16 bytes of nibbles. Value = scale · q + minimum, q of 5 bits. */
export function decodeQ5_1(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 24, to += 32) {
    const scale = halfAt(bytes, at);
    const minimum = halfAt(bytes, at + 2);
    const high = fifthBits(bytes, at + 4);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 8 + j]!;
      out[to + j] = scale * ((pair & 15) | (((high >>> j) & 1) << 4)) + minimum;
      out[to + j + 16] = scale * ((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) + minimum;
    }
  }
}

/** Q8_0, 34 bytes: half scale; 32 signed bytes. Value = scale · byte. */
export function decodeQ8_0(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 34, to += 32) {
    const scale = halfAt(bytes, at);
    for (let j = 0; j < 32; j++) out[to + j] = scale * ((bytes[at + 2 + j]! << 24) >> 24);
  }
}

/** IQ4_NL, 18 bytes: half scale; 16 bytes of nibbles. Value = scale · iq4Values[nibble]. */
export function decodeIQ4_NL(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 18, to += 32) {
    const scale = halfAt(bytes, at);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j]!;
      out[to + j] = scale * iq4Values[pair & 15]!;
      out[to + j + 16] = scale * iq4Values[pair >> 4]!;
    }
  }
}
