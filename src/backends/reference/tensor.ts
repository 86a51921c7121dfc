// What a handle of the reference backend holds: numbers, or a weight in its file's blocks.
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import type { Tensor } from '../backend.ts';
import { dequantize } from './dequantize.ts';

/** Float32 numbers (activations, small weights), integers (ids), or blocks as in the file; null once freed. */
export type Storage = { data: Float32Array | Int32Array | Uint8Array | null };

/** A tensor of the reference backend. Reshaped tensors share a storage. */
export class HostTensor implements Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly storage: Storage;

  constructor(dtype: DType, shape: readonly number[], storage: Storage) {
    this.dtype = dtype;
    this.shape = shape;
    this.storage = storage;
  }

  /** The stored data. @throws Error when the step that made it has ended. */
  get data(): Float32Array | Int32Array | Uint8Array {
    if (this.storage.data) return this.storage.data;
    throw new Error(
      `This ${this.dtype} [${this.shape}] tensor was freed when its step ended; read it inside the step.`,
    );
  }

  /** All numbers as float32, decoded if need be. Not a copy where none is needed. */
  floats(): Float32Array {
    const { data } = this;
    if (data instanceof Float32Array) return data;
    if (data instanceof Int32Array) return Float32Array.from(data);
    return dequantize(this.dtype, data, sizeOf(this.shape));
  }

  /** Rows [first, first + count) of the last axis as float32, within the returned array from `at` on; `scratch` may hold them. */
  rows(first: number, count: number, scratch: Float32Array): { readonly data: Float32Array; readonly at: number } {
    const { data } = this;
    const length = this.shape.at(-1)!;
    if (data instanceof Float32Array) return { data, at: first * length };
    if (data instanceof Int32Array) throw new TypeError(`An I32 [${this.shape}] tensor is no weight.`);
    const rowBytes = byteLengthOf(this.dtype, length);
    dequantize(this.dtype, data.subarray(first * rowBytes), count * length, scratch);
    return { data: scratch, at: 0 };
  }
}

/** Elements of a tensor of this shape. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, length) => size * length, 1);

/** @throws RangeError when a tensor of this format cannot have this shape. */
export function checkShape(dtype: DType, shape: readonly number[]): void {
  const { blockSize } = formats[dtype];
  if (shape.length === 0 || !shape.every(length => Number.isSafeInteger(length) && length >= 0))
    throw new RangeError(`A tensor's shape must be whole numbers from 0 on; got [${shape}].`);
  if (!Number.isSafeInteger(sizeOf(shape))) throw new RangeError(`A tensor of shape [${shape}] is too large to count.`);
  if (shape.at(-1)! % blockSize !== 0)
    throw new RangeError(
      `${dtype} stores rows in blocks of ${blockSize}; rows of ${shape.at(-1)} do not fit (shape [${shape}]).`,
    );
}
