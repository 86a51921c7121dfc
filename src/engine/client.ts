// The engine as everyone uses it: it computes in a worker thread, and the caller's event loop stays free.
import { setTimeout as setTimeoutPromise } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type Channel, createChannel } from './channel.ts';
import { Door } from './door.ts';
import { createState } from './engine-state.ts';
import { EngineFailed, EngineRestarting } from './errors.ts';
import { checkEngineOptions, checkGenerate, checkRouting, checkRows, checkTokens } from './options.ts';
import { type FromWorker, fromWire, type Opening, type ToWorker, type WorkerMessage } from './protocol.ts';
import type {
  Engine,
  EngineOptions,
  EngineState,
  EngineStats,
  GenerateOptions,
  GenerationEnd,
  ModelInfo,
  Routing,
  RowsOptions,
  SavedCache,
  StateListener,
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
  const { maxRestarts, maxSequences, maxWaiting } = checkEngineOptions(options);
  options.signal?.throwIfAborted();
  const { onProgress: _, signal: __, ...rest } = options;
  // Who is too many is refused here, at once; the thread hears of it between passes only.
  const inside = { maxWaiting: 2 ** 31 - 1 };
  return clientOf(await startWorker(path, { ...options, ...inside }), {
    restarts: { start: signal => startWorker(path, { ...rest, ...inside, signal }), most: maxRestarts },
    places: maxSequences,
    waiting: maxWaiting,
  });
}

/** A thread whose engine is open. */
export interface OpenedWorker {
  readonly worker: Worker;
  readonly info: ModelInfo;
}

/** Starts a thread and opens the checkpoint in it. @throws as `openEngine` does */
export async function startWorker(path: string, options: EngineOptions): Promise<OpenedWorker> {
  const { onProgress, signal, ...rest } = options;
  const worker = new Worker(workerUrl, {
    workerData: { path, options: rest } satisfies Opening,
    // A flag of `node -e` that a thread started from a file refuses.
    execArgv: process.execArgv.filter(flag => !flag.startsWith('--input-type')),
  });
  const opening = Promise.withResolvers<ModelInfo>();
  const abort = (): void => opening.reject(signal?.reason);
  const onMessage = (messages: FromWorker): void => messages.forEach(onOne);
  const onOne = (message: WorkerMessage): void => {
    if (message.type === 'progress') {
      try {
        onProgress?.(message.loadedBytes, message.totalBytes);
      } catch (error) {
        opening.reject(error); // as a local engine does
      }
    } else if (message.type === 'opened') opening.resolve(message.info);
    else if (message.type === 'not-opened') opening.reject(fromWire(message.error));
  };
  const onError = (error: unknown): void => opening.reject(diedError(path, error, OPEN_AGAIN));
  const onExit = (code: number): void => opening.reject(diedError(path, `exit code ${code}`, OPEN_AGAIN));
  signal?.addEventListener('abort', abort, { once: true });
  if (signal?.aborted) abort();
  worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  try {
    return { worker, info: await opening.promise };
  } catch (error) {
    await worker.terminate();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    worker.off('message', onMessage).off('error', onError).off('exit', onExit);
  }
}

/** How a thread that broke is replaced. */
export interface Restarts {
  readonly start: (signal: AbortSignal) => Promise<OpenedWorker>;
  /** Times, before a request was answered. Default 3. */
  readonly most?: number;
  /** Between the second time and the third; it doubles. Default 1000. */
  readonly waitMs?: number;
}

export interface ClientOptions {
  readonly restarts?: Restarts;
  /** Requests at once, and further ones that wait. */
  readonly places?: number;
  readonly waiting?: number;
}

/** An engine that is a worker's: what `openEngine` returns once the worker has opened. Without `restarts` it ends with its worker. */
export const clientOf = (opened: OpenedWorker, options: ClientOptions = {}): Engine =>
  new EngineClient(opened, options);

const OPEN_AGAIN =
  'Requests under way are lost; open the engine again, with fewer contextTokens or maxSequences if memory ran out.';
const RESTARTS = 'Requests under way are lost; the engine is being opened again: send them once more.';

const diedError = (path: string, cause: unknown, next: string): EngineFailed => {
  const what = cause instanceof Error ? cause.message : String(cause);
  return new EngineFailed(path, new Error(`its thread ended unasked: ${what}`, { cause }), next);
};

