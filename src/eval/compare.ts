// Compares two models over one text, one after the other: the first one's numbers wait on disk while the second computes.
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { readVocabulary } from '../engine/chat.ts';
import type { ModelInfo } from '../engine/types.ts';
import {
  type Drift,
  divergenceOf,
  driftOf,
  type Perplexities,
  perplexitiesOf,
  type Spread,
  spreadOf,
} from './divergence.ts';
import { type Measured, type MeasureOptions, measure, type Sink, type Windows, windowsOf } from './measure.ts';
import { openScratch } from './traces.ts';
import type { Verdict } from './validity.ts';

export interface CompareOptions extends Omit<MeasureOptions, 'onProgress'> {
  /** Tokens of a window, its BOS included. Default 512. */
  readonly contextTokens?: number;
  /** Tokens of the text that are compared. Default 2048. */
  readonly maxTokens?: number;
  readonly onProgress?: (model: 'A' | 'B', ...progress: Parameters<NonNullable<MeasureOptions['onProgress']>>) => void;
}

/** One model of a comparison. */
export interface ComparedModel {
  readonly path: string;
  readonly parameters: number;
  readonly weightBytes: number;
  readonly backend: string;
  readonly variant: string | null;
  readonly threads: number;
}

/** The residual stream after one layer, B's against A's, over positions. */
export interface LayerDrift {
  readonly layer: number;
  readonly relativeError: number;
  readonly worstRelativeError: number;
  readonly cosine: number;
}

/** A position at which the models are far apart. */
export interface Difference {
  readonly position: number;
  readonly before: string;
  /** The token that follows, and its probabilities. */
  readonly token: string;
  readonly a: number;
  readonly b: number;
  readonly kl: number;
}

export interface Validity {
  readonly asked: number;
  readonly a: number;
  readonly b: number;
}

/** All that was measured: B against A. */
export interface Comparison {
  readonly a: ComparedModel;
  readonly b: ComparedModel;
  /** Predictions compared, in windows of so many tokens. */
  readonly predictions: number;
  readonly contextTokens: number;
  readonly kl: Spread;
  /** Predictions by divergence, in powers of ten from `from` to below `to`; the first bin also holds all below it, the last all above. */
  readonly klHistogram: readonly { readonly from: number; readonly to: number; readonly count: number }[];
  readonly top1: { readonly agreement: number; readonly error: number };
  readonly perplexity: Perplexities;
  /** p_B − p_A of the tokens that follow. */
  readonly probabilityChange: { readonly mean: number; readonly rms: number };
  /** Null where the models differ in layers or width. */
  readonly drift: { readonly positions: number; readonly layers: readonly LayerDrift[] } | null;
  readonly worst: readonly Difference[];
  /** Questions that ask for a tool or for JSON, and answers in form. Null where none were asked. */
  readonly tasks: {
    readonly tools: Validity;
    readonly json: Validity;
    /** Where only one of the two answered in form: each one's fault, null for none. */
    readonly changed: readonly { readonly id: string; readonly a: string | null; readonly b: string | null }[];
  } | null;
}

const WORST = 10;
/** Bins of the histogram: 10^LEAST … 10^MOST, two a power of ten. */
const LEAST = -7;
const MOST = 1;

/**
 * Compares checkpoint B with checkpoint A over a text; never are both in memory.
 * @throws CheckpointError when the tokenizers differ or a file cannot be used; RangeError naming an option
 */
