// Meta's tokenizer.model, lines of a token's bytes in base64 and its rank, becomes the metadata that a GGUF of the model has.
// Sources: llama-models models/llama4/tokenizer.py; llama.cpp's converter, which finds the merges behind ranks in the same way.
import { byteText } from '../../tokenizer/byte-unicode.ts';
import { llama4Specials } from '../../tokenizer/llama4-specials.ts';
import { CheckpointError, type MetadataValue } from '../checkpoint.ts';

const maxTokens = 2 ** 19;
const maxLine = 1024;

/** @throws CheckpointError naming the line that is wrong */
export function readTokenizerModel(path: string, file: Uint8Array): Map<string, MetadataValue> {
  const ranks = readRanks(path, file);
  const texts = Array.from({ length: ranks.count }, (_, rank) => byteText(ranks.bytes(rank)));
  const tokens = [...texts, ...llama4Specials];
  const id = (special: string): number => texts.length + llama4Specials.indexOf(special);
  return new Map<string, MetadataValue>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'llama4'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', tokens.map((_, i) => (i < texts.length ? 1 : 3))],
    ['tokenizer.ggml.merges', mergesOf(ranks).map(([left, right]) => `${texts[left]} ${texts[right]}`)],
    ['tokenizer.ggml.bos_token_id', id('<|begin_of_text|>')],
    ['tokenizer.ggml.eos_token_id', id('<|eot|>')],
    ['tokenizer.ggml.padding_token_id', id('<|finetune_right_pad|>')],
    ['tokenizer.ggml.eos_token_ids', ['<|end_of_text|>', '<|eom|>', '<|eot|>'].map(id)],
    ['tokenizer.ggml.add_bos_token', true],
  ]);
}

function readRanks(path: string, file: Uint8Array): Ranks {
  const text = Buffer.from(file.buffer, file.byteOffset, file.byteLength).toString('latin1');
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length > maxTokens)
    throw new CheckpointError(path, `${lines.length} lines; at most ${maxTokens} are supported.`);
  const ranks = new Ranks(lines.length, file.length);
  for (const [line, content] of lines.entries()) {
    const space = content.indexOf(' ');
    const base64 = content.slice(0, space);
    const good =
      content.length <= maxLine && /^[A-Za-z0-9+/]+={0,2}$/.test(base64) && /^\d+\r?$/.test(content.slice(space + 1));
    if (!good || Number(content.slice(space + 1)) !== line)
      throw new CheckpointError(
        path,
        `line ${line + 1} is ${JSON.stringify(content.slice(0, 60))}, wanted a token's bytes in base64 and the rank ${line}. Fetch Llama 4's tokenizer.model.`,
      );
    if (!ranks.add(Buffer.from(base64, 'base64')))
      throw new CheckpointError(path, `line ${line + 1}: its token is there already; the file is damaged.`);
  }
  return ranks;
}

/**
 * The two tokens that each token is made of when pairs of lower rank are merged first, in order of rank. Tokens that no merges
 * lead to have none: a piece of text that is a token is that token whatever the merges say.
 */
function mergesOf(ranks: Ranks): [left: number, right: number][] {
  const merges: [number, number][] = [];
  const none = maxTokens;
  const starts = new Int32Array(maxLine + 1);
  const pairs = new Int32Array(maxLine + 1);
  for (let rank = 0; rank < ranks.count; rank++) {
    const token = ranks.bytes(rank);
    // Where each part begins, and the rank of what it makes with the next one.
    let count = token.length;
    const rankAt = (part: number): number => {
      const found = part + 2 <= count ? ranks.find(token, starts[part]!, starts[part + 2]!) : -1;
      return found < 0 ? none : found;
    };
    for (let i = 0; i <= count; i++) starts[i] = i;
    for (let i = 0; i < count; i++) pairs[i] = rankAt(i);
    while (count > 2) {
      let best = 0;
      for (let part = 1; part < count; part++) if (pairs[part]! < pairs[best]!) best = part;
      if (pairs[best]! >= rank) break;
      starts.copyWithin(best + 1, best + 2, count + 1);
      pairs.copyWithin(best + 1, best + 2, count);
      count--;
      pairs[best] = rankAt(best);
      if (best > 0) pairs[best - 1] = rankAt(best - 1);
    }
    if (count !== 2) continue;
    const [left, right] = [ranks.find(token, 0, starts[1]!), ranks.find(token, starts[1]!, token.length)];
    if (left >= 0 && right >= 0) merges.push([left, right]);
  }
  return merges;
}

/** Tokens by rank, and ranks by bytes: strings as keys of a Map take ten times as long. */
class Ranks {
  count = 0;
  readonly #data: Uint8Array;
  readonly #ends: Int32Array;
  readonly #table: Int32Array;

  constructor(tokens: number, bytes: number) {
    this.#data = new Uint8Array(bytes);
    this.#ends = new Int32Array(tokens + 1);
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(2 * tokens + 2))).fill(-1);
  }

  bytes(rank: number): Uint8Array {
    return this.#data.subarray(this.#ends[rank]!, this.#ends[rank + 1]!);
  }

  /** @returns false for a token that is there */
  add(token: Uint8Array): boolean {
    if (this.find(token, 0, token.length) >= 0) return false;
    const start = this.#ends[this.count]!;
    this.#data.set(token, start);
    this.#ends[this.count + 1] = start + token.length;
    this.#table[this.#slot(token, 0, token.length)] = this.count++;
    return true;
  }

  /** The rank of these bytes, −1 where they are no token. */
  find(bytes: Uint8Array, start: number, end: number): number {
    return this.#table[this.#slot(bytes, start, end)]!;
  }

  /** Where these bytes are in the table, or would be. */
  #slot(bytes: Uint8Array, start: number, end: number): number {
    let hash = 0x811c9dc5;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    const mask = this.#table.length - 1;
    for (let slot = (hash ^ (hash >>> 15)) & mask; ; slot = (slot + 1) & mask) {
      const rank = this.#table[slot]!;
      if (rank < 0 || this.#equal(rank, bytes, start, end)) return slot;
    }
  }

  #equal(rank: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#ends[rank]!;
    if (this.#ends[rank + 1]! - from !== end - start) return false;
    for (let i = start; i < end; i++) if (this.#data[from + i - start] !== bytes[i]) return false;
    return true;
  }
}
