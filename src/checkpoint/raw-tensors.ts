// Tensors as safetensors and PyTorch's files hold them: plain numbers, row after row, under names of their own.
import type { NumberType } from './numbers.ts';
import type { Source } from './sources.ts';

/** Where a tensor's numbers lie. */
export interface RawTensor {
  readonly name: string;
  readonly type: NumberType;
  /** Outermost dimension first; empty for a single number. */
  readonly shape: readonly number[];
  readonly source: Source;
  /** Bytes from the start of the source. */
  readonly offset: number;
  readonly byteLength: number;
}

export const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
