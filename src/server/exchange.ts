// One request and its answer as those who watch see it: metrics, logs, traces, limits. Never what was said in it.
import type { FinishReason, GenerationStats } from '../engine/types.ts';
import { type ApiKey, NOBODY } from './keys.ts';

export interface Exchange {
  /** Given back as `x-request-id`. */
  readonly id: string;
  readonly method: string;
  /** The route's pattern, or 'other': a path may hold anything. */
  route: string;
  readonly headers: Headers;
  /** performance.now() when it came. */
  readonly startedMs: number;
  key: ApiKey;
  model: string | null;
  stream: boolean;
  /** Numbers among the request's parameters, for traces. */
  parameters: Readonly<Record<string, number>>;
  /** 0 until it is known. */
  status: number;
  /** The code of the error that it ended with, and the thrown value where it is the server's own fault. */
  errorCode: string | null;
  cause: unknown;
  /** The first token of any of its answers, performance.now(). */
  firstTokenMs: number | null;
  readonly generations: Generation[];
  /** Its answer still goes out when the route has returned. */
  open: boolean;
}

/** One generation of the model. */
export interface Generation {
  readonly reason: FinishReason | 'error';
  readonly stats: GenerationStats;
}

/** Every method is called at most once an exchange, but `tokens`. */
export interface Observer {
  begin?(exchange: Exchange): void;
  /** A model is about to answer. */
  answering?(exchange: Exchange): void;
  /** `count` tokens came, `seconds` after those before them. */
  tokens?(exchange: Exchange, count: number, seconds: number): void;
  /** The last byte has been handed over, or nobody wants it any more. */
  end?(exchange: Exchange): void;
}

/** Tokens of prompts and answers. */
export const tokensOf = ({ generations }: Exchange): { readonly prompt: number; readonly answer: number } => ({
  prompt: generations.reduce((sum, { stats }) => sum + stats.promptTokens, 0),
  answer: generations.reduce((sum, { stats }) => sum + stats.generatedTokens, 0),
});

export const createExchange = (request: Pick<Request, 'method' | 'headers'>): Exchange => ({
  id: `req_${crypto.randomUUID()}`,
  method: request.method,
  route: 'other',
  headers: request.headers,
  startedMs: performance.now(),
  key: NOBODY,
  model: null,
  stream: false,
  parameters: {},
  status: 0,
  errorCode: null,
  cause: null,
  firstTokenMs: null,
  generations: [],
  open: false,
});
