// The normative backend: every operation in scalar TypeScript, computed at once. Exact and slow; others are measured by it.
import { byteLengthOf, type DType } from '../../checkpoint/dtype.ts';
import {
  type Backend,
  type Batch,
  type CacheShape,
  type Counters,
  type Fill,
  type KVCache,
  massTokens,
  type Tensor,
} from '../backend.ts';
import { attend } from './attention.ts';
import { asReferenceCache, ReferenceCache } from './cache.ts';
import { dequantize } from './dequantize.ts';
import { timesRows } from './matmul.ts';
import { checkShape, HostTensor, type Storage, sizeOf } from './tensor.ts';

export interface ReferenceOptions {
  /** Bytes of small weights kept decoded, for speed; results are the same with 0. Default 64 MiB. */
  readonly decodedBytes?: number;
}

/** Makes a backend that computes on the caller's thread. Numbers are float32, sums doubles. */
export const createReferenceBackend = (options: ReferenceOptions = {}): Backend => new ReferenceBackend(options);

/** Weights larger than this share of the decoded budget stay in their blocks, so that one table cannot use it up. */
const largestDecodedShare = 1 / 8;
/** Bytes that `upload` asks for at once, at most (but whole rows). */
const pieceBytes = 64 * 2 ** 20;
/** Numbers of weights decoded at once: few enough to stay in the processor's cache. */
const slabSize = 32 * 1024;

class ReferenceBackend implements Backend {
  readonly name = 'reference';
  readonly threads = 1;
  readonly counters: Counters = { weightBytes: 0, multiplyAdds: 0 };
  private readonly caches = new Set<ReferenceCache>();
  /** Storages made inside the steps under way, innermost last. */
  private readonly steps: Storage[][] = [];
  private heldBytes = 0;
  private decodedLeft: number;
  private readonly largestDecoded: number;
  private disposed = false;

  constructor({ decodedBytes = 64 * 2 ** 20 }: ReferenceOptions) {
    this.decodedLeft = decodedBytes;
    this.largestDecoded = decodedBytes * largestDecodedShare;
  }

  get memoryBytes(): number {
    let bytes = this.heldBytes;
    for (const cache of this.caches) bytes += cache.bytes;
    return bytes;
  }

  async upload(dtype: DType, shape: readonly number[], fill: Fill): Promise<Tensor> {
    this.checkLive();
    checkShape(dtype, shape);
    const size = sizeOf(shape);
    const bytes = allocate(byteLengthOf(dtype, size), dtype, shape);
    const rowBytes = byteLengthOf(dtype, shape.at(-1)!);
    const step = Math.max(1, Math.floor(pieceBytes / Math.max(1, rowBytes))) * rowBytes;
    for (let at = 0; at < bytes.length; at += step)
      await fill(bytes.subarray(at, Math.min(at + step, bytes.length)), at);
    let data: Storage['data'] = bytes;
    if (dtype === 'I32') data = new Int32Array(bytes.buffer);
    else if (dtype === 'F32') data = new Float32Array(bytes.buffer);
    else if (4 * size <= Math.min(this.largestDecoded, this.decodedLeft)) {
      data = dequantize(dtype, bytes, size);
      this.decodedLeft -= data.byteLength;
    }
    this.heldBytes += data.byteLength;
    return new HostTensor(dtype, [...shape], { data });
  }

  reserve(dtype: DType, shape: readonly number[]): Tensor {
    this.checkLive();
    checkShape(dtype, shape);
    const bytes = allocate(byteLengthOf(dtype, sizeOf(shape)), dtype, shape);
    this.heldBytes += bytes.byteLength;
    if (dtype === 'I32') return new HostTensor(dtype, [...shape], { data: new Int32Array(bytes.buffer) });
    return new HostTensor(dtype, [...shape], { data: dtype === 'F32' ? new Float32Array(bytes.buffer) : bytes });
  }

