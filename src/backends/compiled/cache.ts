// Keys and values of past tokens as halves, in pages of 32 positions that are taken as a sequence grows.
import type { Batch, CacheShape, KVCache, Tensor } from '../backend.ts';
import { checkCacheShape, endsAfter, lengthKept } from '../cache-rules.ts';
import type { Bank } from './bank.ts';
import type { Device } from './device.ts';
import type { Range } from './program.ts';

/** Positions of a page; mirrors `page_positions` in kernels/attention.h. */
export const pagePositions = 32;
/** Mirrors `most_head_dim` in kernels/attention.h. */
const mostHeadDim = 256;

/** One layer of one sequence holds positions [start, end). Page p holds positions [32p, 32p + 32). */
interface Held {
  start: number;
  end: number;
  firstPage: number;
  /** Addresses of pages firstPage, firstPage + 1, … */
  pages: number[];
  /** Pages a chunked layer has left behind and will want again. */
  spare: number[];
}

/** Enqueues the copying of keys and values into pages. */
type EncodeAppend = (cache: PagedCache, layer: number, keys: Tensor, values: Tensor, batch: Batch) => void;

let made = 0;

export class PagedCache implements KVCache {
  readonly shape: CacheShape;
  bytes = 0;
  /** How commands name this cache when they read or write it. */
  readonly range: Range;
  private readonly device: Device;
  private readonly encode: EncodeAppend;
  private readonly onDispose: (cache: PagedCache) => void;
  private readonly held: Held[][]; // [layer][sequence]
  private readonly homes: ({ bank: Bank; promised: number } | undefined)[];
  private readonly pageBytes: number;
  private disposed = false;

  constructor(shape: CacheShape, device: Device, encode: EncodeAppend, onDispose: (cache: PagedCache) => void) {
    checkCacheShape(shape);
    checkHeadDim(shape);
    this.shape = shape;
    this.device = device;
    this.encode = encode;
    this.onDispose = onDispose;
    this.pageBytes = pagePositions * shape.kvHeads * shape.headDim * 4;
    this.held = Array.from({ length: shape.layers }, () =>
      Array.from({ length: shape.maxSequences }, () => ({ start: 0, end: 0, firstPage: 0, pages: [], spare: [] })),
    );
    this.homes = Array.from({ length: shape.layers });
    made++;
    this.range = { start: -made - 1, end: -made };
  }

  append(layer: number, keys: Tensor, values: Tensor, batch: Batch): void {
    this.encode(this, layer, keys, values, batch);
  }

  /** Positions that every layer holds; while a batch is under way, layers already computed hold more. */
  length(sequence: number): number {
    return Math.min(...this.held.map((_, layer) => this.at(layer, sequence).end));
  }

  truncate(sequence: number, length: number): number {
    const spans = this.held.map((_, layer) => this.at(layer, sequence));
    const kept = lengthKept(this.shape, sequence, length, spans);
    for (let layer = 0; layer < this.held.length; layer++) {
      const held = this.at(layer, sequence);
      held.end = Math.min(held.end, kept);
      held.start = Math.min(held.start, held.end);
      this.release(layer, held);
    }
    return kept;
  }

  /**
   * Makes room for a batch and returns each token's page.
   * @throws RangeError when the batch does not go on where its sequences end, or exceeds what the cache was made for.
   */
  extend(layer: number, batch: Batch, bank: Bank): { readonly bank: Bank; readonly pages: Float64Array } {
    const { maxBatch, chunks } = this.shape;
    const tokens = batch.positions.length;
    const ends = endsAfter(this.shape, layer, batch, sequence => this.at(layer, sequence).end);
    const home = this.home(layer, bank);
    const chunk = chunks[layer]!;
    for (const [sequence, end] of ends) {
      const held = this.at(layer, sequence);
      if (chunk !== null) held.start = Math.max(held.start, end - (chunk + maxBatch));
      held.end = end;
      while (held.pages.length > 0 && (held.firstPage + 1) * pagePositions <= held.start) {
        held.spare.push(held.pages.shift()!); // read before it is written again, because commands name the cache
        held.firstPage++;
      }
      if (held.pages.length === 0) held.firstPage = Math.floor(held.start / pagePositions);
      while (held.firstPage + held.pages.length < Math.ceil(end / pagePositions)) this.take(home, held);
    }
    const pages = new Float64Array(tokens);
    for (let t = 0; t < tokens; t++) {
      const held = this.held[layer]![batch.sequences[t]!]!;
      pages[t] = held.pages[Math.floor(batch.positions[t]! / pagePositions) - held.firstPage]!;
    }
    return { bank: home, pages };
  }

