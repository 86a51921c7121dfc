// The engine itself, computing on the thread that calls it: a backend, a model, a cache, and a loop over what waits and runs.
import type { Backend, KVCache } from '../backends/backend.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { cacheShape, planModel } from '../model/config.ts';
import { forward, type Llama4 } from '../model/llama4.ts';
import { bindWeights, loadWeights } from '../model/weights.ts';
import { createChannel } from './channel.ts';
import { chooseBackend } from './choose-backend.ts';
import { logSoftmax } from './log-softmax.ts';
import { checkMemory, freeMemory } from './memory.ts';
import { checkEngineOptions, checkGenerate, checkRows, checkTokens, contextOf } from './options.ts';
import { createScratch } from './sampler.ts';
import { plan, type Work } from './scheduler.ts';
import { createSequences, type Place } from './sequences.ts';
import { GenerationTask, logprobOf, RowsTask, type Task } from './tasks.ts';
import type { Engine, EngineOptions, EngineStats, GenerateOptions, ModelInfo } from './types.ts';

/** Logits of one pass take no more memory than this, whatever the vocabulary. */
const LOGIT_BYTES = 64 * 2 ** 20;

/**
 * Opens a checkpoint and computes on this thread: the event loop waits while a pass runs. `openEngine` is the one to use where it
 * must not; both behave alike.
 * @throws CheckpointError when the file cannot be used; RangeError naming an option; the signal's reason when it aborts.
 */
