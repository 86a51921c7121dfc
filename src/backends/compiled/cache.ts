// Keys and values of past tokens as halves, floats or bytes, in pages of 32 positions that are taken as a sequence grows.
import type { Batch, CacheShape, CacheType, KVCache, SavedLayer, Tensor } from '../backend.ts';
import { checkCacheShape, checkEmpty, checkSaved, endsAfter, lengthKept, positionBytes } from '../cache-rules.ts';
import type { Bank } from './bank.ts';
import type { Device } from './device.ts';
import type { Range } from './program.ts';

/** Positions of a page; mirrors `page_positions` in kernels/attention.h. */
export const pagePositions = 32;
/** Mirrors `enum class PageFormat` in kernels/attention.h: the ids of GGUF. */
const pageFormats = { F32: 0, F16: 1, Q8_0: 8 } as const satisfies Record<CacheType, number>;
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
  readonly layout: string;
  /** What commands call the form of a page. */
  readonly format: number;
  bytes = 0;
  /** How commands name this cache when they read or write it. */
  readonly range: Range;
  private readonly device: Device;
  private readonly encode: EncodeAppend;
  private readonly onDispose: (cache: PagedCache) => void;
  private readonly held: Held[][]; // [layer][sequence]
  /** Per layer: pages that several sequences hold, and how many besides the first. Nobody writes to them. */
  private readonly shared: Map<number, number>[];
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
    this.format = pageFormats[shape.type ?? 'F16'];
    this.layout = `${shape.type ?? 'F16'}, pages of ${pagePositions}`;
    this.pageBytes = pagePositions * positionBytes(shape);
    this.held = Array.from({ length: shape.layers }, () =>
      Array.from({ length: shape.maxSequences }, () => ({ start: 0, end: 0, firstPage: 0, pages: [], spare: [] })),
    );
    this.shared = Array.from({ length: shape.layers }, () => new Map());
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
      this.ownLast(layer, held);
    }
    return kept;
  }

  fork(from: number, to: number, length: number): number {
    checkEmpty(to, this.length(to));
    const spans = this.held.map((_, layer) => this.at(layer, from));
    const kept = lengthKept(this.shape, from, length, spans);
    try {
      for (const [layer, source] of spans.entries()) {
        const held = this.at(layer, to);
        const shared = this.shared[layer]!;
        held.start = Math.min(source.start, kept);
        held.end = kept;
        held.firstPage = source.firstPage;
        const pages = held.start === kept ? 0 : Math.ceil(kept / pagePositions) - source.firstPage;
        held.pages = source.pages.slice(0, pages);
        for (const page of held.pages) shared.set(page, (shared.get(page) ?? 0) + 1);
        this.ownLast(layer, held);
      }
    } catch (error) {
      this.free(to);
      throw error;
    }
    return kept;
  }

  save(sequence: number): SavedLayer[] {
    this.device.flush();
    return this.held.map((_, layer) => {
      const { start, end, firstPage, pages } = this.at(layer, sequence);
      const held = start === end ? [] : pages.slice(Math.floor(start / pagePositions) - firstPage);
      const bytes = new Uint8Array(held.length * this.pageBytes);
      for (const [i, page] of held.entries())
        bytes.set(this.homes[layer]!.bank.bytes(page, this.pageBytes), i * this.pageBytes);
      return { start, end, bytes };
    });
  }

  restore(sequence: number, layers: readonly SavedLayer[]): void {
    checkEmpty(sequence, this.length(sequence));
    const pagesOf = (start: number, end: number): number =>
      start === end ? 0 : Math.ceil(end / pagePositions) - Math.floor(start / pagePositions);
    checkSaved(this.shape, layers, (start, end) => pagesOf(start, end) * this.pageBytes);
    try {
      for (const [layer, { start, end, bytes }] of layers.entries()) {
        const held = this.at(layer, sequence);
        const home = this.home(layer, this.device.banks[0]!);
        Object.assign(held, { start, end, firstPage: Math.floor(start / pagePositions) });
        for (let at = 0; at < bytes.length; at += this.pageBytes) {
          this.take(home, held);
          home.bytes(held.pages.at(-1)!, this.pageBytes).set(bytes.subarray(at, at + this.pageBytes));
        }
      }
    } catch (error) {
      this.free(sequence);
      throw error;
    }
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
        const page = held.pages.shift()!;
        if (!this.giveUp(layer, page)) held.spare.push(page); // read before it is written again, because commands name the cache
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
    const { chunks, maxTokens, maxBatch, maxSequences, longSequences = maxSequences } = this.shape;
    const chunk = chunks[layer]!;
    const positions = chunk === null ? maxTokens : Math.min(maxTokens, chunk + maxBatch);
    const promised = (Math.ceil(positions / pagePositions) + 1) * this.pageBytes * longSequences;
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

  private free(sequence: number): void {
    for (const [layer, sequences] of this.held.entries()) {
      const held = sequences[sequence]!;
      held.start = held.end = 0;
      this.release(layer, held);
    }
  }

  /** True when others hold the page too: it is theirs now. */
  private giveUp(layer: number, page: number): boolean {
    const shared = this.shared[layer]!;
    const others = shared.get(page);
    if (others === undefined) return false;
    if (others > 1) shared.set(page, others - 1);
    else shared.delete(page);
    return true;
  }

  /** The last page will be written to when it is not full: a sequence that shares it gets one of its own. */
  private ownLast(layer: number, held: Held): void {
    const page = held.pages.at(-1);
    if (page === undefined || held.end % pagePositions === 0 || !this.shared[layer]!.has(page)) return;
    const { bank } = this.homes[layer]!;
    this.device.flush(); // commands that are enqueued may write to the page
    this.take(bank, held);
    const own = held.pages.pop()!;
    bank.bytes(own, this.pageBytes).set(bank.bytes(page, this.pageBytes));
    held.pages[held.pages.length - 1] = own;
    this.giveUp(layer, page);
  }

  /** Gives back the pages without a held position. */
  private release(layer: number, held: Held): void {
    const { end, pages, firstPage } = held;
    const kept = held.start === end ? 0 : Math.max(0, Math.ceil(end / pagePositions) - firstPage);
    const unused = [...pages.slice(kept), ...held.spare];
    if (unused.length === 0) return;
    this.device.flush(); // commands that are enqueued may read them
    const { heap } = this.homes[layer]!.bank;
    for (const address of unused) {
      if (this.giveUp(layer, address)) continue;
      heap.free(address, this.pageBytes);
      this.bytes -= this.pageBytes;
    }
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
