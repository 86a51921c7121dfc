// The backend around compiled kernels: it checks operands, says where results lie, and writes commands. Machines carry them out.
import { type DType, formats } from '../../checkpoint/dtype.ts';
import type { Backend, Batch, CacheShape, Counters, FilePart, Fill, KVCache, Tensor } from '../backend.ts';
import { enqueueAppend, enqueueAttention } from './attention.ts';
import type { Bank } from './bank.ts';
import { asOwnCache, PagedCache } from './cache.ts';
import { commands, control } from './commands.ts';
import { Device, inputAt } from './device.ts';
import { Filling } from './filling.ts';
import { layoutOf } from './layout.ts';
import { enqueueSoftmaxMasses, enqueueSoftmaxSums, enqueueTopK } from './logits.ts';
import type { Machine, PlacedPart } from './machine.ts';
import { angleTable } from './rope.ts';
import { checkShape, fullShape, type Place, PlacedTensor, sizeOf } from './tensor.ts';

/** Elements, or multiply-adds, up to which one thread is sooner done than several that must meet. */
const alone = { plain: 8192, product: 16384 } as const;

/**
 * A backend whose matrix products round activations to 8 bits where weights are quantized, and whose caches hold halves unless asked
 * otherwise. It computes on the caller's thread and the machine's others.
 * @throws RangeError when memory cannot be reserved; Error when a thread does not come up.
 */
export const createCompiledBackend = async (machine: Machine): Promise<Backend> =>
  new CompiledBackend(await Device.open(machine));

class CompiledBackend implements Backend {
  readonly name: Machine['name'];
  readonly variant?: string;
  private readonly device: Device;
  private readonly caches = new Set<PagedCache>();
  private readonly filling: Filling;
  private lastCounters: Counters = { weightBytes: 0, multiplyAdds: 0 };
  readonly fetch?: Backend['fetch'];

  constructor(device: Device) {
    this.device = device;
    this.filling = new Filling(device);
    const { files } = device.machine;
    if (files)
      this.fetch = (parts, urgent) =>
        files.read(
          parts.map(part => this.placed(part)),
          urgent,
        );
    this.name = device.machine.name;
    this.variant = device.machine.variant;
  }

  get threads(): number {
    return this.device.threadCount;
  }

  get counters(): Counters {
    const { banks } = this.device;
    if (banks.length > 0) {
      const sum = (at: number): number => banks.reduce((total, bank) => total + bank.counter(at), 0);
      this.lastCounters = { weightBytes: sum(control.weightBytes), multiplyAdds: sum(control.multiplyAdds) };
    }
    return this.lastCounters;
  }

  get memoryBytes(): number {
    return this.device.memoryBytes;
  }

  async upload(dtype: DType, shape: readonly number[], fill: Fill): Promise<Tensor> {
    const { device } = this;
    device.checkLive();
    checkShape(dtype, shape);
    const layout = layoutOf(dtype, shape, device.banks[0]!.kernels);
    const bytes = layout.matrices * layout.matrixBytes;
    const storage = device.allocateWeight(bytes, `A weight (${dtype} [${shape}])`);
    storage.bank.expect(storage.start, bytes);
    const tensor = new PlacedTensor(dtype, [...shape], storage);
    try {
      await device.during(this.filling.fill(tensor, layout, 0, layout.matrices, fill));
    } catch (error) {
      storage.bank.freeWeight(storage.start, bytes);
      throw error;
    }
    return tensor;
  }

  reserve(dtype: DType, shape: readonly number[]): Tensor {
    const { device } = this;
    device.checkLive();
    checkShape(dtype, shape);
    const { matrices, matrixBytes } = layoutOf(dtype, shape, device.banks[0]!.kernels);
    const storage = device.allocateWeight(matrices * matrixBytes, `A weight (${dtype} [${shape}])`);
    return new PlacedTensor(dtype, [...shape], storage);
  }

  get largestWeight(): number {
    return this.device.banks[0]!.mostWeightBytes;
  }

