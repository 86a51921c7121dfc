// The models a server can answer with: loaded when first asked for, as many as memory has room for, the longest unused one unloaded.
import type { ChatModel } from '../engine/chat-types.ts';
import { ApiError, retryAfter, stopping } from './errors.ts';
import type { Library, LibraryModel, OpenChat, Room } from './library.ts';
import type { ModelStatus } from './wire.ts';

export interface ModelState extends LibraryModel {
  readonly status: ModelStatus;
  readonly progress: { readonly loadedBytes: number; readonly totalBytes: number } | null;
  readonly error: string | null;
  readonly chat: ChatModel | null;
}

/** A model in use. While a lease is held the model stays loaded. */
export interface Lease extends Disposable {
  readonly id: string;
  readonly chat: ChatModel;
}

export interface Models extends AsyncDisposable {
  list(): Promise<readonly ModelState[]>;
  /** @throws ApiError 404 naming the models there are. */
  find(id: string): Promise<ModelState>;
  /**
   * Waits for the model: for its loading, and before that, where memory has no room for both, for the end of all use of another
   * one. A loaded model goes on answering meanwhile, unless it is the one that has to make room: whoever asks for that waits, so
   * that neither starves.
   * @throws ApiError 404 (unknown), 429 (too many wait), 503 (loading failed, or the server stops); the signal's reason.
   */
  acquire(id: string, signal?: AbortSignal): Promise<Lease>;
  /** Null while one more request may come, before anything is known of it; else about when there is room again, ms. */
  busyMs(): number | null;
  /** What is said to one more. */
  tooMany(busyMs: number): ApiError;
  /** @throws ApiError 429 if one more request would be too many. */
  checkRoom(): void;
  /** Begins loading and returns at once. The next call takes the place of one whose model nobody else waits for. */
  preload(id: string): Promise<void>;
  /** After a failed answer: if the model's engine no longer answers, forget it, so that the next request loads it anew. */
  examine(id: string): Promise<void>;
}

export interface ModelsOptions {
  readonly library: Library;
  readonly openChat: OpenChat;
  /** Default: one model at a time. */
  readonly room?: Room;
  /** Requests that may hold or wait for a model at once. Default 256. */
  readonly maxRequests?: number;
}

interface Waiter {
  readonly model: LibraryModel;
  grant(lease: Lease): void;
  refuse(error: unknown): void;
}

interface Loading {
  readonly model: LibraryModel;
  readonly controller: AbortController;
  loadedBytes: number;
  totalBytes: number;
}

interface Loaded {
  readonly model: LibraryModel;
  readonly chat: ChatModel;
  leases: number;
}

const oneAtATime: Room = loaded => (loaded.length === 0 ? Number.POSITIVE_INFINITY : 0);

