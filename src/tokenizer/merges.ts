// Which two neighbouring tokens merge, how early, and into what: either by rank of the bytes, or by a list of pairs.
import { NORMAL, type Vocabulary } from './vocabulary.ts';

/** A list of merges as a hash table from a pair of tokens to its place in the list and the merged token. */
export class MergeTable {
  /** Per slot: left + 1 (0 = empty), right, place, merged. */
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #multiplier: number;

  /** @param size most merges to come */
  constructor(size: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(size * 2, 16)));
    this.#slots = new Int32Array(slots * 4);
    this.#mask = slots - 1;
    this.#multiplier = crypto.getRandomValues(new Uint32Array(1))[0]! | 1;
  }

  #slotOf(left: number, right: number): number {
    let h = Math.imul(left ^ 0x5bd1e995, this.#multiplier) ^ right;
    h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
    h = Math.imul(h ^ (h >>> 12), this.#multiplier);
    let slot = (h ^ (h >>> 15)) & this.#mask;
    for (;;) {
      const first = this.#slots[slot * 4]!;
      if (first === 0 || (first === left + 1 && this.#slots[slot * 4 + 1] === right)) return slot * 4;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** The first of equal pairs counts. */
  add(left: number, right: number, place: number, merged: number): void {
    const at = this.#slotOf(left, right);
    if (this.#slots[at] !== 0) return;
    this.#slots[at] = left + 1;
    this.#slots[at + 1] = right;
    this.#slots[at + 2] = place;
    this.#slots[at + 3] = merged;
  }

  /** The place in the list of a pair, and by {@link merged} what it makes; −1 when it does not merge. */
  place(left: number, right: number): number {
    const at = this.#slotOf(left, right);
    return this.#slots[at] === 0 ? -1 : this.#slots[at + 2]!;
  }

  /** What a pair that has a place makes. */
  merged(left: number, right: number): number {
    return this.#slots[this.#slotOf(left, right) + 3]!;
  }
}

/** Adds merges given as bytes, and says why one cannot be. */
export class MergeReader {
  readonly table: MergeTable;
  readonly #vocabulary: Vocabulary;
  #place = 0;
  /** What the last merge made: merges mostly come in order of what they make, and comparing is cheaper than finding. */
  #last = 0;

  constructor(vocabulary: Vocabulary, size: number) {
    this.#vocabulary = vocabulary;
    this.table = new MergeTable(size);
  }

  /** The next merge: bytes [0, split) and [split, length). Returns what is missing in the vocabulary, null when nothing is. */
  add(bytes: Uint8Array, split: number, length: number): 'left' | 'right' | 'result' | null {
    const left = this.#vocabulary.find(bytes, 0, split);
    if (left < 0) return 'left';
    const right = this.#vocabulary.find(bytes, split, length);
    if (right < 0) return 'right';
    const merged = this.#result(bytes, length);
    if (merged < 0) return 'result';
    this.table.add(left, right, this.#place++, merged);
    return null;
  }

  #result(bytes: Uint8Array, length: number): number {
    const vocabulary = this.#vocabulary;
    for (let id = this.#last; id < this.#last + 2 && id < vocabulary.size; id++) {
      if (vocabulary.kind(id) !== NORMAL || !vocabulary.equals(id, bytes, 0, length)) continue;
      this.#last = id;
      return id;
    }
    const found = vocabulary.find(bytes, 0, length);
    if (found >= 0) this.#last = found;
    return found;
  }
}
