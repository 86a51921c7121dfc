// The engine itself, computing on the thread that calls it: a backend, a model, a cache, and a loop over what waits and runs.
import { access } from 'node:fs/promises';
import type { Backend, KVCache } from '../backends/backend.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import type { SourceModule } from '../checkpoint/sources.ts';
import { cacheShape, planModel } from '../model/config.ts';
import { expertReader } from '../model/expert-reader.ts';
import { ExpertStream } from '../model/expert-stream.ts';
import type { Llama4 } from '../model/llama4.ts';
import { bindWeights, expertLayers, loadWeights } from '../model/weights.ts';
import {
  bytesOf,
  type CacheIdentity,
  identityOf,
  modelDigest,
  readCacheFile,
  type SavedSequence,
  writeCacheFile,
} from './cache-file.ts';
import { createChannel } from './channel.ts';
import { chooseBackend } from './choose-backend.ts';
import { EngineLoop, type LoopOptions } from './engine-loop.ts';
import { keepExperts, recallExperts } from './expert-record.ts';
import { createGrammars, type Grammars } from './grammar-cache.ts';
import { logSoftmax } from './log-softmax.ts';
import { availableMemory } from './machine-memory.ts';
import { fullCacheBytes, planMemory } from './memory-plan.ts';
import { checkEngineOptions, checkGenerate, checkRouting, checkRows, checkTokens, contextOf } from './options.ts';
import type { Row, Wanted } from './pass.ts';
import { RoutingTask } from './routing-task.ts';
import { createScratch } from './sampler.ts';
import { GenerationTask, logprobOf, RowsTask } from './tasks.ts';
import type {
  Engine,
  EngineOptions,
  EngineState,
  EngineStats,
  GenerateOptions,
  ModelInfo,
  Routing,
  RowsOptions,
  SavedCache,
  StateListener,
} from './types.ts';

/** Bytes that must stay free when another expert gets its place: a machine without any ends programs. */
const LEFT_TO_OTHERS = 128 * 2 ** 20;
/** Finished sequences that are kept at most, as far as their bytes have room. */
const KEPT_SEQUENCES = 64;

export interface LocalEngineOptions extends EngineOptions {
  /** Puts something around the backend that passes are computed with, such as `observed`: nothing else of the engine knows of it. */
  readonly around?: (backend: Backend, model: Llama4) => Backend;
  /** Called in the middle of passes, from layer to layer. A pass ends there when all requests it computes for were aborted. */
  readonly look?: () => void;
}

/**
 * Opens a checkpoint and computes on this thread: the event loop waits while a pass runs. `openEngine` is the one to use where it
 * must not; both behave alike.
 * @throws CheckpointError when the file cannot be used; RangeError naming an option; the signal's reason when it aborts.
 */
export async function openLocalEngine(path: string, options: LocalEngineOptions = {}): Promise<Engine> {
  const start = performance.now();
  const checked = checkEngineOptions(options);
  options.signal?.throwIfAborted();
  await using opened = new AsyncDisposableStack();
  const checkpoint = opened.use(await openCheckpoint(path, options.sources));
  const modelPlan = planModel(checkpoint);
  const bound = bindWeights(checkpoint, modelPlan);
  const contextTokens = contextOf(checked, modelPlan.config);
  const { maxSequences } = checked;
  const shapeOf = (maxBatch: number) =>
    cacheShape(modelPlan, {
      maxTokens: contextTokens,
      maxSequences: maxSequences + KEPT_SEQUENCES,
      longSequences: maxSequences,
      maxBatch,
      type: checked.cacheType,
    });
  const memory = planMemory(bound, {
    memory: checked.memory,
    onDemand: options.sources !== undefined,
    available: availableMemory(),
    maxBatch: checked.maxBatch,
    cacheShape: shapeOf,
    cacheFloats: checked.backend === 'reference',
  });
  const { maxBatch, experts } = memory;
  const grammars = createGrammars(options.tokenBytes ?? null, modelPlan.config.vocab);
  const backend = opened.use(await chooseBackend(checked.backend, checked.threads));
  const stream =
    experts &&
    opened.adopt(
      ExpertStream.create({
        backend,
        path: checkpoint.path,
        layers: expertLayers(bound),
        slots: experts.slots,
        read: expertReader(backend, checkpoint),
        mayGrow: bytes => availableMemory() > bytes + LEFT_TO_OTHERS,
      }),
      made => made.close(),
    );
  const model = await loadWeights(bound, backend, { ...options, stream });
  const { streamingFolder } = options;
  if (stream && streamingFolder !== undefined) {
    if (await recallExperts(streamingFolder, checkpoint, stream)) void stream.warm();
    // What cannot be kept is learnt anew: no reason for closing to fail.
    opened.defer(() => keepExperts(streamingFolder, checkpoint, stream).catch(() => {}));
  }
  if (!stream) await checkpoint[Symbol.asyncDispose]();
  const cache = opened.adopt(backend.createCache(shapeOf(maxBatch)), made => made[Symbol.dispose]());
  const info: ModelInfo = {
    path: checkpoint.path,
    config: modelPlan.config,
    backend: backend.name,
    ...(backend.variant && { variant: backend.variant }),
    threads: backend.threads,
    contextTokens,
    maxBatch,
    parameters: bound.parameters,
    activeParameters: bound.activeParameters,
    weightBytes: bound.weightBytes,
    plannedBytes: experts
      ? memory.memoryBytes
      : memory.residentBytes + memory.cacheBytes + memory.passBytes + memory.runtimeBytes,
    loadMs: performance.now() - start,
    ...(experts && {
      streaming: {
        heldExperts: experts.held,
        experts: experts.all,
        heldBytes: experts.heldBytes,
        memoryBytes: memory.memoryBytes,
      },
    }),
  };
  const loop = {
    ...checked,
    look: options.look,
    path: info.path,
    maxBatch,
    // A pass cut short reads the same experts again.
    passMs: checked.passMs ?? (experts ? Infinity : 250),
    cacheBytes: checked.cacheBytes ?? maxSequences * fullCacheBytes(cache.shape, cache.layout.startsWith('F32')),
  };
  const k = options.around?.(backend, model) ?? backend;
  return new LocalEngine(info, loop, {
    backend: k,
    model,
    cache,
    grammars,
    stream,
    opened: opened.move(),
    sources: options.sources,
  });
}

