// POST /v1/chat/completions: a conversation in, the assistant's next message out, whole or streamed.
import type { ChatModel } from '../engine/chat-types.ts';
import type { GenerationStats, TokenEvent } from '../engine/types.ts';
import { ApiError } from './errors.ts';
import { chatLogprobs } from './logprobs.ts';
import type { ChatRequest } from './requests.ts';
import { finishReasonOf, timingsOf, usageOf } from './usage.ts';
import type { WireChatChunk, WireChatCompletion, WireFinishReason } from './wire.ts';

const envelope = () => ({ id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000) });

/**
 * Refuses what the model cannot take before anything is computed.
 * @throws ApiError 400: the chat template refuses the conversation, or it fills the context.
 */
export function checkConversation(chat: ChatModel, { messages }: ChatRequest): void {
  let tokens: number;
  try {
    tokens = chat.format.encode(messages).length;
  } catch (error) {
    throw new ApiError(
      400,
      'invalid_value',
      `The model's chat format (${chat.format.name}) cannot write 'messages': ${error instanceof Error ? error.message : error}`,
      { param: 'messages', cause: error },
    );
  }
  checkRoom(chat, tokens, 'messages');
}

/** @throws ApiError 400 if `tokens` leave no room for an answer. */
export function checkRoom(chat: ChatModel, tokens: number, param: string, answer = 1): void {
  const { contextTokens } = chat.engine.info;
  if (tokens + answer <= contextTokens) return;
  throw new ApiError(
    400,
    'context_length_exceeded',
    `The context holds ${contextTokens} tokens, and '${param}' has ${tokens}. Shorten it, or serve the model with a longer context.`,
    { param },
  );
}

/** The whole answer in one object. */
export async function completeChat(
  chat: ChatModel,
  request: ChatRequest,
  signal: AbortSignal,
): Promise<WireChatCompletion> {
  let content = '';
  const tokens: TokenEvent[] = [];
  for await (const event of chat.chat(request.messages, { ...request.options, signal })) {
    if (event.type === 'text') {
      content += event.text;
      if (request.logprobs) tokens.push(...event.tokens);
      continue;
    }
    if (event.reason === 'abort') throw signal.reason;
    return {
      ...envelope(),
      object: 'chat.completion',
      model: request.model,
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content, refusal: null },
          logprobs: request.logprobs ? chatLogprobs(chat.tokenizer, tokens) : null,
          finish_reason: finishReasonOf(event.reason),
        },
      ],
      usage: usageOf(event.stats),
      timings: timingsOf(event.stats),
    };
  }
  throw new Error('the answer ended without saying why');
}

/** The answer in pieces: the role, texts, the finish reason with timings, and usage if asked for. */
export async function* streamChat(
  chat: ChatModel,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<WireChatChunk, void> {
  const base = { ...envelope(), object: 'chat.completion.chunk', model: request.model } as const;
  const usage = request.includeUsage ? { usage: null } : {};
  const chunk = (
    delta: WireChatChunk['choices'][number]['delta'],
    tokens: readonly TokenEvent[] | null,
    finish: WireFinishReason | null = null,
  ): WireChatChunk => ({
    ...base,
    choices: [
      {
        index: 0,
        delta,
        logprobs: request.logprobs && tokens ? chatLogprobs(chat.tokenizer, tokens) : null,
        finish_reason: finish,
      },
    ],
    ...usage,
  });

  yield chunk({ role: 'assistant', content: '' }, null);
  let stats: GenerationStats | null = null;
  for await (const event of chat.chat(request.messages, { ...request.options, signal })) {
    if (event.type === 'text') {
      yield chunk({ content: event.text }, event.tokens);
      continue;
    }
    if (event.reason === 'abort') throw signal.reason;
    stats = event.stats;
    yield { ...chunk({}, null, finishReasonOf(event.reason)), timings: timingsOf(stats) };
  }
  if (!stats) throw new Error('the answer ended without saying why');
  if (request.includeUsage) yield { ...base, choices: [], usage: usageOf(stats) };
}
