// The normative meaning of every storage format: its bytes as float32 numbers. Fast kernels are tested against this.
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { decodeMXFP4, decodeNVFP4 } from './blocks-fp4.ts';
import {
  decodeIQ1_M,
  decodeIQ1_S,
  decodeIQ2_S,
  decodeIQ2_XS,
  decodeIQ2_XXS,
  decodeIQ3_S,
  decodeIQ3_XXS,
  decodeIQ4_XS,
} from './blocks-lookup.ts';
import { decodeQ1_0, decodeQ2_0, decodeTQ1_0, decodeTQ2_0 } from './blocks-ternary.ts';
import { decodeIQ4_NL, decodeQ4_0, decodeQ4_1, decodeQ5_0, decodeQ5_1, decodeQ8_0 } from './blocks32.ts';
import { decodeQ2_K, decodeQ3_K, decodeQ4_K, decodeQ5_K, decodeQ6_K } from './blocks256.ts';
import { halfValues } from './half.ts';

/** Decodes `blocks` whole blocks from the start of `bytes` to the start of `out`. */
type Decode = (bytes: Uint8Array, blocks: number, out: Float32Array) => void;

const decoders: Readonly<Record<DType, Decode>> = {
  F32: decodeF32,
  F16: decodeF16,
  BF16: decodeBF16,
  I32: decodeI32,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q5_0: decodeQ5_0,
  Q5_1: decodeQ5_1,
  Q8_0: decodeQ8_0,
  Q2_K: decodeQ2_K,
  Q3_K: decodeQ3_K,
  Q4_K: decodeQ4_K,
  Q5_K: decodeQ5_K,
  Q6_K: decodeQ6_K,
  IQ4_NL: decodeIQ4_NL,
  IQ4_XS: decodeIQ4_XS,
  IQ3_S: decodeIQ3_S,
  IQ3_XXS: decodeIQ3_XXS,
  IQ2_S: decodeIQ2_S,
  IQ2_XS: decodeIQ2_XS,
  IQ2_XXS: decodeIQ2_XXS,
  IQ1_M: decodeIQ1_M,
  IQ1_S: decodeIQ1_S,
  MXFP4: decodeMXFP4,
  NVFP4: decodeNVFP4,
  TQ1_0: decodeTQ1_0,
  TQ2_0: decodeTQ2_0,
  Q1_0: decodeQ1_0,
  Q2_0: decodeQ2_0,
};

/**
 * The first `elements` numbers stored in `bytes`. Products are formed exactly and rounded once to float32, so the result equals
 * ggml's `dequantize_row_*` bit for bit; infinite and NaN scales give infinities and NaN.
 * @param elements a whole number of blocks of `dtype`.
 * @param into filled from its start when given, and returned; it must hold `elements` numbers.
 * @throws RangeError when `elements` is not a whole number of blocks, or `bytes` or `into` is too short.
 */
export function dequantize(dtype: DType, bytes: Uint8Array, elements: number, into?: Float32Array): Float32Array {
  const needed = byteLengthOf(dtype, elements);
  if (bytes.length < needed)
    throw new RangeError(`${elements} elements of ${dtype} take ${needed} bytes; got ${bytes.length}.`);
  const out = into ?? new Float32Array(elements);
  if (out.length < elements)
    throw new RangeError(`The target of ${elements} elements of ${dtype} holds only ${out.length} numbers.`);
  decoders[dtype](bytes, elements / formats[dtype].blockSize, out);
  return out;
}

function decodeF32(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  // A row of a file need not be aligned, and a copy of bytes keeps NaN patterns.
  new Uint8Array(out.buffer, out.byteOffset, 4 * blocks).set(bytes.subarray(0, 4 * blocks));
}

function decodeF16(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  for (let i = 0; i < blocks; i++) out[i] = halfValues[bytes[2 * i]! | (bytes[2 * i + 1]! << 8)]!;
}

/** A BF16 is the upper half of a float32's bits. */
function decodeBF16(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  const patterns = new Uint32Array(out.buffer, out.byteOffset, blocks);
  for (let i = 0; i < blocks; i++) patterns[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
}

/** Ids, not weights: exact up to ±2²⁴. */
function decodeI32(bytes: Uint8Array, blocks: number, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 4 * blocks);
  for (let i = 0; i < blocks; i++) out[i] = view.getInt32(4 * i, true);
}
