// The request for an answer: what was said, how to sample, and what the answer may be.
import type { WireChatChunk, WireChatRequest, WireTimings } from '../server/wire.ts';
import type { ChatMessage } from './conversation.ts';
import type { Settings } from './settings.ts';

interface WireToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

export type ChatBodyMessage =
  | { readonly role: 'system' | 'user'; readonly content: string }
  | { readonly role: 'assistant'; readonly content: string; readonly tool_calls?: readonly WireToolCall[] }
  | { readonly role: 'tool'; readonly content: string; readonly tool_call_id: string };

/** What the page may ask for; a field that the server does not know yet is sent only if its setting is on. */
export type ChatBody = Omit<WireChatRequest, 'messages'> & {
  readonly messages: readonly ChatBodyMessage[];
  readonly stop?: readonly string[];
  readonly response_format?:
    | { readonly type: 'json_object' }
    | {
        readonly type: 'json_schema';
        readonly json_schema: { readonly name: string; readonly schema: unknown; readonly strict: boolean };
      };
  readonly tools?: readonly unknown[];
  /** Draft tokens are guessed from the text so far; the answer is the same, sooner. */
  readonly prompt_lookup?: boolean;
};

/** A chunk with what a server may send beside text; OpenAI's names, and llama.cpp's for drafts. */
export type ChatChunk = Omit<WireChatChunk, 'choices' | 'timings'> & {
  readonly choices: readonly {
    readonly delta: {
      readonly content?: string | null;
      readonly tool_calls?: readonly {
        readonly index: number;
        readonly id?: string;
        readonly function?: { readonly name?: string; readonly arguments?: string };
      }[];
    };
    readonly finish_reason: string | null;
  }[];
  readonly timings?: WireTimings & { readonly draft_n?: number; readonly draft_n_accepted?: number };
};

/** The messages of a path as they are sent; what failed before a word was said is left out. */
export function bodyMessages(path: readonly ChatMessage[], system: string): ChatBodyMessage[] {
  const messages: ChatBodyMessage[] = system.trim() ? [{ role: 'system', content: system }] : [];
  for (const { role, content, toolCalls, toolCallId } of path) {
    if (role === 'tool') messages.push({ role, content, tool_call_id: toolCallId ?? '' });
    else if (role === 'user') messages.push({ role, content });
    else if (toolCalls?.length)
      messages.push({
        role,
        content,
        tool_calls: toolCalls.map(call => ({
          id: call.id,
          type: 'function',
          function: { name: call.name, arguments: call.arguments },
        })),
      });
    else if (content !== '') messages.push({ role, content });
  }
  return messages;
}

/** The request for the message that follows `path`. @throws SettingError */
export function requestFor(model: string, path: readonly ChatMessage[], settings: Settings): ChatBody {
  const { system, temperature, topP, topK, minP, repetitionPenalty, maxTokens, seed, promptLookup } = settings;
  const stop = settings.stop.split('\n').filter(line => line !== '');
  const tools = parseTools(settings.tools);
  return {
    model,
    messages: bodyMessages(path, system),
    stream: true,
    stream_options: { include_usage: true },
    temperature,
    top_p: topP,
    top_k: topK,
    min_p: minP,
    repetition_penalty: repetitionPenalty,
    ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
    ...(seed === null ? {} : { seed }),
    ...(stop.length ? { stop } : {}),
    ...(promptLookup ? { prompt_lookup: true } : {}),
    ...(tools.length ? { tools } : {}),
    ...(settings.format === 'json' ? { response_format: { type: 'json_object' } } : {}),
    ...(settings.format === 'schema'
      ? {
          response_format: {
            type: 'json_schema',
            json_schema: { name: 'answer', schema: parseSchema(settings.schema), strict: true },
          },
        }
      : {}),
  };
}

/** A setting that cannot be sent, in words that can be shown. */
export class SettingError extends Error {}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new SettingError(`${what} must be JSON: ${(error as Error).message}. Correct it in the settings.`);
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @throws SettingError unless the text is a JSON object. */
export function parseSchema(text: string): unknown {
  const schema = parseJson(text, 'The JSON schema');
  if (isRecord(schema)) return schema;
  throw new SettingError('The JSON schema must be an object such as {"type": "object"}. Correct it in the settings.');
}

/**
 * OpenAI's form of a tool, or the function alone, each with a name; nothing for an empty text.
 * @throws SettingError
 */
export function parseTools(text: string): { type: 'function'; function: Record<string, unknown> }[] {
  if (text.trim() === '') return [];
  const value = parseJson(text, 'The tools');
  return (Array.isArray(value) ? value : [value]).map((item: unknown, index) => {
    const tool = isRecord(item) && isRecord(item.function) ? item.function : item;
    if (isRecord(tool) && typeof tool.name === 'string' && tool.name !== '')
      return { type: 'function', function: tool };
    throw new SettingError(
      `Tool ${index + 1} must be an object with a name, a description and parameters. Correct it in the settings.`,
    );
  });
}
