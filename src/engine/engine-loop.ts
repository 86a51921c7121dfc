// The loop of an engine: who waits, who runs, and one forward pass after the other, until there is nothing to do.
import type { Backend, KVCache } from '../backends/backend.ts';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import type { Llama4 } from '../model/llama4.ts';
import { notedRouting, type RoutingNotes } from '../model/routing.ts';
import { Door } from './door.ts';
import { createState } from './engine-state.ts';
import { EngineFailed } from './errors.ts';
import { Interrupted, interruptible } from './interruptible.ts';
import { createPace } from './pace.ts';
import { computePass, type Row, type Wanted } from './pass.ts';
import { RoutingLog } from './routing-log.ts';
import { nextOf, plan, type Work } from './scheduler.ts';
import { createSequences, type Place, type Sequences } from './sequences.ts';
import type { Task } from './tasks.ts';

/** Logits of one pass take no more memory than this, whatever the vocabulary. */
const LOGIT_BYTES = 64 * 2 ** 20;
/** Guessed tokens of one pass. */
const DRAFTS = 64;

interface Running {
  readonly task: Task;
  readonly place: Place;
  /** Passes since it was last part of one. */
  waited: number;
}

export interface LoopOptions {
  readonly path: string;
  readonly maxBatch: number;
  /** Requests at once. The cache has more sequences, to keep some. */
  readonly maxSequences: number;
  readonly maxWaiting: number;
  readonly cacheBytes: number;
  readonly passMs: number;
  /** Called in the middle of a pass, from layer to layer: hears what came meanwhile, such as that a request is wanted no more. */
  readonly look?: (() => void) | undefined;
}

export class EngineLoop {
  readonly state = createState();
  /** Logit rows of one pass. */
  readonly logitRows: number;
  readonly sums = {
    passes: 0,
    prefillTokens: 0,
    prefillMs: 0,
    decodeTokens: 0,
    decodeMs: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
    promptTokens: 0,
    reusedTokens: 0,
    reusedPrompts: 0,
  };
  readonly cacheBytes: number;
  readonly #path: string;
  readonly #backend: Backend;
  readonly #model: Llama4;
  readonly #notes: RoutingNotes;
  readonly #cache: KVCache;
  readonly #sequences: Sequences;
  readonly #pace;
  readonly #door: Door;
  /** Tokens computed for the keys that run or wait. */
  readonly #served = new Map<string, number>();
  #waiting: Task[] = [];
  #running: Running[] = [];
  #looping: Promise<void> | null = null;
  /** Something changed since the loop last looked. */
  #woken = false;
  #closed = false;
  /** Done between two passes, when the cache is nobody else's. */
  #jobs: (() => void)[] = [];
  /** They were part of a pass that failed, and are computed one by one until it is known whose fault it was. */
  readonly #suspects = new Set<Running>();
  /** Whose tokens the pass under way computes; null for one that is nobody's. */
  #computed: readonly Task[] | null = null;
  /** Why nothing can be computed any more. */
  #broken: Error | null = null;

