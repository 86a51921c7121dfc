// The Unicode classes that pre-tokenizer patterns speak of, one byte of bits per code point, filled as code points are met.

/** \p{Lu} \p{Lt} \p{Lm} \p{Lo} \p{M}: what may stand in the upper-case part of a word. */
export const UPPER = 1;
/** \p{Ll} \p{Lm} \p{Lo} \p{M}: what may stand in the lower-case part of a word. */
export const LOWER = 2;
/** \p{L} */
export const LETTER = 4;
/** \p{N} */
export const NUMBER = 8;
/** \s as Rust's regex crate (tiktoken) and Oniguruma mean it: \p{White_Space}. JavaScript's \s differs at U+0085 and U+FEFF. */
export const SPACE = 16;
/** \r or \n */
export const NEWLINE = 32;
/** Set on every classified code point, so that 0 means "not classified yet". */
const KNOWN = 128;

const classes: readonly (readonly [RegExp, number])[] = [
  [/[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]/u, UPPER],
  [/[\p{Ll}\p{Lm}\p{Lo}\p{M}]/u, LOWER],
  [/\p{L}/u, LETTER],
  [/\p{N}/u, NUMBER],
  [/\p{White_Space}/u, SPACE],
  [/[\r\n]/u, NEWLINE],
];

/** Bits by code point; 0 until {@link classify} has seen it. Read as `classTable[c] || classify(c)`. */
export const classTable = new Uint8Array(0x110000);

/** Finds, stores and returns the bits of a code point, 0 … 0x10FFFF. */
export function classify(codePoint: number): number {
  const character = String.fromCodePoint(codePoint);
  let bits = KNOWN;
  for (const [pattern, bit] of classes) if (pattern.test(character)) bits |= bit;
  // A lower-case letter until Unicode 17 made it one without case; vocabularies were made before.
  if (codePoint === 0x295) bits &= ~UPPER;
  classTable[codePoint] = bits;
  return bits;
}

for (let c = 0; c < 128; c++) classify(c);