export async function openLocalEngine(path: string, options: EngineOptions = {}): Promise<Engine> {
  const start = performance.now();
  const checked = checkEngineOptions(options);
  options.signal?.throwIfAborted();
  await using checkpoint = await openCheckpoint(path);
  const modelPlan = planModel(checkpoint);
  const bound = bindWeights(checkpoint, modelPlan);
  const contextTokens = contextOf(checked, modelPlan.config);
  checkMemory(checkpoint.path, bound.weightBytes, freeMemory());
  const backend = await chooseBackend(checked.backend, checked.threads);
  try {
    const model = await loadWeights(bound, backend, options);
    const cache = backend.createCache(
      cacheShape(modelPlan, {
        maxTokens: contextTokens,
        maxSequences: checked.maxSequences,
        maxBatch: checked.maxBatch,
      }),
    );
    return new LocalEngine(backend, model, cache, {
      path: checkpoint.path,
      config: modelPlan.config,
      backend: backend.name,
      ...(backend.variant && { variant: backend.variant }),
      threads: backend.threads,
      contextTokens,
      maxBatch: checked.maxBatch,
      parameters: bound.parameters,
      activeParameters: bound.activeParameters,
      weightBytes: bound.weightBytes,
      loadMs: performance.now() - start,
    });
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
}

interface Running {
  readonly task: Task;
  readonly place: Place;
  /** Passes since it was last part of one. */
  waited: number;
}

class LocalEngine implements Engine {
  readonly info: ModelInfo;
  readonly #backend: Backend;
  readonly #model: Llama4;
  readonly #cache: KVCache;
  readonly #sequences;
  readonly #scratch;
  readonly #logitRows: number;
  #waiting: Task[] = [];
  #running: Running[] = [];
  #looping: Promise<void> | null = null;
  /** Something changed since the loop last looked. */
  #woken = false;
  #closed = false;
  #closing: Promise<void> | null = null;
  /** Why nothing can be computed any more. */
  #broken: Error | null = null;
  readonly #sums = { prefillTokens: 0, prefillMs: 0, decodeTokens: 0, decodeMs: 0 };

  constructor(backend: Backend, model: Llama4, cache: KVCache, info: ModelInfo) {
    this.info = info;
    this.#backend = backend;
    this.#model = model;
    this.#cache = cache;
    this.#sequences = createSequences(cache);
    this.#scratch = createScratch(model.config.vocab);
    this.#logitRows = Math.max(1, Math.floor(LOGIT_BYTES / (model.config.vocab * 4)));
  }

  async *generate(prompt: readonly number[], options: GenerateOptions = {}) {
    checkGenerate(prompt, options, this.#bounds);
    const task = new GenerationTask(prompt, options, this.info.contextTokens, this.#scratch);
    const abort = (): void => {
      task.end('abort');
      this.#wake();
    };
    if (options.maxTokens === 0) task.end('length');
    else if (options.signal?.aborted) task.end('abort');
    else this.#enqueue(task);
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      for (;;) {
        const next = await task.channel.next();
        if (next.done) return next.value;
        yield next.value;
      }
    } finally {
      options.signal?.removeEventListener('abort', abort);
      abort(); // the consumer may have left the loop
    }
  }

  async *logprobs(
    tokens: readonly number[],
    { rows, signal }: { rows?: readonly number[]; signal?: AbortSignal } = {},
  ): AsyncGenerator<{ readonly row: number; readonly logprobs: Float32Array }, void> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    checkRows(rows ?? [], tokens.length);
    signal?.throwIfAborted();
    const wanted = rows ?? tokens.map((_, i) => i);
    if (wanted.length === 0) return;
    const channel = createChannel<{ readonly row: number; readonly logprobs: Float32Array }, void>();
    const task = new RowsTask(tokens, wanted, {
      ready: () => channel.size < this.#logitRows,
      row(row, logits) {
        const logprobs = logits.slice();
        logSoftmax(logprobs);
        channel.push({ row, logprobs });
      },
      end: () => channel.end(),
      fail: error => channel.fail(error),
    });
    const abort = (): void => this.#stop(task, signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.#enqueue(task);
    try {
      for (;;) {
        const next = await channel.next();
        if (next.done) return;
        this.#wake();
        yield next.value;
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#stop(task, new Error('The rows are no longer wanted.'));
    }
  }

  async score(tokens: readonly number[], { signal }: { signal?: AbortSignal } = {}): Promise<Float32Array> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    signal?.throwIfAborted();
    const scores = new Float32Array(tokens.length - 1);
    if (scores.length === 0) return scores;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const rows = Array.from(scores, (_, i) => i);
    const task = new RowsTask(tokens, rows, {
      ready: () => true,
      row(row, logits) {
        scores[row] = logprobOf(logits, tokens[row + 1]!);
      },
      end: resolve,
      fail: reject,
    });
    const abort = (): void => this.#stop(task, signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.#enqueue(task);
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    return scores;
  }

  async stats(): Promise<EngineStats> {
    this.#checkOpen();
    return {
      ...this.#sums,
      weightBytesRead: this.#backend.counters.weightBytes,
      multiplyAdds: this.#backend.counters.multiplyAdds,
      memoryBytes: this.#backend.memoryBytes,
      cacheBytes: this.#cache.bytes,
      running: this.#running.filter(({ task }) => !task.ended).length,
      waiting: this.#waiting.filter(task => !task.ended).length,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#failAll(closedError());
    await this.#looping;
    try {
      this.#cache[Symbol.dispose]();
    } finally {
      await this.#backend[Symbol.asyncDispose]();
    }
  }

  #failAll(error: Error): void {
    for (const task of [...this.#waiting, ...this.#running.map(({ task }) => task)]) if (!task.ended) task.fail(error);
  }

  get #bounds() {
    return { vocab: this.#model.config.vocab, contextTokens: this.info.contextTokens };
  }

  #checkOpen(): void {
    if (this.#closed) throw closedError();
    if (this.#broken) throw this.#broken;
  }

  #enqueue(task: Task): void {
    this.#checkOpen();
    this.#waiting.push(task);
    this.#wake();
  }

  #stop(task: Task, reason: unknown): void {
    if (!task.ended) task.fail(reason);
    this.#wake();
  }

  #wake(): void {
    this.#woken = true;
    this.#looping ??= this.#loop().catch(error => {
      // What the cache holds is unknown, and who is in the lists may be there by half: nobody is left waiting.
      this.#broken = brokenError(this.info.path, error);
      this.#failAll(this.#broken);
      this.#waiting = [];
      this.#running = [];
    });
  }

  /** Passes, until there is nothing to do. Between them the event loop turns, so that aborts and new requests are heard. */
  async #loop(): Promise<void> {
    // Whoever woke the loop may have more to say in the same turn: requests that come together then share their first pass.
    do {
      await turn();
      this.#woken = false;
      this.#settle();
    } while (!this.#closed && !this.#broken && ((await this.#pass()) || this.#woken));
    this.#looping = null;
  }

  /** Frees the places of who ended, and lets in who waits. */
  #settle(): void {
    for (const { task, place } of this.#running) if (task.ended) this.#sequences.release(place);
    this.#running = this.#running.filter(({ task }) => !task.ended);
    // Also behind one who waits long: many may come and give up meanwhile.
    this.#waiting = this.#waiting.filter(task => !task.ended);
    for (let task = this.#waiting[0]; task; task = this.#waiting[0]) {
      const place = this.#sequences.take(task.tokens, task.firstRow);
      if (!place) break;
      task.admitted(place.tokens.length);
      this.#running.push({ task, place, waited: 0 });
      this.#waiting.shift();
    }
  }

  /** One forward pass over what the plan chose; false when nobody has anything to compute. */
  async #pass(): Promise<boolean> {
    const ready = this.#running.filter(({ task }) => task.ready);
    const works = ready.map(({ task, place, waited }): Work => {
      const done = place.tokens.length;
      return {
        remaining: task.tokens.length - done,
        logitRows: count => task.rowsBetween(done, done + count),
        waited,
      };
    });
    const pieces = plan(works, { tokens: this.info.maxBatch, logitRows: this.#logitRows });
    if (pieces.length === 0) return false;
    for (const running of ready) running.waited++;

    const tokens: number[] = [];
    const positions: number[] = [];
    const sequences: number[] = [];
    const logitRows: number[] = [];
    const parts = pieces.map(({ index, count }) => {
      const running = ready[index]!;
      const { task, place } = running;
      running.waited = 0;
      task.begun();
      const from = place.tokens.length;
      const rows = task.rowsIn(from, from + count);
      for (const position of rows) logitRows.push(tokens.length + position - from);
      for (let i = from; i < from + count; i++) {
        tokens.push(task.tokens[i]!);
        positions.push(i);
        sequences.push(place.sequence);
      }
      return { running, count, rows, decoding: works[index]!.remaining === 1 };
    });

    const start = performance.now();
    let logits: Float32Array;
    try {
      logits = await this.#compute({
        tokens: Int32Array.from(tokens),
        positions: Int32Array.from(positions),
        sequences: Int32Array.from(sequences),
        logitRows: Int32Array.from(logitRows),
      });
    } catch (error) {
      this.#giveUp(
        parts.map(({ running }) => running),
        error,
      );
      return true;
    }
    const decoded = parts.filter(({ decoding }) => decoding).length;
    this.#account(tokens.length - decoded, decoded, performance.now() - start);

    const { vocab } = this.#model.config;
    let row = 0;
    for (const { running, count, rows } of parts) {
      const { task, place } = running;
      const from = place.tokens.length;
      for (let i = from; i < from + count; i++) place.tokens.push(task.tokens[i]!);
      for (const position of rows) {
        const at = row++ * vocab;
        if (task.ended) continue;
        try {
          task.row(position, logits.subarray(at, at + vocab));
        } catch (error) {
          task.fail(error);
        }
      }
    }
    return true;
  }

  #compute(batch: Parameters<typeof forward>[2]): Promise<Float32Array> {
    return this.#backend.step(async () =>
      this.#backend.read(await forward(this.#backend, this.#model, batch, this.#cache)),
    );
  }

  /** A pass failed half way: what the cache holds of its sequences is unknown, so they end and their places begin anew. */
  #giveUp(failed: readonly Running[], error: unknown): void {
    for (const { task } of failed) if (!task.ended) task.fail(error);
    for (const { place } of failed) this.#sequences.discard(place);
    this.#running = this.#running.filter(running => !failed.includes(running));
  }

  #account(prefilled: number, decoded: number, ms: number): void {
    const share = decoded / (prefilled + decoded);
    this.#sums.prefillTokens += prefilled;
    this.#sums.decodeTokens += decoded;
    this.#sums.prefillMs += ms * (1 - share);
    this.#sums.decodeMs += ms * share;
  }
}

const brokenError = (path: string, cause: unknown): Error =>
  new Error(
    `${path}: this engine can compute no more (${cause instanceof Error ? cause.message : String(cause)}). Open it again.`,
    { cause },
  );

const closedError = (): Error => new Error('This engine is closed. Open another with openEngine.');

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
