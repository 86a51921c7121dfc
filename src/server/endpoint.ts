// An endpoint that a model answers: what a body may hold, what it means, and how a chat model answers it.
import type { z } from 'zod';
import type { ChatModel } from '../engine/chat-types.ts';
import type { RowsOptions } from '../engine/types.ts';
import type { Dialect } from './dialect.ts';

/** What every request to a model says. */
export interface ModelRequest {
  readonly model: string;
  readonly stream: boolean;
  /** How the client spells a parameter that an error of the chat model names. */
  readonly spelled?: (parameter: string) => string;
}

export interface Endpoint<R extends ModelRequest = ModelRequest> {
  readonly path: string;
  /** One sentence for the API's document. */
  readonly summary: string;
  readonly dialect: Dialect;
  /** The body, for the API's document; `parse` checks by it. */
  readonly schema: z.ZodType;
  /** @throws ApiError 400 naming the parameter. */
  parse(body: unknown): R;
  /**
   * Checks what only the model can tell, then answers: one object, or the values of a stream.
   * @param given the key's share and salt. `chat` adds them by itself; `chat.engine` does not.
   * @throws ApiError before anything is computed.
   */
  answer(
    chat: ChatModel,
    request: R,
    signal: AbortSignal,
    given: RowsOptions,
  ): Promise<AsyncGenerator<unknown, void> | object>;
}

/** Forgets the request's type, which only `parse` and `answer` of the same endpoint share. */
export const endpoint = <R extends ModelRequest>(described: Endpoint<R>): Endpoint => described as unknown as Endpoint;