  constructor(backend: Backend, model: Llama4, cache: KVCache, options: LoopOptions) {
    this.cacheBytes = options.cacheBytes;
    this.#path = options.path;
    this.#backend = backend;
    const noted = notedRouting(backend, model);
    this.#model = interruptible(noted.model, () => {
      options.look?.();
      return this.#computed?.every(task => task.ended) ?? false;
    });
    this.#notes = noted.notes;
    this.#cache = cache;
    this.#sequences = createSequences(cache, options.maxSequences, options.cacheBytes);
    this.#door = new Door(options.path, options.maxSequences, options.maxWaiting);
    this.#pace = createPace(options.passMs, options.maxBatch);
    this.logitRows = Math.max(1, Math.floor(LOGIT_BYTES / (model.config.vocab * 4)));
  }

  /** @throws Error why nothing can be computed any more */
  checkOpen(): void {
    if (this.#closed) throw closedError();
    if (this.#broken) throw this.#broken;
  }

  /** A record for one request's tokens. */
  createRoutingLog(): RoutingLog {
    return new RoutingLog(this.#notes, this.#model.config);
  }

  get running(): number {
    return this.#running.filter(({ task }) => !task.ended).length;
  }

  get waiting(): number {
    return this.#waiting.filter(task => !task.ended).length;
  }

  get keptSequences(): number {
    return this.#sequences.keptSequences;
  }

  enqueue(task: Task): void {
    this.checkOpen();
    this.#door.enter();
    // Who comes anew has no claim on what was computed while it asked for nothing.
    if (!this.#served.has(task.key))
      this.#served.set(task.key, this.#served.size > 0 ? Math.min(...this.#served.values()) : 0);
    this.#waiting.push(task);
    this.wake();
  }

  stop(task: Task, reason: unknown): void {
    if (!task.ended) task.fail(reason);
    this.wake();
  }

  /** Lets nobody in any more; resolves when nobody is left. */
  async drain(): Promise<void> {
    this.checkOpen();
    this.state.set('draining');
    await this.#door.drain();
  }

  /** Does something to the cache's sequences when no pass is under way. */
  between<T>(job: (sequences: Sequences, cache: KVCache) => T): Promise<T> {
    this.checkOpen();
    return new Promise((resolve, reject) => {
      this.#jobs.push(() => {
        try {
          this.checkOpen();
          resolve(job(this.#sequences, this.#cache));
        } catch (error) {
          reject(error);
        }
      });
      this.wake();
    });
  }

  /** Ends everything; resolves when the pass under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.state.set('closed');
    this.#failAll(closedError());
    await this.#looping;
    this.#doJobs();
  }

  wake(): void {
    this.#woken = true;
    this.#looping ??= this.#loop().catch(error => {
      // What the cache holds is unknown, and who is in the lists may be there by half: nobody is left waiting.
      this.#broken = new EngineFailed(this.#path, error, 'Open it again.');
      this.#failAll(this.#broken);
      this.#door.leave(this.#waiting.length + this.#running.length);
      this.#waiting = [];
      this.#running = [];
      this.state.set('failed', this.#broken);
      this.#doJobs();
    });
  }

  #failAll(error: Error): void {
    for (const task of [...this.#waiting, ...this.#running.map(({ task }) => task)]) if (!task.ended) task.fail(error);
  }

  #doJobs(): void {
    for (const job of this.#jobs.splice(0)) job();
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
    const before = this.#running.length + this.#waiting.length;
    for (const running of this.#running)
      if (running.task.ended) {
        // Of states nothing is shared: who embeds a library leaves the conversations in the cache alone.
        if (running.task.wants === 'states') this.#sequences.discard(running.place);
        else this.#sequences.release(running.place);
        this.#suspects.delete(running);
      }
    this.#running = this.#running.filter(({ task }) => !task.ended);
    this.#doJobs();
    // Also behind one who waits long: many may come and give up meanwhile.
    this.#waiting = this.#waiting.filter(task => !task.ended);
    this.#door.leave(before - this.#running.length - this.#waiting.length);
    while (this.#waiting.length > 0) {
      const next = nextOf(
        this.#waiting.map(({ key }) => key),
        this.#served,
      );
      const task = this.#waiting[next]!;
      const place = this.#sequences.take(task.tokens, task.firstRow, task.salt);
      if (!place) break;
      const reused = place.tokens.length;
      task.admitted(reused);
      this.sums.promptTokens += task.tokens.length;
      this.sums.reusedTokens += reused;
      if (reused > 0) this.sums.reusedPrompts++;
      this.#running.push({ task, place, waited: 0 });
      this.#serve(task, task.tokens.length - reused);
      this.#waiting.splice(next, 1);
    }
    const active = new Set([...this.#waiting, ...this.#running.map(({ task }) => task)].map(({ key }) => key));
    for (const key of this.#served.keys()) if (!active.has(key)) this.#served.delete(key);
    this.#sequences.trim();
  }

  /** One forward pass over what the plan chose; false when nobody has anything to compute. */
  async #pass(): Promise<boolean> {
    const suspect = [...this.#suspects].find(({ task }) => task.ready);
    const ready = suspect ? [suspect] : this.#running.filter(({ task }) => task.ready);
    const drafts = ready.map(({ task, place }) => (task.tokens.length - place.tokens.length === 1 ? task.draft() : []));
    const works = ready.map(({ task, place, waited }, i): Work => {
      const done = place.tokens.length;
      return {
        key: task.key,
        remaining: task.tokens.length - done,
        drafts: drafts[i]!.length,
        logitRows: count => (task.wants === 'states' ? 0 : task.rowsBetween(done, done + count)),
        waited,
      };
    });
    const [alone] = this.#running.length === 1 && this.#waiting.length === 0 ? works : [];
    const most = this.#pace.tokens(alone && alone.remaining + alone.drafts);
    const pieces = plan(works, { tokens: most, logitRows: this.logitRows, drafts: DRAFTS });
    if (pieces.length === 0) return false;
    for (const running of ready) running.waited++;

    const tokens: number[] = [];
    const positions: number[] = [];
    const sequences: number[] = [];
    const wanted: Record<Wanted, number[]> = { best: [], logits: [], states: [] };
    const temperatures: number[] = [];
    const parts = pieces.map(({ index, count }) => {
      const running = ready[index]!;
      const { task, place } = running;
      running.waited = 0;
      const from = place.tokens.length;
      const drafted = Math.max(0, from + count - task.tokens.length);
      task.begun(drafted);
      const rows = task.rowsIn(from, from + count);
      for (const position of rows) wanted[task.wants].push(tokens.length + position - from);
      if (task.wants === 'logits') temperatures.push(...rows.map(() => task.temperature));
      const computed = [...task.tokens.slice(from, from + count), ...drafts[index]!].slice(0, count);
      for (const [i, token] of computed.entries()) {
        tokens.push(token);
        positions.push(from + i);
        sequences.push(place.sequence);
      }
      return { running, computed, rows, drafted, decoding: from >= task.promptTokens };
    });

    this.#computed = parts.map(({ running }) => running.task);
    const start = performance.now();
    let result: (use: Wanted, nth: number) => Row;
    const noting = parts.some(({ running }) => running.task.routing);
    if (noting) this.#notes.begin();
    try {
      result = await computePass(this.#backend, this.#model, this.#cache, {
        tokens: Int32Array.from(tokens),
        positions: Int32Array.from(positions),
        sequences: Int32Array.from(sequences),
        rows: wanted,
        temperatures,
      });
    } catch (error) {
      this.#notes.end();
      const failed = parts.map(({ running }) => running);
      if (error instanceof Interrupted) {
        this.#rewind(failed);
        return true;
      }
      // It may have been memory: what is kept gives way, and even one alone is tried again then.
      if (this.#sequences.forget() > 0 || failed.length > 1) this.#suspect(failed);
      else await this.#giveUp(failed[0]!, error);
      return true;
    }
    const noted = noting ? this.#notes.end() : [];
    if (suspect) this.#suspects.delete(suspect);
    this.sums.passes++;
    const ms = performance.now() - start;
    this.#pace.measured(tokens.length, ms);

    const taken: Record<Wanted, number> = { best: 0, logits: 0, states: 0 };
    const count = { prefilled: 0, decoded: 0 };
    let first = 0; // of a part's tokens in the batch
    for (const { running, computed, rows, drafted, decoding } of parts) {
      const { task, place } = running;
      const from = place.tokens.length;
      task.routing?.add(from, noted, first, computed.length);
      first += computed.length;
      let given = 0;
      for (const position of rows) {
        const nth = taken[task.wants]++;
        // Behind a guess that did not come true nothing is true.
        if (task.ended || task.tokens[position] !== computed[position - from]) continue;
        given++;
        try {
          task.row(position, result(task.wants, nth));
        } catch (error) {
          task.fail(error);
        }
      }
      const wrong = computed.findIndex((token, i) => task.tokens[from + i] !== token);
      const kept = wrong < 0 ? computed.length : wrong;
      for (const token of computed.slice(0, kept)) place.tokens.push(token);
      if (kept < computed.length) place.tokens.length = this.#cache.truncate(place.sequence, from + kept);
      this.sums.draftedTokens += drafted;
      if (drafted > 0) this.sums.acceptedTokens += Math.max(0, given - 1);
      if (decoding) this.#serve(task, kept);
      count[decoding ? 'decoded' : 'prefilled'] += kept;
    }
    this.#account(count.prefilled, count.decoded, ms);
    return true;
  }

  /** A pass failed half way: its sequences are computed one by one. */
  #suspect(failed: readonly Running[]): void {
    this.#rewind(failed);
    for (const running of failed) this.#suspects.add(running);
  }

  /** Sequences of a pass that ended half way go back to where they were before it. */
  #rewind(failed: readonly Running[]): void {
    for (const { place } of failed) place.tokens.length = this.#cache.truncate(place.sequence, place.tokens.length);
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
    this.#door.leave();
    this.#cache.truncate(place.sequence, 0);
    // An expert that could not be read says nothing of the backend, and others may be in memory or on a sound part of the disk.
    if (!(error instanceof CheckpointError)) {
      const zero = Int32Array.of(0);
      const sequences = Int32Array.of(place.sequence);
      this.#computed = null;
      await computePass(this.#backend, this.#model, this.#cache, {
        tokens: zero,
        positions: zero,
        sequences,
        rows: { best: [0], logits: [], states: [] },
      });
    }
    this.#sequences.discard(place);
  }

  #serve({ key }: Task, tokens: number): void {
    this.#served.set(key, (this.#served.get(key) ?? 0) + tokens);
  }

  #account(prefilled: number, decoded: number, ms: number): void {
    const share = decoded / (prefilled + decoded);
    this.sums.prefillTokens += prefilled;
    this.sums.decodeTokens += decoded;
    this.sums.prefillMs += ms * (1 - share);
    this.sums.decodeMs += ms * share;
  }
}

const closedError = (): Error => new Error('This engine is closed. Open another with openEngine.');

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
