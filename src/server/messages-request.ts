// The body of a request to Anthropic's messages, and the conversation that it means.
// Names and ranges: Anthropic API reference, messages and count tokens.
import { z } from 'zod';
import type { ChatOptions } from '../engine/chat-types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import type { Conversation } from './answers.ts';
import type { ModelRequest } from './endpoint.ts';
import { ApiError } from './errors.ts';
import { spelling } from './form-fields.ts';
import { modelField, samplingOf, stopList } from './generation-fields.ts';
import { isDeeperThan, MAX_NESTING } from './message-fields.ts';
import { boolean, integer, label, list, number, parse, unsupported, wrongValue } from './parameters.ts';
import { description, schemaObject, type ToolUse, toolList, toolName, toolUse } from './tool-fields.ts';

const MAX_MESSAGES = 4096;
const text = z.string({ error: 'a string' });
const textBlock = z.strictObject(
  { type: z.literal('text'), text, cache_control: label(), citations: label() },
  { error: 'a block {"type": "text", "text": …}' },
);
const textError = 'a string or an array of blocks {"type": "text", "text": …}';
const textContent = z.union([text, list(textBlock, 0, 1024, textError)], { error: textError });

const blockError = "one of 'text', 'tool_use', 'tool_result', for this server reads text only";
const block = z.discriminatedUnion(
  'type',
  [
    textBlock,
    z.strictObject({
      type: z.literal('tool_use'),
      id: text,
      name: text,
      input: z.record(z.string(), z.unknown(), { error: 'an object' }),
      cache_control: label(),
      caller: label(),
    }),
    z.strictObject({
      type: z.literal('tool_result'),
      tool_use_id: text,
      content: textContent.nullish(),
      is_error: boolean(),
      cache_control: label(),
    }),
  ],
  { error: blockError },
);
const contentError = 'a string or an array of content blocks';
const message = z.strictObject(
  {
    role: z.enum(['user', 'assistant'], { error: "'user' or 'assistant'" }),
    content: z.union([text, list(block, 0, 1024, contentError)], { error: contentError }),
  },
  { error: 'a message {"role": …, "content": …}' },
);

const tool = z.strictObject(
  {
    name: toolName,
    description,
    input_schema: schemaObject,
    type: z.literal('custom', { error: "'custom', for this server has no tools of its own" }).nullish(),
    strict: boolean(),
    cache_control: label(),
    input_examples: label(),
    eager_input_streaming: label(),
    defer_loading: unsupported(value => value === false),
    allowed_callers: label(),
  },
  { error: 'a tool {"name": …, "input_schema": …}' },
);
const toolChoice = z
  .strictObject(
    {
      type: z.enum(['auto', 'any', 'tool', 'none'], { error: "one of 'auto', 'any', 'tool', 'none'" }),
      name: z.string({ error: 'the name of a tool' }).optional(),
      disable_parallel_tool_use: boolean(),
    },
    { error: 'an object with a type' },
  )
  .nullish();

const conversation = {
  model: modelField,
  messages: list(message, 1, MAX_MESSAGES, `an array of 1 to ${MAX_MESSAGES} messages`),
  system: textContent.nullish(),
  tools: toolList(tool),
  tool_choice: toolChoice,
  thinking: unsupported(value => (value as { type?: unknown } | null)?.type === 'disabled'),
  cache_control: label(),
};

export const countTokensSchema = z.strictObject({ ...conversation, output_config: label() });

export const messagesSchema = z.strictObject({
  ...conversation,
  max_tokens: z.int({ error: 'a whole number of at least 1' }).min(1, { error: 'a whole number of at least 1' }),
  temperature: number(0, 1),
  top_p: number(0, 1),
  top_k: integer(0, 1_000_000),
  stop_sequences: stopList('an array of up to 16 strings').nullish(),
  stream: boolean(),
  metadata: label(),
  service_tier: label(),
  inference_geo: label(),
  output_config: z
    .strictObject(
      {
        format: z
          .strictObject(
            { type: z.literal('json_schema', { error: "'json_schema'" }), schema: schemaObject },
            { error: 'an object with type and schema' },
          )
          .nullish(),
        effort: label(),
      },
      { error: 'an object with format' },
    )
    .nullish(),
  container: unsupported(),
  thread: label(), // refused below, in the words on which the client's own tool loop goes on without
});

