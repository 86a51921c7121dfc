// The body of a completions request: texts or tokens to continue.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import type { ModelRequest } from './endpoint.ts';
import { spelling } from './form-fields.ts';
import { generationFields, generationOf, MAX_TOP_LOGPROBS } from './generation-fields.ts';
import { boolean, integer, parse, unsupported, wrongValue } from './parameters.ts';
import { type Prompt, promptsField, promptsOf } from './prompts-field.ts';

const MAX_PROMPTS = 128;

export const completionSchema = z.strictObject({
  ...generationFields,
  prompt: promptsField,
  max_tokens: integer(0, Number.MAX_SAFE_INTEGER),
  logprobs: integer(0, MAX_TOP_LOGPROBS),
  echo: boolean(),
  best_of: integer(1, Number.MAX_SAFE_INTEGER),
  suffix: unsupported(value => value === ''),
});

export interface CompletionRequest extends ModelRequest {
  /** Texts or lists of token ids. */
  readonly prompts: readonly Prompt[];
  /** Completions of each prompt. */
  readonly answers: number;
  readonly options: ChatOptions & { readonly maxTokens: number };
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
  const prompts = promptsOf(request.prompt, 'prompt', MAX_PROMPTS);
  if (prompts.length * answers > MAX_PROMPTS)
    throw wrongValue('n', answers, `at most ${Math.floor(MAX_PROMPTS / prompts.length)} for ${prompts.length} prompts`);
  const topLogprobs = request.logprobs ?? 0;
  return {
    ...generation,
    prompts,
    options: { ...generation.options, maxTokens: request.max_tokens ?? 16, topLogprobs },
    logprobs: request.logprobs ?? null,
    echo: request.echo ?? false,
    spelled: spelling(generation.form, index => `tools[${index}]`),
  };
}
