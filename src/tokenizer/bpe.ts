// Byte-pair encoding of one piece: always merge the pair that comes first in the merge order, the leftmost of equals.
import type { MergeTable } from './merges.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Pieces up to this many bytes are searched for the best pair anew each time; beyond, a heap keeps n log n. */
const SHORT = 48;
/** Heap keys are rank · 2³² + position; ranks stay below 2²¹, so keys are exact in a double. */
const POSITIONS = 2 ** 32;

export interface BpeOptions {
  /** Pairs in merge order. Without it the rank of the merged token is its id, as in tiktoken. */
  readonly merges: MergeTable | null;
  /** A piece that is a token is that token, whatever the merges say (tiktoken; `ignore_merges`). */
  readonly wholePieces: boolean;
  /** Stands for a byte that the vocabulary lacks; null leaves such bytes out. */
  readonly unknown: number | null;
}

/** Not reentrant: one piece at a time. Time is O(n log n) in the bytes of the piece. */
export class Bpe {
  /** The ids of the last piece. */
  ids: Int32Array = new Int32Array(SHORT);
  readonly #vocabulary: Vocabulary;
  readonly #merges: MergeTable | null;
  readonly #wholePieces: boolean;
  readonly #unknown: number;
  /** Parts of the piece: where each begins (the last entry is the end), its token, the rank of merging it with the next. */
  #starts = new Int32Array(SHORT + 1);
  #tokens = new Int32Array(SHORT);
  #ranks = new Int32Array(SHORT);

  constructor(vocabulary: Vocabulary, options: BpeOptions) {
    this.#vocabulary = vocabulary;
    this.#merges = options.merges;
    this.#wholePieces = options.wholePieces || options.merges === null;
    this.#unknown = options.unknown ?? -1;
  }

  /** Encodes bytes [0, length) into {@link ids} and returns how many there are. */
  encode(bytes: Uint8Array, length: number): number {
    if (this.#wholePieces) {
      const token = this.#vocabulary.find(bytes, 0, length);
      if (token >= 0) {
        this.ids[0] = token;
        return 1;
      }
    }
    return length <= SHORT ? this.#encodeShort(bytes, length) : this.#encodeLong(bytes, length);
  }

  /** The rank of merging two neighbouring parts, −1 when they do not merge. */
  #rank(bytes: Uint8Array, left: number, right: number, start: number, end: number): number {
    if (this.#merges === null) return this.#vocabulary.find(bytes, start, end);
    return left < 0 || right < 0 ? -1 : this.#merges.place(left, right);
  }

  #mergedToken(left: number, right: number, rank: number): number {
    return this.#merges === null ? rank : this.#merges.merged(left, right);
  }

  #encodeShort(bytes: Uint8Array, length: number): number {
    const starts = this.#starts;
    const tokens = this.#tokens;
    const ranks = this.#ranks;
    const byteTokens = this.#vocabulary.byteTokens;
    for (let i = 0; i < length; i++) {
      starts[i] = i;
      tokens[i] = byteTokens[bytes[i]!]!;
    }
    starts[length] = length;
    let parts = length;
    for (let i = 0; i + 1 < parts; i++) ranks[i] = this.#rank(bytes, tokens[i]!, tokens[i + 1]!, i, i + 2);
    for (;;) {
      let best = -1;
      let bestRank = 0x7fffffff;
      for (let i = 0; i + 1 < parts; i++) {
        const rank = ranks[i]!;
        if (rank >= 0 && rank < bestRank) {
          best = i;
          bestRank = rank;
        }
      }
      if (best < 0) break;
      tokens[best] = this.#mergedToken(tokens[best]!, tokens[best + 1]!, bestRank);
      for (let i = best + 1; i + 1 < parts; i++) {
        starts[i] = starts[i + 1]!;
        tokens[i] = tokens[i + 1]!;
        ranks[i] = ranks[i + 1]!;
      }
      starts[--parts] = length;
      if (best + 1 < parts)
        ranks[best] = this.#rank(bytes, tokens[best]!, tokens[best + 1]!, starts[best]!, starts[best + 2]!);
      if (best > 0)
        ranks[best - 1] = this.#rank(bytes, tokens[best - 1]!, tokens[best]!, starts[best - 1]!, starts[best + 1]!);
    }
    let count = 0;
    for (let i = 0; i < parts; i++) {
      const token = tokens[i]! < 0 ? this.#unknown : tokens[i]!;
      if (token >= 0) this.ids[count++] = token;
    }
    return count;
  }

  #encodeLong(bytes: Uint8Array, length: number): number {
    // Part i begins at byte i; `next` is where the following part begins (length = none), `previous` where the one before does.
    const next = new Int32Array(length + 1);
    const previous = new Int32Array(length + 1);
    const tokens = new Int32Array(length);
    const ranks = new Int32Array(length).fill(-1);
    const heap = new MinimumHeap(length);
    for (let i = 0; i < length; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      tokens[i] = this.#vocabulary.byteTokens[bytes[i]!]!;
    }
    previous[length] = length - 1;
    const consider = (i: number): void => {
      const second = next[i]!;
      ranks[i] = second < length ? this.#rank(bytes, tokens[i]!, tokens[second]!, i, next[second]!) : -1;
      if (ranks[i]! >= 0) heap.push(ranks[i]! * POSITIONS + i);
    };
    for (let i = 0; i < length; i++) consider(i);
    while (heap.size > 0) {
      const key = heap.pop();
      const rank = Math.floor(key / POSITIONS);
      const i = key - rank * POSITIONS;
      // Entries of pairs that no longer exist stay in the heap; the rank tells them apart.
      if (ranks[i] !== rank) continue;
      const second = next[i]!;
      tokens[i] = this.#mergedToken(tokens[i]!, tokens[second]!, rank);
      ranks[second] = -1;
      next[i] = next[second]!;
      previous[next[i]!] = i;
      consider(i);
      if (previous[i]! >= 0) consider(previous[i]!);
    }
    let count = 0;
    for (let i = 0; i < length; i = next[i]!) {
      const token = tokens[i]! < 0 ? this.#unknown : tokens[i]!;
      if (token >= 0) tokens[count++] = token;
    }
    if (this.ids.length < count) this.ids = new Int32Array(count);
    for (let i = 0; i < count; i++) this.ids[i] = tokens[i]!;
    return count;
  }
}

/** A binary heap of doubles, smallest first. */
class MinimumHeap {
  size = 0;
  #keys: Float64Array;

  constructor(capacity: number) {
    this.#keys = new Float64Array(Math.max(16, capacity));
  }

  push(key: number): void {
    if (this.size === this.#keys.length) {
      const grown = new Float64Array(this.size * 2);
      grown.set(this.#keys);
      this.#keys = grown;
    }
    const keys = this.#keys;
    let i = this.size++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[i] = keys[parent]!;
      i = parent;
    }
    keys[i] = key;
  }

  /** Takes the smallest out; the heap is not empty. */
  pop(): number {
    const keys = this.#keys;
    const top = keys[0]!;
    const last = keys[--this.size]!;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= last) break;
      keys[i] = keys[child]!;
      i = child;
    }
    keys[i] = last;
    return top;
  }
}
