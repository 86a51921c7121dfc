// What the server asks of the library of models and of the engine: whoever starts the server hands both in.
import type { ChatModel } from '../engine/chat-types.ts';

/** A checkpoint that can be served. */
export interface LibraryModel {
  /** What a request's `model` says, and what `/v1/models` lists. */
  readonly id: string;
  /** The checkpoint's file or folder, as `openChat` takes it. */
  readonly path: string;
  readonly bytes: number;
  /** Shown beside the model on the page, for instance 'random weights: answers are noise'. */
  readonly note?: string;
}

export interface Library {
  /** In the order in which people should see them. Called again for each listing, so that models may come and go. */
  list(): Promise<readonly LibraryModel[]>;
}

export interface OpenChatOptions {
  /** Bytes of weights loaded so far. */
  readonly onProgress: (loadedBytes: number, totalBytes: number) => void;
  /** Aborted when nobody wants the model any more. */
  readonly signal: AbortSignal;
  /** Bytes of memory that it may take: what `Room` said last. */
  readonly room: number;
}

/** Bytes of memory that one more model may take beside those that are loaded. */
export type Room = (loaded: readonly { readonly bytes: number; readonly chat: ChatModel }[]) => number;

/**
 * Loads a checkpoint; `openChat` of engine/chat.ts with the caller's backend, threads and context length. An error of the name
 * NotEnoughMemory makes the server unload another model and try again.
 */
export type OpenChat = (path: string, options: OpenChatOptions) => Promise<ChatModel>;
