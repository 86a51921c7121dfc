// Errors as the OpenAI API shapes them: a message in words, a type, the parameter and a code a program can test.
import type { WireError } from './wire.ts';

export type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429 | 500 | 503;

const TYPES: Readonly<Record<ErrorStatus, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'invalid_request_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  500: 'server_error',
  503: 'server_error',
};

/** An error whose message is meant for the client. */
export class ApiError extends Error {
  readonly status: ErrorStatus;
  readonly code: string;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** For clients that go on by themselves; Anthropic's shape alone has a place for it. */
  readonly details: object | undefined;

  constructor(
    status: ErrorStatus,
    code: string,
    message: string,
    more: { param?: string | null; headers?: Readonly<Record<string, string>>; details?: object; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.param = more.param ?? null;
    this.headers = more.headers ?? {};
    this.details = more.details;
  }

  toWire(): WireError {
    return { error: { message: this.message, type: TYPES[this.status], param: this.param, code: this.code } };
  }

  /** @param body the error as the client's API shapes it. */
  toResponse(body: unknown = this.toWire()): Response {
    return Response.json(body, { status: this.status, headers: this.headers });
  }
}

/** What an engine throws, by the names of its errors: their classes are the engine's own. */
const ENGINE_ERRORS: Readonly<Record<string, readonly [status: ErrorStatus, code: string]>> = {
  QueueFull: [429, 'too_many_requests'],
  EngineRestarting: [503, 'engine_restarting'],
  EngineDraining: [503, 'server_stopping'],
  EngineFailed: [500, 'engine_failed'],
  GrammarError: [400, 'invalid_value'],
};

/** Any thrown value as an error for the client. The engine's messages name the thing and the next step, so they are passed on. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const known = error instanceof Error && Object.hasOwn(ENGINE_ERRORS, error.name) ? ENGINE_ERRORS[error.name] : null;
  if (!known)
    return new ApiError(500, 'internal_error', `The model stopped with an error: ${message}`, { cause: error });
  const { retryAfterMs, parameter = null } = error as { retryAfterMs?: number; parameter?: string };
  const headers = retryAfterMs === undefined ? {} : retryAfter(retryAfterMs);
  return new ApiError(known[0], known[1], message, { param: parameter, headers, cause: error });
}

/** The error of a grammar with its parameter spelled as the client did; any other as it is. */
export function spelledAs(error: unknown, spelled: ((parameter: string) => string) | undefined): unknown {
  if (!(error instanceof Error) || error.name !== 'GrammarError' || !spelled) return error;
  // One from the engine's thread says it in its words alone.
  const { parameter = /^\w+/.exec(error.message)?.[0] ?? '' } = error as { parameter?: string };
  if (!error.message.startsWith(parameter)) return error;
  const name = spelled(parameter);
  const message = name + error.message.slice(parameter.length);
  return Object.assign(new Error(message, { cause: error }), { name: error.name, parameter: name });
}

/** When to come again, as HTTP says it. */
export const retryAfter = (ms: number): Readonly<Record<string, string>> => ({
  'retry-after': String(Math.max(1, Math.ceil(ms / 1000))),
});

/** What a server that is about to end says to new requests. */
export const stopping = (): ApiError =>
  new ApiError(503, 'server_stopping', 'The server is stopping. Try again when it is back.', {
    headers: retryAfter(5000),
  });
