// What the engine's worker thread and its client say to each other. Ids are the client's and name one request each.
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { CacheFileError } from './cache-file.ts';
import { NotEnoughMemory } from './errors.ts';
import type {
  EngineOptions,
  EngineStats,
  GenerateOptions,
  GenerationEnd,
  ModelInfo,
  Routing,
  RowsOptions,
  SavedCache,
  TokenEvent,
} from './types.ts';

/** The first thing a worker is given. */
export interface Opening {
  readonly path: string;
  readonly options: Omit<EngineOptions, 'onProgress' | 'signal'>;
}

export type ToWorker =
  | {
      readonly type: 'generate';
      readonly id: number;
      readonly prompt: readonly number[];
      readonly options: Omit<GenerateOptions, 'signal' | 'stopTokens'> & { readonly stopTokens?: readonly number[] };
    }
  | {
      readonly type: 'logprobs';
      readonly id: number;
      readonly tokens: readonly number[];
      readonly rows?: readonly number[];
      readonly options: RowsOptions;
    }
  | {
      readonly type: 'score' | 'embed';
      readonly id: number;
      readonly tokens: readonly number[];
      readonly options: RowsOptions;
    }
  | {
      readonly type: 'routing';
      readonly id: number;
      readonly tokens: readonly number[];
      readonly from: number;
      readonly options: RowsOptions;
    }
  | { readonly type: 'stats'; readonly id: number }
  | { readonly type: 'saveCache' | 'restoreCache'; readonly id: number; readonly path: string }
  /** The client took a row: another may be sent. */
  | { readonly type: 'taken'; readonly id: number }
  | { readonly type: 'abort'; readonly id: number }
  | { readonly type: 'close' };

/** Several at once: what comes in one turn of the worker's event loop, such as the tokens of a pass, is one message. */
export type FromWorker = readonly WorkerMessage[];

export type WorkerMessage =
  | { readonly type: 'progress'; readonly loadedBytes: number; readonly totalBytes: number }
  | { readonly type: 'opened'; readonly info: ModelInfo }
  | { readonly type: 'not-opened'; readonly error: WireError }
  /** Nothing can be computed any more; who was under way has been told. */
  | { readonly type: 'broken'; readonly error: WireError }
  | { readonly type: 'token'; readonly id: number; readonly event: TokenEvent }
  | { readonly type: 'row'; readonly id: number; readonly row: number; readonly logprobs: Float32Array<ArrayBuffer> }
  /** A request is over: a generation's end, scores, an embedding, routing, statistics, or nothing after rows. */
  | {
      readonly type: 'end';
      readonly id: number;
      readonly value: GenerationEnd | Float32Array | Routing | EngineStats | SavedCache | undefined;
    }
  | { readonly type: 'failed'; readonly id: number; readonly error: WireError };

/** An error's words; a thread cannot hand over its class. */
export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Of a CheckpointError. */
  readonly path: string | undefined;
}

export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), stack: undefined, path: undefined };
  const path = error instanceof CheckpointError ? error.path : undefined;
  return { name: error.name, message: error.message, stack: error.stack, path };
}

export function fromWire({ name, message, stack, path }: WireError): Error {
  let error: Error;
  if (path !== undefined)
    error = new (name === 'NotEnoughMemory' ? NotEnoughMemory : CheckpointError)(path, message.slice(path.length + 2));
  else if (name === 'RangeError') error = new RangeError(message);
  else if (name === 'GrammarError') error = Object.assign(new RangeError(message), { name });
  else if (name === 'TypeError') error = new TypeError(message);
  else if (name === 'CacheFileError') error = new CacheFileError(message);
  else error = new Error(message);
  // Where it happened is in the thread; the client's own frames say nothing.
  if (stack !== undefined) error.stack = stack;
  return error;
}
