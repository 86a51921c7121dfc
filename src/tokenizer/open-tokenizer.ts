// A tokenizer from a file of its own, whichever of the known kinds it is.
import type { ByteLevelTokenizer } from './byte-level.ts';
import { tokenizerFromJson } from './from-json.ts';
import { tokenizerFromTiktoken } from './from-tiktoken.ts';
import { TokenizerError } from './tokenizer-error.ts';

/**
 * Meta's tokenizer.model or Hugging Face's tokenizer.json, told apart by content.
 * @param file the bytes of the file
 * @param name what error messages call it
 * @throws TokenizerError when it is neither, or not whole
 */
export function openTokenizer(file: Uint8Array, name: string): ByteLevelTokenizer {
  const start = file.findIndex(byte => byte > 0x20 && byte < 0x80);
  if (file[start] === 0x7b) return tokenizerFromJson(new TextDecoder().decode(file), name);
  if (file[0] === 0x47 && file[1] === 0x47 && file[2] === 0x55 && file[3] === 0x46)
    throw new TokenizerError(`${name}: this is a GGUF checkpoint; open it as one, its metadata holds the tokenizer`);
  return tokenizerFromTiktoken(file, name);
}
