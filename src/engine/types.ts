// Tokens in, tokens out: what an engine promises. The engine never sees text.
import type { CacheType } from '../backends/backend.ts';
import type { SourceModule } from '../checkpoint/sources.ts';
import type { StreamStats } from '../model/expert-stats.ts';
import type { Llama4Config } from '../model/llama4.ts';
import type { TokenBytes } from './token-trie.ts';

export interface EngineOptions {
  /** Default 'native' where there are kernels for this processor, else 'wasm'. 'reference' is scalar TypeScript: exact and slow. */
  readonly backend?: 'native' | 'wasm' | 'reference';
  /** Compute threads; default: the processors this process may use. */
  readonly threads?: number;
  /** Positions a sequence may hold; default: the checkpoint's, at most 8192. */
  readonly contextTokens?: number;
  /** Sequences computed at once; further ones wait. Default 4. */
  readonly maxSequences?: number;
  /** Requests that may wait; further ones are refused with QueueFull. Default 256. */
  readonly maxWaiting?: number;
  /**
   * Bytes of keys and values, of running and of finished requests together, above which finished ones are forgotten, the least
   * recently used first. Default: what `maxSequences` full contexts take. 0 keeps none.
   */
  readonly cacheBytes?: number;
  /**
   * How keys and values are kept: 'F16'; 'Q8_0' in a little more than half the memory, which is read sooner in long contexts and rounds
   * them to 8 bits; or 'F32' in twice the memory, which rounds nothing. Default 'F16'.
   */
  readonly cacheType?: CacheType;
  /** Most tokens in one forward pass; prompts are cut into such pieces. Default 512, and up to 2048 where experts are read from disk. */
  readonly maxBatch?: number;
  /**
   * About how long a forward pass may take, ms: prompts are cut into pieces by the speed measured so far, for new requests are heard
   * between passes. A prompt that nobody waits for gets four times that. Infinity: pieces of maxBatch tokens. Default 250.
   */
  readonly passMs?: number;
  /**
   * Bytes of memory to take at most: weights, keys and values, activations and the program together. A model with more experts than that
   * keeps as many as there is room for, and reads the others from disk when a token wants them; the tokens are the same. Default: what
   * the machine, or the container, has free.
   */
  readonly memory?: number;
  /**
   * Where the checkpoint's bytes come from when they are not, or not all, files of this machine. Experts are then read when a token
   * wants them, also where all of them have room.
   */
  readonly sources?: SourceModule;
  /**
   * A folder in which is kept, across runs, how often each expert of a model that is read from disk is wanted, and checksums of those
   * that were read. Default: it is learnt anew each time.
   */
  readonly streamingFolder?: string;
  /** Times that an engine whose thread broke is opened again before it has answered a request; 0 is never. Default 3. */
  readonly maxRestarts?: number;
  /** What the tokens stand for, byte for byte: needed by requests with a grammar, and by nothing else. */
  readonly tokenBytes?: TokenBytes;
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
  /** Added to the logits of these tokens, −100 … 100 each; the whole at most 1024 tokens. Default: none. */
  readonly logitBias?: ReadonlyMap<number, number>;
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
  /**
   * GBNF: only tokens whose bytes can follow in a text of this grammar are said, and an end only where the text may end. The
   * generation ends by itself where nothing can follow. Needs an engine with `tokenBytes`.
   */
  readonly grammar?: string;
  /**
   * Prompt-lookup decoding: guess up to so many next tokens from the request's own (true: 16; 0 and false: off, the default) and
   * verify them in one pass. The tokens are the same as without, whatever the options; only the time is not.
   */
  readonly promptLookup?: boolean | number;
  /** Record which experts the tokens go to: of the prompt's that were not in the cache, and the answer's. Default false. */
  readonly routing?: boolean;
  /** Also give the n most likely tokens of each step, 0 … 20. Default 0. */
  readonly topLogprobs?: number;
  /** The generation ends with 'deadline' so many ms after it was asked for, waiting included, at the next end of a pass. */
  readonly timeoutMs?: number;
  /** Prompts are found in the cache only where they were computed under the same salt: one a tenant keeps tenants apart. Default ''. */
  readonly cacheSalt?: string;
  /** Whose request it is: keys get equal shares of the engine, whatever each of them asks for. Default ''. */
  readonly fairnessKey?: string;
  readonly signal?: AbortSignal;
}

/** Options of requests that generate nothing: see GenerateOptions. */
export type RowsOptions = Pick<GenerateOptions, 'cacheSalt' | 'fairnessKey' | 'signal'>;

export interface TokenEvent {
  readonly token: number;
  /** Natural log-probability under the model itself (temperature 1, no penalties). */
  readonly logprob: number;
  readonly topLogprobs: readonly { readonly token: number; readonly logprob: number }[];
}

/** 'context' = the context is full. 'deadline' = `timeoutMs` has passed. */
export type FinishReason = 'stop' | 'length' | 'context' | 'deadline' | 'abort';

export interface GenerationEnd {
  readonly reason: FinishReason;
  readonly stats: GenerationStats;
  /** Where it was asked for. The last token is left out: nothing followed it, so it was not computed. */
  readonly routing?: Routing;
}

/** Which experts tokens went to. */
export interface Routing {
  /** Position of the first of these tokens. */
  readonly from: number;
  /** How many they are. */
  readonly tokens: number;
  /** Numbers of the layers that have experts, ascending. */
  readonly layers: readonly number[];
  /** Routed experts in a layer. */
  readonly experts: number;
  readonly expertsPerToken: number;
  /** Ids of experts, [tokens, layers, expertsPerToken], the strongest first. */
  readonly ids: Uint16Array;
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
  /** Tokens guessed by prompt lookup, and those that came true: each saved a pass. */
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
}

