// A language model of the AI SDK (specification v4) over chat completions.
import type {
  JSONObject,
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4Content,
  LanguageModelV4FinishReason,
  LanguageModelV4StreamPart,
  LanguageModelV4Usage,
  SharedV4Warning,
} from '@ai-sdk/provider';
import type { WireChatChunk, WireChatCompletion, WireFinishReason, WireTimings, WireUsage } from '../server/wire.ts';
import { type Connection, eventsOf, post } from './connection.ts';
import { messagesOf } from './prompt.ts';

const PATH = '/chat/completions';

export function createLanguageModel(modelId: string, connection: Connection): LanguageModelV4 {
  return {
    specificationVersion: 'v4',
    provider: 'open-maverick',
    modelId,
    supportedUrls: {},

    async doGenerate(options) {
      const { body, warnings } = bodyOf(modelId, options);
      const { headers, abortSignal: signal } = options;
      const response = await post(connection, { path: PATH, body, headers, signal });
      const answer = (await response.json()) as WireChatCompletion;
      const { message, finish_reason } = answer.choices[0]!;
      const content: LanguageModelV4Content[] = message.content ? [{ type: 'text', text: message.content }] : [];
      for (const { id, function: called } of message.tool_calls ?? [])
        content.push({ type: 'tool-call', toolCallId: id, toolName: called.name, input: called.arguments });
      return {
        content,
        finishReason: finishOf(finish_reason),
        usage: usageOf(answer.usage),
        providerMetadata: metadataOf(answer.timings),
        request: { body },
        response: { ...aboutOf(answer), headers: Object.fromEntries(response.headers), body: answer },
        warnings,
      };
    },

    async doStream(options) {
      const { body: written, warnings } = bodyOf(modelId, options);
      const body = { ...written, stream: true, stream_options: { include_usage: true } };
      const leaving = new AbortController();
      const signal = AbortSignal.any([leaving.signal, ...(options.abortSignal ? [options.abortSignal] : [])]);
      const response = await post(connection, { path: PATH, body, headers: options.headers, signal });
      const parts = partsOf(response.body!, warnings, options.includeRawChunks ?? false);
      return {
        stream: streamOf(parts, () => leaving.abort()),
        request: { body },
        response: { headers: Object.fromEntries(response.headers) },
      };
    },
  };
}

/** The request, and what of the call it cannot say. */
function bodyOf(model: string, options: LanguageModelV4CallOptions): { body: object; warnings: SharedV4Warning[] } {
  const warnings: SharedV4Warning[] = [];
  if (options.reasoning !== undefined && options.reasoning !== 'provider-default' && options.reasoning !== 'none')
    warnings.push({ type: 'unsupported', feature: 'reasoning', details: 'The model does not reason apart.' });
  const tools = (options.tools ?? []).flatMap(tool => {
    if (tool.type === 'provider') {
      warnings.push({ type: 'unsupported', feature: `provider tool ${tool.id}`, details: 'The server has no tools.' });
      return [];
    }
    const { name, description, inputSchema: parameters } = tool;
    return [{ type: 'function', function: { name, description, parameters } }];
  });
  const { responseFormat, toolChoice } = options;
  const body = {
    model,
    messages: messagesOf(options.prompt),
    max_completion_tokens: options.maxOutputTokens,
    temperature: options.temperature,
    top_p: options.topP,
    top_k: options.topK,
    presence_penalty: options.presencePenalty,
    frequency_penalty: options.frequencyPenalty,
    seed: options.seed,
    stop: options.stopSequences?.length ? options.stopSequences : undefined,
    ...(tools.length > 0 && { tools, tool_choice: toolChoice && choiceOf(toolChoice) }),
    ...(responseFormat?.type === 'json' && {
      response_format: responseFormat.schema
        ? {
            type: 'json_schema',
            json_schema: { name: responseFormat.name ?? 'response', schema: responseFormat.schema },
          }
        : { type: 'json_object' },
    }),
    ...options.providerOptions?.openMaverick,
  };
  return { body, warnings };
}

