// Simple encoders, and random blocks of every format: for tests and for models that mean nothing.
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { dequantize } from './dequantize.ts';
import { toBfloat, toHalf } from './half.ts';
import { gaussian, seededRandom } from './random.ts';

/** The formats with an encoder here: those where rounding to the nearest is all there is to it. */
export type SimpleDType = 'F32' | 'F16' | 'BF16' | 'Q4_0' | 'Q8_0';

/**
 * Encodes `values`, whole blocks of them, each block by itself.
 * @throws RangeError when they are not a whole number of blocks.
 */
export function quantize(dtype: SimpleDType, values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(byteLengthOf(dtype, values.length));
  const view = new DataView(bytes.buffer);
  const { blockSize, blockBytes } = formats[dtype];
  for (let from = 0, at = 0; from < values.length; from += blockSize, at += blockBytes) {
    const block = values.subarray(from, from + blockSize);
    if (dtype === 'F32') view.setFloat32(at, block[0]!, true);
    else if (dtype === 'F16') view.setUint16(at, toHalf(block[0]!), true);
    else if (dtype === 'BF16') view.setUint16(at, toBfloat(block[0]!), true);
    else if (dtype === 'Q4_0') encodeQ4_0(block, view, at);
    else encodeQ8_0(block, view, at);
  }
  return bytes;
}

/** The value farthest from 0 becomes nibble 0, which stands for −8: so its sign decides the sign of the scale. */
function encodeQ4_0(block: Float32Array, view: DataView, at: number): void {
  const farthest = block.reduce((far, value) => (Math.abs(value) > Math.abs(far) ? value : far), 0);
  const scale = farthest / -8;
  view.setUint16(at, toHalf(scale), true);
  const nibble = (value: number): number => (scale === 0 ? 8 : Math.min(15, Math.round(value / scale) + 8));
  for (let j = 0; j < 16; j++) view.setUint8(at + 2 + j, nibble(block[j]!) | (nibble(block[j + 16]!) << 4));
}

function encodeQ8_0(block: Float32Array, view: DataView, at: number): void {
  const scale = block.reduce((far, value) => Math.max(far, Math.abs(value)), 0) / 127;
  view.setUint16(at, toHalf(scale), true);
  for (let j = 0; j < 32; j++) view.setInt8(at + 2 + j, scale === 0 ? 0 : Math.round(block[j]! / scale));
}

/**
 * Where a quantized format keeps the scales of a block, and its minimum with the ratio to the scale at which uniformly random
 * bits average to 0.
 */
interface Scales {
  /** Byte of the first scale. */
  readonly scale: number;
  /** 'F16' where not said; 'quarters': its four nibbles, lowest first, are the upper ends of four 16-bit words. */
  readonly form?: 'quarters' | 'E8M0' | 'UE4M3';
  /** Scales side by side; 1 where not said. */
  readonly count?: number;
  readonly minimum?: { readonly at: number; readonly ratio: number };
}

/** The formats with blocks and scales. */
export type QuantizedDType = Exclude<DType, 'F32' | 'F16' | 'BF16' | 'I32'>;

const scalesOf: Readonly<Record<QuantizedDType, Scales>> = {
  Q4_0: { scale: 0 },
  Q4_1: { scale: 0, minimum: { at: 2, ratio: -7.5 } },
  Q5_0: { scale: 0 },
  Q5_1: { scale: 0, minimum: { at: 2, ratio: -15.5 } },
  Q8_0: { scale: 0 },
  Q2_K: { scale: 80, minimum: { at: 82, ratio: 1.5 } },
  Q3_K: { scale: 108 },
  Q4_K: { scale: 0, minimum: { at: 2, ratio: 7.5 } },
  Q5_K: { scale: 0, minimum: { at: 2, ratio: 15.5 } },
  Q6_K: { scale: 208 },
  IQ4_NL: { scale: 0 },
  IQ4_XS: { scale: 0 },
  IQ3_S: { scale: 0 },
  IQ3_XXS: { scale: 0 },
  IQ2_S: { scale: 0 },
  IQ2_XS: { scale: 0 },
  IQ2_XXS: { scale: 0 },
  IQ1_M: { scale: 48, form: 'quarters' },
  IQ1_S: { scale: 0 },
  MXFP4: { scale: 0, form: 'E8M0' },
  NVFP4: { scale: 0, form: 'UE4M3', count: 4 },
  TQ1_0: { scale: 52 },
  TQ2_0: { scale: 64 },
  Q1_0: { scale: 0 },
  Q2_0: { scale: 0 },
};

/**
 * Sets every scale of the block at `bytes[at]`, and its minimum to that which centres uniformly random bits on 0. MXFP4 and NVFP4
 * take the number nearest to the scale's size that they have.
 */
