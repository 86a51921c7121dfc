// What only the model can tell about a request: whether its chat format can write the messages, and whether they fit.
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type { Conversation } from './answers.ts';
import { ApiError } from './errors.ts';
import { wrongValue } from './parameters.ts';

/**
 * Refuses what the model cannot take before anything is computed.
 * @returns the conversation's tokens, counted.
 * @throws ApiError 400: the chat template refuses the conversation, it fills the context, or a bias names no token.
 */
export function checkConversation(chat: ChatModel, { messages, options }: Conversation, param = 'messages'): number {
  const tokens = countTokens(chat, { messages, options }, param);
  checkRoom(chat, tokens, param);
  checkBiases(chat, options);
  return tokens;
}

/** @throws ApiError 400 if the chat template refuses the conversation. */
export function countTokens(chat: ChatModel, { messages, options }: Conversation, param = 'messages'): number {
  try {
    return chat.format.encode(messages, { tools: options.toolChoice === 'none' ? [] : options.tools }).length;
  } catch (error) {
    throw new ApiError(
      400,
      'invalid_value',
      `The model's chat format (${chat.format.name}) cannot write '${param}': ${error instanceof Error ? error.message : error}`,
      { param, cause: error },
    );
  }
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

/** @throws ApiError 400 if a bias is for a token that the model does not have. */
export function checkBiases({ engine }: ChatModel, { logitBias }: ChatOptions): void {
  const { vocab } = engine.info.config;
  for (const token of logitBias?.keys() ?? [])
    if (token >= vocab)
      throw wrongValue('logit_bias', token, `an object whose keys are token ids from 0 to ${vocab - 1}`);
}
