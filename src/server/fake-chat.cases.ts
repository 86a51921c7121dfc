// A chat model that answers what a test scripts, one byte a token, and records what it was asked; for the server's and page's tests.
import type { ChatModel, ChatOptions } from '../engine/chat-types.ts';
import type {
  ChatEvent,
  Engine,
  EngineState,
  EngineStats,
  FinishReason,
  ModelInfo,
  TokenEvent,
} from '../engine/types.ts';
import type { Message, Tokenizer } from '../tokenizer/tokenizer.ts';
import type { ToolCallPiece } from '../tokenizer/tool-call-events.ts';
import { createToolCallParser } from '../tokenizer/tool-call-parser.ts';

export const BOS = 256;
export const END = 257;
const encoder = new TextEncoder();

export interface FakeOptions {
  readonly reply?: (messages: readonly Message[]) => string;
  /** Pause before each token. */
  readonly delayMs?: number;
  readonly contextTokens?: number;
  /** Default 0. */
  readonly experts?: number;
  /** Throws this after so many tokens. */
  readonly failAfter?: { readonly tokens: number; readonly error: Error };
}

export interface FakeChat extends ChatModel {
  readonly calls: { readonly input: readonly Message[] | string | readonly number[]; readonly options: ChatOptions }[];
  /** Answers that are being computed, that ended by the signal, and the most that ran at once. */
  readonly counts: { running: number; aborted: number; most: number; tokens: number };
  /** Makes the engine answer nothing any more. */
  die(error: Error): void;
  setState(state: EngineState): void;
  readonly isClosed: boolean;
}

export function createByteTokenizer(): Tokenizer {
  const bytesOf = (token: number) =>
    token < 256 ? Uint8Array.of(token) : encoder.encode(token === BOS ? '<|begin|>' : '<|end|>');
  const tokenizer: Tokenizer = {
    vocabSize: 258,
    bos: BOS,
    stopTokens: new Set([END]),
    specialTokens: new Map([
      ['<|begin|>', BOS],
      ['<|end|>', END],
    ]),
    encode: text => Array.from(encoder.encode(text)),
    decode(tokens, options) {
      const stream = tokenizer.stream(options);
      return Array.from(tokens, token => stream.push(token)).join('') + stream.end();
    },
    bytes: bytesOf,
    stream({ special = 'skip' } = {}) {
      const decoder = new TextDecoder();
      return {
        push: token => (token >= 256 && special === 'skip' ? '' : decoder.decode(bytesOf(token), { stream: true })),
        end: () => decoder.decode(),
      };
    },
  };
  return tokenizer;
}

/** The log-probability the fake gives to a token: any fixed rule will do, as long as it differs between tokens. */
export const fakeLogprob = (token: number): number => -(1 + token / 1000);

/** The events of what was read, the tokens with the first of them. */
function* eventsOf(pieces: readonly ToolCallPiece[], tokens: readonly TokenEvent[]): Generator<ChatEvent> {
  for (const piece of pieces) {
    if (piece.type === 'frame') continue;
    yield { ...piece, tokens };
    tokens = [];
  }
}

