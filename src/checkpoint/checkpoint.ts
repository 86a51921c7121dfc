// What every kind of checkpoint file becomes: metadata, and named byte ranges that are read only when asked for.
import type { DType } from './dtype.ts';
import type { ValueType } from './gguf-format.ts';

/** A metadata value. Integers that do not fit a double stay bigint. */
export type MetadataValue = string | number | bigint | boolean | readonly MetadataValue[];

export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  /** Outermost dimension first: a matrix is [out, in], packed experts are [experts, out, in]. (GGUF lists them reversed.) */
  readonly shape: readonly number[];
  readonly byteLength: number;
}

export interface Checkpoint extends AsyncDisposable {
  /** What the user named: the path of the first file. */
  readonly path: string;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** The types that a GGUF file states its values in, or the elements of its arrays: for who writes them again. */
  readonly metadataTypes?: ReadonlyMap<string, ValueType>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * Fills `into` with the tensor's bytes from byte `offset` on. `into` may lie in shared memory.
   * @throws CheckpointError when the range leaves the tensor, or the file has become shorter than its header says.
   */
  read(tensor: TensorInfo, offset: number, into: Uint8Array): Promise<void>;
  /** The file, and the byte in it, where a tensor begins; null where it is in no file as it is. */
  placeOf?(tensor: TensorInfo): { readonly path: string; readonly offset: number } | null;
  /** Tells apart the files as they are from what they were, or will be: sizes and times of change. */
  readonly version?: string;
  /** @throws CheckpointError when a file is not as it was when it was opened: what was read may be of two files. */
  checkUnchanged?(): Promise<void>;
}

/** A checkpoint that cannot be used: names the file and the field, what it got, what it wanted, what to do next. */
export class CheckpointError extends Error {
  override readonly name: string = 'CheckpointError';
  readonly path: string;
  constructor(path: string, message: string, options?: ErrorOptions) {
    super(`${path}: ${message}`, options);
    this.path = path;
  }
}
