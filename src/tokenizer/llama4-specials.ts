// Llama 4's special tokens in the order of their ids, as Meta's models/llama4/tokenizer.py lists them.

const reserved = (family: string, from: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `<|${family}reserved_special_token_${from + i}|>`);

/** All 2,048, from <|begin_of_text|> on; the first follows the last byte-pair token (id 200000 in Meta's vocabulary). */
export const llama4Specials: readonly string[] = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|fim_prefix|>',
  '<|fim_middle|>',
  '<|fim_suffix|>',
  '<|header_start|>',
  '<|header_end|>',
  '<|eom|>',
  '<|eot|>',
  '<|step|>',
  ...reserved('text_post_train_', 0, 6),
  '<|python_start|>',
  '<|python_end|>',
  '<|finetune_right_pad|>',
  ...reserved('text_post_train_', 8, 61),
  '<|image_start|>',
  '<|image_end|>',
  ...reserved('vision_', 0, 2),
  '<|tile_x_separator|>',
  '<|tile_y_separator|>',
  ...reserved('vision_', 2, 4),
  '<|image|>',
  ...reserved('vision_', 6, 1),
  '<|patch|>',
  ...reserved('vision_', 7, 1041),
  ...reserved('reasoning_', 0, 8),
  '<|reasoning_thinking_start|>',
  '<|reasoning_thinking_end|>',
  ...reserved('', 0, 904),
];
