// The models a server can answer with: loaded on demand, one at a time, switched when nobody uses the loaded one.
import type { ChatModel } from '../engine/chat-types.ts';
import { ApiError, retryAfter, stopping } from './errors.ts';
import type { Library, LibraryModel, OpenChat } from './library.ts';
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
   * Waits for the model: for its loading, and before that for the end of all use of another one. Waiting is in the order of
   * arrival, except that everyone who waits for the model that has just been loaded goes on together.
   * @throws ApiError 404 (unknown), 429 (too many wait), 503 (loading failed, or the server stops); the signal's reason.
   */
  acquire(id: string, signal?: AbortSignal): Promise<Lease>;
  /** Begins loading and returns at once. The next call takes the place of one whose model nobody else waits for. */
  preload(id: string): Promise<void>;
  /** After a failed answer: if the loaded model's engine no longer answers, forget it, so that the next request loads it anew. */
  examine(id: string): Promise<void>;
}

export interface ModelsOptions {
  readonly library: Library;
  readonly openChat: OpenChat;
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

/** A registry over a library; nothing is loaded until somebody asks. */
export function createModels({ library, openChat, maxRequests = 256 }: ModelsOptions): Models {
  const queue: Waiter[] = [];
  const failures = new Map<string, string>();
  let current: { readonly model: LibraryModel; readonly chat: ChatModel } | null = null;
  let loading: Loading | null = null;
  let leases = 0;
  /** How long a request holds a model, averaged over the last ones: about when there is room again. */
  let meanLeaseMs = 1000;
  let pumping = false;
  let closed = false;
  let idle: (() => void) | null = null;
  let preloading: AbortController | null = null;

  async function lookUp(id: string): Promise<LibraryModel> {
    if (current?.model.id === id) return current.model;
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
    if (current?.model.id === model.id) {
      const status = current.chat.engine.state === 'restarting' ? 'loading' : 'ready';
      return { ...base, status, chat: current.chat };
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

  function grant(waiter: Waiter, chat: ChatModel): void {
    leases++;
    let held = true;
    const since = performance.now();
    waiter.grant({
      id: waiter.model.id,
      chat,
      [Symbol.dispose]() {
        if (!held) return;
        held = false;
        leases--;
        meanLeaseMs += (performance.now() - since - meanLeaseMs) / 16;
        void pump();
      },
    });
  }

  /** Takes everyone who waits for this model out of the queue. */
  function takeWaiters(id: string): Waiter[] {
    const taken = queue.filter(waiter => waiter.model.id === id);
    for (const waiter of taken) queue.splice(queue.indexOf(waiter), 1);
    return taken;
  }

  async function unload(): Promise<void> {
    const old = current;
    current = null;
    try {
      await old?.chat[Symbol.asyncDispose]();
    } catch {
      // A broken engine may fail to close; what counts is that nobody uses it any more.
    }
  }

  async function load(model: LibraryModel): Promise<void> {
    await unload();
    const state: Loading = { model, controller: new AbortController(), loadedBytes: 0, totalBytes: model.bytes };
    loading = state;
    failures.delete(model.id);
    try {
      const chat = await openChat(model.path, {
        onProgress: (loadedBytes, totalBytes) => Object.assign(state, { loadedBytes, totalBytes }),
        signal: state.controller.signal,
      });
      if (state.controller.signal.aborted) {
        await chat[Symbol.asyncDispose]();
        return;
      }
      current = { model, chat };
    } catch (error) {
      if (state.controller.signal.aborted) return;
      const reason = error instanceof Error ? error.message : String(error);
      failures.set(model.id, reason);
      const refusal = new ApiError(503, 'model_load_failed', `The model '${model.id}' could not be loaded: ${reason}`, {
        param: 'model',
        cause: error,
      });
      for (const waiter of takeWaiters(model.id)) waiter.refuse(refusal);
    } finally {
      loading = null;
    }
    if (current) for (const waiter of takeWaiters(model.id)) grant(waiter, current.chat);
  }

  /** Serves the queue's head until it must wait for leases to end. */
  async function pump(): Promise<void> {
    if (pumping) return;
    pumping = true;
    try {
      for (let head = queue[0]; head && !closed; head = queue[0]) {
        if (current?.model.id === head.model.id) {
          queue.shift();
          grant(head, current.chat);
        } else if (current && leases > 0) break;
        else await load(head.model);
      }
    } finally {
      pumping = false;
      if (leases === 0) idle?.();
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

  return {
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
      if (leases + queue.length >= maxRequests)
        throw new ApiError(
          429,
          'too_many_requests',
          `${maxRequests} requests are being answered or wait. Try again later.`,
          { headers: retryAfter(meanLeaseMs) },
        );
      return wait(model, signal);
    },

    async preload(id) {
      const model = await lookUp(id);
      if (closed) throw stopping();
      if (current?.model.id === id && queue.length === 0) return;
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
      const suspect = current;
      if (suspect?.model.id !== id) return;
      if (suspect.chat.engine.state === 'restarting') return; // it is about to come back by itself
      try {
        await suspect.chat.engine.stats();
      } catch (error) {
        if (current !== suspect) return;
        failures.set(id, error instanceof Error ? error.message : String(error));
        await unload();
        void pump();
      }
    },

    async [Symbol.asyncDispose]() {
      closed = true;
      loading?.controller.abort();
      for (const waiter of queue.splice(0)) waiter.refuse(stopping());
      if (pumping || leases > 0) {
        const { promise, resolve } = Promise.withResolvers<void>();
        idle = resolve;
        await promise;
      }
      await unload();
    },
  };
}
