// What only the model can tell about a request: whether its chat format can write the messages, and whether they fit.
import { setImmediate } from 'node:timers/promises';
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type { Conversation } from './answers.ts';
import { ApiError } from './errors.ts';
import { wrongValue } from './parameters.ts';

/** Characters that are made tokens at once: some milliseconds. */
const SLICE = 16_384;

/**
 * Refuses texts that are far too long for the context, without making all of them tokens: that would keep every other request
 * waiting. Slices of a text have about as many tokens as the text.
 * @throws ApiError 400
 */
export async function checkLength(
  { tokenizer, engine }: ChatModel,
  texts: readonly string[],
  param: string,
): Promise<void> {
  const { contextTokens } = engine.info;
  if (texts.reduce((sum, text) => sum + text.length, 0) < SLICE) return;
  let tokens = 0;
  for (const text of texts)
    for (let at = 0; at < text.length; at += SLICE) {
      tokens += tokenizer.encode(text.slice(at, at + SLICE)).length;
      if (tokens > contextTokens * 1.25 + 64) throw tooLong(param, contextTokens, `more than ${contextTokens}`);
      await setImmediate(); // others have their turn
    }
}

const tooLong = (param: string, contextTokens: number, tokens: number | string): ApiError =>
  new ApiError(
    400,
    'context_length_exceeded',
    `The context holds ${contextTokens} tokens, and '${param}' has ${tokens}. Shorten it, or serve the model with a longer context.`,
    { param },
  );

/**
 * Refuses what the model cannot take before anything is computed.
 * @returns the conversation's tokens, counted.
 * @throws ApiError 400: the chat template refuses the conversation, it fills the context, or a bias names no token.
 */
export async function checkConversation(
  chat: ChatModel,
  { messages, options }: Conversation,
  param = 'messages',
): Promise<number> {
  checkBiases(chat, options);
  const tokens = await countTokens(chat, { messages, options }, param);
  checkRoom(chat, tokens, param);
  return tokens;
}

/** @throws ApiError 400 if the chat template refuses the conversation, or it is far too long. */
export async function countTokens(
  chat: ChatModel,
  { messages, options }: Conversation,
  param = 'messages',
): Promise<number> {
  await checkLength(
    chat,
    messages.map(({ content }) => content),
    param,
  );
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
  if (tokens + answer > contextTokens) throw tooLong(param, contextTokens, tokens);
}

/** @throws ApiError 400 if a bias is for a token that the model does not have. */
export function checkBiases({ engine }: ChatModel, { logitBias }: ChatOptions): void {
  const { vocab } = engine.info.config;
  for (const token of logitBias?.keys() ?? [])
    if (token >= vocab)
      throw wrongValue('logit_bias', token, `an object whose keys are token ids from 0 to ${vocab - 1}`);
}
