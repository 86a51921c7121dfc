// A vocabulary as bytes: all tokens end to end in one array, and a hash table from bytes to token.
import { TokenizerError } from './tokenizer-error.ts';

/** What a token is for. */
export const NORMAL = 0;
/** A special token that steers: in no text of a user, and not shown. */
export const CONTROL = 1;
/** A token added as a whole text (`<think>`): found where special tokens are parsed, and shown. */
export const ADDED = 2;
/** A placeholder: never produced by encoding. */
export const UNUSED = 3;

/** Ids must leave room beside a position in one double (bpe.ts). */
export const MAXIMUM_TOKENS = 1 << 21;

const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;

/** Hash of bytes; seeded, so that no file can be made in which all tokens collide. */
function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let h = seed;
  for (let i = start; i < end; i++) {
    h = Math.imul(h ^ bytes[i]!, 0x9e3779b1);
    h ^= h >>> 15;
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  return h ^ (h >>> 13);
}

export class Vocabulary {
  readonly size: number;
  /** Bytes of the longest token that encoding may produce. */
  readonly longest: number;
  /** Token of each single byte, −1 if the vocabulary lacks it. */
  readonly byteTokens: Int32Array;
  readonly #data: Uint8Array;
  readonly #offsets: Uint32Array;
  readonly #kinds: Uint8Array;
  /** Per slot: token (−1 = empty) and hash, side by side for the cache's sake. */
  readonly #table: Int32Array;
  readonly #mask: number;

  /**
   * @param data bytes of all tokens, in order of their ids
   * @param offsets [tokens + 1], where each begins
   * @param kinds [tokens] of {@link NORMAL} … {@link UNUSED}
   * @throws TokenizerError when there are more than {@link MAXIMUM_TOKENS}
   */
  constructor(data: Uint8Array, offsets: Uint32Array, kinds: Uint8Array) {
    const size = kinds.length;
    if (size > MAXIMUM_TOKENS)
      throw new TokenizerError(`the vocabulary has ${size} tokens; at most ${MAXIMUM_TOKENS} are supported`);
    this.size = size;
    this.#data = data;
    this.#offsets = offsets;
    this.#kinds = kinds;
    const slots = 2 ** Math.ceil(Math.log2(Math.max(size * 2, 16)));
    this.#mask = slots - 1;
    this.#table = new Int32Array(slots * 2).fill(-1);
    let longest = 1;
    for (let id = 0; id < size; id++) {
      if (kinds[id] !== NORMAL || offsets[id] === offsets[id + 1]) continue;
      if (this.#insert(id)) longest = Math.max(longest, offsets[id + 1]! - offsets[id]!);
      else kinds[id] = UNUSED;
    }
    this.longest = longest;
    const one = new Uint8Array(1);
    this.byteTokens = new Int32Array(256);
    for (one[0] = 0; ; one[0]++) {
      this.byteTokens[one[0]] = this.find(one, 0, 1);
      if (one[0] === 255) break;
    }
  }

  /** Of equal tokens the first is the one that encoding gives. */
  #insert(id: number): boolean {
    const data = this.#data;
    const start = this.#offsets[id]!;
    const end = this.#offsets[id + 1]!;
    const hash = hashBytes(data, start, end);
    let slot = hash & this.#mask;
    for (; this.#table[slot * 2]! >= 0; slot = (slot + 1) & this.#mask)
      if (this.#table[slot * 2 + 1] === hash && this.equals(this.#table[slot * 2]!, data, start, end)) return false;
    this.#table[slot * 2] = id;
    this.#table[slot * 2 + 1] = hash;
    return true;
  }

  /** Whether a token has exactly these bytes. */
  equals(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#offsets[id]!;
    if (this.#offsets[id + 1]! - from !== end - start) return false;
    const data = this.#data;
    for (let i = start, j = from; i < end; i++, j++) if (bytes[i] !== data[j]) return false;
    return true;
  }

  /** The normal token that has exactly these bytes, or −1. */
  find(bytes: Uint8Array, start: number, end: number): number {
    if (end - start > this.longest) return -1;
    const hash = hashBytes(bytes, start, end);
    for (let slot = hash & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const id = this.#table[slot * 2]!;
      if (id < 0) return -1;
      if (this.#table[slot * 2 + 1] === hash && this.equals(id, bytes, start, end)) return id;
    }
  }

  /** {@link NORMAL}, {@link CONTROL}, {@link ADDED} or {@link UNUSED}. */
  kind(id: number): number {
    return this.#kinds[id]!;
  }

  /** The bytes of a token; a view, not to be written to. */
  bytes(id: number): Uint8Array {
    return this.#data.subarray(this.#offsets[id]!, this.#offsets[id + 1]!);
  }
}

/** Collects tokens in order of their ids. */
export class VocabularyBuilder {
  #data: Uint8Array;
  #length = 0;
  readonly #offsets: Uint32Array;
  readonly #kinds: Uint8Array;
  #count = 0;

  /** @param size tokens to come. @throws TokenizerError when there are too many */
  constructor(size: number) {
    if (size > MAXIMUM_TOKENS)
      throw new TokenizerError(`the vocabulary has ${size} tokens; at most ${MAXIMUM_TOKENS} are supported`);
    this.#data = new Uint8Array(Math.max(1024, size * 8));
    this.#offsets = new Uint32Array(size + 1);
    this.#kinds = new Uint8Array(size);
  }

  add(bytes: Uint8Array, length: number, kind: number): void {
    if (this.#length + length > this.#data.length) {
      const grown = new Uint8Array(Math.max(this.#data.length * 2, this.#length + length));
      grown.set(this.#data);
      this.#data = grown;
    }
    const data = this.#data;
    let at = this.#length;
    for (let i = 0; i < length; i++) data[at++] = bytes[i]!;
    this.#length = at;
    this.#kinds[this.#count++] = kind;
    this.#offsets[this.#count] = at;
  }

  build(): Vocabulary {
    return new Vocabulary(this.#data.slice(0, this.#length), this.#offsets, this.#kinds);
  }
}
