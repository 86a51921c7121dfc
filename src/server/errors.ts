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

  constructor(
    status: ErrorStatus,
    code: string,
    message: string,
    more: { param?: string | null; headers?: Readonly<Record<string, string>>; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.param = more.param ?? null;
    this.headers = more.headers ?? {};
  }

  toWire(): WireError {
    return { error: { message: this.message, type: TYPES[this.status], param: this.param, code: this.code } };
  }

  /** @param body the error as the client's API shapes it. */
  toResponse(body: unknown = this.toWire()): Response {
    return Response.json(body, { status: this.status, headers: this.headers });
  }
}

/** Any thrown value as an error for the client. The engine's messages name the thing and the next step, so they are passed on. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(500, 'internal_error', `The model stopped with an error: ${message}`, { cause: error });
}
