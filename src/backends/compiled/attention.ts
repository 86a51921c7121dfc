// Cuts attention into pieces of work and writes what the kernel needs to know of them. Mirrors kernels/attention.h.
import type { Batch } from '../backend.ts';
import { type PagedCache, pagePositions } from './cache.ts';
import { commands } from './commands.ts';
import type { Device } from './device.ts';
import type { PlacedTensor } from './tensor.ts';

const rangePositions = 512;
const mostRows = 32;
/** Work is cut finer, into ranges of keys, until there are so many pieces for each thread … */
const piecesPerThread = 4;
/** … or partial results would take more than this. */
const mostPartialBytes = 64 * 2 ** 20;
/** Numbers that one thread stores in a cache sooner than several, and multiply-adds of attention. */
const alone = { append: 4096, attention: 16384 } as const;

/** Consecutive tokens of one sequence within one chunk. */
interface Tile {
  readonly sequence: number;
  readonly rowsFrom: number;
  tokens: number;
  readonly position: number;
  readonly low: number;
}

/** Stores a layer's keys and values at the batch's positions. */
export function enqueueAppend(
  device: Device,
  cache: PagedCache,
  layer: number,
  keys: PlacedTensor,
  values: PlacedTensor,
  batch: Batch,
): void {
  const { kvHeads, headDim } = cache.shape;
  const tokens = batch.positions.length;
  const wanted = tokens * kvHeads * headDim;
  if (keys.size !== wanted || values.size !== wanted)
    throw new RangeError(
      `Keys [${keys.shape}] and values [${values.shape}] must be [${tokens}, ${kvHeads}, ${headDim}] each.`,
    );
  const { bank, pages } = cache.extend(layer, batch, keys.storage.bank);
  const k = device.placeIn(bank, keys.storage);
  const v = device.placeIn(bank, values.storage);
  const positions = device.sharedInput(bank, 'positions', null, batch.positions, () =>
    device.integers(bank, batch.positions),
  );
  device.enqueue(bank, {
    kind: commands.Append,
    arguments: [k.start, v.start, tokens, kvHeads, headDim, cache.format, device.doubles(bank, pages), positions],
    reads: [k, v],
    writes: [cache.range],
    single: wanted <= alone.append,
  });
}

/** softmax(q·kᵀ/√headDim)·v over the visible keys. */
export function enqueueAttention(
  device: Device,
  q: PlacedTensor,
  cache: PagedCache,
  layer: number,
  batch: Batch,
): PlacedTensor {
  const { kvHeads, headDim, chunks } = cache.shape;
  const tokens = batch.positions.length;
  const heads = q.shape[1]!;
  if (q.shape.length !== 3 || q.shape[0] !== tokens || q.shape[2] !== headDim || heads % kvHeads !== 0)
    throw new RangeError(`Queries must be [${tokens}, a multiple of ${kvHeads}, ${headDim}]; got [${q.shape}].`);
  const chunk = chunks[layer] ?? null;
  const { rows, tiles } = cut(batch, chunk, heads / kvHeads);

  const { tileWords, pageList } = list(tiles, cache, layer);
  const bank = tiles.length > 0 ? cache.home(layer, q.storage.bank) : q.storage.bank;
  const from = device.placeIn(bank, q.storage);
  const y = device.activation(bank, 'F32', q.shape, q.size);
  let pairs = 0;
  for (const { tokens, position, low } of tiles) pairs += tokens * (position + tokens - low);
  const single = 2 * pairs * heads * headDim <= alone.attention;
  const plan = share(tiles, rows, heads, kvHeads, headDim, single ? 1 : device.threadCount);
  const partials = device.scratch(bank, 4 * plan.partials * (headDim + 4));
  const shape = [heads, kvHeads, headDim];
  device.enqueue(bank, {
    kind: commands.Attention,
    arguments: [
      from.start,
      y.storage.start,
      ...shape,
      cache.format,
      1 / Math.sqrt(headDim),
      device.integers(bank, tileWords),
      device.integers(bank, plan.pieces),
      plan.pieces.length / 6,
      device.integers(bank, rows),
      device.doubles(bank, pageList),
      partials.start,
    ],
    reads: [from, cache.range],
    writes: [y.storage, partials],
    single,
  });
  if (plan.merges.length > 0)
    device.enqueue(bank, {
      kind: commands.AttentionMerge,
      arguments: [
        y.storage.start,
        ...shape,
        device.integers(bank, plan.merges),
        plan.merges.length / 5,
        partials.start,
      ],
      reads: [partials],
      writes: [y.storage],
    });
  return y;
}

