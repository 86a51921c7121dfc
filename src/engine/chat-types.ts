// Messages in, text and calls out: what an engine with a tokenizer promises. `engine/chat.ts` makes one.
import type { ChatFormat, Message, Tokenizer, Tool } from '../tokenizer/tokenizer.ts';
import type { SuggestedSampling } from './chat-sampling.ts';
import type { ChatEvent, Engine, GenerateOptions, Routing, RowsOptions } from './types.ts';

/** How the whole answer must be formed: a grammar sees to it. */
export type ResponseFormat =
  | { readonly type: 'text' }
  | { readonly type: 'json_object' }
  /** Every answer is valid under the schema; what of JSON Schema is supported, docs/tools.md says. */
  | { readonly type: 'json_schema'; readonly schema: unknown }
  /** ECMAScript's notation; the whole answer matches. */
  | { readonly type: 'regex'; readonly pattern: string }
  /** GBNF. */
  | { readonly type: 'grammar'; readonly grammar: string };

export type ToolChoice = 'auto' | 'none' | 'required' | { readonly name: string };

export interface CompletionOptions extends Omit<GenerateOptions, 'stopTokens' | 'grammar'> {
  /** The answer ends before the first of these strings; the string is not given out. */
  readonly stop?: readonly string[];
  /** The model's own end of an answer does not end it: for measurements, which want answers of one length. Default false. */
  readonly ignoreEnd?: boolean;
  /** Default: text. The answer may be cut by `maxTokens`, and is then only the beginning of what was promised. */
  readonly responseFormat?: ResponseFormat;
}

export interface ChatOptions extends CompletionOptions {
  /** What the model may call. Its calls come as events of their own, never as text. */
  readonly tools?: readonly Tool[];
  /** Default 'auto': the model decides. With 'required', or a name, a grammar makes the answer well-formed calls. */
  readonly toolChoice?: ToolChoice;
  /** Default true. False: the answer ends with the first call. */
  readonly parallelToolCalls?: boolean;
}

export interface Embedding {
  /** [dim], of any length; scale it to length 1 to compare by the dot product. */
  readonly vector: Float32Array;
  readonly promptTokens: number;
}

/** Where an answer's tokens went. */
export interface AnswerRouting {
  /** Of the answer's text; `routing` is of the same. */
  readonly tokens: readonly number[];
  readonly routing: Routing;
  /** Of the whole conversation with the answer. */
  readonly promptTokens: number;
}

export interface ChatModel extends AsyncDisposable {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly format: ChatFormat;
  /** How the checkpoint suggests to draw tokens. Nothing is drawn so unless it is asked for: `chat(messages, { ...suggested })`. */
  readonly suggested?: SuggestedSampling;
  /**
   * Answers a conversation. Text never ends within a character, and never shows part of a stop string that then matches.
   * @throws RangeError naming an option; GrammarError, one of them, naming the place in a schema or grammar
   */
  chat(messages: readonly Message[], options?: ChatOptions): AsyncGenerator<ChatEvent, void>;
  /** Continues a text (or tokens); BOS is put in front of text where the model's tokenizer says so. */
  complete(prompt: string | readonly number[], options?: CompletionOptions): AsyncGenerator<ChatEvent, void>;
  /** A text (or tokens) as one vector, the mean of the model's hidden states; BOS as with `complete`. */
  embed(input: string | readonly number[], options?: RowsOptions): Promise<Embedding>;
  /**
   * Reads a conversation that ends with the assistant's answer once more, and tells which experts the answer's tokens go to.
   * @throws RangeError of a model without experts, or where the last message is no answer
   */
  routing(messages: readonly Message[], options?: RowsOptions): Promise<AnswerRouting>;
}
