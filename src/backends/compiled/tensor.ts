// What a handle of this backend holds: a place in a bank.
import { type DType, formats } from '../../checkpoint/dtype.ts';
import type { Tensor } from '../backend.ts';
import type { Bank } from './bank.ts';

/** Bytes [start, end) of a bank. */
export interface Place {
  readonly bank: Bank;
  readonly start: number;
  readonly end: number;
}

/** Bytes in a bank, and what was made of them. Reshaped tensors share a storage. */
export interface Storage extends Place {
  /** Uploaded: counts as a weight of its bank, and lives until it is released. */
  readonly uploaded: boolean;
  freed: boolean;
  /** The bytes as they are, in other banks. */
  copies: Place[] | null;
  /** Rows of this length, rounded to so many bits. */
  rounded: (Place & { readonly rowLength: number; readonly bits: number })[] | null;
}

export class PlacedTensor implements Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly storage: Storage;
  /** Numbers it has. */
  readonly size: number;
  /** Length of the last axis, and how many such rows there are. */
  readonly rowLength: number;
  readonly rows: number;

  constructor(dtype: DType, shape: readonly number[], storage: Storage) {
    this.dtype = dtype;
    this.shape = shape;
    this.storage = storage;
    this.size = sizeOf(shape);
    this.rowLength = shape.at(-1)!;
    this.rows = rowsOf(shape);
  }
}

/** Elements of a tensor of this shape. */
export const sizeOf = (shape: readonly number[]): number => {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
};

/** How many rows along the last axis, which may have length 0. */
function rowsOf(shape: readonly number[]): number {
  let rows = 1;
  for (let axis = 0; axis < shape.length - 1; axis++) rows *= shape[axis]!;
  return rows;
}

/** The shape with its −1 filled in. @throws RangeError when `size` numbers cannot have it. */
export function fullShape(shape: readonly number[], of: Tensor, size: number): readonly number[] {
  let known = 1;
  for (const length of shape) if (length !== -1) known *= length;
  const full = shape.map(length => (length === -1 ? size / known : length));
  if (shape.indexOf(-1) === shape.lastIndexOf(-1) && full.every(Number.isInteger) && sizeOf(full) === size) return full;
  throw new RangeError(`[${of.shape}] has ${size} numbers and cannot become [${shape}].`);
}

/** @throws RangeError when a tensor of this format cannot have this shape. */
export function checkShape(dtype: DType, shape: readonly number[]): void {
  const { blockSize } = formats[dtype];
  if (shape.length === 0 || !shape.every(length => Number.isSafeInteger(length) && length >= 0))
    throw new RangeError(`A tensor's shape must be whole numbers from 0 on; got [${shape}].`);
  // The kernels count rows and columns in 32 bits.
  if (!shape.every(length => length < 2 ** 31) || !Number.isSafeInteger(8 * sizeOf(shape)))
    throw new RangeError(`A tensor of shape [${shape}] is too large to count.`);
  if (shape.at(-1)! % blockSize !== 0)
    throw new RangeError(
      `${dtype} stores rows in blocks of ${blockSize}; rows of ${shape.at(-1)} do not fit (shape [${shape}]).`,
    );
}