  async write(x: Tensor, index: number, fill: Fill): Promise<void> {
    const { dtype, shape, storage } = this.own(x);
    if (!storage.uploaded || shape.length < 2 || !Number.isInteger(index) || index < 0 || index >= shape[0]!)
      throw new RangeError(
        `Slot ${index} cannot be written: the tensor is ${storage.uploaded ? '' : 'an activation '}[${shape}], wanted is an uploaded [n, …] with n > ${index}.`,
      );
    const layout = layoutOf(dtype, shape, storage.bank.kernels);
    if (layout.packed && shape.length === 2)
      throw new RangeError(
        `Row ${index} of a ${dtype} [${shape}] matrix cannot be written: its rows are interleaved. Upload it as [${shape[0]}, 1, ${shape[1]}].`,
      );
    this.device.beforeWrite(storage);
    const slot =
      shape.length === 2 ? { ...layout, matrices: shape[0]!, rows: 1, matrixBytes: layout.rowBytes } : layout;
    const each = slot.matrices / shape[0]!;
    await this.device.during(this.filling.fill(this.own(x), slot, index * each, each, fill));
  }

  async read(x: Tensor): Promise<Float32Array> {
    const tensor = this.own(x);
    const { dtype, storage, size } = tensor;
    this.device.settle();
    if (dtype === 'F32') return storage.bank.floats(storage.start, size).slice();
    if (dtype === 'I32') return Float32Array.from(storage.bank.integers(storage.start, size));
    return this.step(() =>
      this.read(
        this.decodeRows(
          tensor,
          Int32Array.from({ length: tensor.rows }, (_, row) => row),
        ),
      ),
    );
  }

  settle(): void {
    this.device.settle();
  }

  step<T>(run: () => Promise<T>): Promise<T> {
    return this.device.step(run);
  }

  release(x: Tensor): void {
    this.device.release(this.own(x).storage);
  }

  createCache(shape: CacheShape): KVCache {
    this.device.checkLive();
    const cache = new PagedCache(
      shape,
      this.device,
      (own, layer, keys, values, batch) =>
        enqueueAppend(this.device, own, layer, this.own(keys), this.own(values), batch),
      disposed => this.caches.delete(disposed),
    );
    this.caches.add(cache);
    return cache;
  }

  integers(values: Int32Array, shape: readonly number[]): Tensor {
    const { device } = this;
    if (sizeOf(shape) !== values.length) throw new RangeError(`${values.length} numbers cannot have shape [${shape}].`);
    const bank = device.banks.at(-1)!;
    const start = device.integers(bank, values);
    return new PlacedTensor('I32', [...shape], inputAt(bank, start, 4 * values.length));
  }

  embed(table: Tensor, tokens: Int32Array): Tensor {
    const weight = this.own(table);
    const [vocab] = matrix(weight);
    for (const token of tokens)
      if (token < 0 || token >= vocab) throw new RangeError(`Token ${token} is none of the table's 0 … ${vocab - 1}.`);
    return this.decodeRows(weight, tokens);
  }

  matmul(x: Tensor, weight: Tensor): Tensor {
    const w = this.own(weight);
    const [out, n] = matrix(w);
    const input = this.rowsOf(x, n, w);
    const { bank } = w.storage;
    const y = this.device.activation(bank, 'F32', x.shape.with(-1, out), input.rows * out);
    const from = this.productInput(bank, input, w);
    this.device.enqueue(bank, {
      kind: commands.Matmul,
      arguments: [formatOf(w), w.storage.start, out, n, from.start, from.bits, input.rows, y.storage.start],
      reads: [from],
      writes: [y.storage],
      single: input.rows * out * n <= alone.product,
    });
    return y;
  }

