// POST /v1/chat/completions: a conversation in, the assistant's next message out, whole or streamed.
import type { ChatModel } from '../engine/chat-types.ts';
import type { GenerationStats, TokenEvent } from '../engine/types.ts';
import { converse, newId } from './answers.ts';
import { type ChatRequest, chatSchema, parseChatRequest } from './chat-request.ts';
import { checkConversation } from './conversation.ts';
import { openai } from './dialect.ts';
import { endpoint } from './endpoint.ts';
import { chatLogprobs } from './logprobs.ts';
import { finishReasonOf, timingsOf, totalOf, usageOf } from './usage.ts';
import type { WireChatChunk, WireChatCompletion, WireFinishReason, WireToolCall } from './wire.ts';

export const chatCompletions = endpoint<ChatRequest>({
  path: '/v1/chat/completions',
  summary: 'Answers a conversation.',
  dialect: openai,
  schema: chatSchema,
  parse: parseChatRequest,
  async answer(chat, request, signal) {
    await checkConversation(chat, request);
    return request.stream ? streamChat(chat, request, signal) : completeChat(chat, request, signal);
  },
});

const envelope = () => ({ id: newId('chatcmpl-'), created: Math.floor(Date.now() / 1000) });

const newCall = (name: string): WireToolCall => ({
  id: newId('call_'),
  type: 'function',
  function: { name, arguments: '' },
});

/** The whole answers in one object. */
async function completeChat(chat: ChatModel, request: ChatRequest, signal: AbortSignal): Promise<WireChatCompletion> {
  const answers = Array.from({ length: request.answers }, () => ({
    content: '',
    calls: [] as { -readonly [key in keyof WireToolCall]: WireToolCall[key] }[],
    tokens: [] as TokenEvent[],
    finish: 'stop' as WireFinishReason,
  }));
  const stats: GenerationStats[] = [];
  for await (const { index, event } of converse(chat, request, request.answers, signal)) {
    const answer = answers[index]!;
    if (event.type !== 'end' && request.logprobs) answer.tokens.push(...event.tokens);
    if (event.type === 'text') answer.content += event.text;
    else if (event.type === 'call-start') answer.calls.push(newCall(event.name));
    else if (event.type === 'call-arguments') {
      const call = answer.calls.at(-1)!;
      call.function = { ...call.function, arguments: call.function.arguments + event.delta };
    } else if (event.type === 'end') {
      answer.finish = finishReasonOf(event.reason, answer.calls.length > 0);
      stats.push(event.stats);
    }
  }
  const total = totalOf(stats);
  return {
    ...envelope(),
    object: 'chat.completion',
    model: request.model,
    choices: answers.map(({ content, calls, tokens, finish }, index) => ({
      index,
      message: {
        role: 'assistant',
        content: content === '' && calls.length > 0 ? null : content,
        refusal: null,
        ...(calls.length > 0 && { tool_calls: calls }),
      },
      logprobs: request.logprobs ? chatLogprobs(chat.tokenizer, tokens) : null,
      finish_reason: finish,
    })),
    usage: usageOf(total, request.answers),
    timings: timingsOf(total, request.answers),
  };
}

/** The answers in pieces: the role, texts, the finish reason with timings, and usage if asked for. */
async function* streamChat(
  chat: ChatModel,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<WireChatChunk, void> {
  const base = { ...envelope(), object: 'chat.completion.chunk', model: request.model } as const;
  const usage = request.includeUsage ? { usage: null } : {};
  const chunk = (
    index: number,
    delta: WireChatChunk['choices'][number]['delta'],
    tokens: readonly TokenEvent[] | null,
    finish_reason: WireFinishReason | null = null,
  ): WireChatChunk => {
    const logprobs = request.logprobs && tokens ? chatLogprobs(chat.tokenizer, tokens) : null;
    return { ...base, choices: [{ index, delta, logprobs, finish_reason }], ...usage };
  };

  const stats: GenerationStats[] = [];
  const calls = new Array<number>(request.answers).fill(0);
  const begun = new Set<number>();
  for await (const { index, event } of converse(chat, request, request.answers, signal)) {
    if (!begun.has(index)) {
      begun.add(index);
      yield chunk(index, { role: 'assistant', content: '' }, null);
    }
    if (event.type === 'text') yield chunk(index, { content: event.text }, event.tokens);
    else if (event.type === 'call-start')
      yield chunk(index, { tool_calls: [{ index: calls[index]!++, ...newCall(event.name) }] }, event.tokens);
    else if (event.type === 'call-arguments')
      yield chunk(
        index,
        { tool_calls: [{ index: calls[index]! - 1, function: { arguments: event.delta } }] },
        event.tokens,
      );
    else if (event.type === 'end') {
      stats.push(event.stats);
      const finish = finishReasonOf(event.reason, calls[index]! > 0);
      yield { ...chunk(index, {}, null, finish), timings: timingsOf(event.stats) };
    }
  }
  if (request.includeUsage) yield { ...base, choices: [], usage: usageOf(totalOf(stats), request.answers) };
}
