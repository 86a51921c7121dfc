// Decoding of the formats whose stored numbers and scales are small floats: MXFP4 NVFP4.
// Source: ggml-common.h, ggml-impl.h (ggml-org/ggml); "OCP Microscaling Formats (MX) v1.0". Both store E2M1 nibbles that
// `e2m1Values` gives doubled, so scales are taken by half.
import { e2m1Values } from '../formats-tables.ts';

/** MXFP4, 17 bytes: scale 2^(byte − 127), which has no NaN here; 16 bytes of nibbles as in Q4_0. Value = scale · E2M1. */
export function decodeMXFP4(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0, to = 0; block < blocks; block++, at += 17, to += 32) {
    const half = 2 ** (bytes[at]! - 128);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 1 + j]!;
      out[to + j] = half * e2m1Values[pair & 15]!;
      out[to + j + 16] = half * e2m1Values[pair >> 4]!;
    }
  }
}

/**
 * What each scale byte of NVFP4 means (UE4M3: 4 bits of exponent, 3 of fraction; the uppermost bit is not looked at, but for the
 * NaN 7f, which ggml takes for 0).
 */
const ue4m3Values: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  const exponent = (code >> 3) & 15;
  const fraction = code & 7;
  if (code === 0x7f) return 0;
  return exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7);
});

/**
 * NVFP4, 36 bytes: 4 bytes of scales (`ue4m3Values`), one per 16 values; 32 bytes of nibbles, 8 per 16 values: byte j holds value
 * j in its low nibble and value j + 8 in its high nibble. Value = scale · E2M1. A scale of the whole tensor is no part of it.
 */
export function decodeNVFP4(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let block = 0, at = 0; block < blocks; block++, at += 36) {
    for (let sub = 0; sub < 4; sub++) {
      const half = ue4m3Values[bytes[at + sub]!]! / 2;
      const to = block * 64 + sub * 16;
      for (let j = 0; j < 8; j++) {
        const pair = bytes[at + 4 + 8 * sub + j]!;
        out[to + j] = half * e2m1Values[pair & 15]!;
        out[to + j + 8] = half * e2m1Values[pair >> 4]!;
      }
    }
  }
}
