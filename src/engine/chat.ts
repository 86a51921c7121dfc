// An engine that speaks: messages become tokens, tokens become text, and the answer ends where it should.
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { chatFormatFor } from '../tokenizer/chat-format.ts';
import { templateFromGguf, tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import type { ChatFormat, Message, Tokenizer } from '../tokenizer/tokenizer.ts';
import { createStopStrings } from './chat-stop-strings.ts';
import type { ChatModel, ChatOptions } from './chat-types.ts';
import { openEngine } from './client.ts';
import type { ChatEvent, Engine, EngineOptions, TokenEvent } from './types.ts';

/**
 * Opens a checkpoint to talk to: an engine in a thread of its own, and the checkpoint's tokenizer and chat format in this one.
 * @throws CheckpointError when the file cannot be used or has no tokenizer; RangeError naming an option; the signal's reason.
 */
export async function openChat(path: string, options: EngineOptions = {}): Promise<ChatModel> {
  const { tokenizer, format } = await readVocabulary(path);
  return createChat(await openEngine(path, options), tokenizer, format);
}

async function readVocabulary(path: string): Promise<{ tokenizer: Tokenizer; format: ChatFormat }> {
  await using checkpoint = await openCheckpoint(path);
  try {
    const tokenizer = tokenizerFromGguf(checkpoint.metadata);
    return { tokenizer, format: chatFormatFor(tokenizer, templateFromGguf(checkpoint.metadata)) };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new CheckpointError(checkpoint.path, error.message, { cause: error });
  }
}

/** A chat model of parts; it owns the engine. */
export const createChat = (engine: Engine, tokenizer: Tokenizer, format: ChatFormat): ChatModel => ({
  engine,
  tokenizer,
  format,
  chat: (messages: readonly Message[], options: ChatOptions = {}) =>
    answer(engine, tokenizer, () => format.encode(messages), format.stopTokens, options),
  complete(prompt: string | readonly number[], options: ChatOptions = {}) {
    const bos = tokenizer.bos === null ? [] : [tokenizer.bos];
    const tokens = () => (typeof prompt === 'string' ? [...bos, ...tokenizer.encode(prompt)] : prompt);
    return answer(engine, tokenizer, tokens, tokenizer.stopTokens, options);
  },
  [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
});

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
  prompt: () => readonly number[],
  stopTokens: ReadonlySet<number>,
  { stop = [], signal, ...options }: ChatOptions,
): AsyncGenerator<ChatEvent, void> {
  stop.forEach((text, i) => {
    if (typeof text !== 'string' || text === '') throw new RangeError(`stop[${i}]: got '${text}', wanted some text.`);
  });
  const stopping = new AbortController();
  const generation = engine.generate(prompt(), {
    ...options,
    stopTokens,
    signal: signal ? AbortSignal.any([signal, stopping.signal]) : stopping.signal,
  });
  const characters = tokenizer.stream();
  const stops = createStopStrings(stop);
  let pending: Pending[] = [];
  let decoded = 0;
  let shown = 0;
  let taken = 0;
  /** Text goes out with the tokens it completes; at the end also those of which only a part is shown. */
  const show = (text: string, rest: 'wait' | 'cut' | 'all'): ChatEvent | null => {
    shown += text.length;
    const goes = ({ start, end }: Pending): boolean =>
      end <= shown || rest === 'all' || (rest === 'cut' && start < shown);
    const tokens = pending.filter(goes).map(({ event }) => event);
    // Half a character's tokens wait for the other half.
    if (text === '' && (rest === 'wait' || tokens.length === 0)) return null;
    pending = pending.filter(token => !goes(token));
    return { type: 'text', text, tokens };
  };
  try {
    for (;;) {
      const next = await generation.next();
      if (next.done) {
        const { reason, stats } = next.value;
        if (stops.stopped) {
          yield { type: 'end', reason: 'stop', stats: { ...stats, generatedTokens: taken } };
          return;
        }
        const last = stops.push(characters.end());
        const event = show(last + stops.end(), stops.stopped ? 'cut' : 'all');
        if (event) yield event;
        yield { type: 'end', reason: stops.stopped ? 'stop' : reason, stats };
        return;
      }
      if (stops.stopped) continue; // computed before the abort arrived
      taken++;
      const text = characters.push(next.value.token);
      if (text !== '') {
        // The first character is the one that tokens without text began.
        const [character] = text;
        for (const token of pending) if (token.end === Infinity) token.end = decoded + character!.length;
      }
      pending.push({ event: next.value, start: decoded, end: text === '' ? Infinity : decoded + text.length });
      decoded += text.length;
      const visible = stops.push(text);
      const event = show(visible, stops.stopped ? 'cut' : 'wait');
      if (stops.stopped) stopping.abort();
      if (event) yield event;
    }
  } finally {
    stopping.abort();
    await generation.return?.({ reason: 'abort', stats: emptyStats });
  }
}

const emptyStats = {
  promptTokens: 0,
  cachedTokens: 0,
  generatedTokens: 0,
  queueMs: 0,
  prefillMs: 0,
  decodeMs: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
};
