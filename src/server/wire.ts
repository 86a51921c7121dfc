// What goes over the wire, as the page and the routes see it. Shapes: the OpenAI API reference (chat, completions, models);
// `timings` has the names of llama.cpp's server.

export interface WireError {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export type ModelStatus = 'available' | 'loading' | 'ready' | 'failed';

export interface WireModel {
  readonly id: string;
  readonly object: 'model';
  /** Seconds since 1970; when this server started. */
  readonly created: number;
  readonly owned_by: string;
  readonly bytes: number;
  readonly note: string | null;
  readonly status: ModelStatus;
  /** While loading. */
  readonly progress: { readonly loaded_bytes: number; readonly total_bytes: number } | null;
  /** Why it failed. */
  readonly error: string | null;
  /** Once it is ready. */
  readonly context_tokens: number | null;
  readonly parameters: number | null;
  readonly active_parameters: number | null;
  /** Routed experts in a layer; of a model that has some, `/v1/routing` tells where tokens go. */
  readonly experts: number | null;
  readonly backend: string | null;
  readonly threads: number | null;
}

export interface WireModelList {
  readonly object: 'list';
  readonly data: readonly WireModel[];
}

export interface WireHealth {
  /** 'ok' only if an engine answers. */
  readonly status: 'ok' | 'loading' | 'unavailable';
  readonly models: Readonly<Record<string, { readonly status: ModelStatus; readonly error?: string }>>;
}

export interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** Milliseconds and tokens per second; a rate is null where nothing was measured. */
export interface WireTimings {
  readonly queue_ms: number;
  /** Prompt tokens found in the cache. */
  readonly cache_n: number;
  /** Prompt tokens computed. */
  readonly prompt_n: number;
  readonly prompt_ms: number;
  readonly prompt_per_second: number | null;
  readonly predicted_n: number;
  readonly predicted_ms: number;
  readonly predicted_per_second: number | null;
}

export type WireFinishReason = 'stop' | 'length' | 'tool_calls';

export interface WireToolCall {
  readonly id: string;
  readonly type: 'function';
  /** `arguments` is JSON text. */
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A piece of a call; the first of each `index` has its id and name. */
export interface WireToolCallDelta {
  readonly index: number;
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name?: string; readonly arguments: string };
}

export interface WireTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
}

export interface WireChatLogprobs {
  readonly content: readonly (WireTokenLogprob & { readonly top_logprobs: readonly WireTokenLogprob[] })[];
  readonly refusal: null;
}

export interface WireChatCompletion {
  readonly id: string;
  readonly object: 'chat.completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly index: number;
    readonly message: {
      readonly role: 'assistant';
      /** null where there are calls and no text. */
      readonly content: string | null;
      readonly refusal: null;
      readonly tool_calls?: readonly WireToolCall[];
    };
    readonly logprobs: WireChatLogprobs | null;
    readonly finish_reason: WireFinishReason;
  }[];
  readonly usage: WireUsage;
  readonly timings: WireTimings;
}

export interface WireChatChunk {
  readonly id: string;
  readonly object: 'chat.completion.chunk';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly index: number;
    readonly delta: {
      readonly role?: 'assistant';
      readonly content?: string;
      readonly tool_calls?: readonly WireToolCallDelta[];
    };
    readonly logprobs: WireChatLogprobs | null;
    readonly finish_reason: WireFinishReason | null;
  }[];
  /** Only with `stream_options.include_usage`: null, and the figures on a last chunk without choices. */
  readonly usage?: WireUsage | null;
  /** On the chunk that has the finish reason. */
  readonly timings?: WireTimings;
}

/** One entry a token; `text_offset` counts UTF-16 units of `text`. */
export interface WireCompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[] | null;
  readonly text_offset: readonly number[];
}

/** A completion, or with `stream` a piece of one (then the finish reason is null until the last). */
export interface WireCompletion {
  readonly id: string;
  readonly object: 'text_completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly {
    readonly index: number;
    readonly text: string;
    readonly logprobs: WireCompletionLogprobs | null;
    readonly finish_reason: WireFinishReason | null;
  }[];
  readonly usage?: WireUsage | null;
  readonly timings?: WireTimings;
}

/** POST /v1/routing: where the tokens of a conversation's last message went. */
export interface WireRouting {
  readonly object: 'routing';
  readonly model: string;
  /** Routed experts in a layer. */
  readonly experts: number;
  readonly experts_per_token: number;
  /** Numbers of the layers that have experts, ascending. */
  readonly layers: readonly number[];
  readonly tokens: readonly {
    readonly text: string;
    /** By position in `layers`: the ids of the chosen experts, the strongest first. */
    readonly experts: readonly (readonly number[])[];
  }[];
}

/** GET /v1/experts: of models whose experts are not all in memory; sums since each was loaded, shares null where there is nothing yet. */
export interface WireExpertStats {
  readonly object: 'list';
  readonly data: readonly {
    readonly object: 'experts';
    readonly model: string;
    /** All experts of all layers, those that memory has places for, and those there now. */
    readonly experts: number;
    readonly slots: number;
    readonly held: number;
    readonly held_bytes: number;
    /** Experts that passes wanted, and those of them that were in memory since an earlier one. */
    readonly wanted: number;
    readonly hits: number;
    readonly hit_rate: number | null;
    readonly bytes_read: number;
    readonly bytes_per_token: number | null;
    /** Time in which anything was being read, and what the disk gave in it. */
    readonly read_seconds: number;
    readonly read_bytes_per_second: number | null;
    /** Time in which nothing could be computed until something was read. */
    readonly stalled_seconds: number;
    /** Guesses at the next layer's experts, and those that were read on the strength of it. */
    readonly guesses: number;
    readonly guesses_right: number;
    readonly foreseen: number;
    readonly foreseen_right: number;
    readonly failures: number;
    readonly layers: readonly {
      readonly layer: number;
      readonly wanted: number;
      readonly hits: number;
      readonly hit_rate: number | null;
      readonly bytes_read: number;
      readonly stalled_seconds: number;
    }[];
  }[];
}

/** POST /v1/embeddings: `embedding` is numbers, or base64 of 32-bit floats. */
export interface WireEmbeddings {
  readonly object: 'list';
  readonly data: readonly {
    readonly object: 'embedding';
    readonly index: number;
    readonly embedding: readonly number[] | string;
  }[];
  readonly model: string;
  /** Of what the vectors are made: the mean of the language model's last hidden states. */
  readonly pooling: 'mean';
  readonly usage: { readonly prompt_tokens: number; readonly total_tokens: number };
}

/** The part of a chat request that the page sends. */
export interface WireChatRequest {
  readonly model: string;
  readonly messages: readonly { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[];
  readonly stream: true;
  readonly stream_options: { readonly include_usage: true };
  readonly temperature?: number;
  readonly top_p?: number;
  readonly top_k?: number;
  readonly min_p?: number;
  readonly repetition_penalty?: number;
  readonly max_tokens?: number;
  readonly seed?: number;
}