export function createFakeChat(path: string, fake: FakeOptions = {}): FakeChat {
  const { reply = () => 'Hello.', delayMs = 0, contextTokens = 4096, experts = 0, failAfter } = fake;
  const tokenizer = createByteTokenizer();
  const calls: FakeChat['calls'] = [];
  const counts = { running: 0, aborted: 0, most: 0, tokens: 0 };
  let dead: Error | null = null;
  let isClosed = false;
  let state: EngineState = 'ready';

  async function* answer(promptTokens: number, text: string, options: ChatOptions): AsyncGenerator<ChatEvent, void> {
    const stopAt = (options.stop ?? []).map(stop => text.indexOf(stop)).filter(at => at >= 0);
    const whole = stopAt.length > 0 ? text.slice(0, Math.min(...stopAt)) : text;
    const room = Math.min(options.maxTokens ?? Number.POSITIVE_INFINITY, contextTokens - promptTokens);
    const stream = tokenizer.stream();
    const tools = options.toolChoice === 'none' ? [] : (options.tools ?? []);
    const parser = tools.length > 0 ? createToolCallParser(tools) : null;
    let tokens: TokenEvent[] = [];
    let generatedTokens = 0;
    let reason: FinishReason = 'stop';
    counts.running++;
    counts.most = Math.max(counts.most, counts.running);
    try {
      for (const token of tokenizer.encode(whole)) {
        if (dead) throw dead;
        if (state === 'restarting')
          throw Object.assign(new Error('try again'), { name: 'EngineRestarting', retryAfterMs: 1500 });
        if (failAfter && generatedTokens === failAfter.tokens) throw failAfter.error;
        if (generatedTokens >= room) {
          reason = 'length';
          break;
        }
        if (delayMs > 0) await new Promise(resolve => setTimeout(resolve, delayMs));
        if (options.signal?.aborted) {
          counts.aborted++;
          reason = 'abort';
          break;
        }
        generatedTokens++;
        counts.tokens++;
        const topLogprobs = Array.from({ length: options.topLogprobs ?? 0 }, (_, i) => (token + i) % 256)
          .map(top => ({ token: top, logprob: fakeLogprob(top) }))
          .sort((a, b) => b.logprob - a.logprob);
        tokens.push({ token, logprob: fakeLogprob(token), topLogprobs });
        const piece = stream.push(token);
        if (piece === '') continue;
        yield* eventsOf(parser ? parser.push(piece) : [{ type: 'text', text: piece }], tokens);
        tokens = [];
      }
      if (parser) yield* eventsOf(parser.end(), tokens);
    } finally {
      counts.running--;
    }
    const drafts = { draftedTokens: 0, acceptedTokens: 0 };
    const stats = {
      promptTokens,
      cachedTokens: 0,
      generatedTokens,
      queueMs: 0,
      prefillMs: 10,
      decodeMs: 20,
      ...drafts,
    };
    const stopString = options.stop?.find(stop => stopAt.length > 0 && text.startsWith(stop, Math.min(...stopAt)));
    yield { type: 'end', reason, stats, ...(stopString !== undefined && reason === 'stop' && { stopString }) };
  }

  const info: ModelInfo = {
    path,
    config: {
      architecture: 'llama4',
      layers: 1,
      dim: 8,
      heads: 1,
      kvHeads: 1,
      headDim: 1,
      vocab: 258,
      normEps: 1e-5,
      contextLength: contextTokens,
      experts,
      expertsPerToken: experts > 0 ? 1 : 0,
      floorScale: 8192,
      attnScale: 0,
    },
    backend: 'fake',
    threads: 1,
    contextTokens,
    maxBatch: 512,
    parameters: 1_000_000,
    activeParameters: 500_000,
    weightBytes: 2_000_000,
    plannedBytes: 2_500_000,
    loadMs: 1,
  };
  const engine: Engine = {
    info,
    get state() {
      return state;
    },
    onState: () => () => {},
    async drain() {},
    saveCache: async () => ({ sequences: 0, tokens: 0, bytes: 0 }),
    restoreCache: async () => ({ sequences: 0, tokens: 0, bytes: 0 }),
    // biome-ignore lint/correctness/useYield: the server generates through the chat model only
    async *generate() {
      throw new Error('not used by the server');
    },
    async *logprobs(tokens, { rows = tokens.map((_, row) => row), signal } = {}) {
      for (const row of rows) {
        signal?.throwIfAborted();
        yield { row, logprobs: Float32Array.from({ length: 258 }, (_, token) => fakeLogprob(token)) };
      }
    },
    async score(tokens) {
      return Float32Array.from(tokens.slice(1), fakeLogprob);
    },
    // Any fixed rule: how often each byte occurs.
    async embed(tokens, { signal } = {}) {
      signal?.throwIfAborted();
      if (dead) throw dead;
      return Float32Array.from({ length: 8 }, (_, i) => tokens.filter(token => token % 8 === i).length / tokens.length);
    },
    // Any fixed rule: a token's byte says where it goes.
    async routing(tokens, { from = 0, signal } = {}) {
      signal?.throwIfAborted();
      if (dead) throw dead;
      const layers = [1, 3];
      const ids = Uint16Array.from(tokens.slice(from).flatMap(token => layers.map(layer => (token + layer) % experts)));
      return { from, tokens: tokens.length - from, layers, experts, expertsPerToken: 1, ids };
    },
    async stats() {
      if (dead) throw dead;
      const figures: Partial<EngineStats> = {
        cacheBytes: 300,
        cacheLimitBytes: 1200,
        memoryBytes: 0,
        running: counts.running,
        waiting: 0,
        passes: 0,
        decodeTokens: 0,
      };
      return figures as EngineStats; // the server looks at no others
    },
    async [Symbol.asyncDispose]() {},
  };
  const encodeMessages = (messages: readonly Message[]) => {
    if (messages.at(-1)?.role === 'assistant') throw new Error("the last message must not be the assistant's");
    return [BOS, ...messages.flatMap(({ role, content }) => tokenizer.encode(`${role}:${content}\n`))];
  };
  return {
    engine,
    tokenizer,
    format: { name: 'fake', encode: encodeMessages, stopTokens: new Set([END]) },
    chat(messages, options = {}) {
      calls.push({ input: messages, options });
      return answer(encodeMessages(messages).length, reply(messages), options);
    },
    complete(prompt, options = {}) {
      calls.push({ input: prompt, options });
      const tokens = typeof prompt === 'string' ? [BOS, ...tokenizer.encode(prompt)] : prompt;
      return answer(tokens.length, reply([{ role: 'user', content: tokenizer.decode(tokens) }]), options);
    },
    async routing(messages, options = {}) {
      calls.push({ input: messages, options });
      const tokens = tokenizer.encode(messages.at(-1)!.content);
      return { tokens, routing: await engine.routing(tokens, options), promptTokens: tokens.length };
    },
    async embed(input, options = {}) {
      calls.push({ input, options });
      const tokens = typeof input === 'string' ? [BOS, ...tokenizer.encode(input)] : input;
      return { vector: await engine.embed(tokens, options), promptTokens: tokens.length };
    },
    calls,
    counts,
    die(error) {
      dead = error;
    },
    setState(next) {
      state = next;
    },
    get isClosed() {
      return isClosed;
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
    },
  };
}
