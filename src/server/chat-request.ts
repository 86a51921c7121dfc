// The body of a chat completions request.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import { generationFields, generationOf, isEmpty, MAX_TOP_LOGPROBS } from './generation-fields.ts';
import { messagesField, toMessage } from './message-fields.ts';
import { boolean, integer, label, parse, unsupported, wrongValue } from './parameters.ts';

export const chatSchema = z.strictObject({
  ...generationFields,
  messages: messagesField,
  max_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  max_completion_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  logprobs: boolean(),
  top_logprobs: integer(0, MAX_TOP_LOGPROBS),
  response_format: unsupported(value => isEmpty(value) || (value as { type?: unknown } | null)?.type === 'text'),
  tools: unsupported(isEmpty),
  tool_choice: unsupported(value => value === 'none' || value === 'auto'),
  parallel_tool_calls: label(),
  functions: unsupported(isEmpty),
  function_call: unsupported(value => value === 'none' || value === 'auto'),
  modalities: unsupported(value => Array.isArray(value) && value.length === 1 && value[0] === 'text'),
  audio: unsupported(),
  prediction: unsupported(),
  web_search_options: unsupported(),
  reasoning_effort: unsupported(value => value === 'none'),
  metadata: label(),
  store: unsupported(value => value === false),
  service_tier: label(),
  safety_identifier: label(),
  prompt_cache_key: label(),
});

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly Message[];
  /** How many answers (`n`). */
  readonly answers: number;
  readonly options: ChatOptions;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly logprobs: boolean;
}

/** @throws ApiError 400 naming the parameter. */
export function parseChatRequest(body: unknown): ChatRequest {
  const request = parse(chatSchema, body);
  const generation = generationOf(request);
  const { max_tokens: old, max_completion_tokens: now } = request;
  if (old != null && now != null && old !== now)
    throw wrongValue('max_tokens', old, `left out or equal to 'max_completion_tokens', which is ${now}`);
  const topLogprobs = request.top_logprobs ?? 0;
  if (topLogprobs > 0 && !request.logprobs)
    throw wrongValue('top_logprobs', topLogprobs, "left out or 0 unless 'logprobs' is true");
  return {
    ...generation,
    messages: request.messages.map(toMessage),
    options: { ...generation.options, maxTokens: now ?? old ?? undefined, topLogprobs },
    logprobs: request.logprobs ?? false,
  };
}