type Value = TokenEvent | { readonly row: number; readonly logprobs: Float32Array };
/** How a request is asked. */
interface Asking {
  /** An abort rejects at once; otherwise the worker says how the request ended. */
  readonly rejects: boolean;
  readonly onTaken?: (id: number) => void;
  /** Costs nothing, and is answered while the engine drains. */
  readonly unbounded?: boolean;
}
type End = GenerationEnd | Float32Array | Routing | EngineStats | SavedCache | undefined;

class EngineClient implements Engine {
  info: ModelInfo;
  #worker: Worker;
  readonly #restarts: Restarts | undefined;
  readonly #state = createState();
  readonly #pending = new Map<number, { readonly channel: Channel<Value, End>; readonly leave: () => void }>();
  #lastId = 0;
  /** Why no request can be answered now. */
  #dead: Error | null = null;
  /** Restarts since a request was answered. */
  #attempts = 0;
  readonly #closed = new AbortController();
  #closing: Promise<void> | null = null;
  readonly #door: Door;
  #exited: Promise<void> = Promise.resolve();

  constructor(opened: OpenedWorker, { restarts, places = 4, waiting = 256 }: ClientOptions) {
    this.info = opened.info;
    this.#worker = opened.worker;
    this.#restarts = restarts;
    this.#door = new Door(opened.info.path, places, waiting);
    this.#attach(opened);
  }

