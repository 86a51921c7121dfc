// Pre-tokenizers: the patterns that cut text into pieces, by the names GGUF files use, and Meta's limits on long runs.
import { gpt2Scanner, llama3Scanner, type Scanner, scanLlama4 } from './scanners.ts';

// \s is written \p{White_Space}: that is what it means in the engines these patterns were written for (see char-class.ts).
const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const tail = String.raw`\p{White_Space}*[\r\n]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+`;
const punctuation = String.raw` ?[^\p{White_Space}\p{L}\p{N}]+`;
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const prefix = String.raw`[^\r\n\p{L}\p{N}]?`;

/** The patterns as their authors wrote them, for JavaScript. They define the meaning; scanners.ts is the fast form of each. */
export const patterns = {
  /** Meta, models/llama4/tokenizer.py, O200K_PATTERN. */
  llama4: `${prefix}${upper}*${lower}+${contraction}?|${prefix}${upper}+${lower}*${contraction}?|\\p{N}{1,3}|${punctuation}[\\r\\n/]*|${tail}`,
  /** Meta, models/llama3/tokenizer.py; tiktoken's cl100k_base. */
  llama3: `${contraction}|${prefix}\\p{L}+|\\p{N}{1,3}|${punctuation}[\\r\\n]*|${tail}`,
  /** Qwen 2's tokenizer.json. */
  qwen2: `${contraction}|${prefix}\\p{L}+|\\p{N}|${punctuation}[\\r\\n]*|${tail}`,
  /** OpenAI, gpt-2 encoder.py. */
  gpt2: `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|${punctuation}|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+`,
} as const;

/** How a tokenizer cuts text before it merges bytes. */
export interface PreTokenizer {
  readonly name: string;
  readonly scan: Scanner;
  /** Cut as Meta's tokenizer.py does before it calls tiktoken: every 400,000 characters, and within runs of 25,000. */
  readonly metaLimits: boolean;
  /** The tokenizers of this family put BOS in front of a text unless the file says otherwise (llama.cpp, llama-vocab.cpp). */
  readonly addBos: boolean;
  /** A piece that is a token is that token, whatever the merges say. */
  readonly wholePieces: boolean;
}

const llama4: PreTokenizer = { name: 'llama4', scan: scanLlama4, metaLimits: true, addBos: true, wholePieces: true };
const gpt4o: PreTokenizer = { ...llama4, name: 'gpt-4o', metaLimits: false, addBos: false };
const llama3: PreTokenizer = { ...gpt4o, name: 'llama3', scan: llama3Scanner(3), addBos: true };
const cl100k: PreTokenizer = { ...llama3, name: 'cl100k', addBos: false, wholePieces: false };
const qwen2: PreTokenizer = { ...cl100k, name: 'qwen2', scan: llama3Scanner(1) };
const gpt2: PreTokenizer = { ...cl100k, name: 'gpt-2', scan: gpt2Scanner(false) };
const smollm: PreTokenizer = { ...gpt2, name: 'smollm', scan: gpt2Scanner(true) };

/**
 * Splits by regular expressions one after the other, each within the pieces of the last, as llama.cpp does; what no expression
 * matches is a piece too. For patterns without a scanner.
 * @param sources JavaScript sources, used with the flags `gu`.
 */
export function regexScanner(sources: readonly string[]): Scanner {
  const expressions = sources.map(source => new RegExp(source, 'gu'));
  // The backtracking stack of a regular expression grows with the text, so a text is looked at in windows.
  const window = 100_000;
  const decoder = new TextDecoder('utf-16le', { ignoreBOM: true });
  // The ends of the window in hand, the last one first; a caller that goes on where it was told to needs no new window.
  let ends: number[] = [];
  let of: Uint16Array | null = null;
  let position = -1;
  let ofEnd = -1;
  return (units, start, end) => {
    if (ends.length === 0 || start !== position || end !== ofEnd || units !== of) {
      let to = Math.min(end, start + window);
      if (to < end && (units[to]! & 0xfc00) === 0xdc00) to--;
      const text = decoder.decode(units.subarray(start, to));
      ends = [text.length];
      for (const expression of expressions) ends = splitFurther(text, ends, expression);
      ends = ends.map(e => e + start).reverse();
      of = units;
      ofEnd = end;
    }
    position = ends.pop()!;
    return position;
  };
}

function splitFurther(text: string, ends: readonly number[], expression: RegExp): number[] {
  const finer: number[] = [];
  let start = 0;
  for (const end of ends) {
    const piece = text.slice(start, end);
    let done = 0;
    for (const match of piece.matchAll(expression)) {
      if (match[0] === '') continue;
      if (match.index > done) finer.push(start + match.index);
      done = match.index + match[0].length;
      finer.push(start + done);
    }
    if (done < piece.length) finer.push(end);
    start = end;
  }
  return finer;
}