  expertMatmul(x: Tensor, experts: Tensor, slots: Tensor): Tensor {
    const w = this.own(experts);
    const [count, out, n] = w.shape as readonly [number, number, number];
    if (w.shape.length !== 3) throw new RangeError(`Experts must be [n, out, in]; got [${w.shape}].`);
    const input = this.rowsOf(x, n, w);
    const ids = this.own(slots);
    if (ids.dtype !== 'I32' || ids.size !== input.rows)
      throw new RangeError(`Slots must be I32 [${input.rows}, 1]; got ${slots.dtype} [${slots.shape}].`);
    const { device } = this;
    const { bank } = w.storage;
    const y = device.activation(bank, 'F32', x.shape.with(-1, out), input.rows * out);
    const from = this.productInput(bank, input, w);
    const slotsAt = device.placeIn(bank, ids.storage);
    const scratch = device.scratch(bank, bank.kernels.expert_scratch_bytes(count, input.rows, device.threadCount));
    device.enqueue(bank, {
      kind: commands.ExpertMatmul,
      arguments: [
        formatOf(w),
        w.storage.start,
        count,
        out,
        n,
        from.start,
        from.bits,
        input.rows,
        slotsAt.start,
        y.storage.start,
        scratch.start,
      ],
      reads: [from, slotsAt],
      writes: [y.storage, scratch],
      single: input.rows * out * n <= alone.product,
    });
    return y;
  }

  rmsNorm(x: Tensor, weight: Tensor | null, eps: number): Tensor {
    const input = this.own(x);
    const n = input.rowLength;
    const w = weight && this.rowsOf(weight, n, input);
    const bank = w ? this.device.bankOf(w.storage, input.storage) : input.storage.bank;
    const from = this.device.placeIn(bank, input.storage);
    const scale = w ? this.device.placeIn(bank, w.storage) : null;
    const y = this.device.activation(bank, 'F32', x.shape, input.size);
    this.device.enqueue(bank, {
      kind: commands.RmsNorm,
      arguments: [from.start, scale?.start ?? 0, input.rows, n, eps, y.storage.start],
      reads: scale ? [from, scale] : [from],
      writes: [y.storage],
      single: input.size <= alone.plain,
    });
    return y;
  }

  rope(x: Tensor, frequencies: Tensor, positions: Int32Array): Tensor {
    const input = this.own(x);
    const f = this.own(frequencies);
    const [tokens, heads, headDim] = x.shape as readonly [number, number, number];
    if (x.shape.length !== 3 || f.size * 2 !== headDim || positions.length !== tokens)
      throw new RangeError(
        `rope wants [T, heads, headDim], headDim / 2 frequencies and T positions; got [${x.shape}], ${f.size} and ${positions.length}.`,
      );
    const { device } = this;
    const { bank } = input.storage;
    const table = device.sharedInput(bank, 'angles', f.storage, positions, () => {
      const address = device.input(bank, 4 * tokens * headDim);
      if (!f.storage.uploaded) device.flush(); // the frequencies may be a result
      angleTable(f.storage.bank.floats(f.storage.start, f.size), positions, bank.floats(address, tokens * headDim));
      return address;
    });
    const y = device.activation(bank, 'F32', x.shape, input.size);
    device.enqueue(bank, {
      kind: commands.Rope,
      arguments: [input.storage.start, table, tokens, heads, headDim, y.storage.start],
      reads: [input.storage],
      writes: [y.storage],
      single: input.size <= alone.plain,
    });
    return y;
  }

  attention(q: Tensor, cache: KVCache, layer: number, batch: Batch): Tensor {
    return enqueueAttention(this.device, this.own(q), asOwnCache(cache), layer, batch);
  }

  topK(x: Tensor, k: number): { ids: Tensor; values: Tensor } {
    return enqueueTopK(this.device, this.own(x), k);
  }

  softmaxSums(x: Tensor): Tensor {
    return enqueueSoftmaxSums(this.device, this.own(x));
  }

  softmaxMasses(x: Tensor, temperatures: Float32Array): Tensor {
    return enqueueSoftmaxMasses(this.device, this.own(x), temperatures);
  }

  swiglu(gate: Tensor, up: Tensor): Tensor {
    const { size, places } = this.samePlace(gate, up);
    const [g, u] = places;
    const y = this.device.activation(g.bank, 'F32', gate.shape, size);
    this.device.enqueue(g.bank, {
      kind: commands.Swiglu,
      arguments: [g.start, u.start, size, y.storage.start],
      reads: [g, u],
      writes: [y.storage],
      single: size <= alone.plain,
    });
    return y;
  }

