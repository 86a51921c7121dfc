// The answers to one request: several at once where several were asked for, their events as they come.
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type { ChatEvent } from '../engine/types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import { inParallel } from './parallel.ts';

/** Answers of one request that are computed at once; the engine batches them. */
const AT_ONCE = 4;

/** Runs generators side by side and mixes what they give. If one fails, or the reader leaves, the others are stopped. */
export function sideBySide<T>(
  sources: readonly ((signal: AbortSignal) => AsyncGenerator<T, void>)[],
  signal: AbortSignal,
): AsyncGenerator<T, void> {
  const failing = new AbortController(); // one that fails ends the others, and is not mistaken for a client that left
  const either = AbortSignal.any([signal, failing.signal]);
  return inParallel(
    sources.map(source => () => source(either)),
    AT_ONCE,
    () => failing.abort(),
  );
}

/**
 * One answer's events up to the one that says why it ended.
 * @throws the signal's reason when it aborts.
 */
export async function* untilEnd(events: AsyncGenerator<ChatEvent, void>, signal?: AbortSignal) {
  for await (const event of events) {
    if (event.type === 'end' && event.reason === 'abort') throw signal?.reason ?? new Error('the answer was given up');
    yield event;
    if (event.type === 'end') return;
  }
  throw new Error('the answer ended without saying why');
}

/** With one seed for all, `n` answers would be the same. The first is what one answer alone would be. */
export function nthSeed(seed: number | undefined, index: number): number | undefined {
  if (seed === undefined) return undefined;
  return Number.isSafeInteger(seed + index) ? seed + index : seed - index;
}

/** What a conversation asks of the model. */
export interface Conversation {
  readonly messages: readonly Message[];
  readonly options: ChatOptions;
}

/** An event of one of several answers. */
export interface AnswerEvent {
  readonly index: number;
  readonly event: ChatEvent;
}

export const newId = (prefix: string): string => `${prefix}${crypto.randomUUID().replaceAll('-', '')}`;

/** `count` answers to a conversation, mixed. */
export function converse(
  chat: ChatModel,
  { messages, options }: Conversation,
  count: number,
  signal: AbortSignal,
): AsyncGenerator<AnswerEvent, void> {
  const sources = Array.from(
    { length: count },
    (_, index) =>
      async function* (signal: AbortSignal) {
        const events = chat.chat(messages, { ...options, seed: nthSeed(options.seed, index), signal });
        for await (const event of untilEnd(events, signal)) yield { index, event };
      },
  );
  return sideBySide(sources, signal);
}
