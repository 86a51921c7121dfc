// Remembers the tokens of pieces, so that ordinary text is encoded by table look-ups. Bounded, and without making substrings.
import type { TokenList } from './token-list.ts';

const SLOTS = 1 << 16;
/** A piece is looked for in so many slots; then the first one is given to it. Bounds the time, whatever the pieces. */
const PROBES = 8;
/** Integers of a slot: hash, where its characters begin, characters, tokens, the only token or where the tokens begin. */
const STRIDE = 5;
const CHARACTERS = 1 << 19;
const TOKENS = 1 << 18;
/** Longer pieces are rare and encoded anew. */
export const LONGEST_CACHED = 128;

const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;

/** About 3.5 MB when full; forgets everything when its room for characters or tokens is used up. */
export class PieceCache {
  readonly #slots = new Int32Array(SLOTS * STRIDE);
  readonly #characters = new Uint16Array(CHARACTERS);
  readonly #tokens = new Int32Array(TOKENS);
  #charactersUsed = 0;
  #tokensUsed = 0;
  /** Of the last piece looked up; {@link store} relies on it. */
  #hash = 0;

  /** Appends the tokens of units[start, end), a text in UTF-16, to `into` and returns true, or returns false when they are not known. */
  lookup(units: Uint16Array, start: number, end: number, into: TokenList): boolean {
    const length = end - start;
    if (length > LONGEST_CACHED) return false;
    let h = seed ^ length;
    let i = start + 1;
    for (; i < end; i += 2) {
      h = Math.imul(h ^ (units[i - 1]! | (units[i]! << 16)), 0x9e3779b1);
      h ^= h >>> 15;
    }
    if (i === end) h = Math.imul(h ^ units[end - 1]!, 0x9e3779b1);
    h ^= h >>> 16;
    this.#hash = h;
    const slots = this.#slots;
    const characters = this.#characters;
    for (let probe = 0; probe < PROBES; probe++) {
      const at = ((h + probe) & (SLOTS - 1)) * STRIDE;
      const known = slots[at + 2]!;
      if (known === 0) return false;
      if (slots[at] !== h || known !== length) continue;
      const from = slots[at + 1]!;
      let i = 0;
      while (i < length && units[start + i]! === characters[from + i]) i++;
      if (i < length) continue;
      const count = slots[at + 3]!;
      const token = slots[at + 4]!;
      if (count === 1) into.push(token);
      else into.append(this.#tokens, token, count);
      return true;
    }
    return false;
  }

  /** Remembers the tokens of the piece that {@link lookup} has just not found. */
  store(units: Uint16Array, start: number, end: number, ids: Int32Array, count: number): void {
    const length = end - start;
    if (length > LONGEST_CACHED) return;
    if (this.#charactersUsed + length > CHARACTERS || this.#tokensUsed + count > TOKENS) {
      this.#slots.fill(0);
      this.#charactersUsed = 0;
      this.#tokensUsed = 0;
    }
    const slots = this.#slots;
    let at = (this.#hash & (SLOTS - 1)) * STRIDE;
    for (let probe = 0; probe < PROBES; probe++) {
      const other = ((this.#hash + probe) & (SLOTS - 1)) * STRIDE;
      if (slots[other + 2] !== 0) continue;
      at = other;
      break;
    }
    slots[at] = this.#hash;
    slots[at + 1] = this.#charactersUsed;
    slots[at + 2] = length;
    slots[at + 3] = count;
    for (let i = start; i < end; i++) this.#characters[this.#charactersUsed++] = units[i]!;
    if (count === 1) {
      slots[at + 4] = ids[0]!;
      return;
    }
    slots[at + 4] = this.#tokensUsed;
    for (let i = 0; i < count; i++) this.#tokens[this.#tokensUsed++] = ids[i]!;
  }
}