  #attach({ worker, info }: OpenedWorker): void {
    this.info = info;
    this.#worker = worker;
    this.#dead = null;
    worker.on('message', (messages: FromWorker) => {
      for (const message of messages)
        if (message.type === 'broken') this.#die(worker, fromWire(message.error));
        else if (worker === this.#worker) this.#hear(message);
    });
    worker.on('error', error => this.#die(worker, error));
    this.#exited = new Promise(resolve => {
      worker.on('exit', code => {
        this.#die(worker, `exit code ${code}`);
        resolve();
      });
    });
    worker.unref();
  }

  get state(): EngineState {
    return this.#state.state;
  }

  onState(listener: StateListener): () => void {
    return this.#state.listen(listener);
  }

  async drain(): Promise<void> {
    if (this.#closing) throw closedError();
    this.#state.set('draining');
    await this.#door.drain();
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
    { rows, signal, ...options }: { rows?: readonly number[] } & RowsOptions = {},
  ): AsyncGenerator<{ readonly row: number; readonly logprobs: Float32Array }, void> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    checkRows(rows ?? [], tokens.length);
    signal?.throwIfAborted();
    yield* this.#ask<{ readonly row: number; readonly logprobs: Float32Array }>(
      id => ({ type: 'logprobs', id, tokens, rows, options }),
      signal,
      { rejects: true, onTaken: id => this.#send({ type: 'taken', id }) },
    );
  }

  score(tokens: readonly number[], options?: RowsOptions): Promise<Float32Array> {
    return this.#askNumbers('score', tokens, options);
  }

  embed(tokens: readonly number[], options?: RowsOptions): Promise<Float32Array> {
    return this.#askNumbers('embed', tokens, options);
  }

  async #askNumbers(
    type: 'score' | 'embed',
    tokens: readonly number[],
    { signal, ...options }: RowsOptions = {},
  ): Promise<Float32Array> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    signal?.throwIfAborted();
    const { value } = await this.#ask(id => ({ type, id, tokens, options }), signal, { rejects: true }).next();
    return value as Float32Array;
  }

  async routing(
    tokens: readonly number[],
    { from = 0, signal, ...options }: { from?: number } & RowsOptions = {},
  ): Promise<Routing> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    checkRouting(this.info.config, from, tokens.length);
    signal?.throwIfAborted();
    const asked = this.#ask(id => ({ type: 'routing', id, tokens, from, options }), signal, { rejects: true });
    return (await asked.next()).value as Routing;
  }

  async stats(): Promise<EngineStats> {
    const { value } = await this.#ask(id => ({ type: 'stats', id }), undefined, {
      rejects: true,
      unbounded: true,
    }).next();
    return value as EngineStats;
  }

  saveCache(path: string): Promise<SavedCache> {
    return this.#askFile('saveCache', path);
  }

  restoreCache(path: string): Promise<SavedCache> {
    return this.#askFile('restoreCache', path);
  }

  async #askFile(type: 'saveCache' | 'restoreCache', path: string): Promise<SavedCache> {
    const { value } = await this.#ask(id => ({ type, id, path }), undefined, { rejects: true, unbounded: true }).next();
    return value as SavedCache;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed.abort(closedError());
    const running = !this.#dead;
    this.#dead = closedError();
    this.#failPending(this.#dead);
    this.#state.set('closed');
    if (running) {
      this.#worker.ref();
      this.#worker.postMessage({ type: 'close' } satisfies ToWorker);
      // A pass under way ends first; a thread that hangs is not waited for.
      const timer = setTimeout(() => void this.#worker.terminate(), 5000);
      await this.#exited;
      clearTimeout(timer);
    }
    await this.#exited;
  }

  get #bounds() {
    const { vocab, experts } = this.info.config;
    return { vocab, experts, contextTokens: this.info.contextTokens };
  }

  #send(message: ToWorker): void {
    if (!this.#dead) this.#worker.postMessage(message);
  }

  /** Sends a request and gives what comes back. Leaving early aborts it. */
  async *#ask<V extends Value>(
    make: (id: number) => ToWorker,
    signal: AbortSignal | undefined,
    { rejects, onTaken, unbounded }: Asking,
  ): AsyncGenerator<V, End> {
    if (this.#dead) throw this.#dead;
    if (!unbounded) this.#door.enter();
    let inside = !unbounded;
    const leave = (): void => {
      if (inside) this.#door.leave();
      inside = false;
    };
    const id = ++this.#lastId;
    const channel = createChannel<Value, End>();
    const abort = (): void => {
      this.#send({ type: 'abort', id });
      if (rejects) channel.fail(signal?.reason);
    };
    this.#pending.set(id, { channel, leave });
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
      leave();
      if (this.#pending.size === 0 && !this.#closing) this.#worker.unref();
    }
  }

  #hear(message: WorkerMessage): void {
    if (!('id' in message)) return;
    const pending = this.#pending.get(message.id);
    if (!pending) return; // its consumer left
    const { channel, leave } = pending;
    // A slow reader takes nobody's place.
    if (message.type === 'end' || message.type === 'failed') leave();
    if (message.type === 'token') {
      this.#attempts = 0; // it computes
      channel.push(message.event);
    } else if (message.type === 'row') channel.push({ row: message.row, logprobs: message.logprobs });
    else if (message.type === 'end') channel.end(message.value);
    // Of a broken engine 'broken' follows, and with it what happens next.
    else if (message.error.name !== 'EngineFailed') channel.fail(fromWire(message.error));
  }

  /** A thread is of no more use: who waits for it is told, and another is started. */
  #die(worker: Worker, cause: unknown): void {
    if (worker !== this.#worker || this.#dead) return; // said already, or closing
    const again = this.#restarts && !this.#door.draining && this.#attempts < (this.#restarts.most ?? 3);
    const error = diedError(this.info.path, cause, again ? RESTARTS : OPEN_AGAIN);
    this.#dead = error;
    this.#failPending(error);
    this.#state.set('failed', error);
    const ended = worker.terminate();
    if (again) void this.#restart(this.#restarts!, ended);
  }

  async #restart({ start, most = 3, waitMs = 1000 }: Restarts, ended: Promise<unknown>): Promise<void> {
    const { signal } = this.#closed;
    const began = performance.now();
    await ended; // two models at once may be more than memory holds
    while (!signal.aborted) {
      this.#state.set('restarting');
      this.#dead = new EngineRestarting(this.info.path, Math.max(1000, this.info.loadMs + began - performance.now()));
      const wait = this.#attempts === 0 ? 0 : waitMs * 2 ** (this.#attempts - 1);
      this.#attempts++;
      try {
        await setTimeoutPromise(wait, undefined, { signal, ref: false });
        const opened = await start(signal);
        if (signal.aborted) {
          await opened.worker.terminate();
          return;
        }
        this.#attach(opened);
        this.#state.set(this.#door.draining ? 'draining' : 'ready');
        return;
      } catch (error) {
        if (signal.aborted) return;
        const last = this.#attempts >= most;
        this.#dead = diedError(this.info.path, error, last ? OPEN_AGAIN : RESTARTS);
        this.#state.set('failed', this.#dead);
        if (last) return;
      }
    }
  }

  #failPending(error: Error): void {
    for (const { channel } of this.#pending.values()) channel.fail(error);
  }
}

const closedError = (): Error => new Error('This engine is closed. Open another with openEngine.');
