// The bodies of the API's requests, and the engine's options that they mean.
// Names and ranges: OpenAI API reference, chat and completions; top_k, min_p and repetition_penalty as llama.cpp and vLLM have them.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import { ApiError } from './errors.ts';
import { boolean, integer, label, list, number, parse, unsupported, wrongValue } from './parameters.ts';

const MAX_STOPS = 16;
const MAX_MESSAGES = 4096;
const MAX_PROMPTS = 128;
const MAX_TOP_LOGPROBS = 20;
/** Levels of a tool call's arguments, which chat templates walk recursively. */
const MAX_NESTING = 64;

const isEmpty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0;

const one = (feature: string) =>
  z
    .unknown()
    .refine(value => value === undefined || value === null || value === 1, {
      params: { code: 'unsupported_parameter' },
      error: `1, for this server gives one ${feature} a request; send the request again for another`,
    })
    .optional();

const stopText = z
  .string({ error: 'a string' })
  .min(1, { error: 'a string that is not empty' })
  .max(1024, { error: 'a string of at most 1024 characters' });

const stopError = `a string or an array of up to ${MAX_STOPS} strings`;
const stop = z.union([stopText, list(stopText, 0, MAX_STOPS, stopError)], { error: stopError }).nullish();

const generation = {
  model: z.string({ error: "the id of a model that '/v1/models' lists" }),
  temperature: number(0, 2),
  top_p: number(0, 1),
  top_k: integer(0, 1_000_000),
  min_p: number(0, 1),
  repetition_penalty: number(0.01, 10),
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  seed: z.int({ error: 'a whole number' }).nullish(),
  stop,
  n: one('answer'),
  stream: boolean(),
  stream_options: z
    .strictObject({ include_usage: boolean(), include_obfuscation: label() }, { error: 'an object with include_usage' })
    .nullish(),
  logit_bias: unsupported(isEmpty),
  user: label(),
};

const textPart = z.strictObject(
  {
    type: z.literal('text', { error: "'text', for this server reads text only" }),
    text: z.string({ error: 'a string' }),
  },
  { error: 'a part {"type": "text", "text": …}' },
);
const contentError = 'a string or an array of parts {"type": "text", "text": …}';
const content = z.union([z.string(), list(textPart, 1, 1024, contentError)], { error: contentError });

const toolCall = z.strictObject(
  {
    id: z.string({ error: 'a string' }).optional(),
    type: z.literal('function', { error: "'function'" }).optional(),
    index: z.int().optional(),
    function: z.strictObject(
      { name: z.string({ error: 'a string' }), arguments: z.string({ error: 'a string with JSON' }) },
      { error: 'an object with name and arguments' },
    ),
  },
  { error: 'a tool call {"type": "function", "function": {"name": …, "arguments": …}}' },
);
const none = z.null({ error: 'null' }).optional();

// A client sends back the assistant's message as it got it, so what OpenAI puts into one is taken.
const message = z.discriminatedUnion(
  'role',
  [
    z.strictObject({ role: z.enum(['system', 'developer', 'user']), content, name: label() }),
    z.strictObject({
      role: z.literal('assistant'),
      content: content.nullish(),
      tool_calls: list(toolCall, 0, 128, 'an array of up to 128 tool calls').nullish(),
      refusal: none,
      audio: none,
      function_call: none,
      annotations: label(),
      name: label(),
    }),
    z.strictObject({ role: z.enum(['tool', 'ipython']), content, tool_call_id: label(), name: label() }),
  ],
  { error: "one of 'system', 'developer', 'user', 'assistant', 'tool'" },
);