export async function compareModels(
  a: string,
  b: string,
  text: string,
  options: CompareOptions = {},
): Promise<Comparison> {
  const { contextTokens = 512, maxTokens = 2048, onProgress, tasks = true, ...rest } = options;
  const tokens = await sharedTokens(a, b, text, maxTokens);
  const { tokenizer } = await readVocabulary(a);
  const windows = windowsOf(tokens, Math.min(contextTokens, tokens.length + 1), tokenizer.bos);
  await using scratch = await openScratch();
  const [logprobs, states] = [scratch.rows('logprobs'), scratch.rows('states')];
  const run = (path: string, name: 'A' | 'B', sink: Sink): Promise<Measured> =>
    measure(path, windows, sink, { ...rest, tasks, onProgress: (...progress) => onProgress?.(name, ...progress) });

  let { layers, dim, vocab } = { layers: 0, dim: 0, vocab: 0 };
  const first = await run(a, 'A', {
    opened: ({ config }) => {
      ({ layers, dim, vocab } = config);
    },
    prediction: (index, row) => logprobs.write(index, row),
    state: (position, layer, h) => states.write(position * layers + layer, h),
  });
  const before = { row: new Float32Array(vocab), h: new Float32Array(dim) };
  const kls: number[] = [];
  let agreed = 0;
  let alike = false;
  const drifts = Array.from({ length: layers }, (): Drift[] => []);
  const second = await run(b, 'B', {
    opened({ config }) {
      if (config.vocab !== vocab)
        throw new CheckpointError(b, `its vocabulary has ${config.vocab} tokens, that of ${a} has ${vocab}.`);
      alike = config.layers === layers && config.dim === dim;
    },
    prediction(index, row) {
      logprobs.read(index, before.row);
      const { kl, agrees } = divergenceOf(before.row, row);
      kls.push(kl);
      if (agrees) agreed++;
    },
    state(position, layer, h) {
      if (!alike) return;
      states.read(position * layers + layer, before.h);
      drifts[layer]!.push(driftOf(before.h, h));
    },
  });

  const changes = first.scores.map((score, i) => Math.exp(second.scores[i]!) - Math.exp(score));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const agreement = agreed / kls.length;
  return {
    a: comparedModel(first.info),
    b: comparedModel(second.info),
    predictions: kls.length,
    contextTokens: windows.size,
    kl: spreadOf(kls),
    klHistogram: histogramOf(kls),
    top1: { agreement, error: Math.sqrt((agreement * (1 - agreement)) / kls.length) },
    perplexity: perplexitiesOf(first.scores, second.scores),
    probabilityChange: { mean: mean(changes), rms: Math.sqrt(mean(changes.map(change => change ** 2))) },
    drift: alike
      ? {
          positions: drifts[0]!.length,
          layers: drifts.map((all, layer) => ({
            layer,
            relativeError: mean(all.map(drift => drift.relativeError)),
            worstRelativeError: Math.max(...all.map(drift => drift.relativeError)),
            cosine: mean(all.map(drift => drift.cosine)),
          })),
        }
      : null,
    worst: worstOf(kls, first, second, windows, ids => tokenizer.decode(ids, { special: 'show' })),
    tasks: first.verdicts && second.verdicts && tasksOf(first.verdicts, second.verdicts),
  };
}

/** The text in tokens that both models read alike: else their predictions are not about the same. */
async function sharedTokens(a: string, b: string, text: string, most: number): Promise<number[]> {
  const [one, other] = [(await readVocabulary(a)).tokenizer, (await readVocabulary(b)).tokenizer];
  const tokens = one.encode(text);
  const others = other.encode(text);
  const apart = tokens.findIndex((token, i) => others[i] !== token);
  if (apart >= 0 || tokens.length !== others.length || one.bos !== other.bos)
    throw new CheckpointError(
      b,
      `its tokenizer reads this text differently from that of ${a}${apart >= 0 ? ` from token ${apart} on` : ''}: only models that read the same tokens can be compared.`,
    );
  if (Math.min(most, tokens.length) < 2)
    throw new RangeError(
      `The text has ${tokens.length} tokens, of which ${most} were to be compared; at least 2 are needed.`,
    );
  return tokens.slice(0, most);
}

const comparedModel = ({ path, parameters, weightBytes, backend, variant, threads }: ModelInfo): ComparedModel => ({
  path,
  parameters,
  weightBytes,
  backend,
  variant: variant ?? null,
  threads,
});

function histogramOf(kls: readonly number[]): Comparison['klHistogram'] {
  const bins = Array.from({ length: 2 * (MOST - LEAST) }, (_, i) => ({
    from: LEAST + i / 2,
    to: LEAST + (i + 1) / 2,
    count: 0,
  }));
  for (const kl of kls) {
    const bin = Math.floor(2 * (Math.log10(kl) - LEAST)); // −∞ for 0
    bins[Math.min(bins.length - 1, Math.max(0, bin))]!.count++;
  }
  return bins;
}

function worstOf(
  kls: readonly number[],
  first: Measured,
  second: Measured,
  windows: Windows,
  textOf: (tokens: readonly number[]) => string,
): Difference[] {
  const places = windows.lists.flatMap(list => list.slice(1).map((token, i) => ({ list, token, at: i + 1 })));
  return kls
    .map((kl, position) => ({ kl, position }))
    .sort((x, y) => y.kl - x.kl)
    .slice(0, WORST)
    .map(({ kl, position }) => {
      const { list, token, at } = places[position]!;
      return {
        position,
        before: textOf(list.slice(Math.max(0, at - 8), at)),
        token: textOf([token]),
        a: Math.exp(first.scores[position]!),
        b: Math.exp(second.scores[position]!),
        kl,
      };
    });
}

function tasksOf(a: readonly Verdict[], b: readonly Verdict[]): Comparison['tasks'] {
  const count = (kind: Verdict['kind']): Validity => {
    const good = (all: readonly Verdict[]): number =>
      all.filter(verdict => verdict.kind === kind && verdict.fault === null).length;
    return { asked: a.filter(verdict => verdict.kind === kind).length, a: good(a), b: good(b) };
  };
  const pairs = a.map((verdict, i) => ({ id: verdict.id, a: verdict.fault, b: b[i]!.fault }));
  return {
    tools: count('tools'),
    json: count('json'),
    changed: pairs.filter(pair => (pair.a === null) !== (pair.b === null)),
  };
}
