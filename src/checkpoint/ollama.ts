// Ollama's GGUF files of Llama 4: text and vision in one file, and keys that mean another thing than llama.cpp's, or have other names.
// Source: ollama convert/convert_llama4.go, of its first days and later.
import type { MetadataValue } from './checkpoint.ts';

/** Keys of Ollama's first files, which later ones give llama.cpp's names. */
const renamed = [
  ['llama4.intermediate_size', 'llama4.feed_forward_length'],
  ['llama4.intermediate_size_moe', 'llama4.expert_feed_forward_length'],
] as const;

/** The metadata as llama.cpp's converter would have written them. Files that are not Ollama's are left as they are. */
export function withoutOllama(metadata: ReadonlyMap<string, MetadataValue>): ReadonlyMap<string, MetadataValue> {
  const isOllama = metadata.get('general.architecture') === 'llama4' && metadata.has('llama4.vision.block_count');
  if (!isOllama) return metadata;
  const result = new Map(metadata);
  for (const [theirs, ours] of renamed) {
    const value = metadata.get(theirs);
    if (value !== undefined) result.set(ours, value);
  }
  // Ollama has Llama 4's pattern in its code, and says "default" for whatever its converter does not know.
  if ((metadata.get('tokenizer.ggml.pre') ?? 'default') === 'default') result.set('tokenizer.ggml.pre', 'llama4');
  return result;
}
