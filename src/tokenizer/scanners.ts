// Hand-made equivalents of the pre-tokenizer patterns: where does the piece that starts here end? Patterns are in patterns.ts.
import { classify, classTable, LETTER, LOWER, NEWLINE, NUMBER, SPACE, UPPER } from './char-class.ts';

/**
 * Returns the end of the piece that starts at `start`, greater than `start` and at most `end`. `end` counts as the end of the
 * text. `units` is the text in UTF-16, which is read much faster than a string; it is well formed (no lone surrogates) and `start` and `end` lie between characters.
 */
export type Scanner = (units: Uint16Array, start: number, end: number) => number;

/** The code point at i; in well-formed text, two units long exactly if above 0xFFFF. */
export function codePointAt(units: Uint16Array, i: number): number {
  const c = units[i]!;
  return (c & 0xfc00) === 0xd800 ? ((c - 0xd800) << 10) + units[i + 1]! - 0xdc00 + 0x10000 : c;
}

/** Kinds of ASCII characters for {@link asciiPiece}. */
const OTHER = 0;
const LOWER_ASCII = 1;
const UPPER_ASCII = 2;
const PUNCTUATION = 3;
const SPACE_ASCII = 4;
const DIGIT = 5;
const WHITE = 6;
const kindOf = new Uint8Array(128);
for (let c = 0; c < 128; c++) {
  const bits = classTable[c]!;
  if (c === 0x20) kindOf[c] = SPACE_ASCII;
  else if ((bits & LOWER) !== 0) kindOf[c] = LOWER_ASCII;
  else if ((bits & UPPER) !== 0) kindOf[c] = UPPER_ASCII;
  else if ((bits & NUMBER) !== 0) kindOf[c] = DIGIT;
  else if ((bits & SPACE) !== 0) kindOf[c] = WHITE;
  else if (c !== 0x27) kindOf[c] = PUNCTUATION;
}

/**
 * The piece at `start` in the plain cases on which all patterns here agree: an ASCII word, all in lower case but perhaps its
 * first letter, or two and more ASCII signs; either perhaps after a space, and followed by ASCII that surely ends it.
 * −1 when the case is not so plain. Most pieces of English and of code are, and this finds them three times as fast.
 */
function asciiPiece(units: Uint16Array, start: number, end: number): number {
  let i = start;
  let c = units[i]!;
  if (c === 0x20 && i + 1 < end) c = units[++i]!;
  if (c >= 0x80) return -1;
  let kind = kindOf[c]!;
  if (kind === LOWER_ASCII || kind === UPPER_ASCII) {
    const first = i;
    do {
      if (++i >= end) return i;
      c = units[i]!;
      kind = c < 0x80 ? kindOf[c]! : OTHER;
    } while (kind === LOWER_ASCII);
    // One capital alone, an apostrophe, a capital within the word: the patterns differ.
    return kind >= PUNCTUATION && (i > first + 1 || units[first]! >= 0x61) ? i : -1;
  }
  if (kind !== PUNCTUATION) return -1;
  const first = i;
  do {
    if (++i >= end) return i;
    c = units[i]!;
    kind = c < 0x80 ? kindOf[c]! : OTHER;
  } while (kind === PUNCTUATION);
  // Patterns add line ends to signs, and a sign alone to the word after it.
  return kind !== OTHER && kind !== WHITE && i > first + 1 ? i : -1;
}

/** `(?i:'s|'t|'re|'ve|'m|'ll|'d)?` at i. U+017F is an s without case, for tiktoken's engine as for ours. */
function contraction(units: Uint16Array, i: number, end: number): number {
  if (i + 1 >= end || units[i]! !== 0x27) return i;
  const first = units[i + 1]!;
  const a = first | 0x20;
  if (a === 0x73 || a === 0x74 || a === 0x6d || a === 0x64 || first === 0x17f) return i + 2;
  if (i + 2 >= end) return i;
  const b = units[i + 2]! | 0x20;
  if ((a === 0x72 && b === 0x65) || (a === 0x76 && b === 0x65) || (a === 0x6c && b === 0x6c)) return i + 3;
  return i;
}

/** The end of the run from i of characters that have one of the bits. */
function runOf(units: Uint16Array, i: number, end: number, bits: number): number {
  while (i < end) {
    const c = codePointAt(units, i);
    if (((classTable[c]! || classify(c)) & bits) === 0) break;
    i += c > 0xffff ? 2 : 1;
  }
  return i;
}

/** The end of the run from i of characters that have none of the bits. */
function runWithout(units: Uint16Array, i: number, end: number, bits: number): number {
  while (i < end) {
    const c = codePointAt(units, i);
    if (((classTable[c]! || classify(c)) & bits) !== 0) break;
    i += c > 0xffff ? 2 : 1;
  }
  return i;
}

/** `\p{N}{1,limit}` at i, where a number is. */
function numbers(units: Uint16Array, i: number, end: number, limit: number): number {
  for (let n = 0; n < limit && i < end; n++) {
    const c = codePointAt(units, i);
    if (((classTable[c]! || classify(c)) & NUMBER) === 0) break;
    i += c > 0xffff ? 2 : 1;
  }
  return i;
}

