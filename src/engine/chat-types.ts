// Messages in, text out: what an engine with a tokenizer promises. `engine/chat.ts` makes one.
import type { ChatFormat, Message, Tokenizer } from '../tokenizer/tokenizer.ts';
import type { ChatEvent, Engine, GenerateOptions } from './types.ts';

export interface ChatOptions extends Omit<GenerateOptions, 'stopTokens'> {
  /** The answer ends before the first of these strings; the string is not given out. */
  readonly stop?: readonly string[];
}

export interface ChatModel extends AsyncDisposable {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly format: ChatFormat;
  /** Answers a conversation. Text never ends within a character, and never shows part of a stop string that then matches. */
  chat(messages: readonly Message[], options?: ChatOptions): AsyncGenerator<ChatEvent, void>;
  /** Continues a text (or tokens); BOS is put in front of text where the model's tokenizer says so. */
  complete(prompt: string | readonly number[], options?: ChatOptions): AsyncGenerator<ChatEvent, void>;
}
