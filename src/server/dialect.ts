// The ways of speaking that clients know: how an error looks, how a stream's events are framed, and how a stream ends.
import type { ApiError, ErrorStatus } from './errors.ts';

export interface Dialect {
  /** An error's body. */
  error(error: ApiError): unknown;
  /** One value of a stream as server-sent events write it. */
  frame(value: unknown): string;
  /** An error in the middle of a stream; nothing follows it. */
  frameError(error: ApiError): string;
  /** What follows the last value. */
  readonly end: string;
}

const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
/** Events that say in `type` what they are, and in the `event` line too. */
const named = (value: unknown): string => `event: ${(value as { type: string }).type}\n${data(value)}`;

/** Chat completions, completions and everything that is not listed below. */
export const openai: Dialect = {
  error: error => error.toWire(),
  frame: data,
  frameError: error => `event: error\n${data(error.toWire())}`,
  end: 'data: [DONE]\n\n',
};

/** OpenAI's responses: the errors of the others, events with names, and no closing mark. */
export const responses: Dialect = {
  error: error => error.toWire(),
  frame: named,
  frameError: error =>
    named({ type: 'error', ...error.toWire(), code: error.code, message: error.message, param: error.param }),
  end: '',
};

const ANTHROPIC_TYPES: Readonly<Record<ErrorStatus, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  413: 'request_too_large',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  500: 'api_error',
  503: 'overloaded_error',
};

const anthropicError = ({ status, message, details }: ApiError) => ({
  type: 'error',
  error: { type: ANTHROPIC_TYPES[status], message, ...(details && { details }) },
});

/** Anthropic's messages. */
export const anthropic: Dialect = {
  error: anthropicError,
  frame: named,
  frameError: error => named(anthropicError(error)),
  end: '',
};

/** Errors that come before a route is chosen are told in the words of the path. */
export const dialectOf = (path: string): Dialect => (/^\/v1\/messages(?:\/|$)/.test(path) ? anthropic : openai);
