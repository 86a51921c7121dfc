// Decoding of the formats with blocks of 256 values whose stored numbers index a table: IQ4_XS, IQ3, IQ2 and IQ1.
// Source of the layouts: ggml-common.h (ggml-org/ggml). Numbers are little-endian; `half` is an F16.
import {
  evenSigns,
  iq1Grid,
  iq2sGrid,
  iq2xsGrid,
  iq2xxsGrid,
  iq3sGrid,
  iq3xxsGrid,
  iq4Values,
} from '../formats-tables.ts';
import { halfAt, halfValues } from './half.ts';

const word16 = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);
const word32 = (bytes: Uint8Array, at: number): number => (word16(bytes, at) | (word16(bytes, at + 2) << 16)) >>> 0;
/** Nibble i of those from `bytes[at]` on, low ones first. */
const nibble = (bytes: Uint8Array, at: number, i: number): number => (bytes[at + (i >> 1)]! >> (4 * (i & 1))) & 15;

/**
 * IQ4_XS, 136 bytes: half scale; 16 bits with the upper 2 bits of eight sub-block scales; 4 bytes with their low 4 bits, low
 * nibble first; 128 bytes of nibbles, 16 per 32 values as in IQ4_NL. Value = scale · (subScale − 32) · iq4Values[nibble].
 */
export function decodeIQ4_XS(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 136) {
    const scale = halfAt(bytes, at);
    const upper = word16(bytes, at + 2);
    for (let sub = 0; sub < 8; sub++) {
      const low = nibble(bytes, at + 4, sub);
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
      const packed = word32(bytes, at + 66 + 4 * sub);
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
      const subScale = scale * (1 + 2 * nibble(bytes, at + 106, sub));
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

/** Eight values ± scale · magnitude from `out[to]` on: those of a grid's entry, minus where the bit of `signs` is set. */
function putSigned(out: Float32Array, to: number, scale: number, grid: Uint8Array, entry: number, signs: number): void {
  for (let j = 0; j < 8; j++) {
    const magnitude = scale * grid[8 * entry + j]!;
    out[to + j] = (signs >> j) & 1 ? -magnitude : magnitude;
  }
}

/**
 * IQ2_XXS, 66 bytes: half scale; 8 bytes for each 32 values: four grid indices, one per 8 values, and a 32-bit word of signs and
 * sub-block scale s as in IQ3_XXS. Value = ± scale · (s + ½) / 4 · iq2xxsGrid.
 */
export function decodeIQ2_XXS(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 66) {
    const scale = halfAt(bytes, at);
    for (let sub = 0; sub < 8; sub++) {
      const from = at + 2 + 8 * sub;
      const packed = word32(bytes, from + 4);
      const subScale = scale * ((packed >>> 28) + 0.5) * 0.25;
      for (let l = 0; l < 4; l++) {
        const signs = evenSigns[(packed >>> (7 * l)) & 127]!;
        putSigned(out, block * 256 + sub * 32 + l * 8, subScale, iq2xxsGrid, bytes[from + l]!, signs);
      }
    }
  }
}

/**
 * IQ2_XS, 74 bytes: half scale; 32 words of 16 bits, one per 8 values: a grid index of 9 bits, then 7 sign bits (`evenSigns`);
 * 8 bytes of sub-block scales s, one nibble per 16 values, low first. Value = ± scale · (s + ½) / 4 · iq2xsGrid.
 */
export function decodeIQ2_XS(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 74) {
    const scale = halfAt(bytes, at);
    for (let l = 0; l < 32; l++) {
      const word = word16(bytes, at + 2 + 2 * l);
      const subScale = scale * (nibble(bytes, at + 66, l >> 1) + 0.5) * 0.25;
      putSigned(out, block * 256 + l * 8, subScale, iq2xsGrid, word & 511, evenSigns[word >> 9]!);
    }
  }
}

/**
 * IQ2_S, 82 bytes: half scale; 32 bytes with the low 8 bits of grid indices, one per 8 values; 32 bytes of signs (bit j of byte
 * b is value 8b + j); 8 bytes with the indices' upper 2 bits, four to a byte, lowest first; 8 bytes of sub-block scales as in
 * IQ2_XS. Value = ± scale · (s + ½) / 4 · iq2sGrid.
 */
export function decodeIQ2_S(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 82) {
    const scale = halfAt(bytes, at);
    for (let l = 0; l < 32; l++) {
      const upper = (bytes[at + 66 + (l >> 2)]! >> (2 * (l & 3))) & 3;
      const subScale = scale * (nibble(bytes, at + 74, l >> 1) + 0.5) * 0.25;
      const entry = bytes[at + 2 + l]! | (upper << 8);
      putSigned(out, block * 256 + l * 8, subScale, iq2sGrid, entry, bytes[at + 34 + l]!);
    }
  }
}

/** Eight values scale · (−1, 0 or 1, plus shift) from `out[to]` on. */
function putShifted(out: Float32Array, to: number, scale: number, entry: number, shift: number): void {
  for (let j = 0; j < 8; j++) out[to + j] = scale * (iq1Grid[8 * entry + j]! + shift);
}

/**
 * IQ1_S, 50 bytes: half scale; 32 bytes with the low 8 bits of grid indices, one per 8 values; eight 16-bit words, one per 32
 * values: four times the upper 3 bits of an index, lowest first, then 3 bits of sub-block scale s, then the sign of the shift ⅛.
 * Value = scale · (2s + 1) · (iq1Grid ± ⅛).
 */
export function decodeIQ1_S(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 50) {
    const scale = halfAt(bytes, at);
    for (let l = 0; l < 32; l++) {
      const word = word16(bytes, at + 34 + 2 * (l >> 2));
      const subScale = scale * (2 * ((word >> 12) & 7) + 1);
      const entry = bytes[at + 2 + l]! | (((word >> (3 * (l & 3))) & 7) << 8);
      putShifted(out, block * 256 + l * 8, subScale, entry, word >> 15 ? -0.125 : 0.125);
    }
  }
}

/**
 * IQ1_M, 56 bytes: 32 bytes with the low 8 bits of grid indices, one per 8 values; 16 bytes of nibbles, one per 8 values, low
 * first: the upper 3 bits of an index, then the sign of the shift ⅛; four 16-bit words: four 3-bit sub-block scales s, one per
 * 16 values, lowest first, then 4 bits of the half scale, its lowest in the first word. Value as in IQ1_S.
 */
export function decodeIQ1_M(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 56) {
    const word = (i: number): number => word16(bytes, at + 48 + 2 * i);
    const scale =
      halfValues[(word(0) >> 12) | ((word(1) >> 12) << 4) | ((word(2) >> 12) << 8) | ((word(3) >> 12) << 12)]!;
    for (let l = 0; l < 32; l++) {
      const subScale = scale * (2 * ((word(l >> 3) >> (3 * ((l >> 1) & 3))) & 7) + 1);
      const upper = nibble(bytes, at + 32, l);
      const entry = bytes[at + l]! | ((upper & 7) << 8);
      putShifted(out, block * 256 + l * 8, subScale, entry, upper >> 3 ? -0.125 : 0.125);
    }
  }
}
