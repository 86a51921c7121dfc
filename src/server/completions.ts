// POST /v1/completions: texts or tokens in, their continuations out; with `echo` and `logprobs` the prompt's own probabilities.
import type { ChatModel } from '../engine/chat-types.ts';
import type { FinishReason, GenerationStats, RowsOptions } from '../engine/types.ts';
import { nthSeed, sideBySide, untilEnd } from './answers.ts';
import { type CompletionRequest, completionSchema, parseCompletionRequest } from './completion-request.ts';
import { checkBiases } from './conversation.ts';
import { openai } from './dialect.ts';
import { endpoint } from './endpoint.ts';
import { completionLogprobsWriter, largest, type ScoredToken } from './logprobs.ts';
import { type PreparedPrompt, preparePrompts } from './prompts-field.ts';
import { finishReasonOf, timingsOf, totalOf, usageOf } from './usage.ts';
import type { WireCompletion, WireCompletionLogprobs } from './wire.ts';

/** A prompt, and what `echo` gives back. */
interface EchoedPrompt extends PreparedPrompt {
  readonly text: string;
}

async function prepare(chat: ChatModel, { prompts, options }: CompletionRequest): Promise<EchoedPrompt[]> {
  checkBiases(chat, options);
  const prepared = await preparePrompts(chat, prompts, 'prompt', Math.min(1, options.maxTokens));
  return prepared.map((ready, i) => {
    const prompt = prompts[i]!;
    return { ...ready, text: typeof prompt === 'string' ? prompt : chat.tokenizer.decode(prompt, { special: 'show' }) };
  });
}

interface Piece {
  readonly index: number;
  readonly text: string;
  readonly logprobs: WireCompletionLogprobs | null;
  readonly end: { readonly reason: FinishReason; readonly stats: GenerationStats } | null;
}

/** One prompt's pieces: the echo, then texts, then the end. */
async function* continuePrompt(
  chat: ChatModel,
  request: CompletionRequest,
  { tokens, added, text }: EchoedPrompt,
  index: number,
  signal: AbortSignal,
): AsyncGenerator<Piece, void> {
  const write = request.logprobs === null ? () => null : completionLogprobsWriter(chat.tokenizer, request.logprobs);
  let promptMs = 0;
  if (request.echo) {
    const start = performance.now();
    const scored =
      request.logprobs === null
        ? []
        : (await scorePrompt(chat, tokens, request.logprobs, { ...request.options, signal })).slice(added);
    promptMs = performance.now() - start;
    yield { index, text, logprobs: write(scored), end: null };
  }
  if (request.options.maxTokens === 0) {
    const nothing = { cachedTokens: 0, generatedTokens: 0, draftedTokens: 0, acceptedTokens: 0 };
    const stats = { ...nothing, queueMs: 0, decodeMs: 0 };
    const end = { reason: 'length', stats: { ...stats, promptTokens: tokens.length, prefillMs: promptMs } } as const;
    yield { index, text: '', logprobs: request.echo ? null : write([]), end };
    return;
  }
  for await (const event of untilEnd(chat.complete(tokens, { ...request.options, signal }), signal)) {
    if (event.type === 'text') yield { index, text: event.text, logprobs: write(event.tokens), end: null };
    else if (event.type === 'end') yield { index, text: '', logprobs: null, end: event };
  }
}

/** The probability of each token after its prefix; without alternatives nothing of vocabulary size leaves the engine. */
async function scorePrompt(
  { engine }: ChatModel,
  tokens: readonly number[],
  topLogprobs: number,
  { cacheSalt, fairnessKey, signal }: RowsOptions,
): Promise<ScoredToken[]> {
  const scored: ScoredToken[] = [{ token: tokens[0]!, logprob: null, topLogprobs: [] }];
  if (tokens.length === 1) return scored;
  if (topLogprobs === 0) {
    const scores = await engine.score(tokens, { cacheSalt, fairnessKey, signal });
    scores.forEach((logprob, i) => {
      scored.push({ token: tokens[i + 1]!, logprob, topLogprobs: [] });
    });
    return scored;
  }
  const rows = Array.from({ length: tokens.length - 1 }, (_, row) => row);
  for await (const { row, logprobs } of engine.logprobs(tokens, { rows, cacheSalt, fairnessKey, signal })) {
    const token = tokens[row + 1]!;
    scored.push({ token, logprob: logprobs[token]!, topLogprobs: largest(logprobs, topLogprobs) });
  }
  return scored;
}

