// The body of a chat completions request.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import type { ModelRequest } from './endpoint.ts';
import { spelling } from './form-fields.ts';
import { generationFields, generationOf, isEmpty, MAX_TOP_LOGPROBS } from './generation-fields.ts';
import { messagesField, toMessage } from './message-fields.ts';
import { boolean, integer, label, parse, unsupported, wrongValue } from './parameters.ts';
import { description, schemaObject, type ToolUse, toolList, toolName, toolUse } from './tool-fields.ts';

const tool = z.strictObject(
  {
    type: z.literal('function', { error: "'function'" }),
    function: z.strictObject(
      { name: toolName, description, parameters: schemaObject.nullish(), strict: boolean() },
      { error: 'an object with name, description and parameters' },
    ),
  },
  { error: 'a tool {"type": "function", "function": {"name": …}}' },
);

const choiceError = `'auto', 'none', 'required' or {"type": "function", "function": {"name": …}}`;
const toolChoice = z
  .union(
    [
      z.enum(['auto', 'none', 'required']),
      z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: z.string() }) }),
    ],
    { error: choiceError },
  )
  .nullish();

export const chatSchema = z.strictObject({
  ...generationFields,
  messages: messagesField,
  max_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  max_completion_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  logprobs: boolean(),
  top_logprobs: integer(0, MAX_TOP_LOGPROBS),
  tools: toolList(tool),
  tool_choice: toolChoice,
  parallel_tool_calls: boolean(),
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

export interface ChatRequest extends ModelRequest {
  readonly messages: readonly Message[];
  /** How many answers (`n`). */
  readonly answers: number;
  readonly options: ChatOptions;
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
    options: {
      ...generation.options,
      ...toolUseOf(request),
      maxTokens: now ?? old ?? undefined,
      topLogprobs,
    },
    logprobs: request.logprobs ?? false,
    spelled: spelling(generation.form, index => `tools[${index}].function.parameters`),
  };
}

type Body = z.output<typeof chatSchema>;

function toolUseOf({ tools, tool_choice: choice, parallel_tool_calls: parallel }: Body): ToolUse {
  const described = (tools ?? []).map(({ function: { name, description, parameters } }) => ({
    name,
    description: description ?? undefined,
    parameters: parameters ?? undefined,
  }));
  return toolUse(
    described,
    choice && typeof choice === 'object' ? choice.function : (choice ?? undefined),
    parallel ?? undefined,
    {
      choice: 'tool_choice',
      name: index => `tools[${index}].function.name`,
    },
  );
}
