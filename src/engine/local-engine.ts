// The engine itself, computing on the thread that calls it: a backend, a model, a cache, and a loop over what waits and runs.
import type { Backend, KVCache } from '../backends/backend.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { cacheShape, planModel } from '../model/config.ts';
import { forward, type Llama4 } from '../model/llama4.ts';
import { bindWeights, loadWeights } from '../model/weights.ts';
import { createChannel } from './channel.ts';
import { createState } from './engine-state.ts';
import { EngineDraining, EngineFailed } from './errors.ts';
import { createGrammars, type Grammars } from './grammar-cache.ts';
import { logSoftmax } from './log-softmax.ts';
import { checkMemory, freeMemory } from './memory.ts';
import {
  type CheckedEngineOptions,
  checkEngineOptions,
  checkGenerate,
  checkRows,
  checkTokens,
  contextOf,
} from './options.ts';
import { createPace } from './pace.ts';
import { createScratch } from './sampler.ts';
import { plan, type Work } from './scheduler.ts';
import { createSequences, type Place } from './sequences.ts';
import { GenerationTask, logprobOf, RowsTask, type Task } from './tasks.ts';
import type {
  Engine,
  EngineOptions,
  EngineState,
  EngineStats,
  GenerateOptions,
  ModelInfo,
  StateListener,
} from './types.ts';

