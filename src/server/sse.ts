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

/** The text of a stream of events, piece by piece, as its reader asks for it. */
export interface EventText {
  /** The next piece, or null when all has been said. Not to be called again before it resolves. */
  next(): Promise<string | null>;
  /** The reader has gone away. */
  leave(): Promise<void>;
}

/** Who writes to a socket takes the text from here, and leaves the response's body alone. */
const texts = new WeakMap<ReadableStream, EventText>();

/** The text of a response that `eventStream` made; a response made from it has the same body, and so the same text. */
export const eventTextOf = ({ body }: Response): EventText | undefined => (body ? texts.get(body) : undefined);

/**
 * Each value becomes an event as the dialect frames it, and the dialect's end follows the last. An error in the middle becomes
 * an event `error`, and nothing follows. (hono's own helper writes a bare message after an error, which is no JSON and makes
 * the official client fail to parse it.)
 */
export function eventStream(values: AsyncGenerator<unknown, void>, options: EventStreamOptions): Response {
  const text = eventText(values, options);
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const piece = await text.next();
        if (piece !== null) controller.enqueue(encoder.encode(piece));
        else controller.close();
      },
      cancel: () => text.leave(),
    },
    { highWaterMark: 0 }, // nothing is taken before it is read: it may be read from the text
  );
  texts.set(body, text);
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no', // nginx would hold the tokens back
    },
  });
}

function eventText(values: AsyncGenerator<unknown, void>, options: EventStreamOptions): EventText {
  const { abort, end, dialect, toError, heartbeatMs = 10_000 } = options;
  let pending = options.first ?? null;
  let over = false;
  let quiet = (): void => {};
  // One timer for the whole stream: there may be thousands of events a second.
  const timer = setTimeout(() => quiet(), heartbeatMs);
  /** Null after a silence. */
  const orSilence = <T>(promise: Promise<T>): Promise<T | null> =>
    new Promise((resolve, reject) => {
      quiet = () => resolve(null);
      timer.refresh();
      promise.then(resolve, reject);
    });
  const finish = (last: string): string => {
    if (!over) end();
    over = true;
    clearTimeout(timer);
    return last;
  };
  return {
    async next() {
      if (over) return null;
      try {
        pending ??= values.next();
        const next = await orSilence(pending);
        if (next === null) return ': still here\n\n';
        pending = null;
        return next.done ? finish(dialect.end) || null : dialect.frame(next.value);
      } catch (error) {
        return finish(dialect.frameError(toError(error)));
      }
    },
    async leave() {
      if (over) return;
      over = true;
      clearTimeout(timer);
      abort();
      await values.return().catch(() => {});
      end();
    },
  };
}
