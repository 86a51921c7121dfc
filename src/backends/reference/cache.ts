// Keys and values of past tokens: per layer and sequence a ring of pages that are made when first used.
import type { Batch, CacheShape, KVCache, SavedLayer, Tensor } from '../backend.ts';
import { checkCacheShape, checkEmpty, checkSaved, endsAfter, lengthKept } from '../cache-rules.ts';
import { halfValues, roundToEven, toHalf } from './half.ts';

/** Positions of a page. */
const pageLength = 64;

/** [kvHeads, positions of the page, headDim] each, so that one head's keys are rows that follow each other. */
interface Page {
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly length: number;
}

/** One layer of one sequence holds the positions [start, end), position p in slot p mod capacity. */
interface Ring {
  start: number;
  end: number;
  readonly pages: (Page | undefined)[];
}

/** A stretch of consecutive positions within one page, from the page's slot `at` on. */
export type VisitKeys = (page: Page, at: number, count: number, position: number) => void;

export class ReferenceCache implements KVCache {
  readonly shape: CacheShape;
  readonly layout: string;
  bytes = 0;
  private readonly rings: Ring[][]; // [layer][sequence]
  private readonly floats: (x: Tensor) => Float32Array;
  private readonly onDispose: (cache: ReferenceCache) => void;
  private disposed = false;

  constructor(shape: CacheShape, floats: (x: Tensor) => Float32Array, onDispose: (cache: ReferenceCache) => void) {
    checkCacheShape(shape);
    this.shape = shape;
    this.layout = shape.type === 'Q8_0' ? 'F32 of Q8_0, by position' : 'F32, by position';
    this.floats = floats;
    this.onDispose = onDispose;
    this.rings = Array.from({ length: shape.layers }, () =>
      Array.from({ length: shape.maxSequences }, () => ({ start: 0, end: 0, pages: [] })),
    );
  }

  append(layer: number, keys: Tensor, values: Tensor, batch: Batch): void {
    const { kvHeads, headDim } = this.shape;
    const tokens = batch.positions.length;
    const k = this.floats(keys);
    const v = this.floats(values);
    const wanted = tokens * kvHeads * headDim;
    if (k.length !== wanted || v.length !== wanted)
      throw new RangeError(
        `Keys [${keys.shape}] and values [${values.shape}] must be [${tokens}, ${kvHeads}, ${headDim}] each.`,
      );
    endsAfter(this.shape, layer, batch, sequence => this.ring(layer, sequence).end);
    const capacity = this.capacity(layer);
    for (let t = 0; t < tokens; t++) {
      const ring = this.ring(layer, batch.sequences[t]!);
      const slot = batch.positions[t]! % capacity;
      const page = this.page(ring, Math.floor(slot / pageLength), capacity);
      for (let head = 0; head < kvHeads; head++) {
        const from = (t * kvHeads + head) * headDim;
        const to = (head * page.length + (slot % pageLength)) * headDim;
        this.put(k.subarray(from, from + headDim), page.keys, to);
        this.put(v.subarray(from, from + headDim), page.values, to);
      }
      ring.end++;
      ring.start = Math.max(ring.start, ring.end - capacity);
    }
  }

  /** Positions that every layer holds; while a batch is under way, layers already computed hold more. */
  length(sequence: number): number {
    this.checkLive();
    return Math.min(...this.rings.map((_, layer) => this.ring(layer, sequence).end));
  }

  truncate(sequence: number, length: number): number {
    this.checkLive();
    const spans = this.rings.map((_, layer) => this.ring(layer, sequence));
    const kept = lengthKept(this.shape, sequence, length, spans);
    for (let layer = 0; layer < this.rings.length; layer++) {
      const ring = this.ring(layer, sequence);
      ring.end = Math.min(ring.end, kept);
      ring.start = Math.min(ring.start, ring.end);
      this.freeUnused(ring, this.capacity(layer));
    }
    return kept;
  }

  fork(from: number, to: number, length: number): number {
    checkEmpty(to, this.length(to));
    const spans = this.rings.map((_, layer) => this.ring(layer, from));
    const kept = lengthKept(this.shape, from, length, spans);
    for (const [layer, source] of spans.entries()) {
      const ring = this.ring(layer, to);
      ring.start = Math.min(source.start, kept);
      ring.end = kept;
      for (const [index, page] of source.pages.entries()) {
        if (!page) continue;
        ring.pages[index] = { keys: page.keys.slice(), values: page.values.slice(), length: page.length };
        this.bytes += page.keys.byteLength + page.values.byteLength;
      }
      this.freeUnused(ring, this.capacity(layer));
    }
    return kept;
  }

  save(sequence: number): SavedLayer[] {
    const { kvHeads, headDim } = this.shape;
    return this.rings.map((_, layer) => {
      const { start, end } = this.ring(layer, sequence);
      const floats = new Float32Array((end - start) * 2 * kvHeads * headDim);
      let to = 0;
      this.visit(layer, sequence, start, end, ({ keys, values, length }, at, count) => {
        for (let i = at; i < at + count; i++)
          for (const from of [keys, values])
            for (let head = 0; head < kvHeads; head++, to += headDim)
              floats.set(from.subarray((head * length + i) * headDim, (head * length + i + 1) * headDim), to);
      });
      return { start, end, bytes: new Uint8Array(floats.buffer) };
    });
  }

