// The engine's thread: runs a local engine and answers messages. Started by client.ts, never imported.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { openLocalEngine } from './local-engine.ts';
import { type FromWorker, type Opening, type ToWorker, toWire, type WorkerMessage } from './protocol.ts';
import type { Engine } from './types.ts';

/** Rows of log-probabilities on their way to a slow reader, at most: so many, and so many bytes. */
const ROWS_AHEAD = 64;
const ROWS_AHEAD_BYTES = 32 * 2 ** 20;
/** Between two looks for messages in the middle of a pass. */
const LOOK_MS = 0.5;

interface Request {
  readonly controller: AbortController;
  /** Called when the client has taken a row. */
  taken: () => void;
}

type Hear = (message: ToWorker) => Promise<void>;
type Send = (message: WorkerMessage, transfer?: ArrayBuffer) => void;

/**
 * Sends what is said in one turn of the event loop as one message when the turn ends: a message costs the two threads some
 * hundredths of a millisecond, whatever it holds, and a pass may give many sequences a token each.
 */
function sender(port: MessagePort): Send {
  let messages: WorkerMessage[] = [];
  let transfers: ArrayBuffer[] = [];
  const flush = (): void => {
    port.postMessage(messages satisfies FromWorker, transfers);
    messages = [];
    transfers = [];
  };
  return (message, transfer) => {
    if (messages.push(message) === 1) process.nextTick(flush); // after all promises that are settled by now
    if (transfer) transfers.push(transfer);
  };
}

/** @returns what hears a message */
function serve(port: MessagePort, engine: Engine, send: Send): Hear {
  const requests = new Map<number, Request>();

  const generate = async ({ id, prompt, options }: ToWorker & { type: 'generate' }, signal: AbortSignal) => {
    const tokens = engine.generate(prompt, { ...options, signal });
    for (;;) {
      const next = await tokens.next();
      if (next.done) return next.value;
      send({ type: 'token', id, event: next.value });
    }
  };

  const logprobs = async ({ id, tokens, rows, options }: ToWorker & { type: 'logprobs' }, request: Request) => {
    const { signal } = request.controller;
    const fitting = Math.floor(ROWS_AHEAD_BYTES / (engine.info.config.vocab * 4));
    const ahead = Math.max(1, Math.min(ROWS_AHEAD, fitting));
    let unread = 0;
    let wake = (): void => {};
    request.taken = () => {
      unread--;
      wake();
    };
    signal.addEventListener('abort', () => wake());
    for await (const { row, logprobs } of engine.logprobs(tokens, { ...options, rows, signal })) {
      const numbers = logprobs as Float32Array<ArrayBuffer>;
      send({ type: 'row', id, row, logprobs: numbers }, numbers.buffer);
      unread++;
      while (unread >= ahead && !signal.aborted)
        await new Promise<void>(resolve => {
          wake = resolve;
        });
    }
  };

  const answer = (message: ToWorker & { id: number }, request: Request) => {
    const { signal } = request.controller;
    if (message.type === 'generate') return generate(message, signal);
    if (message.type === 'logprobs') return logprobs(message, request);
    if (message.type === 'score' || message.type === 'embed')
      return engine[message.type](message.tokens, { ...message.options, signal });
    if (message.type === 'routing')
      return engine.routing(message.tokens, { ...message.options, from: message.from, signal });
    if (message.type === 'saveCache' || message.type === 'restoreCache') return engine[message.type](message.path);
    return engine.stats();
  };

  return async message => {
    if (message.type === 'close') {
      await engine[Symbol.asyncDispose]();
      port.close();
      return;
    }
    const { id } = message;
    if (message.type === 'abort') {
      requests.get(id)?.controller.abort();
      return;
    }
    if (message.type === 'taken') {
      requests.get(id)?.taken();
      return;
    }
    const request: Request = { controller: new AbortController(), taken: () => {} };
    requests.set(id, request);
    try {
      send({ type: 'end', id, value: (await answer(message, request)) ?? undefined });
    } catch (error) {
      send({ type: 'failed', id, error: toWire(error) });
    } finally {
      requests.delete(id);
    }
  };
}

/**
 * Messages are heard when the event loop turns. In the middle of a pass `look` takes, at most so often, what has come: aborts are heard
 * at once, everything else when the loop turns, in the order in which it came, because the engine is asked between passes only.
 */
function listen(port: MessagePort, hear: Hear): { readonly look: () => void; start(): void } {
  const later: ToWorker[] = [];
  const hearLater = (): void => {
    for (const message of later.splice(0)) void hear(message);
  };
  const came = (message: ToWorker): void => {
    const waits = message.type !== 'close' && later.some(other => other.type !== 'close' && other.id === message.id);
    if (message.type === 'abort' && !waits) void hear(message);
    else if (later.push(message) === 1) setImmediate(hearLater);
  };
  let next = 0;
  return {
    look: () => {
      const now = performance.now();
      if (now < next) return;
      next = now + LOOK_MS;
      for (let got = receiveMessageOnPort(port); got; got = receiveMessageOnPort(port)) came(got.message);
    },
    start: () =>
      port.on('message', (message: ToWorker) => {
        hearLater();
        void hear(message);
      }),
  };
}

async function open(port: MessagePort, { path, options }: Opening): Promise<void> {
  const send = sender(port);
  let hear: Hear = async () => {};
  const { look, start } = listen(port, message => hear(message));
  try {
    const engine = await openLocalEngine(path, {
      ...options,
      look,
      onProgress: (loadedBytes, totalBytes) => send({ type: 'progress', loadedBytes, totalBytes }),
    });
    hear = serve(port, engine, send);
    start();
    engine.onState((state, error) => {
      // Requests under way are told first: their answers take a few turns of promises.
      if (state === 'failed') setImmediate(() => send({ type: 'broken', error: toWire(error) }));
    });
    send({ type: 'opened', info: engine.info });
  } catch (error) {
    send({ type: 'not-opened', error: toWire(error) });
  }
}

if (!parentPort) throw new Error('engine/worker.ts runs as a worker thread only: call openEngine.');
await open(parentPort, workerData as Opening);
