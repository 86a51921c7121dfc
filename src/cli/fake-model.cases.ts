// For tests: a chat model that answers what it is told to, one word at a time.
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type { ChatEvent, FinishReason } from '../engine/types.ts';
import type { Message } from '../tokenizer/tokenizer.ts';

export interface FakeModel {
  readonly model: ChatModel;
  readonly asked: (readonly Message[])[];
}

/** @param waitMs between words. Only what a conversation needs is there. */
export function fakeModel(answer: (messages: readonly Message[]) => string, waitMs = 0): FakeModel {
  const asked: (readonly Message[])[] = [];
  async function* chat(messages: readonly Message[], options: ChatOptions = {}): AsyncGenerator<ChatEvent, void> {
    asked.push([...messages]);
    let reason: FinishReason = 'stop';
    let count = 0;
    for (const word of answer(messages).split(/(?<= )/)) {
      if (waitMs > 0) await new Promise(resolve => setTimeout(resolve, waitMs));
      if (options.signal?.aborted) {
        reason = 'abort';
        break;
      }
      count++;
      yield { type: 'text', text: word, tokens: [{ token: count, logprob: -1, topLogprobs: [] }] };
    }
    const stats = {
      promptTokens: 5,
      cachedTokens: 2,
      generatedTokens: count,
      queueMs: 0,
      prefillMs: 100,
      decodeMs: 1000,
      draftedTokens: 0,
      acceptedTokens: 0,
    };
    yield { type: 'end', reason, stats };
  }
  const info = { parameters: 135e6, backend: 'fake', threads: 1, contextTokens: 100 };
  const stats = async () => ({
    prefillTokens: 5,
    prefillMs: 100,
    decodeTokens: 9,
    decodeMs: 1000,
    memoryBytes: 1e6,
    cacheBytes: 1e3,
  });
  // The rest of the interface is not reached by a conversation, so it is not there.
  return { model: { chat, engine: { info, stats } } as unknown as ChatModel, asked };
}
