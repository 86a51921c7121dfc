// The messages of a conversation as OpenAI's chat completions write them.
import { z } from 'zod';
import type { Message } from '../tokenizer/tokenizer.ts';
import { ApiError } from './errors.ts';
import { label, list, wrongValue } from './parameters.ts';

const MAX_MESSAGES = 4096;
/** Levels of a tool call's arguments, which chat templates walk recursively. */
export const MAX_NESTING = 64;

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

export const messagesField = list(message, 1, MAX_MESSAGES, `an array of 1 to ${MAX_MESSAGES} messages`);

/** @throws ApiError 400 naming the parameter. */
export function toMessage(message: z.output<typeof messagesField>[number], index: number): Message {
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
    toolCalls: calls.map((call, at) => ({
      name: call.function.name,
      arguments: argumentsOf(call.function.arguments, `messages[${index}].tool_calls[${at}].function.arguments`),
    })),
  };
}

/**
 * The arguments of a call that a client sends back.
 * @throws ApiError 400 where they are no JSON, or too deep.
 */
export function argumentsOf(text: string, param: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const message = `'${param}' must be a string with JSON: ${(error as Error).message}.`;
    throw new ApiError(400, 'invalid_value', message, { param });
  }
  if (isDeeperThan(value, MAX_NESTING)) throw wrongValue(param, text, `JSON of at most ${MAX_NESTING} levels`);
  return value;
}

/** Level by level, not recursively. */
export function isDeeperThan(value: unknown, limit: number): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return true;
    level = level.flatMap(item => (typeof item === 'object' && item !== null ? Object.values(item) : []));
  }
  return false;
}
