// How a request is answered by a model: wait for it, answer whole or streamed, and end exactly once whoever goes away.
import type { Endpoint, ModelRequest } from './endpoint.ts';
import { ApiError } from './errors.ts';
import type { Lease, Models } from './models.ts';
import type { RequestScope } from './request-scope.ts';
import { eventStream } from './sse.ts';

export interface AnsweringOptions {
  readonly models: Models;
  openScope(client: AbortSignal): RequestScope;
  /** Any thrown value as an error for the client; told of what is the server's own fault. */
  report(error: unknown, method: string, path: string): ApiError;
}

/** Returns a function that answers a request that has been checked. */
export function createAnswering({ models, openScope, report }: AnsweringOptions) {
  return async (endpoint: Endpoint, request: ModelRequest, raw: Request): Promise<Response> => {
    const scope = openScope(raw.signal);
    let lease: Lease | null = null;
    const end = () => {
      scope.end();
      lease?.[Symbol.dispose]();
    };
    const toError = (error: unknown): ApiError => {
      const cause = scope.signal.aborted ? gone(scope.signal) : error;
      if (!(cause instanceof ApiError)) void models.examine(request.model);
      return report(cause, raw.method, endpoint.path);
    };
    try {
      lease = await models.acquire(request.model, scope.signal);
      const body = endpoint.answer(lease.chat, request, scope.signal);
      if (Symbol.asyncIterator in body)
        return eventStream(body, { abort: () => scope.abort(), end, toError, dialect: endpoint.dialect });
      const response = Response.json(await body);
      end();
      return response;
    } catch (error) {
      const failure = toError(error);
      end();
      return failure.toResponse(endpoint.dialect.error(failure));
    }
  };
}

/** What ended a request from outside: the client left (nobody will read this), or the server stops. */
function gone(signal: AbortSignal): ApiError {
  if (signal.reason instanceof ApiError) return signal.reason;
  return new ApiError(400, 'request_aborted', 'The client ended the request before it was answered.');
}
