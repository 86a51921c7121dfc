// Meta's tokenizer.model for Llama 4: lines of a token's bytes in base64 and its rank; the special tokens follow the last rank.
import { ByteLevelTokenizer } from './byte-level.ts';
import { llama4Specials } from './llama4-specials.ts';
import { preTokenizers } from './patterns.ts';
import { TokenizerError } from './tokenizer-error.ts';
import { CONTROL, NORMAL, VocabularyBuilder } from './vocabulary.ts';

const sextets = new Int8Array(256).fill(-1);
for (let i = 0; i < 64; i++)
  sextets['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'.charCodeAt(i)] = i;

/**
 * Reads Meta's tokenizer.model.
 * @param file the bytes of the file
 * @param name what error messages call it
 * @throws TokenizerError naming the line when the file is no such list, or is that of another model
 */
export function tokenizerFromTiktoken(file: Uint8Array, name = 'tokenizer.model'): ByteLevelTokenizer {
  let lines = 0;
  for (let i = 0; i < file.length; i++) if (file[i] === 0x0a) lines++;
  if (file.length > 0 && file[file.length - 1] !== 0x0a) lines++;
  if (file[0] === 0x0a && file[1] !== 0x0a && lines < 1000)
    throw new TokenizerError(
      `${name}: this is a SentencePiece model, not Llama 4's tokenizer.model; use a GGUF or tokenizer.json`,
    );
  if (lines < 256)
    throw new TokenizerError(`${name}: ${lines} lines; a byte-level vocabulary has at least 256 (base64 and rank)`);
  if (lines === 128000)
    throw new TokenizerError(`${name}: 128000 ranks are Llama 3's vocabulary; use that model's GGUF or tokenizer.json`);
  const builder = new VocabularyBuilder(lines + llama4Specials.length);
  const token = new Uint8Array(file.length > 0 ? longestLine(file) : 0);
  let at = 0;
  for (let line = 0; line < lines; line++) {
    let length = 0;
    let bits = 0;
    let held = 0;
    for (; at < file.length && sextets[file[at]!]! >= 0; at++) {
      held = ((held << 6) | sextets[file[at]!]!) & 0xffff;
      bits += 6;
      if (bits < 8) continue;
      bits -= 8;
      token[length++] = (held >> bits) & 0xff;
    }
    while (file[at] === 0x3d) at++;
    let rank = 0;
    let digits = 0;
    if (file[at] === 0x20)
      for (at++; at < file.length && file[at]! >= 0x30 && file[at]! <= 0x39 && digits < 9; at++, digits++)
        rank = rank * 10 + file[at]! - 0x30;
    if (file[at] === 0x0d) at++;
    if (length === 0 || digits === 0 || (at < file.length && file[at] !== 0x0a))
      throw new TokenizerError(
        `${name}: line ${line + 1} is not "base64 rank"; is this Llama 4's tokenizer.model, whole?`,
      );
    if (rank !== line)
      throw new TokenizerError(
        `${name}: line ${line + 1} has rank ${rank}, expected ${line}: ranks must be in order and without gaps`,
      );
    at++;
    builder.add(token, length, NORMAL);
  }
  const encoder = new TextEncoder();
  const specialTokens = new Map<string, number>();
  for (const text of llama4Specials) {
    specialTokens.set(text, lines + specialTokens.size);
    builder.add(encoder.encode(text), text.length, CONTROL);
  }
  const vocabulary = builder.build();
  for (let byte = 0; byte < 256; byte++)
    if (vocabulary.byteTokens[byte]! < 0)
      throw new TokenizerError(
        `${name}: no token for the byte 0x${byte.toString(16).padStart(2, '0')}; the file is not whole`,
      );
  const special = (text: string): number => specialTokens.get(text)!;
  return new ByteLevelTokenizer({
    vocabulary,
    preTokenizer: preTokenizers.get('llama4')!,
    merges: null,
    bos: special('<|begin_of_text|>'),
    stopTokens: [special('<|end_of_text|>'), special('<|eom|>'), special('<|eot|>')],
    specialTokens,
  });
}

function longestLine(file: Uint8Array): number {
  let longest = 0;
  let start = 0;
  for (let i = 0; i <= file.length; i++) {
    if (i < file.length && file[i] !== 0x0a) continue;
    longest = Math.max(longest, i - start);
    start = i + 1;
  }
  return longest;
}
