// Which tokens end a generation: those a file names, and those that are known by their text.

/** Texts that end a turn, a message or a text in the vocabularies we meet (as llama.cpp finds them, llama-vocab.cpp). */
const enders = [
  '<|eot|>',
  '<|eom|>',
  '<|end_of_text|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|endoftext|>',
  '<|end|>',
  '<end_of_turn>',
  '</s>',
];

/**
 * @param controls control tokens by their text; text that is no control token ends nothing
 * @param named ids the file names as ends, null where it names none
 */
export function findStopTokens(
  controls: ReadonlyMap<string, number>,
  named: readonly (number | null)[],
): ReadonlySet<number> {
  const stops = new Set(named.filter(id => id !== null));
  for (const ender of enders) {
    const id = controls.get(ender);
    if (id !== undefined) stops.add(id);
  }
  return stops;
}
