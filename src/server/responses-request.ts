// The body of a request to OpenAI's responses, and the conversation that it means.
// Names and ranges: OpenAI API reference, responses. Nothing is stored: a conversation is sent whole each time.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import type { Conversation } from './answers.ts';
import type { ModelRequest } from './endpoint.ts';
import { fieldOf, formatError, plainFormats, spelling } from './form-fields.ts';
import { isEmpty, MAX_TOP_LOGPROBS, modelField, samplingFields, samplingOf } from './generation-fields.ts';
import { argumentsOf } from './message-fields.ts';
import { boolean, integer, label, list, parse, unsupported, wrongValue } from './parameters.ts';
import {
  description,
  jsonSchemaFormat,
  type ResponseFormat,
  schemaObject,
  type ToolUse,
  toolList,
  toolName,
  toolUse,
} from './tool-fields.ts';

const MAX_ITEMS = 4096;
const text = z.string({ error: 'a string' });
const part = z.object(
  {
    type: z.enum(['input_text', 'output_text', 'text'], { error: "'input_text', for this server reads text only" }),
    text,
  },
  { error: 'a part {"type": "input_text", "text": …}' },
);
const contentError = 'a string or an array of parts {"type": "input_text", "text": …}';
const content = z.union([text, list(part, 0, 1024, contentError)], { error: contentError });

const message = z.strictObject({
  type: z.literal('message'),
  role: z.enum(['system', 'developer', 'user', 'assistant'], {
    error: "one of 'system', 'developer', 'user', 'assistant'",
  }),
  content,
  id: label(),
  status: label(),
  phase: label(),
});
const call = z.strictObject({
  type: z.literal('function_call'),
  parsed_arguments: label(), // the client's own, which it sends back
  call_id: text,
  name: text,
  arguments: z.string({ error: 'a string with JSON' }),
  id: label(),
  status: label(),
});
const callOutput = z.strictObject({
  type: z.literal('function_call_output'),
  call_id: text,
  output: content,
  id: label(),
  status: label(),
});
const itemError = "a message, a 'function_call' or a 'function_call_output'";
const item = z.preprocess(
  value =>
    typeof value === 'object' && value !== null && 'role' in value && !('type' in value)
      ? { ...value, type: 'message' }
      : value,
  z.discriminatedUnion('type', [message, call, callOutput], { error: itemError }),
);
const inputError = `a string or an array of 1 to ${MAX_ITEMS} items`;

const tool = z.strictObject(
  {
    type: z.literal('function', { error: "'function', for this server has no tools of its own" }),
    name: toolName,
    description,
    parameters: schemaObject.nullish(),
    strict: boolean(),
  },
  { error: 'a tool {"type": "function", "name": …}' },
);
const toolChoice = z
  .union([z.enum(['auto', 'none', 'required']), z.strictObject({ type: z.literal('function'), name: z.string() })], {
    error: `'auto', 'none', 'required' or {"type": "function", "name": …}`,
  })
  .nullish();

const textFormat = z
  .discriminatedUnion(
    'type',
    [...plainFormats, z.strictObject({ type: z.literal('json_schema'), ...jsonSchemaFormat })],
    { error: formatError },
  )
  .nullish();

export const responsesSchema = z.strictObject({
  model: modelField,
  input: z.union([text, list(item, 1, MAX_ITEMS, inputError)], { error: inputError }),
  instructions: text.nullish(),
  ...samplingFields,
  max_output_tokens: integer(1, Number.MAX_SAFE_INTEGER),
  top_logprobs: integer(0, MAX_TOP_LOGPROBS),
  include: list(
    z.enum(['message.output_text.logprobs'], { error: "'message.output_text.logprobs', for there is nothing else" }),
    0,
    16,
    'an array of names',
  ).nullish(),
  text: z.strictObject({ format: textFormat, verbosity: label() }, { error: 'an object with format' }).nullish(),
  tools: toolList(tool),
  tool_choice: toolChoice,
  parallel_tool_calls: boolean(),
  stream: boolean(),
  stream_options: label(),
  metadata: label(),
  user: label(),
  safety_identifier: label(),
  prompt_cache_key: label(),
  prompt_cache_retention: label(),
  service_tier: label(),
  truncation: unsupported(value => value === 'disabled'),
  store: unsupported(value => value === false),
  background: unsupported(value => value === false),
  previous_response_id: unsupported(),
  conversation: unsupported(),
  prompt: unsupported(),
  max_tool_calls: unsupported(),
  reasoning: unsupported(value => isEmpty(value) || (value as { effort?: unknown } | null)?.effort === 'none'),
});