export interface MessagesRequest extends ModelRequest, Conversation {
  readonly stopSequences: readonly string[];
}

/** @throws ApiError 400 naming the parameter. */
export function parseMessagesRequest(body: unknown): MessagesRequest {
  const request = parse(messagesSchema, body);
  if (request.thread != null)
    throw new ApiError(
      400,
      'unsupported_parameter',
      "'thread' must be nothing, for this server keeps no conversations; send the whole of it, without 'thread'.",
      { param: 'thread', details: { error_code: 'thread_unsupported_request', unsupported: ['thread'] } },
    );
  const format = request.output_config?.format;
  const stopSequences = request.stop_sequences ?? [];
  return {
    model: request.model,
    stream: request.stream ?? false,
    messages: messagesOf(request),
    stopSequences,
    options: {
      ...samplingOf(request),
      ...toolUseOf(request),
      ...(format && { responseFormat: format }),
      maxTokens: request.max_tokens,
      stop: stopSequences,
    } as ChatOptions,
    spelled: spelling(format ? 'output_config.format.schema' : undefined, index => `tools[${index}].input_schema`),
  };
}

/** @throws ApiError 400 naming the parameter. */
export function parseCountTokensRequest(body: unknown): ModelRequest & Conversation {
  const request = parse(countTokensSchema, body);
  return {
    model: request.model,
    stream: false,
    messages: messagesOf(request),
    options: toolUseOf(request) as ChatOptions,
  };
}

type Body = z.output<typeof countTokensSchema>;

function toolUseOf({ tools, tool_choice }: Body): ToolUse & ChatOptions {
  if (tool_choice?.type === 'tool' && tool_choice.name === undefined)
    throw wrongValue('tool_choice.name', undefined, "the name of one of the 'tools'");
  const choice = { auto: 'auto', none: 'none', any: 'required', tool: { name: tool_choice?.name ?? '' } } as const;
  return toolUse(
    (tools ?? []).map(tool => ({
      name: tool.name,
      description: tool.description ?? undefined,
      parameters: tool.input_schema,
    })),
    tool_choice ? choice[tool_choice.type] : undefined,
    tool_choice?.disable_parallel_tool_use ? false : undefined,
    { choice: 'tool_choice', name: index => `tools[${index}].name` },
  );
}

const textOf = (content: z.output<typeof textContent> | null | undefined): string =>
  typeof content === 'string' ? content : (content ?? []).map(block => block.text).join('');

/** A user's message that carries results of tools becomes messages of the tools, in the order written. */
function messagesOf({ system, messages }: Body): Message[] {
  const written = textOf(system);
  const out: Message[] = written === '' ? [] : [{ role: 'system', content: written }];
  messages.forEach(({ role, content }, index) => {
    const blocks = typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content;
    let texts = '';
    const calls: { name: string; arguments: unknown }[] = [];
    blocks.forEach((block, at) => {
      const param = `messages[${index}].content[${at}]`;
      if (block.type === 'text') texts += block.text;
      else if (block.type === 'tool_use') {
        if (role === 'user')
          throw wrongValue(`${param}.type`, block.type, "'text' or 'tool_result' in a user's message");
        if (isDeeperThan(block.input, MAX_NESTING))
          throw wrongValue(`${param}.input`, block.input, `JSON of at most ${MAX_NESTING} levels`);
        calls.push({ name: block.name, arguments: block.input });
      } else {
        if (role === 'assistant')
          throw wrongValue(`${param}.type`, block.type, "'text' or 'tool_use' in an assistant's message");
        out.push({ role: 'tool', content: textOf(block.content) });
      }
    });
    if (role === 'assistant') out.push({ role, content: texts, ...(calls.length > 0 && { toolCalls: calls }) });
    else if (texts !== '' || !blocks.some(block => block.type === 'tool_result')) out.push({ role, content: texts });
  });
  return out;
}
