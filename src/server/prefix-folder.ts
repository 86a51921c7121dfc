// Prefix caches that outlive the process: what a model's engine keeps of earlier conversations is written to a file when the model is
// closed, and read when it is opened again. Within the file, as in memory, keys see nothing of each other.
import { createHash } from 'node:crypto';
import { basename, join, resolve } from 'node:path';
import type { ChatModel } from '../engine/chat-types.ts';
import type { OpenChat } from './library.ts';

/** A file was read or written, or could not be. */
export interface PrefixNews {
  readonly action: 'restored' | 'saved';
  readonly file: string;
  readonly sequences: number;
  readonly tokens: number;
  readonly bytes: number;
  /** Why nothing was restored, or saved. */
  readonly error?: Error;
}

/** The file of a model, named after it. */
export function prefixFile(folder: string, modelPath: string): string {
  const path = resolve(modelPath);
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 12);
  const name = basename(path)
    .replace(/\.gguf$/i, '')
    .replace(/[^\w.-]/g, '_')
    .slice(0, 80);
  return join(folder, `${name}-${digest}.kv`);
}

/**
 * Opens models so that each finds what it kept when it was last closed. A file that cannot be used is no reason not to serve: it is
 * told, and the model begins without.
 * @param folder exists, and is the server's own: prompts can be worked out from its files
 */
export const keepingPrefixes =
  (openChat: OpenChat, folder: string, tell: (news: PrefixNews) => void): OpenChat =>
  async (path, options) => {
    const chat = await openChat(path, options);
    const file = prefixFile(folder, path);
    const nothing = { file, sequences: 0, tokens: 0, bytes: 0 };
    try {
      tell({ action: 'restored', file, ...(await chat.engine.restoreCache(file)) });
    } catch (error) {
      // An engine in a thread tells what went wrong in words alone.
      const isFirstTime = /^ENOENT\b/.test((error as Error).message);
      if (!isFirstTime) tell({ action: 'restored', ...nothing, error: error as Error });
    }
    const save = async (): Promise<void> => {
      try {
        // Where nothing was asked, what is on disk is as good, whoever's it may be. What the last request leaves is kept a moment later
        // only, so it is not asked how much that is.
        if ((await chat.engine.stats()).promptTokens === 0) return;
        tell({ action: 'saved', file, ...(await chat.engine.saveCache(file)) });
      } catch (error) {
        tell({ action: 'saved', ...nothing, error: error as Error });
      }
    };
    let closing: Promise<void> | null = null;
    const close = async (): Promise<void> => {
      await save();
      await chat[Symbol.asyncDispose]();
    };
    return {
      ...chat,
      [Symbol.asyncDispose]() {
        closing ??= close();
        return closing;
      },
    } satisfies ChatModel;
  };