const chatSchema = z.strictObject({
  ...generation,
  messages: list(message, 1, MAX_MESSAGES, `an array of 1 to ${MAX_MESSAGES} messages`),
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

// Checked by hand: a union of four array types would look at each of a million tokens four times and report every one.
const promptError = 'a string, an array of strings, an array of token ids, or an array of arrays of token ids';
const isToken = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isTokens = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every(isToken);

const completionSchema = z.strictObject({
  ...generation,
  prompt: z.unknown().optional(),
  max_tokens: integer(0, Number.MAX_SAFE_INTEGER),
  logprobs: integer(0, MAX_TOP_LOGPROBS),
  echo: boolean(),
  best_of: one('completion'),
  suffix: unsupported(value => value === ''),
});

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly Message[];
  readonly options: ChatOptions;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly logprobs: boolean;
}

export interface CompletionRequest {
  readonly model: string;
  /** Texts or lists of token ids. */
  readonly prompts: readonly (string | readonly number[])[];
  readonly options: ChatOptions & { readonly maxTokens: number };
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** How many of the most likely tokens to give beside each; null without log-probabilities. */
  readonly logprobs: number | null;
  readonly echo: boolean;
}

/** @throws ApiError 400 naming the parameter. */
export function parseChatRequest(body: unknown): ChatRequest {
  const request = parse(chatSchema, body);
  const { max_tokens: old, max_completion_tokens: now } = request;
  if (old != null && now != null && old !== now)
    throw wrongValue('max_tokens', old, `left out or equal to 'max_completion_tokens', which is ${now}`);
  const topLogprobs = request.top_logprobs ?? 0;
  if (topLogprobs > 0 && !request.logprobs)
    throw wrongValue('top_logprobs', topLogprobs, "left out or 0 unless 'logprobs' is true");
  return {
    model: request.model,
    messages: request.messages.map(toMessage),
    options: { ...samplingOf(request), maxTokens: now ?? old ?? undefined, topLogprobs },
    ...streamingOf(request),
    logprobs: request.logprobs ?? false,
  };
}

/** @throws ApiError 400 naming the parameter. */
export function parseCompletionRequest(body: unknown): CompletionRequest {
  const request = parse(completionSchema, body);
  const topLogprobs = request.logprobs ?? 0;
  return {
    model: request.model,
    prompts: promptsOf(request.prompt),
    options: { ...samplingOf(request), maxTokens: request.max_tokens ?? 16, topLogprobs },
    ...streamingOf(request),
    logprobs: request.logprobs ?? null,
    echo: request.echo ?? false,
  };
}

type Generation = z.output<z.ZodObject<typeof generation>>;

/** OpenAI's defaults: temperature 1, top_p 1. */
function samplingOf(request: Generation): ChatOptions {
  return {
    temperature: request.temperature ?? 1,
    topP: Math.max(request.top_p ?? 1, Number.MIN_VALUE), // 0 means the most likely token alone
    topK: request.top_k ?? undefined,
    minP: request.min_p ?? undefined,
    repetitionPenalty: request.repetition_penalty ?? undefined,
    presencePenalty: request.presence_penalty ?? undefined,
    frequencyPenalty: request.frequency_penalty ?? undefined,
    seed: request.seed ?? undefined,
    stop: typeof request.stop === 'string' ? [request.stop] : (request.stop ?? undefined),
  };
}

function streamingOf(request: Generation): { stream: boolean; includeUsage: boolean } {
  if (request.stream_options && !request.stream)
    throw wrongValue('stream_options', request.stream_options, "left out unless 'stream' is true");
  return { stream: request.stream ?? false, includeUsage: request.stream_options?.include_usage ?? false };
}

function toMessage(message: z.output<typeof chatSchema>['messages'][number], index: number): Message {
  const text =
    typeof message.content === 'string' ? message.content : (message.content ?? []).map(part => part.text).join('');
  if (message.role !== 'assistant')
    return { role: message.role === 'developer' ? 'system' : message.role, content: text };
  const calls = message.tool_calls ?? [];
  if (message.content == null && calls.length === 0)
    throw wrongValue(`messages[${index}].content`, message.content, `${contentError}, unless there are 'tool_calls'`);
  if (calls.length === 0) return { role: 'assistant', content: text };
  return {
    role: 'assistant',
    content: text,
    toolCalls: calls.map((call, at) => {
      const param = `messages[${index}].tool_calls[${at}].function.arguments`;
      let value: unknown;
      try {
        value = JSON.parse(call.function.arguments);
      } catch (error) {
        throw new ApiError(
          400,
          'invalid_value',
          `'${param}' must be a string with JSON: ${(error as Error).message}.`,
          {
            param,
          },
        );
      }
      if (isDeeperThan(value, MAX_NESTING))
        throw wrongValue(param, call.function.arguments, `JSON of at most ${MAX_NESTING} levels`);
      return { name: call.function.name, arguments: value };
    }),
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

/** Level by level, not recursively. */
function isDeeperThan(value: unknown, limit: number): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return true;
    level = level.flatMap(item => (typeof item === 'object' && item !== null ? Object.values(item) : []));
  }
  return false;
}
