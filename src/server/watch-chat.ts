// A chat model that tells what it does for one request: when tokens come, and what each generation was. What it says is the same.
import type { ChatModel } from '../engine/chat-types.ts';
import { type ChatEvent, emptyStats, type GenerationStats, type RowsOptions } from '../engine/types.ts';
import type { Exchange, Observer } from './exchange.ts';

/** @param given options that everything computed for this request gets, whatever the endpoint asks for */
export function watchChat(
  chat: ChatModel,
  exchange: Exchange,
  observers: readonly Observer[],
  given: RowsOptions,
): ChatModel {
  async function* watch(events: AsyncGenerator<ChatEvent, void>): AsyncGenerator<ChatEvent, void> {
    let last: number | null = null;
    let generatedTokens = 0;
    let ended = false;
    const end = (reason: Exchange['generations'][number]['reason'], stats: GenerationStats) => {
      ended = true;
      exchange.generations.push({ reason, stats });
    };
    try {
      for await (const event of events) {
        if (event.type === 'end') end(event.reason, event.stats);
        else if (event.tokens.length > 0) {
          const now = performance.now();
          generatedTokens += event.tokens.length;
          exchange.firstTokenMs ??= now;
          if (last !== null)
            for (const observer of observers) observer.tokens?.(exchange, event.tokens.length, (now - last) / 1000);
          last = now;
        }
        yield event;
      }
    } catch (error) {
      if (!ended) end('error', { ...emptyStats, generatedTokens });
      throw error;
    } finally {
      if (!ended) end('abort', { ...emptyStats, generatedTokens }); // the reader left
    }
  }
  async function watchReading<T extends { readonly promptTokens: number }>(
    reading: Promise<T>,
    options?: RowsOptions,
  ): Promise<T> {
    try {
      const read = await reading;
      exchange.generations.push({ reason: 'stop', stats: { ...emptyStats, promptTokens: read.promptTokens } });
      return read;
    } catch (error) {
      exchange.generations.push({ reason: options?.signal?.aborted ? 'abort' : 'error', stats: emptyStats });
      throw error;
    }
  }
  return {
    engine: chat.engine,
    tokenizer: chat.tokenizer,
    format: chat.format,
    [Symbol.asyncDispose]: () => chat[Symbol.asyncDispose](),
    chat: (messages, options) => watch(chat.chat(messages, { ...options, ...given })),
    complete: (prompt, options) => watch(chat.complete(prompt, { ...options, ...given })),
    embed: (input, options) => watchReading(chat.embed(input, { ...options, ...given }), options),
    routing: (messages, options) => watchReading(chat.routing(messages, { ...options, ...given }), options),
  };
}