  /** What V8 makes in one piece. */
  readonly largestWeight = 2 ** 32;

  async write(x: Tensor, index: number, fill: Fill): Promise<void> {
    const tensor = this.own(x);
    const { dtype, shape } = tensor;
    if (shape.length < 2 || !Number.isInteger(index) || index < 0 || index >= shape[0]!)
      throw new RangeError(
        `Slot ${index} cannot be written: the tensor is [${shape}], wanted is an uploaded [n, …] with n > ${index}.`,
      );
    const size = shape.slice(1).reduce((a, b) => a * b, 1);
    const bytes = new Uint8Array(byteLengthOf(dtype, size));
    await fill(bytes, 0);
    const { data } = tensor;
    if (data instanceof Uint8Array) data.set(bytes, index * bytes.length);
    else if (data instanceof Int32Array) data.set(new Int32Array(bytes.buffer), index * size);
    else dequantize(dtype, bytes, size, data.subarray(index * size));
  }

  async read(x: Tensor): Promise<Float32Array> {
    return this.own(x).floats().slice();
  }

  settle(): void {
    this.checkLive();
  }

  async step<T>(run: () => Promise<T>): Promise<T> {
    this.checkLive();
    const made: Storage[] = [];
    this.steps.push(made);
    let result: T | undefined;
    try {
      result = await run();
      return result;
    } finally {
      const index = this.steps.indexOf(made);
      this.steps.splice(index, 1);
      const around = this.steps[index - 1];
      const kept = around && result instanceof HostTensor ? result.storage : null;
      if (kept && made.includes(kept)) around!.push(kept);
      for (const storage of made) {
        if (storage === kept) continue;
        if (!this.disposed) this.heldBytes -= storage.data?.byteLength ?? 0;
        storage.data = null;
      }
    }
  }

  release(x: Tensor): void {
    const { storage, dtype } = this.own(x);
    const made = this.steps.find(step => step.includes(storage));
    if (made) made.splice(made.indexOf(storage), 1);
    else if (dtype !== 'F32' && storage.data instanceof Float32Array) this.decodedLeft += storage.data.byteLength;
    this.heldBytes -= storage.data?.byteLength ?? 0;
    storage.data = null;
  }

  createCache(shape: CacheShape): KVCache {
    this.checkLive();
    const cache = new ReferenceCache(
      shape,
      x => this.floats(x),
      disposed => this.caches.delete(disposed),
    );
    this.caches.add(cache);
    return cache;
  }

  integers(values: Int32Array, shape: readonly number[]): Tensor {
    if (sizeOf(shape) !== values.length) throw new RangeError(`${values.length} numbers cannot have shape [${shape}].`);
    return this.make(values.slice(), shape);
  }

  embed(table: Tensor, tokens: Int32Array): Tensor {
    const weight = this.own(table);
    const [vocab, dim] = matrix(weight);
    const out = new Float32Array(tokens.length * dim);
    const scratch = new Float32Array(dim);
    tokens.forEach((token, t) => {
      if (token < 0 || token >= vocab) throw new RangeError(`Token ${token} is none of the table's 0 … ${vocab - 1}.`);
      const { data, at } = weight.rows(token, 1, scratch);
      out.set(data.subarray(at, at + dim), t * dim);
    });
    return this.make(out, [tokens.length, dim]);
  }

  matmul(x: Tensor, weight: Tensor): Tensor {
    const w = this.own(weight);
    const [outs, n] = matrix(w);
    const input = this.rowsOf(x, n, weight);
    const rows = rowCount(x);
    const out = new Float32Array(rows * outs);
    this.multiply(input, rows, w, 0, outs, n, out);
    return this.make(out, [...x.shape.slice(0, -1), outs]);
  }

