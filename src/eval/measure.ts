// One model over the windows of a text: what it predicts at each position, the states of its layers there, and how it answers tasks.
import { createChat, readVocabulary } from '../engine/chat.ts';
import { openLocalEngine } from '../engine/local-engine.ts';
import type { EngineOptions, ModelInfo } from '../engine/types.ts';
import { type Observer, observed } from '../model/observe.ts';
import { judge, type Verdict } from './validity.ts';

export interface Windows {
  /** The tokens of each, with BOS where the model has one; at least two. */
  readonly lists: readonly (readonly number[])[];
  /** Tokens of the longest. */
  readonly size: number;
  /** Predictions of all together: of every token but the first of a window. */
  readonly predictions: number;
}

/** Cuts tokens into windows of `size` tokens that do not overlap. */
export function windowsOf(tokens: readonly number[], size: number, bos: number | null): Windows {
  const start = bos === null ? [] : [bos];
  const step = size - start.length;
  if (step < 2) throw new RangeError(`contextTokens: got ${size}, wanted at least ${start.length + 2}.`);
  const lists: number[][] = [];
  for (let from = 0; from < tokens.length; from += step) {
    const list = [...start, ...tokens.slice(from, from + step)];
    if (list.length > 1) lists.push(list); // one token alone predicts nothing
  }
  return { lists, size, predictions: lists.reduce((sum, list) => sum + list.length - 1, 0) };
}

/** What is measured goes here as it is computed. The arrays are the sink's to keep. */
export interface Sink {
  /** Before all else. */
  opened(info: ModelInfo): void;
  /** Log-probabilities at a prediction, counted over all windows, [vocab]. */
  prediction(index: number, logprobs: Float32Array): void;
  /** The state after a layer, [dim], at one of the positions that are looked at. */
  state(position: number, layer: number, h: Float32Array): void;
}

export interface MeasureOptions {
  readonly engine?: Pick<EngineOptions, 'backend' | 'threads' | 'memory'>;
  /** Positions at which states are looked at, spread evenly. Default 256. */
  readonly states?: number;
  readonly tasks?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (phase: 'loading' | 'predicting' | 'answering', done: number, total: number) => void;
}

export interface Measured {
  readonly info: ModelInfo;
  /** ln p of each token that follows. */
  readonly scores: readonly number[];
  readonly verdicts: readonly Verdict[] | null;
}

/** @throws CheckpointError when the file cannot be used; RangeError where a window is larger than the model's context */
export async function measure(
  path: string,
  windows: Windows,
  sink: Sink,
  options: MeasureOptions = {},
): Promise<Measured> {
  const { engine: engineOptions, signal, onProgress } = options;
  const aborts = signal ? { signal } : {};
  const { tokenizer, format } = await readVocabulary(path);
  const tokens = windows.lists.reduce((sum, list) => sum + list.length, 0);
  const every = Math.max(1, Math.ceil(tokens / (options.states ?? 256)));
  const observer: { -readonly [key in keyof Observer]: Observer[key] } = {};
  const engine = await openLocalEngine(path, {
    ...engineOptions,
    ...aborts,
    maxSequences: 1,
    cacheBytes: 0, // a prefix from the cache would not be seen
    passMs: Number.POSITIVE_INFINITY,
    around: (backend, model) => observed(backend, model, observer),
    onProgress: (done, total) => onProgress?.('loading', done, total),
  });
  await using chat = createChat(engine, tokenizer, format);
  const { contextTokens, config } = engine.info;
  if (windows.size > contextTokens)
    throw new RangeError(
      `contextTokens: got ${windows.size}, wanted at most ${contextTokens}, the context of ${path}.`,
    );

  sink.opened(engine.info);
  let position = 0;
  observer.output = (layer, h) => {
    const { dim, layers } = config;
    const rows = h.length / dim;
    for (let row = 0; row < rows; row++)
      if ((position + row) % every === 0)
        sink.state((position + row) / every, layer, h.slice(row * dim, (row + 1) * dim));
    if (layer === layers - 1) position += rows;
  };
  const scores: number[] = [];
  for (const list of windows.lists) {
    const rows = list.slice(1).map((_, i) => i);
    // All tokens are computed, also the last, which nothing follows: its states count.
    for await (const { row, logprobs } of engine.logprobs(list, { rows: [...rows, list.length - 1], ...aborts })) {
      const next = list[row + 1];
      if (next === undefined) continue;
      sink.prediction(scores.length, logprobs);
      scores.push(logprobs[next]!);
      if (scores.length % 16 === 0 || scores.length === windows.predictions)
        onProgress?.('predicting', scores.length, windows.predictions);
    }
  }
  delete observer.output;
  const verdicts = options.tasks
    ? await judge(chat, { ...aborts, onTask: (done, total) => onProgress?.('answering', done, total) })
    : null;
  return { info: engine.info, scores, verdicts };
}
