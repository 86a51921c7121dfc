// POST /v1/messages and /v1/messages/count_tokens: Anthropic's messages, whole or as its stream of content blocks.
import type { ChatModel } from '../engine/chat-types.ts';
import { type AnswerEvent, type Conversation, converse, newId } from './answers.ts';
import { checkConversation, countTokens } from './conversation.ts';
import { anthropic } from './dialect.ts';
import { endpoint, type ModelRequest } from './endpoint.ts';
import {
  countTokensSchema,
  type MessagesRequest,
  messagesSchema,
  parseCountTokensRequest,
  parseMessagesRequest,
} from './messages-request.ts';
import { timingsOf } from './usage.ts';

export const messages = endpoint<MessagesRequest>({
  path: '/v1/messages',
  summary: "Answers a conversation, in the shape of Anthropic's API.",
  dialect: anthropic,
  schema: messagesSchema,
  parse: parseMessagesRequest,
  async answer(chat, request, signal) {
    const inputTokens = await checkConversation(chat, request);
    const events = streamMessage(chat, request, inputTokens, signal);
    return request.stream ? events : wholeMessage(events);
  },
});

export const countMessageTokens = endpoint<ModelRequest & Conversation>({
  path: '/v1/messages/count_tokens',
  summary: "Counts the tokens of a conversation, in the shape of Anthropic's API.",
  dialect: anthropic,
  schema: countTokensSchema,
  parse: parseCountTokensRequest,
  answer: async (chat, request) => ({ input_tokens: await countTokens(chat, request) }),
});

type Block =
  | { type: 'text'; text: string; citations: null }
  | { type: 'tool_use'; id: string; name: string; input: unknown; caller: { type: 'direct' } };

interface Usage {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly cache_creation_input_tokens: number;
}

interface MessageHead {
  readonly id: string;
  readonly type: 'message';
  readonly role: 'assistant';
  readonly model: string;
  readonly content: readonly Block[];
  readonly stop_reason: string | null;
  readonly stop_sequence: string | null;
  readonly usage: Usage;
}

type StreamEvent =
  | { readonly type: 'message_start'; readonly message: MessageHead }
  | { readonly type: 'content_block_start'; readonly index: number; readonly content_block: Block }
  | { readonly type: 'content_block_delta'; readonly index: number; readonly delta: Delta }
  | { readonly type: 'content_block_stop'; readonly index: number }
  | {
      readonly type: 'message_delta';
      readonly delta: { readonly stop_reason: string; readonly stop_sequence: string | null };
      readonly usage: Usage;
      readonly timings: unknown;
    }
  | { readonly type: 'message_stop' };

type Delta =
  | { readonly type: 'text_delta'; readonly text: string }
  | { readonly type: 'input_json_delta'; readonly partial_json: string };

/** As Anthropic counts: what was found in the cache is not among the input tokens. */
const usageOf = (input: number, cached: number, output: number): Usage => ({
  input_tokens: input - cached,
  output_tokens: output,
  cache_read_input_tokens: cached,
  cache_creation_input_tokens: 0,
});

/** Texts and tool calls as content blocks, one after another. */
async function* streamMessage(
  chat: ChatModel,
  request: MessagesRequest,
  inputTokens: number,
  signal: AbortSignal,
): AsyncGenerator<StreamEvent, void> {
  const head: MessageHead = {
    id: newId('msg_'),
    type: 'message',
    role: 'assistant',
    model: request.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: usageOf(inputTokens, 0, 0),
  };
  let begun = false;
  let index = -1;
  let open: Block['type'] | null = null;
  const begin = (content_block: Block): StreamEvent[] => {
    const closed: StreamEvent[] = open ? [{ type: 'content_block_stop', index }] : [];
    open = content_block.type;
    return [...closed, { type: 'content_block_start', index: ++index, content_block }];
  };
  const delta = (delta: Delta): StreamEvent => ({ type: 'content_block_delta', index, delta });
  for await (const { event } of converse(chat, request, 1, signal)) {
    if (!begun) yield { type: 'message_start', message: head };
    begun = true;
    if (event.type === 'text') {
      if (event.text === '') continue; // tokens without text
      if (open !== 'text') yield* begin({ type: 'text', text: '', citations: null });
      yield delta({ type: 'text_delta', text: event.text });
    } else if (event.type === 'call-start')
      yield* begin({ type: 'tool_use', id: newId('toolu_'), name: event.name, input: {}, caller: { type: 'direct' } });
    else if (event.type === 'call-arguments') yield delta({ type: 'input_json_delta', partial_json: event.delta });
    else if (event.type === 'end') {
      if (open) yield { type: 'content_block_stop', index };
      const { stats } = event;
      const timings = timingsOf(stats);
      const usage = usageOf(stats.promptTokens, stats.cachedTokens, stats.generatedTokens);
      yield { type: 'message_delta', delta: stopOf(event, index >= 0 && open === 'tool_use'), usage, timings };
    }
  }
  yield { type: 'message_stop' };
}

type End = Extract<AnswerEvent['event'], { type: 'end' }>;

function stopOf({ reason, stopString }: End, calls: boolean): { stop_reason: string; stop_sequence: string | null } {
  if (stopString !== undefined) return { stop_reason: 'stop_sequence', stop_sequence: stopString };
  if (reason === 'length') return { stop_reason: 'max_tokens', stop_sequence: null };
  if (reason === 'context') return { stop_reason: 'model_context_window_exceeded', stop_sequence: null };
  return { stop_reason: calls ? 'tool_use' : 'end_turn', stop_sequence: null };
}

/** The stream's events put together, as the official client does it. */
async function wholeMessage(events: AsyncGenerator<StreamEvent, void>): Promise<MessageHead> {
  let message: MessageHead | null = null;
  const content: Block[] = [];
  const inputs: string[] = [];
  for await (const event of events) {
    if (event.type === 'message_start') message = event.message;
    else if (event.type === 'content_block_start') content.push({ ...event.content_block });
    else if (event.type === 'content_block_delta') {
      const block = content[event.index]!;
      if (event.delta.type === 'text_delta' && block.type === 'text') block.text += event.delta.text;
      else if (event.delta.type === 'input_json_delta')
        inputs[event.index] = (inputs[event.index] ?? '') + event.delta.partial_json;
    } else if (event.type === 'message_delta') {
      const { delta, usage, timings } = event;
      message = { ...message!, ...delta, usage, ...{ timings } };
    }
  }
  content.forEach((block, index) => {
    if (block.type === 'tool_use') block.input = inputOf(inputs[index] ?? '{}');
  });
  return { ...message!, content };
}

/** Arguments that broke off are given in the words that Anthropic's guide suggests for them. */
function inputOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return { INVALID_JSON: text };
  }
}