  expertMatmul(x: Tensor, experts: Tensor, slots: Tensor): Tensor {
    const w = this.own(experts);
    const [count, outs, n] = w.shape as readonly [number, number, number];
    if (w.shape.length !== 3) throw new RangeError(`Experts must be [n, out, in]; got [${w.shape}].`);
    const input = this.rowsOf(x, n, experts);
    const rows = rowCount(x);
    const ids = this.own(slots).data;
    if (!(ids instanceof Int32Array) || ids.length !== rows)
      throw new RangeError(`Slots must be I32 [${rows}, 1]; got ${slots.dtype} [${slots.shape}].`);
    const rowsOfExpert = new Map<number, number[]>();
    ids.forEach((slot, t) => {
      if (slot < -1 || slot >= count)
        throw new RangeError(`Slot ${slot} of row ${t} is neither -1 nor 0 … ${count - 1}.`);
      if (slot < 0) return;
      const list = rowsOfExpert.get(slot);
      if (list) list.push(t);
      else rowsOfExpert.set(slot, [t]);
    });
    const out = new Float32Array(rows * outs);
    for (const [slot, list] of rowsOfExpert) {
      const gathered = new Float32Array(list.length * n);
      for (const [i, t] of list.entries()) gathered.set(input.subarray(t * n, (t + 1) * n), i * n);
      const product = new Float32Array(list.length * outs);
      this.multiply(gathered, list.length, w, slot * outs, outs, n, product);
      for (const [i, t] of list.entries()) out.set(product.subarray(i * outs, (i + 1) * outs), t * outs);
    }
    return this.make(out, [...x.shape.slice(0, -1), outs]);
  }

  rmsNorm(x: Tensor, weight: Tensor | null, eps: number): Tensor {
    const n = x.shape.at(-1)!;
    const input = this.floats(x);
    const w = weight && this.rowsOf(weight, n, x);
    const out = new Float32Array(input.length);
    for (let at = 0; at < input.length; at += n) {
      let squares = 0;
      for (let i = 0; i < n; i++) squares += input[at + i]! ** 2;
      const scale = 1 / Math.sqrt(squares / n + eps);
      for (let i = 0; i < n; i++) out[at + i] = input[at + i]! * scale * (w ? w[i]! : 1);
    }
    return this.make(out, x.shape);
  }

  rope(x: Tensor, frequencies: Tensor, positions: Int32Array): Tensor {
    const input = this.floats(x);
    const [tokens, heads, headDim] = x.shape as readonly [number, number, number];
    const f = this.floats(frequencies);
    if (x.shape.length !== 3 || f.length * 2 !== headDim || positions.length !== tokens)
      throw new RangeError(
        `rope wants [T, heads, headDim], headDim / 2 frequencies and T positions; got [${x.shape}], ${f.length} and ${positions.length}.`,
      );
    const out = new Float32Array(input.length);
    for (let t = 0; t < tokens; t++) {
      for (let j = 0; j < f.length; j++) {
        const angle = positions[t]! * f[j]!;
        const cos = Math.cos(angle);
        const sin = Math.sin(angle);
        for (let head = 0; head < heads; head++) {
          const at = (t * heads + head) * headDim + 2 * j;
          out[at] = input[at]! * cos - input[at + 1]! * sin;
          out[at + 1] = input[at]! * sin + input[at + 1]! * cos;
        }
      }
    }
    return this.make(out, x.shape);
  }

  attention(q: Tensor, cache: KVCache, layer: number, batch: Batch): Tensor {
    const own = asReferenceCache(cache);
    const { kvHeads, headDim } = cache.shape;
    const heads = q.shape[1]!;
    if (
      q.shape.length !== 3 ||
      q.shape[0] !== batch.positions.length ||
      q.shape[2] !== headDim ||
      heads % kvHeads !== 0
    )
      throw new RangeError(
        `Queries must be [${batch.positions.length}, a multiple of ${kvHeads}, ${headDim}]; got [${q.shape}].`,
      );
    return this.make(attend(this.floats(q), heads, own, layer, batch), q.shape);
  }

