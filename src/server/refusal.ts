// Tells who is one too many before the request is taken apart: what is refused takes the processor from what is answered.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Endpoint } from './endpoint.ts';
import { retryAfter } from './errors.ts';
import { createExchange, type Exchange } from './exchange.ts';
import type { ApiKey } from './keys.ts';
import type { Models } from './models.ts';

export interface RefusalOptions {
  readonly models: Models;
  readonly endpoints: readonly Endpoint[];
  /** Throw for a request that has no business here, which the app then refuses for that. */
  allow(host: string, origin: string | undefined): void;
  checkKey(headers: Pick<Headers, 'get'>): ApiKey;
  readonly draining?: AbortSignal | undefined;
  /** Of every response. */
  readonly headers: Readonly<Record<string, string>>;
  end(exchange: Exchange): void;
}

/** Answers a request with 429 when it is one too many. @returns false when it is the app's to answer, with nothing done */
export type Refusal = (incoming: IncomingMessage, outgoing: ServerResponse) => boolean;

/** A body that is unread is read to its end by Node, so that the connection can be used again; a longer one goes to the app. */
const MOST_UNREAD = 256 * 1024;

export function createRefusal(options: RefusalOptions): Refusal {
  const { models, endpoints, allow, checkKey, draining, end } = options;
  const error = models.tooMany(0);
  const bodies = new Map(endpoints.map(({ path, dialect }) => [path, JSON.stringify(dialect.error(error))]));

  return (incoming, outgoing) => {
    const busyMs = models.busyMs();
    if (busyMs === null || draining?.aborted || incoming.method !== 'POST') return false;
    const body = bodies.get(incoming.url ?? '');
    // A page of an allowed origin gets the headers that let it read the answer: from the app.
    const { host = '', origin, 'content-length': length } = incoming.headers;
    if (body === undefined || origin !== undefined || !(Number(length) <= MOST_UNREAD)) return false;
    const get = (name: string): string | null => incoming.headers[name]?.toString() ?? null;
    let key: ApiKey;
    try {
      allow(host, origin);
      key = checkKey({ get });
    } catch {
      return false;
    }
    const exchange = createExchange({ method: 'POST', headers: new Headers() });
    exchange.key = key;
    exchange.route = incoming.url!;
    exchange.status = error.status;
    exchange.errorCode = error.code;
    outgoing.writeHead(error.status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...retryAfter(busyMs),
      'x-request-id': exchange.id,
      ...options.headers,
    });
    outgoing.end(body);
    end(exchange);
    return true;
  };
}