/** Of a request that computed nothing. */
export const emptyStats: GenerationStats = {
  promptTokens: 0,
  cachedTokens: 0,
  generatedTokens: 0,
  queueMs: 0,
  prefillMs: 0,
  decodeMs: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
};

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
  /** What it takes of memory at most: weights, keys and values, activations and the program together. */
  readonly plannedBytes: number;
  /** Load time, ms. */
  readonly loadMs: number;
  /** Where not all of its experts are in memory: how many are at once, of how many, and bytes. */
  readonly streaming?: {
    readonly heldExperts: number;
    readonly experts: number;
    readonly heldBytes: number;
    /** What all of the engine may take. */
    readonly memoryBytes: number;
  };
}

export interface EngineStats {
  /** Sums since opening. */
  readonly prefillTokens: number;
  readonly prefillMs: number;
  readonly decodeTokens: number;
  readonly decodeMs: number;
  /** Of prompt lookup: tokens guessed, and those of them that came true. */
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  readonly weightBytesRead: number;
  readonly multiplyAdds: number;
  readonly memoryBytes: number;
  readonly cacheBytes: number;
  /** Above which finished requests are forgotten. */
  readonly cacheLimitBytes: number;
  /** Forward passes. */
  readonly passes: number;
  /** Prompt tokens of requests that got a place, those of them found in the cache, and the requests that found some. */
  readonly promptTokens: number;
  readonly reusedTokens: number;
  readonly reusedPrompts: number;
  /** Finished sequences whose keys and values are kept. */
  readonly keptSequences: number;
  readonly running: number;
  readonly waiting: number;
  /** What reading experts from disk cost, or null where all are in memory. */
  readonly experts: StreamStats | null;
}

/**
 * 'failed': nothing is computed; what was under way is told so. An engine in a thread goes on to 'restarting' and 'ready', and stays
 * 'failed' when that does not help. 'draining': what is there is finished and nothing more is taken.
 */
export type EngineState = 'ready' | 'failed' | 'restarting' | 'draining' | 'closed';

/** @param error why, of 'failed' */
export type StateListener = (state: EngineState, error?: Error) => void;

/** What a file of the cache holds, or gave. */
export interface SavedCache {
  readonly sequences: number;
  readonly tokens: number;
  readonly bytes: number;
}

export interface Engine extends AsyncDisposable {
  readonly info: ModelInfo;
  readonly state: EngineState;
  /** Calls back at every change of state. @returns what ends that */
  onState(listener: StateListener): () => void;
  /** Refuses further requests with EngineDraining; resolves when those under way have ended. */
  drain(): Promise<void>;
  /** Yields tokens as they are computed; the generator's return value says why it ended. Leaving the loop aborts. */
  generate(prompt: readonly number[], options?: GenerateOptions): AsyncGenerator<TokenEvent, GenerationEnd>;
  /**
   * Log-softmax at positions of a token list: row i predicts token i + 1. Rows come in order, each [vocab], as they are computed.
   * @param rows ascending positions; default all.
   */
  logprobs(
    tokens: readonly number[],
    options?: { rows?: readonly number[] } & RowsOptions,
  ): AsyncGenerator<{ readonly row: number; readonly logprobs: Float32Array }, void>;
  /** Sum over the tokens of ln p(token | its prefix), one number per token from the second on; nothing of vocab size is kept. */
  score(tokens: readonly number[], options?: RowsOptions): Promise<Float32Array>;
  /** The mean over all tokens of the model's last hidden states, normed as the output matrix reads them: [dim]. */
  embed(tokens: readonly number[], options?: RowsOptions): Promise<Float32Array>;
  /**
   * Which experts the tokens from position `from` on go to; what is before them is computed where it is not in the cache.
   * @param from default 0
   * @throws RangeError of a model without experts
   */
  routing(tokens: readonly number[], options?: { from?: number } & RowsOptions): Promise<Routing>;
  /**
   * Writes the kept keys and values of finished requests to a file that only its owner may read: what prompts were can be worked
   * out from it. The last used come first, and no more than `cacheBytes` in all. A file of that name is replaced once the new one is whole.
   */
  saveCache(path: string): Promise<SavedCache>;
  /**
   * Reads what `saveCache` wrote, as far as there is room. @throws CacheFileError when the file is damaged, or of another model or backend.
   */
  restoreCache(path: string): Promise<SavedCache>;
  stats(): Promise<EngineStats>;
}

/**
 * What a chat model says while it answers. Calls of tools come one after another, `index` counts them; `tokens` are those that an
 * event completes.
 */
export type ChatEvent =
  | { readonly type: 'text'; readonly text: string; readonly tokens: readonly TokenEvent[] }
  | {
      readonly type: 'call-start';
      readonly index: number;
      readonly name: string;
      readonly tokens: readonly TokenEvent[];
    }
  /** More of the arguments, as JSON text. */
  | {
      readonly type: 'call-arguments';
      readonly index: number;
      readonly delta: string;
      readonly tokens: readonly TokenEvent[];
    }
  /** `complete`: the arguments together are a JSON object. Else they broke off, by the limit of tokens or by the model's fault. */
  | {
      readonly type: 'call-end';
      readonly index: number;
      readonly complete: boolean;
      readonly tokens: readonly TokenEvent[];
    }
  /** `stopString`: the one of `stop` that ended it, if one did. */
  | {
      readonly type: 'end';
      readonly reason: FinishReason;
      readonly stopString?: string;
      readonly stats: GenerationStats;
      /** Where `routing` was asked for. */
      readonly routing?: Routing;
    };