  topK(x: Tensor, k: number): { ids: Tensor; values: Tensor } {
    const input = this.floats(x);
    const n = x.shape.at(-1)!;
    const rows = rowCount(x);
    if (!Number.isInteger(k) || k < 1 || k > n)
      throw new RangeError(`The ${k} largest of rows of ${n} cannot be taken; k must be 1 … ${n}.`);
    const ids = new Int32Array(rows * k);
    const values = new Float32Array(rows * k);
    for (let t = 0; t < rows; t++) {
      const row = input.subarray(t * n, (t + 1) * n);
      const rank = (i: number): number => (Number.isNaN(row[i]!) ? -Infinity : row[i]!); // NaN is never chosen before a number
      const best: number[] = []; // ids, largest first
      for (let i = 0; i < n; i++) {
        if (best.length === k && !(rank(i) > rank(best[k - 1]!))) continue;
        let at = Math.min(best.length, k - 1);
        for (; at > 0 && rank(i) > rank(best[at - 1]!); at--) best[at] = best[at - 1]!;
        best[at] = i;
      }
      best.forEach((id, i) => {
        ids[t * k + i] = id;
        values[t * k + i] = row[id]!;
      });
    }
    const shape = [...x.shape.slice(0, -1), k];
    return { ids: this.make(ids, shape), values: this.make(values, shape) };
  }

  softmaxMasses(x: Tensor, temperatures: Float32Array): Tensor {
    const input = this.floats(x);
    const n = x.shape.at(-1)!;
    const masses = Math.ceil(n / massTokens);
    const out = new Float32Array(rowCount(x) * masses);
    for (const [t, temperature] of temperatures.entries()) {
      const row = input.subarray(t * n, (t + 1) * n);
      const max = row.reduce((a, b) => (b > a ? b : a), -Infinity);
      for (let i = 0; i < masses; i++)
        out[t * masses + i] = row
          .subarray(i * massTokens, (i + 1) * massTokens)
          .reduce((sum, value) => sum + Math.exp((value - max) / temperature), 0);
    }
    return this.make(out, [...x.shape.slice(0, -1), masses]);
  }

  softmaxSums(x: Tensor): Tensor {
    const input = this.floats(x);
    const n = x.shape.at(-1)!;
    const out = new Float32Array(rowCount(x) * 2);
    for (let t = 0; 2 * t < out.length; t++) {
      const row = input.subarray(t * n, (t + 1) * n);
      const max = row.reduce((a, b) => (b > a ? b : a), -Infinity);
      out[2 * t] = max;
      out[2 * t + 1] = row.reduce((sum, value) => sum + Math.exp(value - max), 0);
    }
    return this.make(out, [...x.shape.slice(0, -1), 2]);
  }

  swiglu(gate: Tensor, up: Tensor): Tensor {
    const g = this.floats(gate);
    const u = this.sameSize(up, gate);
    return this.make(
      g.map((value, i) => (value / (1 + Math.exp(-value))) * u[i]!),
      gate.shape,
    );
  }

  sigmoid(x: Tensor): Tensor {
    return this.make(
      this.floats(x).map(value => 1 / (1 + Math.exp(-value))),
      x.shape,
    );
  }

  add(a: Tensor, b: Tensor, scale = 1): Tensor {
    const second = this.sameSize(b, a);
    return this.make(
      this.floats(a).map((value, i) => value + scale * second[i]!),
      a.shape,
    );
  }

  scaleRows(x: Tensor, perRow: Tensor | Float32Array): Tensor {
    const factors = perRow instanceof Float32Array ? perRow : this.floats(perRow);
    const rows = x.shape[0]!;
    if (factors.length !== rows) throw new RangeError(`${rows} rows need as many factors; got ${factors.length}.`);
    const n = sizeOf(x.shape.slice(1));
    return this.make(
      this.floats(x).map((value, i) => value * factors[Math.floor(i / n)]!),
      x.shape,
    );
  }

