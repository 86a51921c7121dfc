// Server-sent events over a generator: backpressure from the reader, a comment while nothing happens, errors as events.
import type { Dialect } from './dialect.ts';
import type { ApiError } from './errors.ts';

export interface EventStreamOptions {
  /** Called when the reader has gone away, before the generator is told to end. */
  abort(): void;
  /** Called once, when the generator has ended in whatever way. */
  end(): void;
  readonly dialect: Dialect;
  /** The first value, if it has been asked for already. */
  readonly first?: Promise<IteratorResult<unknown, void>>;
  /** A thrown error in words for the client. */
  toError(error: unknown): ApiError;
  /** Silence after which a comment is sent, so that no proxy closes the connection, ms. Default 10,000. */
  heartbeatMs?: number;
}

/**
 * Each value becomes an event as the dialect frames it, and the dialect's end follows the last. An error in the middle becomes
 * an event `error`, and nothing follows. (hono's own helper writes a bare message after an error, which is no JSON and makes
 * the official client fail to parse it.)
 */
export function eventStream(values: AsyncGenerator<unknown, void>, options: EventStreamOptions): Response {
  const { abort, end, dialect, toError, heartbeatMs = 10_000 } = options;
  const encoder = new TextEncoder();
  let pending = options.first ?? null;
  let left = false;

  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const send = (text: string) => {
        if (!left) controller.enqueue(encoder.encode(text));
      };
      const finish = () => {
        if (left) return;
        end();
        controller.close();
      };
      try {
        pending ??= values.next();
        const next = await Promise.race([pending, silence(heartbeatMs, pending)]);
        if (next === null) return send(': still here\n\n');
        pending = null;
        if (!next.done) return send(dialect.frame(next.value));
        send(dialect.end);
        finish();
      } catch (error) {
        send(dialect.frameError(toError(error)));
        finish();
      }
    },
    async cancel() {
      left = true;
      abort();
      await values.return().catch(() => {});
      end();
    },
  });
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no', // nginx would hold the tokens back
    },
  });
}

/** Null after so many milliseconds; the timer does not outlive the promise it waits beside. */
function silence(ms: number, beside: Promise<unknown>): Promise<null> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(null), ms);
    const clear = () => clearTimeout(timer);
    beside.then(clear, clear);
  });
}