class LocalEngine implements Engine {
  readonly info: ModelInfo;
  readonly #backend: Backend;
  readonly #cache: KVCache;
  readonly #grammars: Grammars;
  readonly #stream: ExpertStream | null;
  readonly #opened: AsyncDisposableStack;
  readonly #sources: SourceModule | undefined;
  readonly #loop: EngineLoop;
  readonly #scratch;
  #modelDigest: string | null = null;
  #closing: Promise<void> | null = null;

  constructor(
    info: ModelInfo,
    options: LoopOptions,
    parts: {
      readonly backend: Backend;
      readonly model: Llama4;
      readonly cache: KVCache;
      readonly grammars: Grammars;
      readonly stream: ExpertStream | null;
      /** All of the others that must be closed. */
      readonly opened: AsyncDisposableStack;
      readonly sources: SourceModule | undefined;
    },
  ) {
    const { backend, model, cache, grammars, stream, opened, sources } = parts;
    this.info = info;
    this.#backend = backend;
    this.#cache = cache;
    this.#grammars = grammars;
    this.#stream = stream;
    this.#opened = opened;
    this.#sources = sources;
    this.#loop = new EngineLoop(backend, model, cache, options);
    this.#scratch = createScratch(model.config.vocab);
  }

  get state(): EngineState {
    return this.#loop.state.state;
  }

  onState(listener: StateListener): () => void {
    return this.#loop.state.listen(listener);
  }

  async drain(): Promise<void> {
    await this.#loop.drain();
  }