  gatherRows(x: Tensor, rows: Int32Array): Tensor {
    const input = this.floats(x);
    const n = sizeOf(x.shape.slice(1));
    const out = new Float32Array(rows.length * n);
    rows.forEach((row, i) => {
      if (row < 0 || row >= x.shape[0]!)
        throw new RangeError(`Row ${row} is none of the tensor's 0 … ${x.shape[0]! - 1}.`);
      out.set(input.subarray(row * n, (row + 1) * n), i * n);
    });
    return this.make(out, [rows.length, ...x.shape.slice(1)]);
  }

  reshape(x: Tensor, shape: readonly number[]): Tensor {
    const { dtype, storage } = this.own(x);
    const size = sizeOf(x.shape);
    const known = sizeOf(shape.filter(length => length !== -1));
    const full = shape.map(length => (length === -1 ? size / known : length));
    if (shape.indexOf(-1) !== shape.lastIndexOf(-1) || !full.every(Number.isInteger) || sizeOf(full) !== size)
      throw new RangeError(`[${x.shape}] has ${size} numbers and cannot become [${shape}].`);
    return new HostTensor(dtype, full, storage);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    for (const cache of [...this.caches]) cache[Symbol.dispose]();
    this.heldBytes = 0;
  }

  /** out = x · w[firstRow …]ᵀ, a slab of weight rows decoded at a time. */
  private multiply(
    x: Float32Array,
    rows: number,
    w: HostTensor,
    firstRow: number,
    outs: number,
    n: number,
    out: Float32Array,
  ): void {
    const slab = Math.min(outs, Math.max(4, Math.floor(slabSize / Math.max(1, n))));
    const scratch = new Float32Array(w.data instanceof Uint8Array ? slab * n : 0);
    for (let o = 0; o < outs; o += slab) {
      const count = Math.min(slab, outs - o);
      const { data, at } = w.rows(firstRow + o, count, scratch);
      timesRows(x, 0, rows, data, at, count, n, out, o, outs);
    }
    this.counters.weightBytes += byteLengthOf(w.dtype, outs * n);
    this.counters.multiplyAdds += rows * outs * n;
  }

  private make(data: Float32Array | Int32Array, shape: readonly number[]): HostTensor {
    const storage: Storage = { data };
    this.heldBytes += data.byteLength;
    this.steps.at(-1)?.push(storage);
    return new HostTensor(data instanceof Float32Array ? 'F32' : 'I32', shape, storage);
  }

  private own(x: Tensor): HostTensor {
    this.checkLive();
    if (x instanceof HostTensor) return x;
    throw new TypeError(`This ${x.dtype} [${x.shape}] tensor was made by another backend.`);
  }

  private floats(x: Tensor): Float32Array {
    return this.own(x).floats();
  }

  private rowsOf(x: Tensor, n: number, beside: Tensor): Float32Array {
    if (x.shape.at(-1) === n) return this.floats(x);
    throw new RangeError(`[${x.shape}] does not fit [${beside.shape}]: the last axes differ.`);
  }

  private sameSize(x: Tensor, as: Tensor): Float32Array {
    if (sizeOf(x.shape) === sizeOf(as.shape)) return this.floats(x);
    throw new RangeError(`[${x.shape}] and [${as.shape}] must have the same shape.`);
  }

  private checkLive(): void {
    if (this.disposed) throw new Error('This backend was disposed; make another with createReferenceBackend.');
  }
}

const rowCount = (x: Tensor): number => sizeOf(x.shape.slice(0, -1));

function matrix(x: Tensor): readonly [number, number] {
  if (x.shape.length === 2) return x.shape as readonly [number, number];
  throw new RangeError(`A weight matrix must be [out, in]; got [${x.shape}].`);
}

function allocate(bytes: number, dtype: DType, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new RangeError(
      `A weight of ${bytes} bytes (${dtype} [${shape}]) cannot be held in one piece of memory; use a smaller checkpoint.`,
      { cause },
    );
  }
}