/** A registry over a library; nothing is loaded until somebody asks, and nothing twice. */
export function createModels(options: ModelsOptions): Models {
  const { library, openChat, room = oneAtATime, maxRequests = 256 } = options;
  const queue: Waiter[] = [];
  const failures = new Map<string, string>();
  /** By id, the longest unused first. */
  const loaded = new Map<string, Loaded>();
  let loading: Loading | null = null;
  /** Must make room for the first in the queue as soon as nobody uses it. */
  let leaving: Loaded | null = null;
  /** How long a request holds a model, averaged over the last ones: about when there is room again. */
  let meanLeaseMs = 1000;
  let pumping = false;
  let closed = false;
  let idle: (() => void) | null = null;
  let preloading: AbortController | null = null;

  const leases = (): number => loaded.values().reduce((sum, one) => sum + one.leases, 0);
  const roomNow = (): number => room([...loaded.values()].map(({ model, chat }) => ({ bytes: model.bytes, chat })));

  async function lookUp(id: string): Promise<LibraryModel> {
    const known = loaded.get(id);
    if (known) return known.model;
    const models = await library.list();
    const found = models.find(model => model.id === id);
    if (found) return found;
    const names = models.map(model => `'${model.id}'`);
    const shown = names.slice(0, 20).join(', ') + (names.length > 20 ? `, … (${names.length} in all)` : '');
    const name = id.length > 80 ? `${id.slice(0, 80)}…` : id;
    throw new ApiError(
      404,
      'model_not_found',
      names.length
        ? `There is no model '${name}' here. There are: ${shown}.`
        : `There is no model '${name}' here, for the library is empty. Get one first, for instance with: maverick pull smollm2`,
      { param: 'model' },
    );
  }

  function stateOf(model: LibraryModel): ModelState {
    const base = { ...model, progress: null, error: null, chat: null };
    const known = loaded.get(model.id);
    if (known) {
      const status = known.chat.engine.state === 'restarting' ? 'loading' : 'ready';
      return { ...base, status, chat: known.chat };
    }
    if (loading?.model.id === model.id)
      return {
        ...base,
        status: 'loading',
        progress: { loadedBytes: loading.loadedBytes, totalBytes: loading.totalBytes },
      };
    if (queue.some(waiter => waiter.model.id === model.id))
      return { ...base, status: 'loading', progress: { loadedBytes: 0, totalBytes: model.bytes } };
    const error = failures.get(model.id) ?? null;
    return { ...base, status: error === null ? 'available' : 'failed', error };
  }

  function leaseOf(used: Loaded): Lease {
    const { model, chat } = used;
    const since = performance.now();
    let held = true;
    used.leases++;
    if (loaded.delete(model.id)) loaded.set(model.id, used); // now the last one used
    return {
      id: model.id,
      chat,
      [Symbol.dispose]() {
        if (!held) return;
        held = false;
        used.leases--;
        meanLeaseMs += (performance.now() - since - meanLeaseMs) / 16;
        if (queue.length > 0 || closed) void pump();
      },
    };
  }

  /** Everyone goes on whose model is loaded and may stay. */
  function grantAll(): void {
    for (const waiter of [...queue]) {
      const known = loaded.get(waiter.model.id);
      if (!known || known === leaving) continue;
      queue.splice(queue.indexOf(waiter), 1);
      waiter.grant(leaseOf(known));
    }
  }

  async function unload(one: Loaded): Promise<void> {
    if (leaving === one) leaving = null;
    if (loaded.get(one.model.id) === one) loaded.delete(one.model.id);
    try {
      await one.chat[Symbol.asyncDispose]();
    } catch {
      // A broken engine may fail to close; what counts is that nobody uses it any more.
    }
  }

  /** @returns false when memory did not do and another model can make room: then it is to be tried again */
  async function load(model: LibraryModel): Promise<boolean> {
    const state: Loading = { model, controller: new AbortController(), loadedBytes: 0, totalBytes: model.bytes };
    loading = state;
    failures.delete(model.id);
    try {
      const chat = await openChat(model.path, {
        onProgress: (loadedBytes, totalBytes) => Object.assign(state, { loadedBytes, totalBytes }),
        signal: state.controller.signal,
        room: roomNow(),
      });
      if (state.controller.signal.aborted) await chat[Symbol.asyncDispose]();
      else loaded.set(model.id, { model, chat, leases: 0 });
    } catch (error) {
      if (state.controller.signal.aborted) return true;
      if (error instanceof Error && error.name === 'NotEnoughMemory' && loaded.size > 0) return false;
      const reason = error instanceof Error ? error.message : String(error);
      failures.set(model.id, reason);
      const refusal = new ApiError(503, 'model_load_failed', `The model '${model.id}' could not be loaded: ${reason}`, {
        param: 'model',
        cause: error,
      });
      for (const waiter of queue.filter(waiter => waiter.model.id === model.id)) {
        queue.splice(queue.indexOf(waiter), 1);
        waiter.refuse(refusal);
      }
    } finally {
      loading = null;
    }
    return true;
  }

  /** Serves the queue until somebody must wait for leases to end. */
  async function pump(): Promise<void> {
    if (pumping) return;
    pumping = true;
    try {
      /** Found out by trying: this model needs more than its bytes. */
      let tooLarge: LibraryModel | null = null;
      while (!closed) {
        const wanted = queue.find(waiter => !loaded.has(waiter.model.id))?.model;
        if (wanted && loaded.size > 0 && (wanted === tooLarge || wanted.bytes > roomNow())) {
          tooLarge = null;
          const unused = loaded.values().find(one => one.leases === 0);
          leaving = unused ?? leaving ?? loaded.values().next().value!;
          grantAll();
          if (!unused) break;
          await unload(unused);
          continue;
        }
        leaving = null;
        grantAll();
        if (!wanted) break;
        tooLarge = (await load(wanted)) ? null : wanted;
        grantAll(); // before anything is chosen to make room
      }
    } finally {
      pumping = false;
      if (leases() === 0) idle?.();
    }
  }

  function wait(model: LibraryModel, signal?: AbortSignal): Promise<Lease> {
    const { promise, resolve, reject } = Promise.withResolvers<Lease>();
    const leave = () => {
      const at = queue.indexOf(waiter);
      if (at < 0) return;
      queue.splice(at, 1);
      // Somebody waits for another model and nobody for this one: loading on would only keep them waiting. With an empty queue
      // it goes on, for a client that gave up on a slow load will ask again.
      const wanted = loading?.model.id;
      if (loading && queue.length > 0 && !queue.some(other => other.model.id === wanted)) loading.controller.abort();
      reject(signal?.reason);
      void pump(); // who had to make room for it may stay
    };
    const waiter: Waiter = {
      model,
      grant: lease => {
        signal?.removeEventListener('abort', leave);
        resolve(lease);
      },
      refuse: error => {
        signal?.removeEventListener('abort', leave);
        reject(error);
      },
    };
    signal?.addEventListener('abort', leave, { once: true });
    queue.push(waiter);
    void pump();
    return promise;
  }

  const busyMs = (): number | null => (leases() + queue.length < maxRequests ? null : meanLeaseMs);

  const tooMany = (ms: number): ApiError =>
    new ApiError(429, 'too_many_requests', `${maxRequests} requests are being answered or wait. Try again later.`, {
      headers: retryAfter(ms),
    });

  function checkRoom(): void {
    const ms = busyMs();
    if (ms !== null) throw tooMany(ms);
  }

  return {
    busyMs,
    tooMany,
    checkRoom,

    async list() {
      return (await library.list()).map(stateOf);
    },

    async find(id) {
      return stateOf(await lookUp(id));
    },

    async acquire(id, signal) {
      const model = await lookUp(id);
      signal?.throwIfAborted();
      if (closed) throw stopping();
      checkRoom();
      const known = loaded.get(id);
      return known && known !== leaving ? leaseOf(known) : wait(model, signal);
    },

    async preload(id) {
      const model = await lookUp(id);
      if (closed) throw stopping();
      if (loaded.has(id) && loaded.get(id) !== leaving) return;
      const before = preloading;
      const controller = new AbortController();
      preloading = controller;
      // The new one waits before the old one leaves: an empty queue would let the old load go on.
      wait(model, controller.signal).then(
        lease => lease[Symbol.dispose](),
        () => {}, // whoever asks for the model's state sees why
      );
      before?.abort();
    },

    async examine(id) {
      const suspect = loaded.get(id);
      if (!suspect) return;
      if (suspect.chat.engine.state === 'restarting') return; // it is about to come back by itself
      try {
        await suspect.chat.engine.stats();
      } catch (error) {
        if (loaded.get(id) !== suspect) return;
        failures.set(id, error instanceof Error ? error.message : String(error));
        await unload(suspect);
        void pump();
      }
    },

    async [Symbol.asyncDispose]() {
      closed = true;
      loading?.controller.abort();
      for (const waiter of queue.splice(0)) waiter.refuse(stopping());
      if (pumping || leases() > 0) {
        const { promise, resolve } = Promise.withResolvers<void>();
        idle = resolve;
        await promise;
      }
      await Promise.all([...loaded.values()].map(unload));
    },
  };
}
