// How a request is answered by a model: wait for it, answer whole or streamed, and end exactly once whoever goes away.
import type { ChatOptions } from '../engine/chat-types.ts';
import type { RowsOptions } from '../engine/types.ts';
import type { Endpoint, ModelRequest } from './endpoint.ts';
import { ApiError, spelledAs } from './errors.ts';
import type { Exchange, Observer } from './exchange.ts';
import type { Lease, Models } from './models.ts';
import type { RequestScope } from './request-scope.ts';
import { eventStream } from './sse.ts';
import { watchChat } from './watch-chat.ts';

export interface AnsweringOptions {
  readonly models: Models;
  readonly observers: readonly Observer[];
  openScope(client: AbortSignal): RequestScope;
  /** Any thrown value as an error for the client; told of what is the server's own fault. */
  report(error: unknown, exchange: Exchange): ApiError;
  /** The exchange is over. */
  end(exchange: Exchange): void;
}

/** A stream that fails this soon fails with a status; one that takes longer begins with headers, so that nobody gives up on it. */
const HEADERS_AFTER_MS = 250;

/** Returns a function that answers a request that has been checked. */
export function createAnswering({ models, observers, openScope, report, end: endExchange }: AnsweringOptions) {
  return async (
    endpoint: Endpoint,
    request: ModelRequest,
    client: AbortSignal,
    exchange: Exchange,
  ): Promise<Response> => {
    const scope = openScope(client);
    let lease: Lease | null = null;
    const end = () => {
      scope.end();
      lease?.[Symbol.dispose]();
      if (exchange.open) endExchange(exchange);
    };
    const toError = (error: unknown): ApiError => {
      const cause = scope.signal.aborted ? gone(scope.signal) : error;
      if (!(cause instanceof ApiError)) void models.examine(request.model);
      return report(spelledAs(cause, request.spelled), exchange);
    };
    exchange.stream = request.stream;
    try {
      lease = await models.acquire(request.model, scope.signal);
      exchange.model = lease.id; // not before: what a client calls a model may be anything
      exchange.parameters = parametersOf(request);
      for (const observer of observers) observer.answering?.(exchange);
      const given = ofKey(exchange);
      const chat = watchChat(lease.chat, exchange, observers, given);
      const body = await endpoint.answer(chat, request, scope.signal, given);
      if (Symbol.asyncIterator in body) {
        const first = body.next();
        await Promise.race([first, new Promise(resolve => setTimeout(resolve, HEADERS_AFTER_MS))]);
        exchange.open = true;
        exchange.status = 200;
        return eventStream(body, { first, abort: () => scope.abort(), end, toError, dialect: endpoint.dialect });
      }
      const response = Response.json(body);
      end();
      return response;
    } catch (error) {
      const failure = toError(error);
      end();
      return failure.toResponse(endpoint.dialect.error(failure));
    }
  };
}

/** Keys see no prompts of each other in the cache, and get equal shares of the engine. */
const ofKey = ({ key }: Exchange): RowsOptions => ({ cacheSalt: key.name, fairnessKey: key.name });

/** The numbers that the conventions for traces name. */
function parametersOf(
  request: ModelRequest & { readonly options?: ChatOptions; readonly answers?: number },
): Readonly<Record<string, number>> {
  const { maxTokens, temperature, topP, topK, seed, presencePenalty, frequencyPenalty } = request.options ?? {};
  const all = {
    max_tokens: maxTokens,
    temperature,
    top_p: topP,
    top_k: topK,
    seed,
    'choice.count': request.answers,
    presence_penalty: presencePenalty,
    frequency_penalty: frequencyPenalty,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Record<string, number>;
}

/** What ended a request from outside: the client left (nobody will read this), or the server stops. */
function gone(signal: AbortSignal): ApiError {
  if (signal.reason instanceof ApiError) return signal.reason;
  return new ApiError(400, 'request_aborted', 'The client ended the request before it was answered.');
}
