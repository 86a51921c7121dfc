// An engine that speaks: messages become tokens, tokens become text, and the answer ends where it should.
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import type { SourceModule } from '../checkpoint/sources.ts';
import { chatFormatFor } from '../tokenizer/chat-format.ts';
import { templateFromGguf, tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import type { ChatFormat, Message, Tokenizer, Tool } from '../tokenizer/tokenizer.ts';
import type { ToolCallPiece } from '../tokenizer/tool-call-events.ts';
import { createToolCallParser } from '../tokenizer/tool-call-parser.ts';
import { callableTools, chatGrammar } from './chat-grammar.ts';
import { routingOfAnswer } from './chat-routing.ts';
import { type SuggestedSampling, suggestedSampling } from './chat-sampling.ts';
import { createStopStrings, type StopStrings } from './chat-stop-strings.ts';
import type { ChatModel, ChatOptions, CompletionOptions } from './chat-types.ts';
import { openEngine } from './client.ts';
import type { TokenBytes } from './token-trie.ts';
import {
  type ChatEvent,
  type Engine,
  type EngineOptions,
  emptyStats,
  type RowsOptions,
  type TokenEvent,
} from './types.ts';

/**
 * Opens a checkpoint to talk to: an engine in a thread of its own, and the checkpoint's tokenizer and chat format in this one.
 * @throws CheckpointError when the file cannot be used or has no tokenizer; RangeError naming an option; the signal's reason.
 */
export async function openChat(path: string, options: EngineOptions = {}): Promise<ChatModel> {
  const { tokenizer, format, suggested } = await readVocabulary(path, options.sources);
  const engine = await openEngine(path, { ...options, tokenBytes: tokenBytesOf(tokenizer) });
  return createChat(engine, tokenizer, format, suggested);
}

/** A checkpoint's tokenizer and chat format; weights are left alone. @throws CheckpointError when it has none that we know */
export async function readVocabulary(
  path: string,
  sources?: SourceModule,
): Promise<{ tokenizer: Tokenizer; format: ChatFormat; suggested: SuggestedSampling }> {
  await using checkpoint = await openCheckpoint(path, sources);
  try {
    const tokenizer = tokenizerFromGguf(checkpoint.metadata);
    const format = chatFormatFor(tokenizer, templateFromGguf(checkpoint.metadata));
    return { tokenizer, format, suggested: suggestedSampling(checkpoint.metadata) };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new CheckpointError(checkpoint.path, error.message, { cause: error });
  }
}

/** What the tokens stand for, byte for byte: of those that are text. */
function tokenBytesOf(tokenizer: Tokenizer): TokenBytes {
  const special = new Set(tokenizer.specialTokens.values());
  const none = new Uint8Array();
  const parts = Array.from({ length: tokenizer.vocabSize }, (_, token) =>
    special.has(token) ? none : tokenizer.bytes(token),
  );
  const offsets = new Uint32Array(parts.length + 1);
  parts.forEach((part, token) => {
    offsets[token + 1] = offsets[token]! + part.length;
  });
  const bytes = new Uint8Array(offsets[parts.length]!);
  parts.forEach((part, token) => {
    bytes.set(part, offsets[token]);
  });
  return { bytes, offsets };
}

/** A chat model of parts; it owns the engine, which must have been opened with `tokenBytes` for tools and formats. */
export const createChat = (
  engine: Engine,
  tokenizer: Tokenizer,
  format: ChatFormat,
  suggested: SuggestedSampling = {},
): ChatModel => ({
  engine,
  tokenizer,
  format,
  suggested,
  chat(messages: readonly Message[], options: ChatOptions = {}) {
    const tokens = (tools: readonly Tool[]) => format.encode(messages, { tools });
    return answer(engine, tokenizer, tokens, format.stopTokens, options);
  },
  complete(prompt: string | readonly number[], options: CompletionOptions = {}) {
    return answer(engine, tokenizer, () => promptTokens(tokenizer, prompt), tokenizer.stopTokens, options);
  },
  async embed(input: string | readonly number[], options: RowsOptions = {}) {
    const tokens = promptTokens(tokenizer, input);
    return { vector: await engine.embed(tokens, options), promptTokens: tokens.length };
  },
  routing: (messages, options) => routingOfAnswer(engine, format, messages, options),
  [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
});

const promptTokens = (tokenizer: Tokenizer, text: string | readonly number[]): readonly number[] =>
  typeof text !== 'string' ? text : [...(tokenizer.bos === null ? [] : [tokenizer.bos]), ...tokenizer.encode(text)];

/** A token whose text, or part of it, is not yet given out. */
interface Pending {
  readonly event: TokenEvent;
  /** Where its text begins and ends in the whole answer, in UTF-16 units; Infinity while its last character is not complete. */
  readonly start: number;
  end: number;
}

async function* answer(
  engine: Engine,
  tokenizer: Tokenizer,
  prompt: (tools: readonly Tool[]) => readonly number[],
  stopTokens: ReadonlySet<number>,
  chatOptions: ChatOptions,
): AsyncGenerator<ChatEvent, void> {
  const { stop = [], signal, tools: _, toolChoice, parallelToolCalls = true, responseFormat, ...others } = chatOptions;
  const { ignoreEnd = false, ...options } = others;
  stop.forEach((text, i) => {
    if (typeof text !== 'string' || text === '') throw new RangeError(`stop[${i}]: got '${text}', wanted some text.`);
  });
  const tools = callableTools(chatOptions);
  const grammar = chatGrammar(chatOptions);
  const stopping = new AbortController();
  const generation = engine.generate(prompt(tools), {
    ...options,
    ...(grammar !== undefined && { grammar }),
    stopTokens: ignoreEnd ? [] : stopTokens,
    signal: signal ? AbortSignal.any([signal, stopping.signal]) : stopping.signal,
  });
  const characters = tokenizer.stream();
  const parser = tools.length > 0 ? createToolCallParser(tools) : null;
  // Steering tokens are no text, but these two tell where calls stand.
  const markers = new Map<number, string>();
  for (const text of parser ? ['<|python_start|>', '<|python_end|>'] : []) {
    const token = tokenizer.specialTokens.get(text);
    if (token !== undefined) markers.set(token, text);
  }
  const stops = createStopStrings(stop);
  let pending: Pending[] = [];
  let decoded = 0;
  let shown = 0;
  let taken = 0;
  let called = false;
  /** The tokens that so much more text completes; at the end also those of which only a part is shown. */
  const tokensOf = (length: number, rest: 'wait' | 'cut' | 'all'): TokenEvent[] => {
    shown += length;
    const goes = ({ start, end }: Pending): boolean =>
      end <= shown || rest === 'all' || (rest === 'cut' && start < shown);
    const tokens = pending.filter(goes).map(({ event }) => event);
    pending = pending.filter(token => !goes(token));
    return tokens;
  };
  const show = function* (text: string, rest: 'wait' | 'cut' | 'all'): Generator<ChatEvent> {
    const pieces: ToolCallPiece[] = parser ? parser.push(text) : text === '' ? [] : [{ type: 'text', text }];
    if (parser && rest !== 'wait') pieces.push(...parser.end());
    let framed: TokenEvent[] = [];
    for (const piece of pieces) {
      const last = piece === pieces.at(-1);
      const raw = piece.type === 'text' ? piece.text : piece.type === 'call-end' ? '' : piece.raw;
      const tokens = [...framed, ...tokensOf(raw.length, last ? rest : 'wait')];
      framed = [];
      if (piece.type === 'text') yield { ...piece, tokens };
      else if (piece.type === 'frame') framed = tokens;
      else if (piece.type === 'call-start') yield { type: piece.type, index: piece.index, name: piece.name, tokens };
      else if (piece.type === 'call-arguments')
        yield { type: piece.type, index: piece.index, delta: piece.delta, tokens };
      else {
        yield { ...piece, tokens };
        called ||= !parallelToolCalls;
        if (called) return;
      }
    }
    // Half a character's tokens wait for the other half.
    const left = rest === 'wait' ? framed : [...framed, ...tokensOf(0, rest)];
    if (left.length > 0) yield { type: 'text', text: '', tokens: left };
  };
  try {
    for (;;) {
      const next = await generation.next();
      if (next.done) {
        const { reason, stats, routing } = next.value;
        const routed = routing && { routing };
        if (stops.stopped || called) {
          yield {
            type: 'end',
            reason: 'stop',
            ...foundOf(stops),
            stats: { ...stats, generatedTokens: taken },
            ...routed,
          };
          return;
        }
        const last = stops.push(characters.end());
        yield* show(last + stops.end(), stops.stopped ? 'cut' : 'all');
        yield { type: 'end', reason: stops.stopped ? 'stop' : reason, ...foundOf(stops), stats, ...routed };
        return;
      }
      if (stops.stopped || called) continue; // computed before the abort arrived
      taken++;
      const { token } = next.value;
      const text = characters.push(token) + (markers.get(token) ?? '');
      if (text !== '') {
        // The first character is the one that tokens without text began.
        const [character] = text;
        for (const token of pending) if (token.end === Infinity) token.end = decoded + character!.length;
      }
      pending.push({ event: next.value, start: decoded, end: text === '' ? Infinity : decoded + text.length });
      decoded += text.length;
      const visible = stops.push(text);
      const events = [...show(visible, stops.stopped ? 'cut' : 'wait')];
      if (stops.stopped || called) stopping.abort();
      yield* events;
    }
  } finally {
    stopping.abort();
    await generation.return?.({ reason: 'abort', stats: emptyStats });
  }
}

const foundOf = ({ found }: StopStrings): { stopString?: string } => (found === undefined ? {} : { stopString: found });