/** Tiles of at most `mostRows` (token, head) pairs, and the batch rows in the order in which tiles name them. */
function cut(batch: Batch, chunk: number | null, group: number): { rows: number[]; tiles: Tile[] } {
  const most = Math.max(1, Math.floor(mostRows / group));
  const rowsOf = new Map<number, number[]>();
  for (let t = 0; t < batch.positions.length; t++) {
    const list = rowsOf.get(batch.sequences[t]!);
    if (list) list.push(t);
    else rowsOf.set(batch.sequences[t]!, [t]);
  }
  const rows: number[] = [];
  const tiles: Tile[] = [];
  for (const [sequence, list] of rowsOf) {
    let tile: Tile | undefined;
    for (const row of list) {
      const position = batch.positions[row]!;
      const low = chunk === null ? 0 : position - (position % chunk);
      if (tile && tile.low === low && tile.tokens < most) tile.tokens++;
      else {
        tile = { sequence, rowsFrom: rows.length, tokens: 1, position, low };
        tiles.push(tile);
      }
      rows.push(row);
    }
  }
  return { rows, tiles };
}

/** The tiles as the kernel reads them (5 words each) and the addresses of the pages that they see. */
function list(
  tiles: readonly Tile[],
  cache: PagedCache,
  layer: number,
): { tileWords: readonly number[]; pageList: readonly number[] } {
  const pageList: number[] = [];
  const tileWords: number[] = [];
  let pagesFrom = 0;
  let before: Tile | undefined;
  for (const tile of tiles) {
    const { sequence, rowsFrom, tokens, position, low } = tile;
    // Tiles of one sequence and chunk follow each other and share a list, which each makes as long as it needs.
    if (before?.sequence !== sequence || before.low !== low) pagesFrom = pageList.length;
    before = tile;
    const page = Math.floor(low / pagePositions) + pageList.length - pagesFrom;
    const to = position + tokens;
    if (page * pagePositions < to)
      for (const address of cache.pages(layer, sequence, Math.max(low, page * pagePositions), to))
        pageList.push(address);
    tileWords.push(rowsFrom, tokens, position, low, pagesFrom);
  }
  return { tileWords, pageList };
}

/** Pieces (6 words), merges (5 words) and how many partial results there are. */
function share(
  tiles: readonly Tile[],
  rows: readonly number[],
  heads: number,
  kvHeads: number,
  headDim: number,
  threads: number,
): { pieces: number[]; merges: number[]; partials: number } {
  const group = heads / kvHeads;
  const block = Math.min(group, mostRows);
  const whole = tiles.length * kvHeads * Math.ceil(group / block);
  const split = threads > 1 && whole < threads * piecesPerThread;
  const pieces: number[] = [];
  const merges: number[] = [];
  let partials = 0;
  for (const [index, { tokens, position, low, rowsFrom }] of tiles.entries()) {
    const from = Math.floor(low / rangePositions);
    const to = Math.floor((position + tokens - 1) / rangePositions) + 1;
    const partialBytes = 4 * tokens * heads * (to - from) * (headDim + 4);
    const cutRanges = split && to - from > 1 && partialBytes <= mostPartialBytes;
    for (let head = 0; head < heads; ) {
      const count = Math.min(block, group - (head % group));
      if (cutRanges) {
        const pairs = tokens * count;
        for (let range = from; range < to; range++)
          pieces.push(index, head, count, range, range + 1, partials + (range - from) * pairs);
        for (let i = 0; i < pairs; i++)
          merges.push(rows[rowsFrom + Math.floor(i / count)]!, head + (i % count), partials + i, pairs, to - from);
        partials += pairs * (to - from);
      } else pieces.push(index, head, count, from, to, -1);
      head += count;
    }
  }
  return { pieces, merges, partials };
}