  restore(sequence: number, layers: readonly SavedLayer[]): void {
    const { kvHeads, headDim } = this.shape;
    checkEmpty(sequence, this.length(sequence));
    checkSaved(this.shape, layers, (start, end) => (end - start) * 8 * kvHeads * headDim);
    for (const [layer, { start, end, bytes }] of layers.entries()) {
      const ring = this.ring(layer, sequence);
      const capacity = this.capacity(layer);
      const floats = new Float32Array(bytes.slice().buffer);
      let from = 0;
      for (let position = start; position < end; position++) {
        const slot = position % capacity;
        const page = this.page(ring, Math.floor(slot / pageLength), capacity);
        for (const into of [page.keys, page.values])
          for (let head = 0; head < kvHeads; head++, from += headDim)
            into.set(floats.subarray(from, from + headDim), (head * page.length + (slot % pageLength)) * headDim);
      }
      ring.start = start;
      ring.end = end;
    }
  }

  /**
   * Visits the keys and values of positions [from, to) in ascending order.
   * @throws RangeError when the layer does not hold all of them.
   */
  visit(layer: number, sequence: number, from: number, to: number, visit: VisitKeys): void {
    const ring = this.ring(layer, sequence);
    if (from < ring.start || to > ring.end)
      throw new RangeError(
        `Layer ${layer} holds positions ${ring.start} to ${ring.end} of sequence ${sequence}; attention needs ${from} to ${to}. Append the batch first.`,
      );
    const capacity = this.capacity(layer);
    for (let position = from; position < to; ) {
      const slot = position % capacity;
      const page = ring.pages[Math.floor(slot / pageLength)]!;
      const at = slot % pageLength;
      const count = Math.min(page.length - at, to - position);
      visit(page, at, count, position);
      position += count;
    }
  }

  [Symbol.dispose](): void {
    if (this.disposed) return;
    this.disposed = true;
    this.bytes = 0;
    this.rings.length = 0;
    this.onDispose(this);
  }

  /** Stores a head's numbers as the cache's type has them. */
  private put(head: Float32Array, into: Float32Array, at: number): void {
    into.set(head, at);
    if (this.shape.type === 'Q8_0') roundToBytes(into.subarray(at, at + head.length));
  }

  /** Slots of a layer's ring. */
  private capacity(layer: number): number {
    const { chunks, maxTokens, maxBatch } = this.shape;
    const chunk = chunks[layer]!;
    return chunk === null ? maxTokens : Math.min(maxTokens, chunk + maxBatch);
  }

  private ring(layer: number, sequence: number): Ring {
    this.checkLive();
    const ring = this.rings[layer]?.[sequence];
    if (ring) return ring;
    const { layers, maxSequences } = this.shape;
    throw new RangeError(
      this.rings[layer]
        ? `Sequence ${sequence} is none of the cache's 0 … ${maxSequences - 1}.`
        : `Layer ${layer} is none of the cache's 0 … ${layers - 1}.`,
    );
  }

  private checkLive(): void {
    if (this.disposed) throw new Error('This cache was disposed; make another with createCache.');
  }

  private page(ring: Ring, index: number, capacity: number): Page {
    const existing = ring.pages[index];
    if (existing) return existing;
    const { kvHeads, headDim } = this.shape;
    const length = Math.min(pageLength, capacity - index * pageLength);
    const size = kvHeads * length * headDim;
    const page = { keys: new Float32Array(size), values: new Float32Array(size), length };
    ring.pages[index] = page;
    this.bytes += 8 * size;
    return page;
  }

  private freeUnused(ring: Ring, capacity: number): void {
    const held = ring.end - ring.start;
    ring.pages.forEach((page, index) => {
      if (!page) return;
      // On the ring of slots: from the first held slot on to the page, and from the page's start on to the first held slot.
      const toPage = (((index * pageLength - ring.start) % capacity) + capacity) % capacity;
      const toHeld = (((ring.start - index * pageLength) % capacity) + capacity) % capacity;
      if (held > 0 && (toPage < held || toHeld < page.length)) return;
      this.bytes -= page.keys.byteLength + page.values.byteLength;
      ring.pages[index] = undefined;
    });
  }
}

const bytesScale = Math.fround(1 / 127);

/**
 * Rounds a head's numbers to signed bytes times a half, one for each 32 of them, as kernels/attention-pages.h does; a block with an
 * infinity or NaN becomes NaN.
 */
function roundToBytes(head: Float32Array): void {
  for (let from = 0; from < head.length; from += 32) {
    const block = head.subarray(from, from + 32);
    const largest = block.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const scale = Number.isFinite(largest)
      ? halfValues[toHalf(Math.min(65504, Math.fround(largest * bytesScale)))]!
      : NaN;
    const inverse = scale > 0 ? Math.fround(1 / scale) : 0;
    for (let i = 0; i < block.length; i++)
      block[i] = scale * Math.max(-127, Math.min(127, roundToEven(Math.fround(block[i]! * inverse))));
  }
}

/** The cache as one of ours. */
export function asReferenceCache(cache: KVCache): ReferenceCache {
  if (cache instanceof ReferenceCache) return cache;
  throw new TypeError('This cache was made by another backend; make it with the createCache of this one.');
}
