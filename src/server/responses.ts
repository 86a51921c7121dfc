// POST /v1/responses: OpenAI's responses, whole or as its stream of output items. Nothing is stored.
import type { ChatModel } from '../engine/chat-types.ts';
import type { GenerationStats } from '../engine/types.ts';
import { converse, newId } from './answers.ts';
import { checkConversation } from './conversation.ts';
import { responses as dialect } from './dialect.ts';
import { endpoint } from './endpoint.ts';
import { chatLogprobs } from './logprobs.ts';
import { parseResponsesRequest, type ResponsesRequest, responsesSchema } from './responses-request.ts';
import { timingsOf } from './usage.ts';
import type { WireChatLogprobs } from './wire.ts';

export const responses = endpoint<ResponsesRequest>({
  path: '/v1/responses',
  summary: "Answers a conversation, in the shape of OpenAI's responses; nothing is stored.",
  dialect,
  schema: responsesSchema,
  parse: parseResponsesRequest,
  async answer(chat, request, signal) {
    await checkConversation(chat, request, 'input');
    const events = streamResponse(chat, request, signal);
    return request.stream ? events : wholeResponse(events);
  },
});

interface TextPart {
  readonly type: 'output_text';
  readonly text: string;
  readonly annotations: readonly never[];
  readonly logprobs: WireChatLogprobs['content'];
}

type Status = 'in_progress' | 'completed' | 'incomplete';

type Item =
  | {
      readonly type: 'message';
      readonly id: string;
      readonly role: 'assistant';
      readonly status: Status;
      readonly content: readonly TextPart[];
    }
  | {
      readonly type: 'function_call';
      readonly id: string;
      readonly call_id: string;
      readonly name: string;
      readonly arguments: string;
      readonly status: Status;
    };

interface WireResponse {
  readonly id: string;
  readonly object: 'response';
  readonly status: Status;
  readonly output: readonly Item[];
  readonly [key: string]: unknown;
}

type Event = { readonly type: string; readonly sequence_number: number; readonly response?: WireResponse };

async function* streamResponse(
  chat: ChatModel,
  request: ResponsesRequest,
  signal: AbortSignal,
): AsyncGenerator<Event, void> {
  const output: Item[] = [];
  const head = { id: newId('resp_'), object: 'response', created_at: Math.floor(Date.now() / 1000) } as const;
  const responseNow = (status: Status, more: object = {}): WireResponse => ({
    ...head,
    status,
    error: null,
    incomplete_details: null,
    ...request.echo,
    model: request.model,
    output: [...output],
    usage: null,
    ...more,
  });
  let sequence = 0;
  const say = (type: string, fields: object): Event => ({ type, sequence_number: sequence++, ...fields });

  let open = null as Item | null;
  /** Of the open item: its text or its arguments. */
  let written = { text: '', logprobs: [] as TextPart['logprobs'][number][] };
  const place = () => ({ output_index: output.length, item_id: open!.id });
  const begin = (item: Item): Event[] => {
    open = item;
    written = { text: '', logprobs: [] };
    const added = say('response.output_item.added', { output_index: output.length, item });
    if (item.type === 'function_call') return [added];
    return [added, say('response.content_part.added', { ...place(), content_index: 0, part: textPart('', []) })];
  };
  const close = (status: Status): Event[] => {
    if (!open) return [];
    const part = textPart(written.text, written.logprobs);
    const at = { ...place(), content_index: 0 };
    let item: Item;
    let events: Event[];
    if (open.type === 'function_call') {
      item = { ...open, status, arguments: part.text };
      events = [say('response.function_call_arguments.done', { ...place(), name: open.name, arguments: part.text })];
    } else {
      item = { ...open, status, content: [part] };
      events = [
        say('response.output_text.done', { ...at, text: part.text, logprobs: part.logprobs }),
        say('response.content_part.done', { ...at, part }),
      ];
    }
    events.push(say('response.output_item.done', { output_index: output.length, item }));
    output.push(item);
    open = null;
    return events;
  };

  for await (const { event } of converse(chat, request, 1, signal)) {
    if (sequence === 0) {
      yield say('response.created', { response: responseNow('in_progress') });
      yield say('response.in_progress', { response: responseNow('in_progress') });
    }
    if (event.type === 'text') {
      const logprobs = request.logprobs ? chatLogprobs(chat.tokenizer, event.tokens).content : [];
      if (event.text === '' && logprobs.length === 0) continue;
      if (open?.type !== 'message') {
        yield* close('completed');
        yield* begin({ type: 'message', id: newId('msg_'), role: 'assistant', status: 'in_progress', content: [] });
      }
      written.text += event.text;
      written.logprobs.push(...logprobs);
      yield say('response.output_text.delta', { ...place(), content_index: 0, delta: event.text, logprobs });
    } else if (event.type === 'call-start') {
      yield* close('completed');
      const { name } = event;
      const ids = { id: newId('fc_'), call_id: newId('call_') };
      yield* begin({ type: 'function_call', ...ids, name, arguments: '', status: 'in_progress' });
    } else if (event.type === 'call-arguments') {
      written.text += event.delta;
      yield say('response.function_call_arguments.delta', { ...place(), delta: event.delta });
    } else if (event.type === 'end') {
      const status = event.reason === 'stop' ? 'completed' : 'incomplete';
      yield* close(status);
      const details = status === 'incomplete' ? { incomplete_details: { reason: 'max_output_tokens' } } : {};
      const usage = usageOf(event.stats);
      const response = responseNow(status, { ...details, usage, timings: timingsOf(event.stats) });
      yield say(`response.${status}`, { response });
    }
  }
}

const textPart = (text: string, logprobs: TextPart['logprobs']): TextPart => ({
  type: 'output_text',
  text,
  annotations: [],
  logprobs,
});

const usageOf = (stats: GenerationStats) => ({
  input_tokens: stats.promptTokens,
  input_tokens_details: { cached_tokens: stats.cachedTokens, cache_write_tokens: 0 },
  output_tokens: stats.generatedTokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: stats.promptTokens + stats.generatedTokens,
});

/** The stream's last event has the whole. */
async function wholeResponse(events: AsyncGenerator<Event, void>): Promise<WireResponse> {
  let last: WireResponse | undefined;
  for await (const { response } of events) last = response ?? last;
  return last!;
}