  async *generate(prompt: readonly number[], options: GenerateOptions = {}) {
    checkGenerate(prompt, options, this.#bounds);
    const { grammar, stopTokens = [] } = options;
    const constraint = grammar === undefined ? null : this.#grammars.begin(grammar, stopTokens);
    const log = options.routing ? this.#loop.createRoutingLog() : null;
    const task = new GenerationTask(prompt, options, this.info.contextTokens, this.#scratch, constraint, log);
    const end = (reason: 'abort' | 'deadline'): void => {
      task.end(reason);
      this.#loop.wake();
    };
    const abort = (): void => end('abort');
    if (options.maxTokens === 0) task.end('length');
    else if (options.signal?.aborted) task.end('abort');
    else this.#loop.enqueue(task);
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
    { rows, signal, ...options }: { rows?: readonly number[] } & RowsOptions = {},
  ): AsyncGenerator<{ readonly row: number; readonly logprobs: Float32Array }, void> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    checkRows(rows ?? [], tokens.length);
    signal?.throwIfAborted();
    const wanted = rows ?? tokens.map((_, i) => i);
    if (wanted.length === 0) return;
    const channel = createChannel<{ readonly row: number; readonly logprobs: Float32Array }, void>();
    const task = new RowsTask(tokens, wanted, options, {
      ready: () => channel.size < this.#loop.logitRows,
      row(row, { numbers, summary }) {
        const logprobs = numbers.slice();
        logSoftmax(logprobs, summary);
        channel.push({ row, logprobs });
      },
      end: () => channel.end(),
      fail: error => channel.fail(error),
    });
    const abort = (): void => this.#loop.stop(task, signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.#loop.enqueue(task);
    try {
      for (;;) {
        const next = await channel.next();
        if (next.done) return;
        this.#loop.wake();
        yield next.value;
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#loop.stop(task, new Error('The rows are no longer wanted.'));
    }
  }

  async score(tokens: readonly number[], { signal, ...options }: RowsOptions = {}): Promise<Float32Array> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    const scores = new Float32Array(tokens.length - 1);
    if (scores.length === 0) return scores;
    const rows = Array.from(scores, (_, i) => i);
    await this.#rows(tokens, rows, options, signal, 'logits', (position, row) => {
      scores[position] = logprobOf(row, tokens[position + 1]!);
    });
    return scores;
  }

  async embed(tokens: readonly number[], { signal, ...options }: RowsOptions = {}): Promise<Float32Array> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    const sum = new Float64Array(this.info.config.dim);
    const rows = tokens.map((_, i) => i);
    await this.#rows(tokens, rows, options, signal, 'states', (_, { numbers: state }) => {
      for (let i = 0; i < sum.length; i++) sum[i]! += state[i]!;
    });
    return Float32Array.from(sum, total => total / tokens.length);
  }

  /** Computes rows and hands over each; resolves after the last. */
  async #rows(
    tokens: readonly number[],
    rows: readonly number[],
    options: RowsOptions,
    signal: AbortSignal | undefined,
    wants: Wanted,
    row: (position: number, row: Row) => void,
  ): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const task = new RowsTask(tokens, rows, options, { ready: () => true, row, end: resolve, fail: reject }, wants);
    const abort = (): void => this.#loop.stop(task, signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.#loop.enqueue(task);
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async routing(
    tokens: readonly number[],
    { from = 0, signal, ...options }: { from?: number } & RowsOptions = {},
  ): Promise<Routing> {
    checkTokens('tokens', tokens, 1, this.#bounds);
    checkRouting(this.info.config, from, tokens.length);
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Routing>();
    const task = new RoutingTask(tokens, from, options, this.#loop.createRoutingLog(), { end: resolve, fail: reject });
    const abort = (): void => this.#loop.stop(task, signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.#loop.enqueue(task);
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async stats(): Promise<EngineStats> {
    this.#loop.checkOpen();
    return {
      ...this.#loop.sums,
      weightBytesRead: this.#backend.counters.weightBytes,
      multiplyAdds: this.#backend.counters.multiplyAdds,
      memoryBytes: this.#backend.memoryBytes,
      cacheBytes: this.#cache.bytes,
      cacheLimitBytes: this.#loop.cacheBytes,
      keptSequences: this.#loop.keptSequences,
      running: this.#loop.running,
      waiting: this.#loop.waiting,
      experts: this.#stream?.stats ?? null,
    };
  }

  async saveCache(path: string): Promise<SavedCache> {
    const places = [...(await this.#loop.between(sequences => sequences.kept()))];
    const next = async (): Promise<SavedSequence | null> => {
      // One at a time, between passes, the last used first; what was forgotten or used up meanwhile is left out.
      for (let place = places.pop(); place; place = places.pop()) {
        const wanted = place;
        const layers = await this.#loop.between((sequences, cache) =>
          sequences.kept().includes(wanted) ? cache.save(wanted.sequence) : null,
        );
        if (layers) return { salt: wanted.salt, tokens: wanted.tokens, layers };
      }
      return null;
    };
    return writeCacheFile(path, await this.#identity(), next, this.#loop.cacheBytes);
  }

  async restoreCache(path: string): Promise<SavedCache> {
    await access(path); // the identity is read from the checkpoint, in vain if there is no file
    const restored = { sequences: 0, tokens: 0, bytes: 0 };
    const bounds = { vocab: this.info.config.vocab, bytes: this.#loop.cacheBytes };
    await readCacheFile(path, await this.#identity(), bounds, async ({ salt, tokens, layers }) => {
      if (!(await this.#loop.between(sequences => sequences.adopt(salt, tokens, layers)))) return;
      restored.sequences++;
      restored.tokens += tokens.length;
      restored.bytes += bytesOf(layers);
    });
    return restored;
  }

  async #identity(): Promise<CacheIdentity> {
    this.#loop.checkOpen();
    if (!this.#modelDigest) {
      await using checkpoint = await openCheckpoint(this.info.path, this.#sources);
      this.#modelDigest = await modelDigest(checkpoint);
    }
    return identityOf(this.#modelDigest, this.#cache.layout, this.#cache.shape);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#loop.close();
    await this.#opened.disposeAsync();
  }

  get #bounds() {
    const { vocab, experts } = this.info.config;
    return { vocab, experts, contextTokens: this.info.contextTokens };
  }
}