function piecesOf(chat: ChatModel, request: CompletionRequest, prompts: readonly EchoedPrompt[], signal: AbortSignal) {
  const sources = prompts.flatMap((prompt, at) =>
    Array.from({ length: request.answers }, (_, nth) => (signal: AbortSignal) => {
      const options = { ...request.options, seed: nthSeed(request.options.seed, nth) };
      return continuePrompt(chat, { ...request, options }, prompt, at * request.answers + nth, signal);
    }),
  );
  return sideBySide(sources, signal);
}

const envelope = (model: string) => ({
  id: `cmpl-${crypto.randomUUID()}`,
  object: 'text_completion' as const,
  created: Math.floor(Date.now() / 1000),
  model,
});

/** All completions in one object; if one of several fails, the others are stopped. */
async function complete(
  chat: ChatModel,
  request: CompletionRequest,
  prompts: readonly EchoedPrompt[],
  signal: AbortSignal,
): Promise<WireCompletion> {
  const choices = Array.from({ length: prompts.length * request.answers }, (_, index) => ({
    index,
    text: '',
    logprobs: request.logprobs === null ? null : emptyLogprobs(request.logprobs),
    finish_reason: null as ReturnType<typeof finishReasonOf> | null,
  }));
  const stats: GenerationStats[] = [];
  for await (const piece of piecesOf(chat, request, prompts, signal)) {
    const choice = choices[piece.index]!;
    choice.text += piece.text;
    if (piece.logprobs && choice.logprobs) append(choice.logprobs, piece.logprobs);
    if (!piece.end) continue;
    choice.finish_reason = finishReasonOf(piece.end.reason);
    stats.push(piece.end.stats);
  }
  const total = totalOf(stats);
  return {
    ...envelope(request.model),
    choices,
    usage: usageOf(total, request.answers),
    timings: timingsOf(total, choices.length),
  };
}

/** The completions in pieces, those of several prompts mixed; each piece's `index` says whose it is. */
async function* streamCompletion(
  chat: ChatModel,
  request: CompletionRequest,
  prompts: readonly EchoedPrompt[],
  signal: AbortSignal,
): AsyncGenerator<WireCompletion, void> {
  const base = envelope(request.model);
  const usage = request.includeUsage ? { usage: null } : {};
  const stats: GenerationStats[] = [];
  for await (const { index, text, logprobs, end } of piecesOf(chat, request, prompts, signal)) {
    const finish_reason = end && finishReasonOf(end.reason);
    if (end) stats.push(end.stats);
    const timings = end ? { timings: timingsOf(end.stats) } : {};
    yield { ...base, choices: [{ index, text, logprobs, finish_reason }], ...usage, ...timings };
  }
  if (request.includeUsage) yield { ...base, choices: [], usage: usageOf(totalOf(stats), request.answers) };
}

export const completions = endpoint<CompletionRequest>({
  path: '/v1/completions',
  summary: 'Continues texts or tokens; with echo and logprobs it scores them.',
  dialect: openai,
  schema: completionSchema,
  parse: parseCompletionRequest,
  async answer(chat, asked, signal, given) {
    const request = { ...asked, options: { ...asked.options, ...given } };
    const prompts = await prepare(chat, request);
    return request.stream ? streamCompletion(chat, request, prompts, signal) : complete(chat, request, prompts, signal);
  },
});

interface GrowingLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Readonly<Record<string, number>> | null)[] | null;
  text_offset: number[];
}

const emptyLogprobs = (topLogprobs: number): GrowingLogprobs => ({
  tokens: [],
  token_logprobs: [],
  top_logprobs: topLogprobs === 0 ? null : [],
  text_offset: [],
});

function append(to: GrowingLogprobs, piece: WireCompletionLogprobs): void {
  for (const token of piece.tokens) to.tokens.push(token);
  for (const logprob of piece.token_logprobs) to.token_logprobs.push(logprob);
  for (const top of piece.top_logprobs ?? []) to.top_logprobs?.push(top);
  for (const offset of piece.text_offset) to.text_offset.push(offset);
}