/** What llama.cpp does for files that name no pre-tokenizer. */
const fallback: PreTokenizer = {
  ...gpt2,
  name: 'default',
  scan: regexScanner([
    '[\\p{P}$+<=>^~|]+',
    `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|${punctuation}|\\p{White_Space}+(?!\\P{White_Space})`,
    '\\p{N}+',
    '[0-9][0-9][0-9]',
  ]),
};

/** Pre-tokenizers by the values of `tokenizer.ggml.pre`. */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map<string, PreTokenizer>([
  ['llama4', llama4],
  ['gpt-4o', gpt4o],
  ['llama-bpe', llama3],
  ['llama3', llama3],
  ['llama-v3', llama3],
  ['falcon3', llama3],
  ['pixtral', llama3],
  ['smaug-bpe', cl100k],
  ['dbrx', cl100k],
  ['glm4', cl100k],
  ['chatglm-bpe', cl100k],
  ['qwen2', qwen2],
  ['deepseek-r1-qwen', qwen2],
  ['stablelm2', qwen2],
  ['megrez', qwen2],
  ['gpt-2', gpt2],
  ['phi-2', gpt2],
  ['mpt', gpt2],
  ['olmo', gpt2],
  ['smollm', smollm],
  ['starcoder', smollm],
  ['refact', smollm],
  ['command-r', smollm],
  ['codeshell', smollm],
  ['exaone', smollm],
  ['minerva-7b', smollm],
  ['default', fallback],
]);

const CHARACTERS_AT_ONCE = 400_000;
const CHARACTERS_IN_RUN = 25_000;

/**
 * Where Meta's tokenizer.py cuts a text before it cuts pieces: after 400,000 characters, and when a run of white space or of
 * other characters goes past 25,000. Characters are code points.
 * @returns ends in UTF-16 units, ascending, the last one `end`; empty for an empty range.
 */
export function metaCuts(units: Uint16Array, start: number, end: number): number[] {
  const cuts: number[] = [];
  for (let from = start; from < end; ) {
    const to = afterCharacters(units, from, end, CHARACTERS_AT_ONCE);
    cutRuns(units, from, to, cuts);
    cuts.push(to);
    from = to;
  }
  return cuts;
}

/** Where `count` characters from `start` end, at most `end`. */
function afterCharacters(units: Uint16Array, start: number, end: number, count: number): number {
  if (end - start <= count) return end;
  let i = start;
  for (let n = 0; n < count && i < end; n++) i += (units[i]! & 0xfc00) === 0xd800 ? 2 : 1;
  return i;
}

/** Cuts runs of more than 25,000. Looks closely only where such a run may lie, so that ordinary text costs nothing. */
function cutRuns(units: Uint16Array, start: number, end: number, cuts: number[]): void {
  let from = start;
  while (end - from > CHARACTERS_IN_RUN) {
    let i = from + CHARACTERS_IN_RUN;
    const space = isPythonSpace(units[i]!);
    while (i > from && isPythonSpace(units[i - 1]!) === space) i--;
    if (i > from) {
      from = i;
      continue;
    }
    for (let run = 0; i < end; ) {
      // Most long runs are ASCII; a stretch of it is passed at once.
      const stretch = i;
      const limit = Math.min(end, i + CHARACTERS_IN_RUN - run);
      if (!space) while (i < limit && units[i]! > 0x20 && units[i]! < 0x80) i++;
      run += i - stretch;
      if (i === end || isPythonSpace(units[i]!) !== space) break;
      if (run === CHARACTERS_IN_RUN) {
        cuts.push(i);
        run = 0;
        continue;
      }
      i += (units[i]! & 0xfc00) === 0xd800 ? 2 : 1;
      run++;
    }
    from = i;
  }
}

/** Python's str.isspace(): \p{White_Space} and U+001C … U+001F. */
function isPythonSpace(c: number): boolean {
  if (c > 0x20 && c < 0x85) return false;
  if (c <= 0x20) return c === 0x20 || (c >= 0x09 && c <= 0x0d) || c >= 0x1c;
  if (c < 0x1680) return c === 0x85 || c === 0xa0;
  return (
    c === 0x1680 ||
    (c >= 0x2000 && c <= 0x200a) ||
    c === 0x2028 ||
    c === 0x2029 ||
    c === 0x202f ||
    c === 0x205f ||
    c === 0x3000
  );
}
