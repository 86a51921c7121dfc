// The one door to arithmetic. A layer, a head or an expert is no word here beyond the shapes of the operations.
import type { DType } from '../checkpoint/dtype.ts';

/** A handle; the numbers live on the backend. Activations are F32, weights are in their file's own block format. */
export interface Tensor {
  readonly dtype: DType;
  /** Outermost dimension first. */
  readonly shape: readonly number[];
}

/**
 * T tokens of any number of sequences, prefill and decode mixed. There is no mask: key j is visible to query i iff they are of
 * the same sequence, j ≤ i and, on chunked layers, ⌊j/C⌋ = ⌊i/C⌋. Within a batch a sequence's positions ascend by one, and
 * start at the sequence's length in the cache.
 */
export interface Batch {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  /** Indices into the batch of the rows whose logits are wanted. */
  readonly logitRows: Int32Array;
}

/** Copies bytes `[offset, offset + into.length)` of a tensor's file form to `into`, which lies in the backend's own memory. */
export type Fill = (into: Uint8Array, offset: number) => Promise<void>;

/** A matrix in a file, and the x[index] of an [n, out, in] tensor that it goes to, or the whole of an [out, in] one: index 0. */
export interface FilePart {
  readonly into: Tensor;
  readonly index: number;
  readonly path: string;
  /** Of its first byte in the file. */
  readonly offset: number;
  /** Rows that are read, and summed up, at once: a multiple of sixteen. */
  readonly chunkRows: number;
}

/** A read under way. */
export interface FileReading {
  /** A checksum of the bytes as in the file. Rejects with FileReadError; what x[index] holds then means nothing. */
  readonly done: Promise<bigint>;
  /** Who waits for it waits now. */
  hurry(): void;
  /** It is wanted no more: `done` rejects soon, or resolves if it was almost over. */
  cancel(): void;
}