export function setScale(dtype: QuantizedDType, bytes: Uint8Array, at: number, scale: number): void {
  const { scale: first, form, count = 1, minimum } = scalesOf[dtype];
  for (let i = 0; i < count; i++) setScaleField(form, bytes, at + first + i, scale);
  if (minimum) setHalf(bytes, at + minimum.at, scale * minimum.ratio);
}

function setScaleField(form: Scales['form'], bytes: Uint8Array, at: number, scale: number): void {
  if (form === undefined) setHalf(bytes, at, scale);
  else if (form === 'quarters') {
    for (let i = 0, rest = toHalf(scale); i < 4; i++, rest >>= 4)
      bytes[at + 2 * i + 1] = (bytes[at + 2 * i + 1]! & 15) | ((rest & 15) << 4);
  } else if (form === 'E8M0') bytes[at] = Math.max(0, Math.min(255, 127 + Math.round(Math.log2(Math.abs(scale)))));
  else {
    const exponent = Math.max(-6, Math.floor(Math.log2(Math.abs(scale)))); // below 2⁻⁶ are the subnormal numbers
    bytes[at] = Math.min(0x7e, 8 * (exponent + 6) + Math.round((8 * Math.abs(scale)) / 2 ** exponent));
  }
}

function setHalf(bytes: Uint8Array, at: number, value: number): void {
  const pattern = toHalf(value);
  bytes[at] = pattern;
  bytes[at + 1] = pattern >> 8;
}

/**
 * Random weights in a format's own blocks: mean about 0, standard deviation about `scale`, none far outside. Floats are normally
 * distributed; quantized formats get random bits in all fields but the block's scales, which vary by ±20 % and in sign (where the
 * format knows powers of two only, between the two nearest). TQ2_0 and Q2_0 get −1, 0 and 1, as their encoders make them.
 * @param random uniform in [0, 1), 32 bits (`seededRandom`).
 * @param scale best within 1e-3 … 1e3, since block scales are F16; from 1e-2 for NVFP4, whose scales end at 2⁻⁹.
 * @throws RangeError for I32, and when `elements` is not a whole number of blocks.
 */
export function randomBlocks(dtype: DType, elements: number, random: () => number, scale: number): Uint8Array {
  if (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16')
    return quantize(
      dtype,
      Float32Array.from({ length: elements }, () => scale * gaussian(random)),
    );
  if (dtype === 'I32') throw new RangeError('I32 holds ids; there are no random weights of it.');
  return randomQuantized(dtype, elements, random, scale / unitDeviation(dtype));
}

function randomQuantized(dtype: QuantizedDType, elements: number, random: () => number, scale: number): Uint8Array {
  const bytes = new Uint8Array(byteLengthOf(dtype, elements));
  const words = new Uint32Array(bytes.buffer, 0, bytes.length >> 2);
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32;
  for (let i = 4 * words.length; i < bytes.length; i++) bytes[i] = random() * 256;
  if (dtype === 'TQ2_0' || dtype === 'Q2_0')
    for (let i = 0; i < bytes.length; i++) bytes[i]! &= ~((bytes[i]! & (bytes[i]! >> 1) & 0x55) << 1); // 3 becomes 1
  const { blockBytes } = formats[dtype];
  const { scale: first, form, count = 1, minimum } = scalesOf[dtype];
  for (let block = 0; block < bytes.length; block += blockBytes) {
    const sign = minimum || random() < 0.5 ? 1 : -1;
    const vary = (): number => sign * scale * (0.8 + 0.4 * random());
    setScale(dtype, bytes, block, form === 'E8M0' ? powerOfTwoLike(vary(), random) : vary());
    for (let i = 1; i < count; i++) setScaleField(form, bytes, block + first + i, vary());
  }
  return bytes;
}

/** One of the two powers of two around a number's size, such that squares average to its square. */
function powerOfTwoLike(value: number, random: () => number): number {
  const below = 2 ** Math.floor(Math.log2(Math.abs(value)));
  return 3 * random() < (value / below) ** 2 - 1 ? 2 * below : below;
}

const unitDeviations = new Map<QuantizedDType, number>();

/** The standard deviation of random blocks whose scale is about 1: measured once, which is simpler than deriving it. */
function unitDeviation(dtype: QuantizedDType): number {
  let deviation = unitDeviations.get(dtype);
  if (deviation === undefined) {
    const size = 256 * 64;
    const values = dequantize(dtype, randomQuantized(dtype, size, seededRandom(1), 1), size);
    deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / size);
    unitDeviations.set(dtype, deviation);
  }
  return deviation;
}