  sigmoid(x: Tensor): Tensor {
    const { size, storage } = this.own(x);
    const y = this.device.activation(storage.bank, 'F32', x.shape, size);
    this.device.enqueue(storage.bank, {
      kind: commands.Sigmoid,
      arguments: [storage.start, size, y.storage.start],
      reads: [storage],
      writes: [y.storage],
      single: size <= alone.plain,
    });
    return y;
  }

  add(a: Tensor, b: Tensor, scale = 1): Tensor {
    const { size, places } = this.samePlace(a, b);
    const [first, second] = places;
    const y = this.device.activation(first.bank, 'F32', a.shape, size);
    this.device.enqueue(first.bank, {
      kind: commands.Add,
      arguments: [first.start, second.start, scale, size, y.storage.start],
      reads: [first, second],
      writes: [y.storage],
      single: size <= alone.plain,
    });
    return y;
  }

  scaleRows(x: Tensor, perRow: Tensor | Float32Array): Tensor {
    const { device } = this;
    const input = this.own(x);
    const rows = x.shape[0]!;
    const factors = perRow instanceof Float32Array ? null : this.own(perRow);
    const given = factors ? factors.size : (perRow as Float32Array).length;
    if (given !== rows) throw new RangeError(`${rows} rows need as many factors; got ${given}.`);
    const bank = factors ? device.bankOf(factors.storage, input.storage) : input.storage.bank;
    const from = device.placeIn(bank, input.storage);
    const place = factors && device.placeIn(bank, factors.storage);
    const factorsAt = place ? place.start : device.input(bank, 4 * rows);
    if (perRow instanceof Float32Array) bank.floats(factorsAt, rows).set(perRow);
    const y = device.activation(bank, 'F32', x.shape, input.size);
    device.enqueue(bank, {
      kind: commands.ScaleRows,
      arguments: [from.start, factorsAt, rows, sizeOf(x.shape.slice(1)), y.storage.start],
      reads: place ? [from, place] : [from],
      writes: [y.storage],
      single: input.size <= alone.plain,
    });
    return y;
  }

  gatherRows(x: Tensor, rows: Int32Array): Tensor {
    const { device } = this;
    const { storage } = this.own(x);
    for (const row of rows)
      if (row < 0 || row >= x.shape[0]!)
        throw new RangeError(`Row ${row} is none of the tensor's 0 … ${x.shape[0]! - 1}.`);
    const n = sizeOf(x.shape.slice(1));
    const y = device.activation(storage.bank, 'F32', [rows.length, ...x.shape.slice(1)], rows.length * n);
    device.enqueue(storage.bank, {
      kind: commands.GatherRows,
      arguments: [storage.start, device.integers(storage.bank, rows), rows.length, n, y.storage.start],
      reads: [storage],
      writes: [y.storage],
      single: rows.length * n <= alone.plain,
    });
    return y;
  }

  reshape(x: Tensor, shape: readonly number[]): Tensor {
    const { dtype, storage, size } = this.own(x);
    const full = fullShape(shape, x, size);
    if (dtype !== 'F32' && storage.uploaded && (full.at(-1) !== x.shape.at(-1) || full.at(-2) !== x.shape.at(-2)))
      throw new RangeError(`A ${dtype} [${x.shape}] weight keeps its last two axes; it cannot become [${full}].`);
    return new PlacedTensor(dtype, full, storage);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    void this.counters; // keeps their last values
    for (const cache of [...this.caches]) cache[Symbol.dispose]();
    await this.device.dispose();
  }

  /** Rows of a weight as floats: [rows, n]. */
  private decodeRows(w: PlacedTensor, rows: Int32Array): PlacedTensor {
    const { bank, start } = w.storage;
    const n = w.rowLength;
    const y = this.device.activation(bank, 'F32', [rows.length, n], rows.length * n);
    this.device.enqueue(bank, {
      kind: commands.Embed,
      arguments: [
        formatOf(w),
        start,
        w.shape.at(-2) ?? 1,
        n,
        this.device.integers(bank, rows),
        rows.length,
        y.storage.start,
      ],
      reads: [],
      writes: [y.storage],
      single: rows.length * n <= alone.plain,
    });
    return y;
  }