const choiceOf = (choice: NonNullable<LanguageModelV4CallOptions['toolChoice']>) =>
  choice.type === 'tool' ? { type: 'function', function: { name: choice.toolName } } : choice.type;

const finishOf = (raw: WireFinishReason): LanguageModelV4FinishReason => ({
  unified: raw === 'tool_calls' ? 'tool-calls' : raw,
  raw,
});

function usageOf(usage: WireUsage | null | undefined): LanguageModelV4Usage {
  const total = usage?.prompt_tokens;
  const cacheRead = usage?.prompt_tokens_details.cached_tokens;
  const noCache = total === undefined || cacheRead === undefined ? undefined : total - cacheRead;
  const written = usage?.completion_tokens;
  return {
    inputTokens: { total, noCache, cacheRead, cacheWrite: undefined },
    outputTokens: { total: written, text: written, reasoning: undefined },
    ...(usage && { raw: { ...usage, prompt_tokens_details: { ...usage.prompt_tokens_details } } }),
  };
}

const metadataOf = (timings: WireTimings | undefined): Record<string, JSONObject> =>
  timings ? { openMaverick: { timings: { ...timings } } } : {};

const aboutOf = ({ id, created, model }: Pick<WireChatChunk, 'id' | 'created' | 'model'>) => ({
  id,
  timestamp: new Date(created * 1000),
  modelId: model,
});

/** @param leave called when the reader goes away */
const streamOf = <T>(values: AsyncGenerator<T, void>, leave: () => void): ReadableStream<T> =>
  new ReadableStream<T>({
    async pull(controller) {
      const next = await values.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    cancel: leave,
  });

/** A stream's chunks as the AI SDK's parts. An error in the middle is a part, and the last one. */
async function* partsOf(
  body: ReadableStream<Uint8Array>,
  warnings: SharedV4Warning[],
  raw: boolean,
): AsyncGenerator<LanguageModelV4StreamPart, void> {
  yield { type: 'stream-start', warnings };
  let begun = false;
  let text: string | null = null;
  const calls: { id: string; name: string; input: string }[] = [];
  let open: (typeof calls)[number] | null = null;
  let finish: WireFinishReason | null = null;
  let usage: WireUsage | null | undefined;
  let timings: WireTimings | undefined;
  function* close(): Generator<LanguageModelV4StreamPart, void> {
    if (text !== null) yield { type: 'text-end', id: text };
    text = null;
    if (!open) return;
    const { id, name, input } = open;
    open = null;
    yield { type: 'tool-input-end', id };
    yield { type: 'tool-call', toolCallId: id, toolName: name, input };
  }
  try {
    for await (const value of eventsOf(body)) {
      if (raw) yield { type: 'raw', rawValue: value };
      const chunk = value as WireChatChunk;
      if (!begun) yield { type: 'response-metadata', ...aboutOf(chunk) };
      begun = true;
      usage = chunk.usage ?? usage;
      timings = chunk.timings ?? timings;
      const choice = chunk.choices[0];
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      if (choice.delta.content) {
        if (text === null) {
          yield* close();
          text = `text-${calls.length}`;
          yield { type: 'text-start', id: text };
        }
        yield { type: 'text-delta', id: text, delta: choice.delta.content };
      }
      for (const { id, function: called } of choice.delta.tool_calls ?? []) {
        if (id !== undefined) {
          yield* close();
          open = { id, name: called.name ?? '', input: '' };
          calls.push(open);
          yield { type: 'tool-input-start', id, toolName: open.name };
        }
        if (!open || called.arguments === '') continue;
        open.input += called.arguments;
        yield { type: 'tool-input-delta', id: open.id, delta: called.arguments };
      }
    }
    yield* close();
    const finishReason: LanguageModelV4FinishReason = finish ? finishOf(finish) : { unified: 'other', raw: undefined };
    yield { type: 'finish', finishReason, usage: usageOf(usage), providerMetadata: metadataOf(timings) };
  } catch (error) {
    yield { type: 'error', error };
    yield { type: 'finish', finishReason: { unified: 'error', raw: undefined }, usage: usageOf(usage) };
  }
}