/** `\s*[\r\n]+|\s+(?!\S)|\s+` at i, where white space is. All white space is in the BMP. */
function whiteSpace(units: Uint16Array, start: number, end: number): number {
  let i = start;
  let afterNewline = -1;
  while (i < end) {
    const c = units[i]!;
    const bits = classTable[c]! || classify(c);
    if ((bits & SPACE) === 0) break;
    i++;
    if ((bits & NEWLINE) !== 0) afterNewline = i;
  }
  if (afterNewline >= 0) return afterNewline;
  return i === end || i - start === 1 ? i : i - 1;
}

/**
 * The two word alternatives of Llama 4, from after their optional first character:
 * `UPPER* LOWER+ contraction?` and, failing that, `UPPER+ LOWER* contraction?`. −1 if neither.
 * @param afterMark the optional character was a combining mark. Then the first alternative may also match the mark alone,
 *   before the second is tried.
 */
function word(units: Uint16Array, start: number, end: number, afterMark: boolean): number {
  let i = start;
  // Where UPPER* would have to give back characters to, for LOWER+ to find one: \p{Lm}, \p{Lo} and \p{M} are in both sets.
  let afterLower = -1;
  let bits = 0;
  while (i < end) {
    const c = codePointAt(units, i);
    bits = classTable[c]! || classify(c);
    if ((bits & UPPER) === 0) break;
    i += c > 0xffff ? 2 : 1;
    if ((bits & LOWER) !== 0) afterLower = i;
  }
  if (i < end && (bits & LOWER) !== 0) return contraction(units, runOf(units, i, end, LOWER), end);
  if (afterLower >= 0) return contraction(units, afterLower, end);
  if (afterMark) return contraction(units, start, end);
  return i > start ? contraction(units, i, end) : -1;
}

/** The pattern of Llama 4 and GPT-4o ({@link patterns.llama4}). */
export const scanLlama4: Scanner = (units, start, end) => {
  const plain = asciiPiece(units, start, end);
  if (plain > 0) return plain;
  const c = codePointAt(units, start);
  const bits = classTable[c]! || classify(c);
  if ((bits & LETTER) !== 0) return word(units, start, end, false);
  if ((bits & NUMBER) !== 0) return numbers(units, start, end, 3);
  const second = start + (c > 0xffff ? 2 : 1);
  if ((bits & NEWLINE) === 0) {
    const found = word(units, second, end, (bits & UPPER) !== 0);
    if (found >= 0) return found;
  }
  const from = c === 0x20 ? second : start;
  const to = runWithout(units, from, end, SPACE | LETTER | NUMBER);
  if (to === from) return whiteSpace(units, start, end);
  let i = to;
  while (i < end) {
    const d = units[i]!;
    if (d !== 0x0a && d !== 0x0d && d !== 0x2f) break;
    i++;
  }
  return i;
};

/** The pattern of Llama 3 and cl100k; Qwen 2 is the same with digits one by one ({@link patterns.llama3}, {@link patterns.qwen2}). */
export function llama3Scanner(digits: number): Scanner {
  return (units, start, end) => {
    const plain = asciiPiece(units, start, end);
    if (plain > 0) return plain;
    const c = codePointAt(units, start);
    const bits = classTable[c]! || classify(c);
    if ((bits & LETTER) !== 0) return runOf(units, start, end, LETTER);
    if ((bits & NUMBER) !== 0) return numbers(units, start, end, digits);
    if (c === 0x27) {
      const contracted = contraction(units, start, end);
      if (contracted > start) return contracted;
    }
    const second = start + (c > 0xffff ? 2 : 1);
    if ((bits & NEWLINE) === 0) {
      const found = runOf(units, second, end, LETTER);
      if (found > second) return found;
    }
    const from = c === 0x20 ? second : start;
    const to = runWithout(units, from, end, SPACE | LETTER | NUMBER);
    return to === from ? whiteSpace(units, start, end) : runOf(units, to, end, NEWLINE);
  };
}

/**
 * The pattern of GPT-2 ({@link patterns.gpt2}).
 * @param isolateDigits SmolLM, StarCoder …: every \p{N} is a piece, and what lies between is cut as if it were a text of its own.
 */
export function gpt2Scanner(isolateDigits: boolean): Scanner {
  return (units, start, end) => {
    const plain = asciiPiece(units, start, end);
    if (plain > 0) return plain;
    const c = codePointAt(units, start);
    const bits = classTable[c]! || classify(c);
    if ((bits & NUMBER) !== 0) return isolateDigits ? numbers(units, start, end, 1) : runOf(units, start, end, NUMBER);
    // GPT-2's contractions know no upper case.
    if (c === 0x27) {
      const contracted = contraction(units, start, end);
      let lower = contracted > start;
      for (let i = start + 1; i < contracted; i++) lower = lower && units[i]! >= 0x61 && units[i]! <= 0x7a;
      if (lower) return contracted;
    }
    const from = c === 0x20 ? start + 1 : start;
    if (from < end) {
      const d = codePointAt(units, from);
      const next = classTable[d]! || classify(d);
      if ((next & LETTER) !== 0) return runOf(units, from, end, LETTER);
      if ((next & NUMBER) !== 0 && !isolateDigits) return runOf(units, from, end, NUMBER);
      if ((next & (SPACE | LETTER | NUMBER)) === 0) return runWithout(units, from, end, SPACE | LETTER | NUMBER);
    }
    const i = runOf(units, start, end, SPACE);
    if (i === end || i - start === 1) return i;
    const after = codePointAt(units, i);
    return isolateDigits && ((classTable[after]! || classify(after)) & NUMBER) !== 0 ? i : i - 1;
  };
}
