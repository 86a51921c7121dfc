// Llama 4's chat format as Meta's models/llama4/chat_format.py writes it, token by token.
import type { ChatFormat, Tokenizer } from './tokenizer.ts';
import { TokenizerError } from './tokenizer-error.ts';
import { type ToolCallStyle, toolCallText } from './tool-call-text.ts';
import { withTools } from './tool-prompt.ts';

export interface Llama4FormatOptions {
  /** How calls in earlier assistant messages are written. Default json, as in Meta's encode_dialog_prompt. */
  readonly toolCalls?: ToolCallStyle;
}

/**
 * `<|begin_of_text|>`, then for each message `<|header_start|>ROLE<|header_end|>\n\nCONTENT` and `<|eot|>`; messages of tools, and
 * assistant messages that call tools, end with `<|eom|>`. Content is encoded by itself and as it is: nothing is trimmed, and
 * no text in it becomes a special token.
 * @throws TokenizerError when the vocabulary lacks one of the special tokens
 */
export function llama4Format(tokenizer: Tokenizer, options: Llama4FormatOptions = {}): ChatFormat {
  const special = (text: string): number => {
    const id = tokenizer.specialTokens.get(text);
    if (id === undefined)
      throw new TokenizerError(`the vocabulary has no special token ${text}, which Llama 4's chat format needs`);
    return id;
  };
  const [begin, headerStart, headerEnd] = ['<|begin_of_text|>', '<|header_start|>', '<|header_end|>'].map(special);
  const endOfTurn = special('<|eot|>');
  // Small vocabularies made for tests have no <|eom|>.
  const endOfMessage = tokenizer.specialTokens.get('<|eom|>') ?? endOfTurn;
  const blankLine = tokenizer.encode('\n\n');
  const header = (role: string): number[] => [headerStart!, ...tokenizer.encode(role), headerEnd!, ...blankLine];
  return {
    name: 'llama4',
    stopTokens: tokenizer.stopTokens,
    encode(messages, { generationPrompt = true, tools = [] } = {}) {
      const parts: number[][] = [[begin!]];
      for (const { role, content, toolCalls = [] } of withTools(messages, tools)) {
        const ofTool = role === 'tool' || role === 'ipython';
        const calls = role === 'assistant' ? toolCalls : [];
        parts.push(header(ofTool ? 'ipython' : role), tokenizer.encode(content));
        for (const call of calls) parts.push(tokenizer.encode(toolCallText(call, options.toolCalls ?? 'json')));
        parts.push([ofTool || calls.length > 0 ? endOfMessage : endOfTurn]);
      }
      if (generationPrompt) parts.push(header('assistant'));
      return parts.flat();
    },
  };
}
