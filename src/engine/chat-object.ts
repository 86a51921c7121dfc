// An answer that is a value of a type: the schema makes the grammar of what is said, then checks and types it.
import type { Message } from '../tokenizer/tokenizer.ts';
import { jsonSchemaOf, type StandardSchema, validated } from './chat-tools.ts';
import type { ChatModel, ChatOptions } from './chat-types.ts';
import type { GenerationStats } from './types.ts';

export interface ChatObjectOptions
  extends Omit<ChatOptions, 'responseFormat' | 'tools' | 'toolChoice' | 'parallelToolCalls'> {
  /** Default: what the schema says of itself. */
  readonly jsonSchema?: Readonly<Record<string, unknown>>;
}

export interface ChatObject<Output> {
  /** As the schema gives it: checked, with its defaults and transformations. */
  readonly value: Output;
  /** The JSON that was said. */
  readonly text: string;
  readonly stats: GenerationStats;
}

/**
 * Answers a conversation with a value of a schema, of zod, valibot, arktype or any other library of Standard Schema.
 * @throws GrammarError when no grammar can be made of the schema; TypeError when the schema cannot say its JSON Schema, or refuses what
 *   was said for a reason that its JSON Schema does not tell; Error when the answer broke off; the signal's reason
 */
export async function chatObject<Output>(
  chat: ChatModel,
  messages: readonly Message[],
  schema: StandardSchema<Output>,
  { jsonSchema, ...options }: ChatObjectOptions = {},
): Promise<ChatObject<Output>> {
  const responseFormat = { type: 'json_schema', schema: jsonSchemaOf(schema, 'chatObject', jsonSchema) } as const;
  let text = '';
  for await (const event of chat.chat(messages, { ...options, responseFormat })) {
    if (event.type === 'text') text += event.text;
    if (event.type !== 'end') continue;
    const { reason, stats } = event;
    if (reason === 'abort') throw options.signal?.reason;
    if (reason !== 'stop')
      throw new Error(
        `The answer broke off after ${stats.generatedTokens} tokens (${reason}), before its JSON was whole: ${text.slice(0, 200)}. Give it more room (maxTokens, contextTokens, timeoutMs), or a smaller schema (maxLength, maxItems).`,
      );
    return { value: await validated(schema, JSON.parse(text)), text, stats };
  }
  throw new Error('the answer ended without saying why');
}
