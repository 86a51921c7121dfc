// What the tables of cases share: making tensors, and saying how near two lists of numbers must be.
import { byteLengthOf, type DType } from '../checkpoint/dtype.ts';
import type { Backend, Tensor } from './backend.ts';
import { gaussian } from './reference/random.ts';

/** What a backend promises beyond the interface; decides the bounds that its numbers must keep. */
export interface Precision {
  /**
   * 'q8': activations of products with quantized weights are rounded to int8 with one scale for 32 numbers (amax / 127); 'q16': to 16 bits likewise (amax / 32767).
   * Products with F32, F16 and BF16 weights are float32 always.
   */
  readonly activations: 'f32' | 'q16' | 'q8';
}

export interface BackendCase {
  readonly name: string;
  run(k: Backend, precision: Precision): Promise<void>;
}

/** Uploads numbers as an F32 weight. */
export const uploadFloats = (k: Backend, shape: readonly number[], values: Float32Array): Promise<Tensor> =>
  uploadBytes(k, 'F32', shape, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));

/** Uploads whole numbers as an I32 tensor: slots of experts. */
export const uploadIds = (k: Backend, ids: readonly number[]): Promise<Tensor> =>
  uploadBytes(k, 'I32', [ids.length, 1], new Uint8Array(Int32Array.from(ids).buffer));

/** Uploads a tensor from its file form. */
export async function uploadBytes(
  k: Backend,
  dtype: DType,
  shape: readonly number[],
  bytes: Uint8Array,
): Promise<Tensor> {
  const wanted = byteLengthOf(
    dtype,
    shape.reduce((size, length) => size * length, 1),
  );
  if (bytes.length !== wanted)
    throw new RangeError(`A ${dtype} [${shape}] takes ${wanted} bytes; the case gives ${bytes.length}.`);
  return k.upload(dtype, shape, async (into, offset) => into.set(bytes.subarray(offset, offset + into.length)));
}

/** N(0, 1) numbers. */
export const gaussians = (count: number, random: () => number): Float32Array =>
  Float32Array.from({ length: count }, () => gaussian(random));

/** Row i of a matrix of rows of `length`. */
export const rowAt = (values: Float32Array, i: number, length: number): Float32Array =>
  values.subarray(i * length, (i + 1) * length);

/**
 * Throws unless |actual − expected| ≤ bound at every index; a NaN is never near.
 * @param bound the largest difference allowed, as a number or per index.
 */
export function expectNear(
  actual: Float32Array,
  expected: ArrayLike<number>,
  bound: number | ((i: number) => number),
  what: string,
): void {
  if (actual.length !== expected.length)
    throw new Error(`${what}: got ${actual.length} numbers, expected ${expected.length}.`);
  let worst = -1;
  let excess = 0;
  let count = 0;
  for (let i = 0; i < actual.length; i++) {
    const allowed = typeof bound === 'number' ? bound : bound(i);
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (difference <= allowed) continue;
    count++;
    const ratio = Number.isNaN(difference) ? Infinity : difference / allowed;
    if (worst < 0 || ratio > excess) {
      worst = i;
      excess = ratio;
    }
  }
  if (worst < 0) return;
  const allowed = typeof bound === 'number' ? bound : bound(worst);
  throw new Error(
    `${what}: ${count} of ${actual.length} numbers are off; the worst, at ${worst}, is ${actual[worst]}, expected ${expected[worst]} ± ${allowed}.`,
  );
}

/** Throws unless both are the same numbers, bit for bit (but 0 and −0 are the same). */
export const expectSame = (actual: Float32Array, expected: ArrayLike<number>, what: string): void =>
  expectNear(actual, expected, 0, what);

/** Throws unless `actual` is the float32 nearest to `expected` up to `relative` of its size. */
export const expectRelative = (
  actual: Float32Array,
  expected: ArrayLike<number>,
  relative: number,
  what: string,
): void => expectNear(actual, expected, i => relative * Math.abs(expected[i]!) + 1e-37, what);

/** Throws unless `run` throws or rejects with a message that `message` matches. */
export async function expectError(run: () => unknown, message: RegExp, what: string): Promise<void> {
  try {
    await run();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    if (message.test(text)) return;
    throw new Error(`${what}: expected an error matching ${message}, got '${text}'.`);
  }
  throw new Error(`${what}: expected an error matching ${message}, got none.`);
}
