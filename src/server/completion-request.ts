// The body of a completions request: texts or tokens to continue.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import { ApiError } from './errors.ts';
import { generationFields, generationOf, MAX_TOP_LOGPROBS } from './generation-fields.ts';
import { boolean, integer, parse, unsupported, wrongValue } from './parameters.ts';

const MAX_PROMPTS = 128;

// Checked by hand: a union of four array types would look at each of a million tokens four times and report every one.
const promptError = 'a string, an array of strings, an array of token ids, or an array of arrays of token ids';
const isToken = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isTokens = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every(isToken);

export const completionSchema = z.strictObject({
  ...generationFields,
  prompt: z.unknown().meta({ description: promptError }),
  max_tokens: integer(0, Number.MAX_SAFE_INTEGER),
  logprobs: integer(0, MAX_TOP_LOGPROBS),
  echo: boolean(),
  best_of: integer(1, Number.MAX_SAFE_INTEGER),
  suffix: unsupported(value => value === ''),
});

export interface CompletionRequest {
  readonly model: string;
  /** Texts or lists of token ids. */
  readonly prompts: readonly (string | readonly number[])[];
  /** Completions of each prompt. */
  readonly answers: number;
  readonly options: ChatOptions & { readonly maxTokens: number };
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** How many of the most likely tokens to give beside each; null without log-probabilities. */
  readonly logprobs: number | null;
  readonly echo: boolean;
}

/** @throws ApiError 400 naming the parameter. */
export function parseCompletionRequest(body: unknown): CompletionRequest {
  const request = parse(completionSchema, body);
  const generation = generationOf(request);
  const { answers } = generation;
  if ((request.best_of ?? answers) !== answers)
    throw wrongValue(
      'best_of',
      request.best_of,
      `${answers} like 'n', for this server gives out every completion`,
      'unsupported_parameter',
    );
  const prompts = promptsOf(request.prompt);
  if (prompts.length * answers > MAX_PROMPTS)
    throw wrongValue('n', answers, `at most ${Math.floor(MAX_PROMPTS / prompts.length)} for ${prompts.length} prompts`);
  const topLogprobs = request.logprobs ?? 0;
  return {
    ...generation,
    prompts,
    options: { ...generation.options, maxTokens: request.max_tokens ?? 16, topLogprobs },
    logprobs: request.logprobs ?? null,
    echo: request.echo ?? false,
  };
}

function promptsOf(prompt: unknown): readonly (string | readonly number[])[] {
  if (typeof prompt === 'string') return [prompt];
  if (prompt === undefined)
    throw new ApiError(400, 'missing_required_parameter', `'prompt' is missing; it must be ${promptError}.`, {
      param: 'prompt',
    });
  if (!Array.isArray(prompt) || prompt.length === 0) throw wrongValue('prompt', prompt, promptError);
  if (typeof prompt[0] === 'number') {
    const wrong = prompt.findIndex(item => !isToken(item));
    if (wrong >= 0) throw wrongValue(`prompt[${wrong}]`, prompt[wrong], 'a token id, as the others are');
    return [prompt as number[]];
  }
  if (prompt.length > MAX_PROMPTS) throw wrongValue('prompt', prompt, `an array of at most ${MAX_PROMPTS} prompts`);
  const wrong = prompt.findIndex(item => (typeof prompt[0] === 'string' ? typeof item !== 'string' : !isTokens(item)));
  if (wrong >= 0)
    throw wrongValue(
      `prompt[${wrong}]`,
      prompt[wrong],
      typeof prompt[0] === 'string' ? 'a string, as the others are' : 'a string or an array of token ids',
    );
  return prompt as (string | number[])[];
}