/** Why a file could not be read: `short` where it ends too soon, `changed` where it is not as it was when it was opened. */
export class FileReadError extends Error {
  override readonly name = 'FileReadError';
  readonly reason: 'short' | 'changed' | 'cancelled' | 'system';
  constructor(reason: FileReadError['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * How caches store keys and values. F16: as halves (the reference keeps floats). F32: as they are, in twice the memory. Q8_0: as bytes,
 * with a scale for each 32 numbers of a head, which takes 34 bytes for them instead of 64; every backend rounds alike.
 */
export const cacheTypes = ['F16', 'F32', 'Q8_0'] as const;
export type CacheType = (typeof cacheTypes)[number];

export interface CacheShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Default F16. */
  readonly type?: CacheType;
  /** Per layer: the chunk length C of a layer that attends within chunks, or null where a layer sees the whole context. */
  readonly chunks: readonly (number | null)[];
  /** Positions a sequence may hold. */
  readonly maxTokens: number;
  /** Sequences that may live at once; ids are 0 … maxSequences − 1. */
  readonly maxSequences: number;
  /** So many of them may all grow to maxTokens: memory is set aside for these. Default: all. */
  readonly longSequences?: number;
  /** Most tokens one batch brings. A chunked layer keeps C + maxBatch positions, never more. */
  readonly maxBatch: number;
}

/** Keys and values of past tokens. Memory grows with use, in pages, and is returned on truncate. */
export interface KVCache extends Disposable {
  readonly shape: CacheShape;
  /** Stores one layer's keys and values, [T, kvHeads, headDim] each, at the batch's positions. */
  append(layer: number, keys: Tensor, values: Tensor, batch: Batch): void;
  /** Positions the sequence holds. */
  length(sequence: number): number;
  /**
   * Rewinds a sequence to `length` positions (0 frees it) and returns the length it now has. That is `length`, or the start of
   * `length`'s chunk where a chunked layer no longer holds the keys before `length`: compute on from the returned position.
   */
  truncate(sequence: number, length: number): number;
  /**
   * Gives the empty sequence `to` what `from` would hold after `truncate(from, length)`, and returns that length. `from` stays as it is,
   * and from now on neither sees what becomes of the other; memory may be shared as long as it is alike.
   */
  fork(from: number, to: number, length: number): number;
  /** Names the form of saved bytes: what `save` gives, a cache of the same layout, heads and chunks takes. */
  readonly layout: string;
  /** Copies of all that each layer holds of a sequence. */
  save(sequence: number): SavedLayer[];
  /** Fills an empty sequence with what was saved. @throws RangeError when it does not fit this cache. */
  restore(sequence: number, layers: readonly SavedLayer[]): void;
  /** Bytes held now. */
  readonly bytes: number;
}

/** One layer's keys and values at positions [start, end) of a sequence, in the form that the cache's `layout` names. */
export interface SavedLayer {
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/** Numbers of a row whose mass is told as one. */
export const massTokens = 512;

/** What a backend has done since it was made, for statistics. */
export interface Counters {
  /** Bytes of weights read by matrix products. */
  weightBytes: number;
  /** Multiply-adds of matrix products. */
  multiplyAdds: number;
}

/**
 * Every operation enqueues and returns at once; only `read` waits. A row of a result depends on that row's inputs alone and not
 * on the rows beside it, bit for bit. Shapes are checked by the caller (weights.ts), once.
 */
export interface Backend extends AsyncDisposable {
  readonly name: 'reference' | 'wasm' | 'native' | 'webgpu';
  /** Instruction set its kernels were compiled for, where there are several. */
  readonly variant?: string;
  readonly threads: number;
  readonly counters: Readonly<Counters>;
  /** Bytes held for weights, caches and activations together. */
  readonly memoryBytes: number;

  /** Makes a weight and fills it from its file's bytes: whole, in ascending pieces, straight into the backend's memory. */
  upload(dtype: DType, shape: readonly number[], fill: Fill): Promise<Tensor>;
  /**
   * Makes a weight [n, …] of two axes or more whose bytes come later, by `write`, one x[index] after the other. It takes room as it is
   * written, and until then its numbers mean nothing.
   */
  reserve(dtype: DType, shape: readonly number[]): Tensor;
  /** Bytes that one weight may have at most. */
  readonly largestWeight: number;
  /** Replaces x[index] of an uploaded [n, …] tensor of two axes or more, such as one expert's slot. */
  write(x: Tensor, index: number, fill: Fill): Promise<void>;
  /**
   * Replaces several x[index], as `write` does, with what files hold, beside whatever computes: without passing through the system's
   * cache of files, and many reads at once. Absent where a backend has no such way. What is not urgent is read while nothing urgent is.
   * @throws RangeError when a part does not fit; FileReadError when a file cannot be opened.
   */
  fetch?(parts: readonly FilePart[], urgent: boolean): FileReading;
  /** Runs what is enqueued and copies the numbers out. */
  read(x: Tensor): Promise<Float32Array>;
  /** Runs what is enqueued, and returns when it is done. */
  settle(): void;
  /**
   * Frees every activation made inside `run`, also when it throws, but not the tensor that `run` returns: that one belongs to the
   * step around it.
   */
  step<T>(run: () => Promise<T>): Promise<T>;
  /** Frees an upload, or an activation before its step ends: neither it nor a reshaped form of it is used from now on. */
  release(x: Tensor): void;
  createCache(shape: CacheShape): KVCache;

  /** Numbers that the host knows, for the step under way: I32. */
  integers(values: Int32Array, shape: readonly number[]): Tensor;
  /** Rows `tokens` of a [vocab, dim] table, any weight format: [T, dim]. */
  embed(table: Tensor, tokens: Int32Array): Tensor;
  /** [T, in] · [out, in]ᵀ = [T, out]. */
  matmul(x: Tensor, weight: Tensor): Tensor;
  /** x / √(mean x² + eps) · weight over the last axis; no weight means 1. */
  rmsNorm(x: Tensor, weight: Tensor | null, eps: number): Tensor;
  /** Rotates adjacent pairs (2j, 2j+1) of [T, heads, headDim] by positions[t] · frequencies[j]. */
  rope(x: Tensor, frequencies: Tensor, positions: Int32Array): Tensor;
  /** softmax(q·kᵀ/√headDim)·v over the visible keys of `cache`'s layer: [T, heads, headDim], kvHeads shared by groups of heads. */
  attention(q: Tensor, cache: KVCache, layer: number, batch: Batch): Tensor;
  /** The k largest of each row, first index first on ties. Ids are I32 [T, k], values F32 [T, k]. */
  topK(x: Tensor, k: number): { ids: Tensor; values: Tensor };
  /** Of each row of [T, n] the largest number and Σ exp(x − largest), of which its softmax is made: [T, 2]. NaN in a row makes the sum NaN. */
  softmaxSums(x: Tensor): Tensor;
  /**
   * Of each row of [T, n], for every `massTokens` numbers, Σ exp((x − largest of the row) / temperatures[row]): [T, ⌈n / massTokens⌉].
   * A draw finds its part by them, and looks at the numbers of no other.
   */
  softmaxMasses(x: Tensor, temperatures: Float32Array): Tensor;
  /** Row t uses experts[slots[t]] of [n, out, in]; slot −1 gives zeros. `slots` is I32 [T, 1]. */
  expertMatmul(x: Tensor, experts: Tensor, slots: Tensor): Tensor;
  /** silu(gate) ⊙ up. */
  swiglu(gate: Tensor, up: Tensor): Tensor;
  sigmoid(x: Tensor): Tensor;
  /** a + scale · b. */
  add(a: Tensor, b: Tensor, scale?: number): Tensor;
  /** Row t times perRow[t]. */
  scaleRows(x: Tensor, perRow: Tensor | Float32Array): Tensor;
  gatherRows(x: Tensor, rows: Int32Array): Tensor;
  /** The same numbers in another shape; one dimension may be −1. */
  reshape(x: Tensor, shape: readonly number[]): Tensor;
}