type Body = z.output<typeof responsesSchema>;

export interface ResponsesRequest extends ModelRequest, Conversation {
  readonly logprobs: boolean;
  /** What a response says again of its request. */
  readonly echo: Readonly<Record<string, unknown>>;
}

/** @throws ApiError 400 naming the parameter. */
export function parseResponsesRequest(body: unknown): ResponsesRequest {
  const request = parse(responsesSchema, body);
  const logprobs = request.include?.includes('message.output_text.logprobs') ?? false;
  const topLogprobs = request.top_logprobs ?? 0;
  if (topLogprobs > 0 && !logprobs)
    throw wrongValue('top_logprobs', topLogprobs, "left out or 0 unless 'include' has 'message.output_text.logprobs'");
  const options: ChatOptions & ToolUse & { responseFormat?: ResponseFormat } = {
    ...samplingOf(request),
    ...toolUseOf(request),
    ...formatOf(request),
    maxTokens: request.max_output_tokens ?? undefined,
    topLogprobs,
  };
  return {
    model: request.model,
    stream: request.stream ?? false,
    messages: messagesOf(request),
    options,
    logprobs,
    spelled: spelling(
      request.text?.format ? fieldOf('text.format', request.text.format) : undefined,
      index => `tools[${index}].parameters`,
    ),
    echo: {
      instructions: request.instructions ?? null,
      max_output_tokens: request.max_output_tokens ?? null,
      metadata: request.metadata ?? {},
      parallel_tool_calls: request.parallel_tool_calls ?? true,
      previous_response_id: null,
      reasoning: { effort: null, summary: null },
      store: false,
      temperature: request.temperature ?? 1,
      text: { format: request.text?.format ?? { type: 'text' } },
      tool_choice: request.tool_choice ?? 'auto',
      tools: request.tools ?? [],
      top_logprobs: topLogprobs,
      top_p: request.top_p ?? 1,
      truncation: 'disabled',
    },
  };
}

function toolUseOf({ tools, tool_choice: choice, parallel_tool_calls: parallel }: Body): ToolUse {
  const described = (tools ?? []).map(({ name, description, parameters }) => ({
    name,
    description: description ?? undefined,
    parameters: parameters ?? undefined,
  }));
  return toolUse(described, choice ?? undefined, parallel ?? undefined, {
    choice: 'tool_choice',
    name: index => `tools[${index}].name`,
  });
}

function formatOf({ text }: Body): { responseFormat?: ResponseFormat } {
  const format = text?.format;
  if (!format || format.type === 'text') return {};
  return { responseFormat: format.type === 'json_schema' ? { type: format.type, schema: format.schema } : format };
}

const textOf = (written: z.output<typeof content>): string =>
  typeof written === 'string' ? written : written.map(part => part.text).join('');

/** Calls that follow each other, or an assistant's text, are one message of the assistant. */
function messagesOf({ instructions, input }: Body): Message[] {
  const out: Message[] = instructions ? [{ role: 'system', content: instructions }] : [];
  if (typeof input === 'string') return [...out, { role: 'user', content: input }];
  input.forEach((item, index) => {
    if (item.type === 'function_call_output') out.push({ role: 'tool', content: textOf(item.output) });
    else if (item.type === 'function_call') {
      const toolCall = { name: item.name, arguments: argumentsOf(item.arguments, `input[${index}].arguments`) };
      const last = out.at(-1);
      const before = last?.role === 'assistant' ? (out.pop() as Message) : { role: 'assistant' as const, content: '' };
      out.push({ ...before, toolCalls: [...(before.toolCalls ?? []), toolCall] });
    } else out.push({ role: item.role === 'developer' ? 'system' : item.role, content: textOf(item.content) });
  });
  return out;
}