  /** Where a product finds its activations, in the form its weight wants; rounding is done once for all products of one x. */
  private productInput(bank: Bank, x: PlacedTensor, w: PlacedTensor): Place & { readonly bits: number } {
    const { storage, rows, rowLength } = x;
    const from = this.device.placeIn(bank, storage);
    const bits = bank.kernels.activation_bits(formatOf(w), rowLength, this.device.machine.sixteenBitsBelow);
    if (bits === 32) return { bank, start: from.start, end: from.end, bits };
    if (storage.rounded)
      for (const form of storage.rounded)
        if (form.bank === bank && form.rowLength === rowLength && form.bits === bits) return form;
    const bytes = rows * bank.kernels.rounded_row_bytes(bits, rowLength);
    const start = bank.allocate(bytes, 'Rounded activations');
    const place = { bank, start, end: start + bytes, rowLength, bits };
    storage.rounded ??= [];
    storage.rounded.push(place);
    this.device.enqueue(bank, {
      kind: commands.Quantize,
      arguments: [bits, from.start, rows, rowLength, start],
      reads: [from],
      writes: [place],
      single: x.size <= alone.plain,
    });
    return place;
  }

  /** Two operands of one size, in one bank. */
  private samePlace(a: Tensor, b: Tensor): { readonly size: number; readonly places: readonly [Place, Place] } {
    const [first, second] = [this.own(a), this.own(b)];
    if (first.size !== second.size) throw new RangeError(`[${a.shape}] and [${b.shape}] must have the same shape.`);
    const { device } = this;
    const bank = device.bankOf(first.storage, second.storage);
    return { size: first.size, places: [device.placeIn(bank, first.storage), device.placeIn(bank, second.storage)] };
  }

  /** Where a part of a file goes. Commands that are enqueued must not want what is there. */
  private placed({ into, index, path, offset, chunkRows }: FilePart): PlacedPart {
    const { dtype, shape, storage } = this.own(into);
    const count = shape.length === 3 ? shape[0]! : 1;
    if (
      !storage.uploaded ||
      shape.length < 2 ||
      shape.length > 3 ||
      !(Number.isInteger(index) && index >= 0 && index < count)
    )
      throw new RangeError(
        `Matrix ${index} cannot be read: the tensor is [${shape}], wanted is an uploaded [n, out, in] with n > ${index}, or [out, in].`,
      );
    const { rows, n, rowBytes, matrixBytes } = layoutOf(dtype, shape, storage.bank.kernels);
    const address = storage.start + index * matrixBytes;
    // A whole weight is new. Threads that wait for new memory ask nothing of the disk.
    if (shape.length === 2) storage.bank.expect(address, matrixBytes);
    return { path, offset, chunkRows, format: formats[dtype].ggmlType, rows, n, rowBytes, address };
  }

  private own(x: Tensor): PlacedTensor {
    this.device.checkLive();
    if (!(x instanceof PlacedTensor) || !this.device.banks.includes(x.storage.bank))
      throw new TypeError(`This ${x.dtype} [${x.shape}] tensor was made by another backend.`);
    if (x.storage.freed)
      throw new Error(
        `This ${x.dtype} [${x.shape}] tensor was freed, by release or when its step ended; read it before.`,
      );
    return x;
  }

  private rowsOf(x: Tensor, n: number, beside: Tensor): PlacedTensor {
    if (x.shape.at(-1) === n) return this.own(x);
    throw new RangeError(`[${x.shape}] does not fit [${beside.shape}]: the last axes differ.`);
  }
}

const formatOf = (x: Tensor): number => formats[x.dtype].ggmlType;

function matrix(x: Tensor): readonly [number, number] {
  if (x.shape.length === 2 && x.dtype !== 'I32') return x.shape as readonly [number, number];
  throw new RangeError(`A weight matrix must be [out, in]; got ${x.dtype} [${x.shape}].`);
}
