// Decoding of the formats with blocks of 256 values whose stored numbers index a table: IQ4_XS IQ3_S IQ3_XXS.
// Source of the layouts: ggml-common.h (ggml-org/ggml). Numbers are little-endian; `half` is an F16.
import { evenSigns, iq3sGrid, iq3xxsGrid, iq4Values } from '../formats-tables.ts';
import { halfAt } from './half.ts';

/**
 * IQ4_XS, 136 bytes: half scale; 16 bits with the upper 2 bits of eight sub-block scales; 4 bytes with their low 4 bits, low
 * nibble first; 128 bytes of nibbles, 16 per 32 values as in IQ4_NL. Value = scale · (subScale − 32) · iq4Values[nibble].
 */
export function decodeIQ4_XS(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 136) {
    const scale = halfAt(bytes, at);
    const upper = bytes[at + 2]! | (bytes[at + 3]! << 8);
    for (let sub = 0; sub < 8; sub++) {
      const low = (bytes[at + 4 + (sub >> 1)]! >> (4 * (sub & 1))) & 15;
      const subScale = scale * ((low | (((upper >> (2 * sub)) & 3) << 4)) - 32);
      const from = at + 8 + 16 * sub;
      const to = block * 256 + sub * 32;
      for (let j = 0; j < 16; j++) {
        const pair = bytes[from + j]!;
        out[to + j] = subScale * iq4Values[pair & 15]!;
        out[to + j + 16] = subScale * iq4Values[pair >> 4]!;
      }
    }
  }
}

/**
 * IQ3_XXS, 98 bytes: half scale; 64 grid indices, one per 4 values; eight 32-bit words, one per 32 values: four times 7 sign
 * bits (`evenSigns`, one per 8 values, lowest first), then a 4-bit sub-block scale s.
 * Value = ± scale · (s + ½) / 2 · iq3xxsGrid.
 */
export function decodeIQ3_XXS(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 98) {
    const scale = halfAt(bytes, at);
    for (let sub = 0; sub < 8; sub++) {
      const word = at + 66 + 4 * sub;
      const packed =
        (bytes[word]! | (bytes[word + 1]! << 8) | (bytes[word + 2]! << 16) | (bytes[word + 3]! << 24)) >>> 0;
      const subScale = scale * ((packed >>> 28) + 0.5) * 0.5;
      for (let quad = 0; quad < 8; quad++) {
        const signs = evenSigns[(packed >>> (7 * (quad >> 1))) & 127]! >> (4 * (quad & 1));
        const entry = 4 * bytes[at + 2 + 8 * sub + quad]!;
        const to = block * 256 + sub * 32 + quad * 4;
        for (let j = 0; j < 4; j++) {
          const magnitude = subScale * iq3xxsGrid[entry + j]!;
          out[to + j] = (signs >> j) & 1 ? -magnitude : magnitude;
        }
      }
    }
  }
}

/**
 * IQ3_S, 110 bytes: half scale; 64 bytes with the low 8 bits of grid indices, one per 4 values; 8 bytes with their ninth bits
 * (byte ⌊value / 32⌋, lowest first); 32 bytes of signs (bit j of byte b is value 8b + j); 4 bytes of sub-block scales s, one
 * nibble per 32 values, low first. Value = ± scale · (2s + 1) · iq3sGrid.
 */
export function decodeIQ3_S(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 110) {
    const scale = halfAt(bytes, at);
    for (let sub = 0; sub < 8; sub++) {
      const subScale = scale * (1 + 2 * ((bytes[at + 106 + (sub >> 1)]! >> (4 * (sub & 1))) & 15));
      const ninth = bytes[at + 66 + sub]!;
      for (let quad = 0; quad < 8; quad++) {
        const signs = bytes[at + 74 + 4 * sub + (quad >> 1)]! >> (4 * (quad & 1));
        const entry = 4 * (bytes[at + 2 + 8 * sub + quad]! | (((ninth >> quad) & 1) << 8));
        const to = block * 256 + sub * 32 + quad * 4;
        for (let j = 0; j < 4; j++) {
          const magnitude = subScale * iq3sGrid[entry + j]!;
          out[to + j] = (signs >> j) & 1 ? -magnitude : magnitude;
        }
      }
    }
  }
}