/** Logits of one pass take no more memory than this, whatever the vocabulary. */
const LOGIT_BYTES = 64 * 2 ** 20;
/** Guessed tokens of one pass. */
const DRAFTS = 64;

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
  const grammars = createGrammars(options.tokenBytes ?? null, modelPlan.config.vocab);
  const backend = await createBackend(checked);
  try {
    const model = await loadWeights(bound, backend, options);
    const cache = backend.createCache(
      cacheShape(modelPlan, {
        maxTokens: contextTokens,
        maxSequences: checked.maxSequences,
        maxBatch: checked.maxBatch,
      }),
    );
    return new LocalEngine(backend, model, cache, grammars, checked.passMs, {
      path: checkpoint.path,
      config: modelPlan.config,
      backend: backend.name,
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

async function createBackend({ backend, threads }: CheckedEngineOptions): Promise<Backend> {
  if (backend === 'reference') {
    const { createReferenceBackend } = await import('../backends/reference/reference.ts');
    return createReferenceBackend();
  }
  const { createWasmBackend } = await import('../backends/wasm/wasm.ts');
  return createWasmBackend({ threads });
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
  readonly #grammars: Grammars;
  readonly #sequences;
  readonly #pace;
  readonly #scratch;
  readonly #logitRows: number;
  #waiting: Task[] = [];
  #running: Running[] = [];
  #looping: Promise<void> | null = null;
  /** Something changed since the loop last looked. */
  #woken = false;
  #closed = false;
  #closing: Promise<void> | null = null;
  readonly #state = createState();
  /** Told when nothing runs and nothing waits. */
  #drained: (() => void)[] = [];
  /** They were part of a pass that failed, and are computed one by one until it is known whose fault it was. */
  readonly #suspects = new Set<Running>();
  /** Why nothing can be computed any more. */
  #broken: Error | null = null;
  readonly #sums = {
    prefillTokens: 0,
    prefillMs: 0,
    decodeTokens: 0,
    decodeMs: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
  };

  constructor(backend: Backend, model: Llama4, cache: KVCache, grammars: Grammars, passMs: number, info: ModelInfo) {
    this.info = info;
    this.#backend = backend;
    this.#model = model;
    this.#cache = cache;
    this.#grammars = grammars;
    this.#sequences = createSequences(cache);
    this.#pace = createPace(passMs, info.maxBatch);
    this.#scratch = createScratch(model.config.vocab);
    this.#logitRows = Math.max(1, Math.floor(LOGIT_BYTES / (model.config.vocab * 4)));
  }

  get state(): EngineState {
    return this.#state.state;
  }

  onState(listener: StateListener): () => void {
    return this.#state.listen(listener);
  }

  async drain(): Promise<void> {
    this.#checkOpen();
    this.#state.set('draining');
    if (this.#looping) await new Promise<void>(resolve => this.#drained.push(resolve));
  }

  async *generate(prompt: readonly number[], options: GenerateOptions = {}) {
    checkGenerate(prompt, options, this.#bounds);
    const { grammar, stopTokens = [] } = options;
    const constraint = grammar === undefined ? null : this.#grammars.begin(grammar, stopTokens);
    const task = new GenerationTask(prompt, options, this.info.contextTokens, this.#scratch, constraint);
    const end = (reason: 'abort' | 'deadline'): void => {
      task.end(reason);
      this.#wake();
    };
    const abort = (): void => end('abort');
    if (options.maxTokens === 0) task.end('length');
    else if (options.signal?.aborted) task.end('abort');
    else this.#enqueue(task);
    const { timeoutMs } = options;
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => end('deadline'), timeoutMs);
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      for (;;) {
        const next = await task.channel.next();
        if (next.done) return next.value;
        yield next.value;
      }
    } finally {
      clearTimeout(timer);
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
    this.#state.set('closed');
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
    if (this.state === 'draining') throw new EngineDraining(this.info.path);
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
      this.#broken = new EngineFailed(this.info.path, error, 'Open it again.');
      this.#failAll(this.#broken);
      this.#waiting = [];
      this.#running = [];
      this.#state.set('failed', this.#broken);
      this.#tellDrained();
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
    this.#tellDrained();
  }

  #tellDrained(): void {
    for (const tell of this.#drained.splice(0)) tell();
  }

  /** Frees the places of who ended, and lets in who waits. */
  #settle(): void {
    for (const running of this.#running)
      if (running.task.ended) {
        this.#sequences.release(running.place);
        this.#suspects.delete(running);
      }
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
    const suspect = [...this.#suspects].find(({ task }) => task.ready);
    const ready = suspect ? [suspect] : this.#running.filter(({ task }) => task.ready);
    const drafts = ready.map(({ task, place }) => (task.tokens.length - place.tokens.length === 1 ? task.draft() : []));
    const works = ready.map(({ task, place, waited }, i): Work => {
      const done = place.tokens.length;
      return {
        remaining: task.tokens.length - done,
        drafts: drafts[i]!.length,
        logitRows: count => task.rowsBetween(done, done + count),
        waited,
      };
    });
    const pieces = plan(works, { tokens: this.#pace.tokens, logitRows: this.#logitRows, drafts: DRAFTS });
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
      const from = place.tokens.length;
      const drafted = Math.max(0, from + count - task.tokens.length);
      task.begun(drafted);
      const rows = task.rowsIn(from, from + count);
      for (const position of rows) logitRows.push(tokens.length + position - from);
      const computed = [...task.tokens.slice(from, from + count), ...drafts[index]!].slice(0, count);
      for (const [i, token] of computed.entries()) {
        tokens.push(token);
        positions.push(from + i);
        sequences.push(place.sequence);
      }
      return { running, computed, rows, drafted, decoding: works[index]!.remaining === 1 };
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
      const failed = parts.map(({ running }) => running);
      if (failed.length > 1) this.#suspect(failed);
      else await this.#giveUp(failed[0]!, error);
      return true;
    }
    if (suspect) this.#suspects.delete(suspect);
    const ms = performance.now() - start;
    this.#pace.measured(tokens.length, ms);

    const { vocab } = this.#model.config;
    const count = { prefilled: 0, decoded: 0 };
    let row = 0;
    for (const { running, computed, rows, drafted, decoding } of parts) {
      const { task, place } = running;
      const from = place.tokens.length;
      let given = 0;
      for (const position of rows) {
        const at = row++ * vocab;
        // Behind a guess that did not come true nothing is true.
        if (task.ended || task.tokens[position] !== computed[position - from]) continue;
        given++;
        try {
          task.row(position, logits.subarray(at, at + vocab));
        } catch (error) {
          task.fail(error);
        }
      }
      const wrong = computed.findIndex((token, i) => task.tokens[from + i] !== token);
      const kept = wrong < 0 ? computed.length : wrong;
      for (const token of computed.slice(0, kept)) place.tokens.push(token);
      if (kept < computed.length) place.tokens.length = this.#cache.truncate(place.sequence, from + kept);
      this.#sums.draftedTokens += drafted;
      if (drafted > 0) this.#sums.acceptedTokens += Math.max(0, given - 1);
      count[decoding ? 'decoded' : 'prefilled'] += kept;
    }
    this.#account(count.prefilled, count.decoded, ms);
    return true;
  }

  #compute(batch: Parameters<typeof forward>[2]): Promise<Float32Array> {
    return this.#backend.step(async () =>
      this.#backend.read(await forward(this.#backend, this.#model, batch, this.#cache)),
    );
  }

  /** A pass failed half way: its sequences go back to where they were before it, and are computed one by one. */
  #suspect(failed: readonly Running[]): void {
    for (const running of failed) {
      const { place } = running;
      place.tokens.length = this.#cache.truncate(place.sequence, place.tokens.length);
      this.#suspects.add(running);
    }
  }

  /**
   * A sequence failed on its own: it ends, and its place begins anew.
   * @throws what a pass of one token throws there: then it is not the sequence, and nothing can be computed any more
   */
  async #giveUp(failed: Running, error: unknown): Promise<void> {
    const { task, place } = failed;
    if (!task.ended) task.fail(error);
    this.#suspects.delete(failed);
    this.#running = this.#running.filter(running => running !== failed);
    this.#cache.truncate(place.sequence, 0);
    const zero = Int32Array.of(0);
    const sequences = Int32Array.of(place.sequence);
    await this.#compute({ tokens: zero, positions: zero, sequences, logitRows: zero });
    this.#sequences.discard(place);
  }

  #account(prefilled: number, decoded: number, ms: number): void {
    const share = decoded / (prefilled + decoded);
    this.#sums.prefillTokens += prefilled;
    this.#sums.decodeTokens += decoded;
    this.#sums.prefillMs += ms * (1 - share);
    this.#sums.decodeMs += ms * share;
  }
}

const closedError = (): Error => new Error('This engine is closed. Open another with openEngine.');

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
