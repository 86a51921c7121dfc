// What was said: the messages of a conversation, as they are kept in this browser and as they are sent.
import type { WireChatRequest, WireTimings } from '../server/wire.ts';
import type { Settings } from './settings.ts';

export interface AnswerFigures {
  readonly tokens: number;
  readonly tokensPerSecond: number | null;
  readonly promptTokens: number | null;
  readonly promptTokensPerSecond: number | null;
}

export interface ChatMessage {
  readonly id: string;
  readonly role: 'user' | 'assistant';
  readonly content: string;
  /** 'cut': the length limit or the end of the context was reached. */
  readonly state: 'done' | 'streaming' | 'stopped' | 'cut' | 'failed';
  readonly error?: string;
  readonly figures?: AnswerFigures;
}

const STATES = ['done', 'streaming', 'stopped', 'cut', 'failed'];

export function isConversation(value: unknown): value is ChatMessage[] {
  return (
    Array.isArray(value) &&
    value.every(
      (item: Partial<ChatMessage> | null) =>
        typeof item?.id === 'string' &&
        typeof item.content === 'string' &&
        (item.role === 'user' || item.role === 'assistant') &&
        STATES.includes(item.state as string),
    )
  );
}

let count = 0;
/** Unique within a browser. (`crypto.randomUUID` is missing on pages that come over plain HTTP from another machine.) */
export const newId = (): string => `${Date.now().toString(36)}-${count++}`;

/** An answer that was being written when the page was left is a stopped one. */
export const settled = (messages: readonly ChatMessage[]): ChatMessage[] =>
  messages.map(message => (message.state === 'streaming' ? { ...message, state: 'stopped' } : message));

export function figuresOf(timings: WireTimings): AnswerFigures {
  return {
    tokens: timings.predicted_n,
    tokensPerSecond: timings.predicted_per_second,
    promptTokens: timings.cache_n + timings.prompt_n,
    promptTokensPerSecond: timings.prompt_per_second,
  };
}

/** The request for the next answer; what failed before a word was said is left out. */
export function requestFor(model: string, messages: readonly ChatMessage[], settings: Settings): WireChatRequest {
  const { system, temperature, topP, topK, minP, repetitionPenalty, maxTokens, seed } = settings;
  return {
    model,
    messages: [
      ...(system.trim() ? [{ role: 'system' as const, content: system }] : []),
      ...messages.filter(message => message.content !== '').map(({ role, content }) => ({ role, content })),
    ],
    stream: true,
    stream_options: { include_usage: true },
    temperature,
    top_p: topP,
    top_k: topK,
    min_p: minP,
    repetition_penalty: repetitionPenalty,
    ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
    ...(seed === null ? {} : { seed }),
  };
}
