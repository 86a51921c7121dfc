// The engine as everyone uses it: it computes in a worker thread, and the caller's event loop stays free.
import { Worker } from 'node:worker_threads';
import { type Channel, createChannel } from './channel.ts';
import { checkEngineOptions, checkGenerate, checkRows, checkTokens } from './options.ts';
import { type FromWorker, fromWire, type Opening, type ToWorker } from './protocol.ts';
import type {
  Engine,
  EngineOptions,
  EngineStats,
  GenerateOptions,
  GenerationEnd,
  ModelInfo,
  TokenEvent,
} from './types.ts';

/** From sources Node runs `.ts`; a build has `.js`. */
const workerUrl = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

/**
 * Opens a checkpoint for generation, in a thread of its own. Close it with `await using` or `[Symbol.asyncDispose]`; an engine
 * with nothing to do does not keep the process alive.
 * @throws CheckpointError when the file cannot be used; RangeError naming an option; the signal's reason when it aborts.
 */
export async function openEngine(path: string, options: EngineOptions = {}): Promise<Engine> {
  const { onProgress, signal, ...rest } = options;
  checkEngineOptions(options);
  signal?.throwIfAborted();
  const worker = new Worker(workerUrl, {
    workerData: { path, options: rest } satisfies Opening,
    // A flag of `node -e` that a thread started from a file refuses.
    execArgv: process.execArgv.filter(flag => !flag.startsWith('--input-type')),
  });
  const opening = Promise.withResolvers<ModelInfo>();
  const abort = (): void => opening.reject(signal?.reason);
  const onMessage = (message: FromWorker): void => {
    if (message.type === 'progress') {
      try {
        onProgress?.(message.loadedBytes, message.totalBytes);
      } catch (error) {
        opening.reject(error); // as a local engine does
      }
    } else if (message.type === 'opened') opening.resolve(message.info);
    else if (message.type === 'not-opened') opening.reject(fromWire(message.error));
  };
  const onError = (error: unknown): void => opening.reject(diedError(path, error));
  const onExit = (code: number): void => opening.reject(diedError(path, `exit code ${code}`));
  signal?.addEventListener('abort', abort, { once: true });
  worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  try {
    return clientOf(worker, await opening.promise);
  } catch (error) {
    await worker.terminate();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    worker.off('message', onMessage).off('error', onError).off('exit', onExit);
  }
}

/** An engine that is a worker's: what `openEngine` returns once the worker has opened. */
export const clientOf = (worker: Worker, info: ModelInfo): Engine => new EngineClient(worker, info);

const diedError = (path: string, cause: unknown): Error =>
  new Error(
    `${path}: the engine's thread ended unasked (${cause instanceof Error ? cause.message : String(cause)}). ` +
      'Requests under way are lost; open the engine again, with fewer contextTokens or maxSequences if memory ran out.',
    { cause },
  );

type Value = TokenEvent | { readonly row: number; readonly logprobs: Float32Array };
type End = GenerationEnd | Float32Array | EngineStats | undefined;

class EngineClient implements Engine {
  readonly info: ModelInfo;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Channel<Value, End>>();
  #lastId = 0;
  /** Why no request can be answered any more. */
  #dead: Error | null = null;
  #closing: Promise<void> | null = null;
  readonly #exited: Promise<void>;

  constructor(worker: Worker, info: ModelInfo) {
    this.info = info;
    this.#worker = worker;
    worker.on('message', (message: FromWorker) => this.#hear(message));
    worker.on('error', error => this.#die(diedError(info.path, error)));
    this.#exited = new Promise(resolve => {
      worker.on('exit', code => {
        this.#die(this.#closing ? closedError() : diedError(info.path, `exit code ${code}`));
        resolve();
      });
    });
    worker.unref();
  }

