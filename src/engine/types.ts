// Tokens in, tokens out: what an engine promises. The engine never sees text.
import type { Llama4Config } from '../model/llama4.ts';

export interface EngineOptions {
  /** Default 'native' where there are kernels for this processor, else 'wasm'. 'reference' is scalar TypeScript: exact and slow. */
  readonly backend?: 'native' | 'wasm' | 'reference';
  /** Compute threads; default: the processors this process may use. */
  readonly threads?: number;
  /** Positions a sequence may hold; default: the checkpoint's, at most 8192. */
  readonly contextTokens?: number;
  /** Sequences computed at once; further ones wait. Default 4. */
  readonly maxSequences?: number;
  /** Most tokens in one forward pass; prompts are cut into such pieces. Default 512. */
  readonly maxBatch?: number;
  /** Bytes of weights loaded so far, while opening. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface SamplingOptions {
  /** 0 is greedy. Default 0. */
  readonly temperature?: number;
  /** Keep the k most likely; 0 keeps all. Default 0. */
  readonly topK?: number;
  /** Keep the smallest set of the most likely that has this mass, (0, 1]. Default 1. */
  readonly topP?: number;
  /** Drop what is less likely than this share of the most likely, [0, 1]. Default 0. */
  readonly minP?: number;
  /** Divide (multiply if negative) the logits of the last `repetitionWindow` tokens by this. Default 1 (CTRL, arXiv 1909.05858). */
  readonly repetitionPenalty?: number;
  /** Subtract once if the token occurred in the window. Default 0. */
  readonly presencePenalty?: number;
  /** Subtract times its count in the window. Default 0. */
  readonly frequencyPenalty?: number;
  /** Tokens the penalties look back on; default 64, counts prompt and answer. */
  readonly repetitionWindow?: number;
  /** A request owns its random generator; the same seed gives the same tokens whatever runs beside it. Default: random. */
  readonly seed?: number;
}

export interface GenerateOptions extends SamplingOptions {
  /** Default: what the context has room for. */
  readonly maxTokens?: number;
  /** The token that ends the generation is not yielded. */
  readonly stopTokens?: Iterable<number>;
  /** Also give the n most likely tokens of each step, 0 … 20. Default 0. */
  readonly topLogprobs?: number;
  readonly signal?: AbortSignal;
}

export interface TokenEvent {
  readonly token: number;
  /** Natural log-probability under the model itself (temperature 1, no penalties). */
  readonly logprob: number;
  readonly topLogprobs: readonly { readonly token: number; readonly logprob: number }[];
}

/** 'context' = the context is full. */
export type FinishReason = 'stop' | 'length' | 'context' | 'abort';

export interface GenerationEnd {
  readonly reason: FinishReason;
  readonly stats: GenerationStats;
}

export interface GenerationStats {
  readonly promptTokens: number;
  /** Of these, positions found in the cache from an earlier request. */
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  /** Waiting for a place, ms. */
  readonly queueMs: number;
  /** From the first prompt token computed to the first token sampled, ms. */
  readonly prefillMs: number;
  /** All tokens after the first, ms. */
  readonly decodeMs: number;
}

export interface ModelInfo {
  readonly path: string;
  readonly config: Llama4Config;
  readonly backend: string;
  /** Instruction set of the backend's kernels, where there are several. */
  readonly variant?: string;
  readonly threads: number;
  readonly contextTokens: number;
  readonly maxBatch: number;
  readonly parameters: number;
  /** Parameters a token uses. */
  readonly activeParameters: number;
  readonly weightBytes: number;
  /** Load time, ms. */
  readonly loadMs: number;
}

export interface EngineStats {
  /** Sums since opening. */
  readonly prefillTokens: number;
  readonly prefillMs: number;
  readonly decodeTokens: number;
  readonly decodeMs: number;
  readonly weightBytesRead: number;
  readonly multiplyAdds: number;
  readonly memoryBytes: number;
  readonly cacheBytes: number;
  readonly running: number;
  readonly waiting: number;
}

export interface Engine extends AsyncDisposable {
  readonly info: ModelInfo;
  /** Yields tokens as they are computed; the generator's return value says why it ended. Leaving the loop aborts. */
  generate(prompt: readonly number[], options?: GenerateOptions): AsyncGenerator<TokenEvent, GenerationEnd>;
  /**
   * Log-softmax at positions of a token list: row i predicts token i + 1. Rows come in order, each [vocab], as they are computed.
   * @param rows ascending positions; default all.
   */
  logprobs(
    tokens: readonly number[],
    options?: { rows?: readonly number[]; signal?: AbortSignal },
  ): AsyncGenerator<{ readonly row: number; readonly logprobs: Float32Array }, void>;
  /** Sum over the tokens of ln p(token | its prefix), one number per token from the second on; nothing of vocab size is kept. */
  score(tokens: readonly number[], options?: { signal?: AbortSignal }): Promise<Float32Array>;
  stats(): Promise<EngineStats>;
}

/** What a chat model says while it answers. */
export type ChatEvent =
  | { readonly type: 'text'; readonly text: string; readonly tokens: readonly TokenEvent[] }
  | { readonly type: 'end'; readonly reason: FinishReason; readonly stats: GenerationStats };