  /**
   * Addresses of the pages of positions [from, to).
   * @throws RangeError when the layer does not hold all of them.
   */
  pages(layer: number, sequence: number, from: number, to: number): readonly number[] {
    const { start, end, firstPage, pages } = this.at(layer, sequence);
    if (from < start || to > end)
      throw new RangeError(
        `Layer ${layer} holds positions ${start} to ${end} of sequence ${sequence}; attention needs ${from} to ${to}. Append the batch first.`,
      );
    return pages.slice(Math.floor(from / pagePositions) - firstPage, Math.ceil(to / pagePositions) - firstPage);
  }

  /** The bank where a layer's pages lie: chosen when it is first used, near the layer's weights if there is room. */
  home(layer: number, near: Bank): Bank {
    const known = this.homes[layer];
    if (known) return known.bank;
    const { chunks, maxTokens, maxBatch, maxSequences } = this.shape;
    const chunk = chunks[layer]!;
    const positions = chunk === null ? maxTokens : Math.min(maxTokens, chunk + maxBatch);
    const promised = (Math.ceil(positions / pagePositions) + 1) * this.pageBytes * maxSequences;
    const free = (bank: Bank): number => bank.heap.available - bank.promised;
    let bank = [near, ...this.device.banks].find(candidate => free(candidate) >= promised);
    // A cache larger than any memory starts in the emptiest and may run full.
    bank ??= near.heap.size > promised && free(near) < near.heap.size / 2 ? this.device.addBank() : undefined;
    bank ??= this.device.banks.reduce((best, candidate) => (free(candidate) > free(best) ? candidate : best));
    bank.promised += promised;
    this.homes[layer] = { bank, promised };
    return bank;
  }

  [Symbol.dispose](): void {
    if (this.disposed) return;
    for (const [layer, sequences] of this.held.entries())
      for (const held of sequences) {
        held.start = held.end = 0;
        this.release(layer, held);
      }
    for (const home of this.homes) if (home) home.bank.promised -= home.promised;
    this.disposed = true;
    this.held.length = 0;
    this.onDispose(this);
  }

  private at(layer: number, sequence: number): Held {
    if (this.disposed) throw new Error('This cache was disposed; make another with createCache.');
    const held = this.held[layer]?.[sequence];
    if (held) return held;
    const { layers, maxSequences } = this.shape;
    throw new RangeError(
      this.held[layer]
        ? `Sequence ${sequence} is none of the cache's 0 … ${maxSequences - 1}.`
        : `Layer ${layer} is none of the cache's 0 … ${layers - 1}.`,
    );
  }

  private take(bank: Bank, held: Held): void {
    let page = held.spare.pop();
    if (page === undefined) {
      page = this.device.hostBytes(bank, this.pageBytes, 'A page of the cache');
      this.bytes += this.pageBytes;
    }
    held.pages.push(page);
  }

  /** Gives back the pages without a held position. */
  private release(layer: number, held: Held): void {
    const { end, pages, firstPage } = held;
    const kept = held.start === end ? 0 : Math.max(0, Math.ceil(end / pagePositions) - firstPage);
    const unused = [...pages.slice(kept), ...held.spare];
    if (unused.length === 0) return;
    this.device.flush(); // commands that are enqueued may read them
    const { heap } = this.homes[layer]!.bank;
    for (const address of unused) heap.free(address, this.pageBytes);
    this.bytes -= unused.length * this.pageBytes;
    held.pages = pages.slice(0, kept);
    held.spare = [];
  }
}

/** The cache as one of ours. */
export function asOwnCache(cache: KVCache): PagedCache {
  if (cache instanceof PagedCache) return cache;
  throw new TypeError('This cache was made by another backend; make it with the createCache of this one.');
}

function checkHeadDim({ headDim }: CacheShape): void {
  if (headDim % 4 !== 0 || headDim > mostHeadDim)
    throw new RangeError(
      `This backend computes heads of a multiple of 4 up to ${mostHeadDim} numbers; got headDim ${headDim}. The reference backend takes any.`,
    );
}
