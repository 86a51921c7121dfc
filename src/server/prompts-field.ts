// The field that holds one or more texts, each as a string or as tokens: `prompt` of completions, `input` of embeddings.
// Checked by hand: a union of four array types would look at each of a million tokens four times and report every one.
import { z } from 'zod';
import type { ChatModel } from '../engine/chat-types.ts';
import { checkLength, checkRoom } from './conversation.ts';
import { ApiError } from './errors.ts';
import { wrongValue } from './parameters.ts';

/** A text, or token ids. */
export type Prompt = string | readonly number[];

/** A prompt as the model will see it. */
export interface PreparedPrompt {
  readonly param: string;
  readonly tokens: readonly number[];
  /** Of `tokens`, how many were put in front (BOS). */
  readonly added: number;
}

const WANTED = 'a string, an array of strings, an array of token ids, or an array of arrays of token ids';
const isToken = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isTokens = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every(isToken);

export const promptsField = z.unknown().meta({ description: WANTED });

/** @throws ApiError 400 naming the place */
export function promptsOf(value: unknown, param: string, most: number): readonly Prompt[] {
  if (typeof value === 'string') return [value];
  if (value === undefined)
    throw new ApiError(400, 'missing_required_parameter', `'${param}' is missing; it must be ${WANTED}.`, { param });
  if (!Array.isArray(value) || value.length === 0) throw wrongValue(param, value, WANTED);
  if (typeof value[0] === 'number') {
    const wrong = value.findIndex(item => !isToken(item));
    if (wrong >= 0) throw wrongValue(`${param}[${wrong}]`, value[wrong], 'a token id, as the others are');
    return [value as number[]];
  }
  if (value.length > most) throw wrongValue(param, value, `an array of at most ${most} texts`);
  const wrong = value.findIndex(item => (typeof value[0] === 'string' ? typeof item !== 'string' : !isTokens(item)));
  if (wrong >= 0)
    throw wrongValue(
      `${param}[${wrong}]`,
      value[wrong],
      typeof value[0] === 'string' ? 'a string, as the others are' : 'a string or an array of token ids',
    );
  return value as Prompt[];
}

/**
 * Tokens of every prompt, checked before anything is computed.
 * @param room tokens that must be left behind each
 * @throws ApiError 400: an id past the vocabulary, nothing at all, or no room in the context.
 */
export async function preparePrompts(
  chat: ChatModel,
  prompts: readonly Prompt[],
  field: string,
  room: number,
): Promise<PreparedPrompt[]> {
  const { tokenizer } = chat;
  const vocab = Math.min(tokenizer.vocabSize, chat.engine.info.config.vocab);
  const prepared: PreparedPrompt[] = [];
  for (const [index, prompt] of prompts.entries()) {
    const param = prompts.length === 1 ? field : `${field}[${index}]`;
    if (typeof prompt === 'string') await checkLength(chat, [prompt], param);
    const bos = typeof prompt === 'string' && tokenizer.bos !== null ? [tokenizer.bos] : [];
    const tokens = typeof prompt === 'string' ? [...bos, ...tokenizer.encode(prompt)] : prompt;
    if (tokens.length === 0)
      throw wrongValue(param, prompt, 'a text or tokens, not nothing, for this model has no token that begins a text');
    const wrong = tokens.findIndex(token => token >= vocab);
    if (wrong >= 0) throw wrongValue(`${param}[${wrong}]`, tokens[wrong], `a token id from 0 to ${vocab - 1}`);
    checkRoom(chat, tokens.length, param, room);
    prepared.push({ param, tokens, added: bos.length });
  }
  return prepared;
}
