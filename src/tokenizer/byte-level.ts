// The tokenizer itself: text is cut into pieces, pieces become bytes, bytes merge into tokens; and back again.
import { Bpe } from './bpe.ts';
import type { MergeTable } from './merges.ts';
import { metaCuts, type PreTokenizer } from './patterns.ts';
import { PieceCache } from './piece-cache.ts';
import { codePointAt } from './scanners.ts';
import { SpecialFinder } from './special-text.ts';
import { TokenList } from './token-list.ts';
import type { Tokenizer, TokenStream } from './tokenizer.ts';
import { CONTROL, NORMAL, type Vocabulary } from './vocabulary.ts';

/** Longer texts are not given room that is kept, in characters. */
const LONGEST_KEPT = 1 << 20;

export interface ByteLevelOptions {
  readonly vocabulary: Vocabulary;
  readonly preTokenizer: PreTokenizer;
  /** Pairs in merge order; null: tokens merge by rank, that is by id (tiktoken). */
  readonly merges: MergeTable | null;
  /** Default: the pre-tokenizer's. */
  readonly wholePieces?: boolean;
  /** Token in front of a text, null for none. */
  readonly bos: number | null;
  readonly stopTokens: Iterable<number>;
  /** Texts of control and added tokens. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Stands for bytes the vocabulary lacks; default: they are left out. */
  readonly unknown?: number | null;
}

/** Byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909, on bytes as in GPT-2 and tiktoken). */
export class ByteLevelTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bos: number | null;
  readonly stopTokens: ReadonlySet<number>;
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly #vocabulary: Vocabulary;
  readonly #preTokenizer: PreTokenizer;
  readonly #bpe: Bpe;
  readonly #cache = new PieceCache();
  readonly #special: SpecialFinder;
  readonly #list = new TokenList();
  /** The text in hand, in UTF-16. */
  #units = new Uint16Array(1024);
  /** The bytes of the piece in hand. */
  #bytes = new Uint8Array(256);

  constructor(options: ByteLevelOptions) {
    this.#vocabulary = options.vocabulary;
    this.#preTokenizer = options.preTokenizer;
    this.vocabSize = options.vocabulary.size;
    this.bos = options.bos;
    this.stopTokens = new Set(options.stopTokens);
    this.specialTokens = options.specialTokens;
    this.#special = new SpecialFinder(options.specialTokens);
    this.#bpe = new Bpe(options.vocabulary, {
      merges: options.merges,
      wholePieces: options.wholePieces ?? options.preTokenizer.wholePieces,
      unknown: options.unknown ?? null,
    });
  }

  /** Lone surrogates become U+FFFD. Linear in the text but for the log n of very long pieces. */
  encode(text: string, options?: { special?: 'text' | 'parse' }): number[] {
    const wellFormed = text.isWellFormed() ? text : text.toWellFormed();
    const units = this.#toUtf16(wellFormed);
    const ids = this.#list;
    ids.clear();
    let start = 0;
    if (options?.special === 'parse') {
      for (const match of this.#special.all(wellFormed)) {
        this.#encodeText(units, start, match.start, ids);
        ids.push(match.token);
        start = match.end;
      }
    }
    this.#encodeText(units, start, wellFormed.length, ids);
    return ids.take();
  }

  #encodeText(units: Uint16Array, start: number, end: number, ids: TokenList): void {
    if (!this.#preTokenizer.metaLimits) {
      this.#encodePieces(units, start, end, ids);
      return;
    }
    let from = start;
    for (const cut of metaCuts(units, start, end)) {
      this.#encodePieces(units, from, cut, ids);
      from = cut;
    }
  }

  #encodePieces(units: Uint16Array, start: number, end: number, ids: TokenList): void {
    const scan = this.#preTokenizer.scan;
    const cache = this.#cache;
    for (let i = start; i < end; ) {
      const to = scan(units, i, end);
      if (!cache.lookup(units, i, to, ids)) this.#encodePiece(units, i, to, ids);
      i = to;
    }
  }

  #encodePiece(units: Uint16Array, start: number, end: number, ids: TokenList): void {
    const length = this.#toUtf8(units, start, end);
    const count = this.#bpe.encode(this.#bytes, length);
    const found = this.#bpe.ids;
    ids.append(found, 0, count);
    this.#cache.store(units, start, end, found, count);
  }

  /** The text in #units, or for very long texts in an array that is not kept. */
  #toUtf16(text: string): Uint16Array {
    const length = text.length;
    let units = this.#units;
    if (length > units.length) {
      units = new Uint16Array(length);
      if (length <= LONGEST_KEPT) this.#units = units;
    }
    for (let i = 0; i < length; i++) units[i] = text.charCodeAt(i);
    return units;
  }

  /** Writes the UTF-8 of units[start, end) to #bytes. */
  #toUtf8(units: Uint16Array, start: number, end: number): number {
    if (this.#bytes.length < (end - start) * 3) this.#bytes = new Uint8Array((end - start) * 3);
    const bytes = this.#bytes;
    let n = 0;
    for (let i = start; i < end; i++) {
      const c = codePointAt(units, i);
      if (c < 0x80) bytes[n++] = c;
      else if (c < 0x800) {
        bytes[n++] = 0xc0 | (c >> 6);
        bytes[n++] = 0x80 | (c & 0x3f);
      } else if (c < 0x10000) {
        bytes[n++] = 0xe0 | (c >> 12);
        bytes[n++] = 0x80 | ((c >> 6) & 0x3f);
        bytes[n++] = 0x80 | (c & 0x3f);
      } else {
        bytes[n++] = 0xf0 | (c >> 18);
        bytes[n++] = 0x80 | ((c >> 12) & 0x3f);
        bytes[n++] = 0x80 | ((c >> 6) & 0x3f);
        bytes[n++] = 0x80 | (c & 0x3f);
        i++;
      }
    }
    return n;
  }

  /** @throws RangeError for an id that is no token */
  bytes(token: number): Uint8Array {
    return this.#vocabulary.bytes(this.#checked(token)).slice();
  }

  /** @throws RangeError for an id that is no token */
  decode(tokens: Iterable<number>, options?: { special?: 'skip' | 'show' }): string {
    const show = options?.special === 'show';
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    // Bytes are decoded many tokens at a time; one by one costs a call each.
    const bytes = new Uint8Array(4096);
    let length = 0;
    let text = '';
    for (const token of tokens) {
      const kind = this.#vocabulary.kind(this.#checked(token));
      if (kind === CONTROL && !show) continue;
      const next = this.#vocabulary.bytes(token);
      if (kind === NORMAL && length + next.length <= bytes.length) {
        bytes.set(next, length);
        length += next.length;
        continue;
      }
      text += decoder.decode(bytes.subarray(0, length), { stream: true });
      length = 0;
      text += kind === NORMAL ? decoder.decode(next, { stream: true }) : decoder.decode() + decoder.decode(next);
    }
    return text + decoder.decode(bytes.subarray(0, length));
  }

  /** `push` throws RangeError for an id that is no token, and is unharmed by it. */
  stream(options?: { special?: 'skip' | 'show' }): TokenStream {
    const show = options?.special === 'show';
    // A byte order mark is a character like others here. `ignoreBOM: true` means: do not take it away.
    let decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: token => {
        const kind = this.#vocabulary.kind(this.#checked(token));
        if (kind === CONTROL && !show) return '';
        const bytes = this.#vocabulary.bytes(token);
        if (kind === NORMAL) return decoder.decode(bytes, { stream: true });
        // The text of a special token is no continuation of a character begun before it.
        return decoder.decode() + decoder.decode(bytes);
      },
      end: () => {
        const rest = decoder.decode();
        decoder = new TextDecoder('utf-8', { ignoreBOM: true });
        return rest;
      },
    };
  }

  #checked(token: number): number {
    if (Number.isInteger(token) && token >= 0 && token < this.vocabSize) return token;
    throw new RangeError(`token ${token} is not in the vocabulary; ids are 0 … ${this.vocabSize - 1}`);
  }
}