  async *generate(
    prompt: readonly number[],
    { signal, stopTokens, ...options }: GenerateOptions = {},
  ): AsyncGenerator<TokenEvent, GenerationEnd> {
    checkGenerate(prompt, options, this.#bounds);
    const end = yield* this.#ask<TokenEvent>(
      id => ({ type: 'generate', id, prompt, options: { ...options, stopTokens: stopTokens && [...stopTokens] } }),
      signal,
      // The worker says how a generation ended, an aborted one too: with its statistics.
      { rejects: false },
    );
    return end as GenerationEnd;
  }

  async *logprobs(
    tokens: readonly number[],
    { rows, signal }: { rows?: readonly number[]; signal?: AbortSignal } = {},
  ): AsyncGenerator<{ readonly row: number; readonly logprobs: Float32Array }, void> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    checkRows(rows ?? [], tokens.length);
    signal?.throwIfAborted();
    yield* this.#ask<{ readonly row: number; readonly logprobs: Float32Array }>(
      id => ({ type: 'logprobs', id, tokens, rows }),
      signal,
      { rejects: true, onTaken: id => this.#send({ type: 'taken', id }) },
    );
  }

  async score(tokens: readonly number[], { signal }: { signal?: AbortSignal } = {}): Promise<Float32Array> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    signal?.throwIfAborted();
    const { value } = await this.#ask(id => ({ type: 'score', id, tokens }), signal, { rejects: true }).next();
    return value as Float32Array;
  }

  async stats(): Promise<EngineStats> {
    const { value } = await this.#ask(id => ({ type: 'stats', id }), undefined, { rejects: true }).next();
    return value as EngineStats;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (!this.#dead) {
      this.#worker.ref();
      this.#die(closedError());
      this.#worker.postMessage({ type: 'close' } satisfies ToWorker);
      // A pass under way ends first; a thread that hangs is not waited for.
      const timer = setTimeout(() => void this.#worker.terminate(), 5000);
      await this.#exited;
      clearTimeout(timer);
    }
    await this.#exited;
  }

  get #bounds() {
    return { vocab: this.info.config.vocab, contextTokens: this.info.contextTokens };
  }

  #send(message: ToWorker): void {
    if (!this.#dead) this.#worker.postMessage(message);
  }

  /** Sends a request and gives what comes back. Leaving early aborts it. */
  async *#ask<V extends Value>(
    make: (id: number) => ToWorker,
    signal: AbortSignal | undefined,
    { rejects, onTaken }: { readonly rejects: boolean; readonly onTaken?: (id: number) => void },
  ): AsyncGenerator<V, End> {
    if (this.#dead) throw this.#dead;
    const id = ++this.#lastId;
    const channel = createChannel<Value, End>();
    const abort = (): void => {
      this.#send({ type: 'abort', id });
      if (rejects) channel.fail(signal?.reason);
    };
    this.#pending.set(id, channel);
    this.#worker.ref();
    let over = false;
    try {
      this.#send(make(id)); // throws when an option is nothing that a thread can be sent
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort, { once: true });
      for (;;) {
        const next = await channel.next();
        if (next.done) {
          over = true;
          return next.value;
        }
        onTaken?.(id);
        yield next.value as V;
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      if (!over) this.#send({ type: 'abort', id });
      this.#pending.delete(id);
      if (this.#pending.size === 0 && !this.#closing) this.#worker.unref();
    }
  }

  #hear(message: FromWorker): void {
    if (!('id' in message)) return;
    const channel = this.#pending.get(message.id);
    if (!channel) return; // its consumer left
    if (message.type === 'token') channel.push(message.event);
    else if (message.type === 'row') channel.push({ row: message.row, logprobs: message.logprobs });
    else if (message.type === 'end') channel.end(message.value);
    else channel.fail(fromWire(message.error));
  }

  #die(error: Error): void {
    this.#dead ??= error;
    for (const channel of this.#pending.values()) channel.fail(this.#dead);
  }
}

const closedError = (): Error => new Error('This engine is closed. Open another with openEngine.');
