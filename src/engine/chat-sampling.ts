// How a checkpoint suggests to draw tokens: llama.cpp's keys, which Hugging Face's generation_config.json becomes as well.
import type { MetadataValue } from '../checkpoint/checkpoint.ts';
import type { GenerateOptions } from './types.ts';

export type SuggestedSampling = Pick<GenerateOptions, 'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty'>;

const keys: readonly (readonly [key: string, option: keyof SuggestedSampling, least: number, most: number])[] = [
  ['temp', 'temperature', 0, 100],
  ['top_p', 'topP', Number.MIN_VALUE, 1],
  ['top_k', 'topK', 0, 2 ** 31 - 1],
  ['min_p', 'minP', 0, 1],
  ['penalty_repeat', 'repetitionPenalty', Number.MIN_VALUE, 100],
];

/** Suggestions that make sense; a file is free to suggest nonsense, and then suggests nothing. */
export function suggestedSampling(metadata: ReadonlyMap<string, MetadataValue>): SuggestedSampling {
  const suggested: Record<string, number> = {};
  for (const [key, option, least, most] of keys) {
    const value = metadata.get(`general.sampling.${key}`);
    if (typeof value === 'number' && value >= least && value <= most && (option !== 'topK' || Number.isInteger(value)))
      suggested[option] = Number(value.toPrecision(7)); // F32 in a GGUF file
  }
  return suggested;
}
