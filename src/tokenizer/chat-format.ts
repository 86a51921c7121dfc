// Chooses the chat format of a checkpoint: Llama 4's own, the checkpoint's template, or one that its special tokens suggest.
import { jinjaFormat } from './jinja-format.ts';
import { llama4Format } from './llama4-format.ts';
import type { ChatFormat, Tokenizer } from './tokenizer.ts';

export interface ChatFormatOptions {
  /** The checkpoint's Jinja template, if it has one. */
  readonly template?: string | null;
  /** `general.architecture`; with 'llama4' the format is Llama 4's own unless the template is for something else. */
  readonly architecture?: string | null;
  /** Texts of the tokens that templates call `bos_token` and `eos_token`. */
  readonly bosText?: string;
  readonly eosText?: string;
}

const chatml =
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const llama3 =
  '{{ bos_token }}' +
  "{% for message in messages %}{{ '<|start_header_id|>' + ('ipython' if message.role == 'tool' else message.role) + '<|end_header_id|>\\n\\n' + message.content + '<|eot_id|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

const plain =
  "{% for message in messages %}{{ message.role | capitalize + ': ' + message.content + '\\n\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

/**
 * Llama 4 (by architecture or by its special tokens) uses Meta's format, which its Hugging Face template only approximates;
 * Llama Guard 4 shares the vocabulary but asks by a template of its own. Others use their template. Without one: ChatML or
 * Llama 3's format if the special tokens are there, else plain "User: …" lines.
 * @throws TokenizerError when the template does not parse
 */
export function chatFormatFor(tokenizer: Tokenizer, options: ChatFormatOptions = {}): ChatFormat {
  const has = (...texts: string[]): boolean => texts.every(text => tokenizer.specialTokens.has(text));
  const { template, bosText, eosText } = options;
  const isLlama4 = has('<|begin_of_text|>', '<|header_start|>', '<|header_end|>', '<|eot|>');
  const isGuard = template?.includes('UNSAFE CONTENT CATEGORIES') ?? false;
  if (isLlama4 && !isGuard && (options.architecture === 'llama4' || template?.includes('<|header_start|>') !== false))
    return llama4Format(tokenizer);
  if (template) return jinjaFormat(tokenizer, template, { bosText, eosText });
  if (has('<|im_start|>', '<|im_end|>')) return jinjaFormat(tokenizer, chatml, { name: 'chatml' });
  if (has('<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'))
    return jinjaFormat(tokenizer, llama3, { name: 'llama3', bosText: bosText ?? '<|begin_of_text|>' });
  return jinjaFormat(tokenizer, plain, { name: 'plain' });
}
