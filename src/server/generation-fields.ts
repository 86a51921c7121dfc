// The fields that requests for generated text share, and the engine's options that they mean.
// Names and ranges: OpenAI API reference; top_k, min_p, repetition_penalty and ignore_eos as llama.cpp and vLLM have them.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import { formFields, formOf } from './form-fields.ts';
import { boolean, integer, label, list, number, wrongValue } from './parameters.ts';

const MAX_STOPS = 16;
const MAX_BIASES = 1024;
/** Answers to one request; each takes a sequence of the engine. */
const MAX_ANSWERS = 16;
export const MAX_TOP_LOGPROBS = 20;

export const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

export const modelField = z.string({ error: "the id of a model that '/v1/models' lists" });

const stopText = z
  .string({ error: 'a string' })
  .min(1, { error: 'a string that is not empty' })
  .max(1024, { error: 'a string of at most 1024 characters' });
export const stopList = (error: string) => list(stopText, 0, MAX_STOPS, error);
const stopError = `a string or an array of up to ${MAX_STOPS} strings`;

/** Of every endpoint that samples. */
export const samplingFields = {
  temperature: number(0, 2),
  top_p: number(0, 1),
  top_k: integer(0, 1_000_000),
  min_p: number(0, 1),
  repetition_penalty: number(0.01, 10),
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  seed: z.int({ error: 'a whole number' }).nullish(),
};

/** Of chat completions and completions. */
export const generationFields = {
  model: modelField,
  ...samplingFields,
  stop: z.union([stopText, stopList(stopError)], { error: stopError }).nullish(),
  n: integer(1, MAX_ANSWERS),
  stream: boolean(),
  stream_options: z
    .strictObject({ include_usage: boolean(), include_obfuscation: label() }, { error: 'an object with include_usage' })
    .nullish(),
  logit_bias: z
    .unknown()
    .optional()
    .meta({
      type: 'object',
      additionalProperties: { type: 'number', minimum: -100, maximum: 100 },
      description: 'Token ids to numbers that are added to their logits; −100 forbids, 100 all but forces.',
    }),
  prompt_lookup: z
    .union([z.boolean(), z.int().min(0).max(64)], { error: 'true, false or a whole number from 0 to 64' })
    .nullish(),
  ignore_eos: boolean(),
  timeout_ms: integer(1, 2 ** 31 - 1),
  ...formFields,
  user: label(),
};

type Sampling = z.output<z.ZodObject<typeof samplingFields>>;
type Generation = z.output<z.ZodObject<typeof generationFields>>;

/** OpenAI's defaults: temperature 1, top_p 1. */
export function samplingOf(request: Sampling): ChatOptions {
  return {
    temperature: request.temperature ?? 1,
    topP: Math.max(request.top_p ?? 1, Number.MIN_VALUE), // 0 means the most likely token alone
    topK: request.top_k ?? undefined,
    minP: request.min_p ?? undefined,
    repetitionPenalty: request.repetition_penalty ?? undefined,
    presencePenalty: request.presence_penalty ?? undefined,
    frequencyPenalty: request.frequency_penalty ?? undefined,
    seed: request.seed ?? undefined,
  };
}

/** @throws ApiError 400 naming the parameter. */
export function generationOf(request: Generation) {
  if (request.stream_options && !request.stream)
    throw wrongValue('stream_options', request.stream_options, "left out unless 'stream' is true");
  const form = formOf(request);
  return {
    model: request.model,
    stream: request.stream ?? false,
    form: form?.parameter,
    includeUsage: request.stream_options?.include_usage ?? false,
    answers: request.n ?? 1,
    options: {
      ...samplingOf(request),
      stop: typeof request.stop === 'string' ? [request.stop] : (request.stop ?? undefined),
      logitBias: logitBiasOf(request.logit_bias),
      promptLookup: request.prompt_lookup ?? undefined,
      ignoreEnd: request.ignore_eos ?? undefined,
      timeoutMs: request.timeout_ms ?? undefined,
      ...(form && { responseFormat: form.format }),
    },
  };
}

/** Checked by hand: an issue of a zod record would not say which token. */
function logitBiasOf(value: unknown): ReadonlyMap<number, number> | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value))
    throw wrongValue('logit_bias', value, 'an object of token ids with numbers from -100 to 100');
  const entries = Object.entries(value);
  if (entries.length > MAX_BIASES)
    throw wrongValue('logit_bias', value, `an object of at most ${MAX_BIASES} token ids`);
  return new Map(
    entries.map(([token, bias]) => {
      if (!/^\d{1,9}$/.test(token)) throw wrongValue('logit_bias', token, 'an object whose keys are token ids');
      if (typeof bias !== 'number' || !(Math.abs(bias) <= 100))
        throw wrongValue(`logit_bias.${token}`, bias, 'a number from -100 to 100');
      return [Number(token), bias];
    }),
  );
}
