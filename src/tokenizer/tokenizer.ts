// Text ⇄ tokens, as the rest of the project sees it.

/** A message of a conversation. `tool` and `ipython` are the same role (Meta's code writes `ipython`). */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool' | 'ipython';
  readonly content: string;
  /** Assistant messages that called tools: Llama 4 ends them with <|eom|> instead of <|eot|>. */
  readonly toolCalls?: readonly { readonly name: string; readonly arguments: unknown }[];
}

/** A function that the model may call. */
export interface Tool {
  /** 1 to 64 letters, digits, underscores, dots and dashes. */
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of the arguments, an object's. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

export interface Tokenizer {
  /** Ids are 0 … vocabSize − 1. */
  readonly vocabSize: number;
  readonly bos: number | null;
  /** Tokens that end a generation: end of text, of turn, of message. */
  readonly stopTokens: ReadonlySet<number>;
  /** Special tokens by their text. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /**
   * Text to ids, without BOS. By default the text of a special token is ordinary text; with `special: 'parse'` it becomes
   * that token (for templates, never for what a user wrote).
   */
  encode(text: string, options?: { special?: 'text' | 'parse' }): number[];
  /** Ids to text; special tokens are left out unless `special: 'show'`. Bytes that are no UTF-8 become U+FFFD. */
  decode(tokens: Iterable<number>, options?: { special?: 'skip' | 'show' }): string;
  /** The bytes of one token (of a special one: its text). */
  bytes(token: number): Uint8Array;
  /** A decoder that takes tokens one by one and never emits half a character. */
  stream(options?: { special?: 'skip' | 'show' }): TokenStream;
}

export interface TokenStream {
  /** The text that this token completes; often '' in the middle of a character. */
  push(token: number): string;
  /** What is left when no token follows: incomplete bytes as U+FFFD. */
  end(): string;
}

/** Messages ⇄ tokens. */
export interface ChatFormat {
  readonly name: string;
  /**
   * The conversation as tokens, BOS included, ending with the header of the assistant's next message unless told not to. Tools are described in
   * the system message.
   */
  encode(
    messages: readonly Message[],
    options?: { readonly generationPrompt?: boolean; readonly tools?: readonly Tool[] },
  ): number[];
  /** Tokens that end the assistant's message. */
  readonly stopTokens: ReadonlySet<number>;
}
