// Chooses a token from logits: penalties, temperature, top-k, top-p, min-p. One pass groups the vocabulary into bins of like
// probability, and only the bin in which a cut falls is sorted: 202,048 logits are never sorted whole.

import { massTokens } from '../backends/backend.ts';
import { exponential } from './exponential.ts';
import { type LogitSummary, summarize } from './log-softmax.ts';
import { type Random, seededRandom } from './random.ts';
import { maskedLogits, type TokenConstraint } from './token-constraint.ts';
import type { SamplingOptions } from './types.ts';

/** Of a request: owns its random generator, so that what runs beside it changes nothing. */
export interface Sampler {
  /**
   * @param logits one row; put back as it was on return
   * @param history prompt and answer so far
   * @returns the token and the row's log-sum, under the model itself
   * @param summary the row's; default: made from it
   * @throws RangeError when the logits hold NaN or +∞
   */
  sample(
    logits: Float32Array,
    history: readonly number[],
    summary?: LogitSummary,
  ): { readonly token: number; readonly logSum: number };
  /** True when the row's summary is all that it looks at. */
  readonly takesBest: boolean;
  /** The temperature for which it looks at the summary's masses, where they are there; else 0. */
  readonly drawsAt: number;
  /** True when the constraint lets nothing follow. */
  readonly ended: boolean;
}

/**
 * In this order: the constraint, which makes tokens impossible; biases; penalties; division by the temperature; then the most likely tokens, of which top-k keeps the first k, top-p
 * the shortest beginning that has this share of what top-k left (arXiv 1904.09751), min-p those at least as likely as this share
 * of the first (arXiv 2407.01082). The shortest of the three remains. Like tokens are ordered by id.
 * @param options checked by the caller
 * @param constraint where the answer begins; it moves on with every token sampled
 */
export function createSampler(
  options: SamplingOptions,
  scratch: Scratch,
  constraint: TokenConstraint | null = null,
): Sampler {
  const { temperature = 0, repetitionWindow = 64 } = options;
  const random = seededRandom(options.seed ?? Math.floor(Math.random() * 2 ** 53));
  const penalize = penaltiesOf(options);
  const choose = (
    logits: Float32Array,
    history: readonly number[],
    largest: number | null,
    masses?: Float32Array,
  ): number => {
    const changed = penalize?.(logits, repetitionWindow > 0 ? history.slice(-repetitionWindow) : []);
    const argmax = largestOf(logits, largest, changed?.tokens);
    try {
      return temperature > 0 ? draw(logits, logits[argmax]!, options, temperature, random, scratch, masses) : argmax;
    } finally {
      changed?.undo();
    }
  };
  let place = constraint;
  return {
    takesBest: temperature === 0 && !penalize && !constraint,
    // Masses are of logits as they came, and the first k need none.
    drawsAt: penalize || constraint || options.topK ? 0 : temperature,
    sample(logits, history, summary = summarize(logits)) {
      const { argmax, logSum, masses } = summary;
      if (!place) return { token: choose(logits, history, argmax, masses), logSum };
      const token = choose(maskedLogits(logits, place.allowed, scratch.masked(logits.length)), history, null);
      place = place.after(token);
      return { token, logSum };
    },
    get ended() {
      return place?.ended ?? false;
    },
  };
}

/** Logits that were changed, and what puts them back. */
interface Changed {
  readonly tokens: ReadonlySet<number>;
  undo(): void;
}

/** Changes the logits of tokens with a bias or in the window; null where nothing of that is set. */
function penaltiesOf(options: SamplingOptions) {
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, logitBias } = options;
  const penalizes = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  if (!penalizes && !logitBias?.size) return null;
  return (logits: Float32Array, window: readonly number[]): Changed => {
    const counts = new Map<number, number>();
    if (penalizes) for (const token of window) counts.set(token, (counts.get(token) ?? 0) + 1);
    const tokens = new Set([...(logitBias?.keys() ?? []), ...counts.keys()]);
    const before = Array.from(tokens, token => [token, logits[token]!] as const);
    for (const [token, bias] of logitBias ?? []) logits[token]! += bias;
    for (const [token, count] of counts) {
      const x = logits[token]!;
      const scaled = x > 0 ? x / repetitionPenalty : x * repetitionPenalty;
      logits[token] = scaled - presencePenalty - count * frequencyPenalty;
    }
    return {
      tokens,
      undo() {
        for (const [token, x] of before) logits[token] = x;
      },
    };
  };
}

const BINS_PER_NAT = 16;
const BINS = 1024;

/** Working memory of a draw, shared by the samplers of one engine: it computes one row at a time. */
export interface Scratch {
  readonly weights: Float64Array; // [vocab]
  readonly bins: Uint16Array; // [vocab]
  readonly order: Uint32Array; // [vocab], tokens by bin
  readonly nearIds: Uint32Array; // [vocab]
  readonly nearLogits: Float32Array; // [vocab]
  readonly counts: Uint32Array; // [BINS]
  readonly masses: Float64Array; // [BINS]
  /** A row of logits under a constraint, [vocab]. */
  masked(vocab: number): Float32Array;
}

export function createScratch(vocab: number): Scratch {
  let masked: Float32Array | null = null;
  return {
    weights: new Float64Array(vocab),
    bins: new Uint16Array(vocab),
    order: new Uint32Array(vocab),
    nearIds: new Uint32Array(vocab),
    nearLogits: new Float32Array(vocab),
    counts: new Uint32Array(BINS),
    masses: new Float64Array(BINS),
    masked(length) {
      if (masked?.length !== length) masked = new Float32Array(length);
      return masked;
    },
  };
}

/**
 * The first index of the largest logit, when `changed` ones are no longer what they were when `largest` was it: where that one is
 * as it was, only they can have overtaken it, and the vocabulary need not be looked through.
 */
function largestOf(logits: Float32Array, largest: number | null, changed: ReadonlySet<number> = new Set()): number {
  if (largest === null || changed.has(largest)) return argmaxOf(logits);
  let best = largest;
  for (const token of changed) {
    const ahead = logits[token]! - logits[best]!;
    if (ahead > 0 || (ahead === 0 && token < best)) best = token;
  }
  return best;
}

function argmaxOf(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

function draw(
  logits: Float32Array,
  max: number,
  options: SamplingOptions,
  temperature: number,
  random: Random,
  scratch: Scratch,
  masses?: Float32Array,
): number {
  const { topK = 0, topP = 1, minP = 0 } = options;
  if (masses && topK === 0 && topP >= 1 && minP === 0)
    return drawByMasses(logits, max, temperature, random, scratch, masses);
  const near = nearest(logits, max, temperature, options, scratch, masses);
  if (!near) return drawFrom(logits, max, options, temperature, random, scratch);
  return near.ids[drawFrom(near.logits, max, options, temperature, random, scratch, near.total)]!;
}

/** First which part of the vocabulary, then which token of it. */
function drawByMasses(
  logits: Float32Array,
  max: number,
  temperature: number,
  random: Random,
  { weights }: Scratch,
  masses: Float32Array,
): number {
  let total = 0;
  for (let i = 0; i < masses.length; i++) total += masses[i]!;
  let left = random() * total;
  let part = 0;
  for (let i = 0; i < masses.length; i++) {
    if (masses[i] === 0) continue;
    part = i;
    if (left < masses[i]!) break;
    left -= masses[i]!;
  }
  const from = part * massTokens;
  const to = Math.min(logits.length, from + massTokens);
  const mass = weigh(logits, from, to, max, temperature, weights);
  left *= mass / masses[part]!; // the same numbers, added more exactly
  return pick(weights, left, from, to);
}

/** weights[i] = exp((logits[i] − max) / temperature) of the tokens from … to − 1. @returns their sum */
function weigh(
  logits: Float32Array,
  from: number,
  to: number,
  max: number,
  temperature: number,
  weights: Float64Array,
): number {
  let mass = 0;
  for (let i = from; i < to; i++) {
    const weight = exponential((logits[i]! - max) / temperature);
    weights[i] = weight;
    mass += weight;
  }
  return mass;
}

/** Of tokens from … to − 1, or of those places of `tokens`, the one in which the mass `left` is used up. */
function pick(weights: Float64Array, left: number, from: number, to: number, tokens?: Uint32Array | null): number {
  let last = from;
  for (let i = from; i < to; i++) {
    const token = tokens ? tokens[i]! : i;
    const weight = weights[token]!;
    if (weight === 0) continue;
    last = token;
    left -= weight;
    if (left < 0) break;
  }
  return last; // rounding may leave a trace of mass: it is the last token's
}

/** How far below the largest tokens are looked for that cuts may leave, in nats at the temperature. */
const REACHES = [6, 12, 20];
/** Masses are sums of float32. */
const ROUNDING = 1e-5;

/** The likeliest tokens, in the order of their ids. */
interface Nearest {
  readonly ids: Uint32Array;
  readonly logits: Float32Array;
  /** Of all tokens, where a share of it is to be kept. */
  readonly total?: number;
}

/** So many of the likeliest tokens that the cuts leave none but of these, so that what is unlikely costs no more than a look; or null. */
function nearest(
  logits: Float32Array,
  max: number,
  temperature: number,
  { topK = 0, topP = 1, minP = 0 }: SamplingOptions,
  { nearIds, nearLogits }: Scratch,
  masses?: Float32Array,
): Nearest | null {
  const byCount = topK > 0 && topK < logits.length;
  const byShare = !byCount && topP < 1;
  if (byShare ? !masses : !byCount && minP === 0) return null;
  const total = byShare ? masses!.reduce((sum, mass) => sum + mass, 0) : 0;
  for (const reach of byCount || byShare ? REACHES : [ROUNDING - Math.log(minP)]) {
    const least = max - reach * temperature;
    let n = 0;
    for (let i = 0; i < logits.length; i++) if (logits[i]! >= least) nearIds[n++] = i;
    let mass = 0;
    for (let i = 0; i < n; i++) {
      const x = logits[nearIds[i]!]!;
      nearLogits[i] = x;
      if (byShare) mass += exponential((x - max) / temperature);
    }
    if (byCount ? n < topK : byShare && mass < topP * total * (1 + ROUNDING)) continue;
    return { ids: nearIds, logits: nearLogits.subarray(0, n), ...(byShare && { total }) };
  }
  return null;
}

/** A draw that looks at every logit. @param total the mass that top-p is a share of. Default: that of the logits */
function drawFrom(
  logits: Float32Array,
  max: number,
  options: SamplingOptions,
  temperature: number,
  random: Random,
  scratch: Scratch,
  total?: number,
): number {
  const { weights } = scratch;
  const all = weigh(logits, 0, logits.length, max, temperature, weights);
  const kept = keptTokens(logits, max, temperature, options, scratch, total);
  const mass = kept ? kept.reduce((sum, token) => sum + weights[token]!, 0) : all;
  return pick(weights, random() * mass, 0, kept?.length ?? logits.length, kept);
}

/** The tokens that the cuts leave, or null when all stay. Exported for tests through `keptOf`. */
function keptTokens(
  logits: Float32Array,
  max: number,
  temperature: number,
  { topK = 0, topP = 1, minP = 0 }: SamplingOptions,
  scratch: Scratch,
  total?: number,
): Uint32Array | null {
  const { weights, bins, order, counts, masses } = scratch;
  const vocab = logits.length;
  const k = topK > 0 ? Math.min(topK, vocab) : vocab;
  if (k === vocab && topP >= 1) {
    if (minP === 0) return null;
    let n = 0;
    for (let i = 0; i < vocab; i++) if (weights[i]! >= minP) order[n++] = i;
    return order.subarray(0, n);
  }
  counts.fill(0);
  masses.fill(0);
  const scale = BINS_PER_NAT / temperature;
  for (let i = 0; i < vocab; i++) {
    const bin = Math.min(BINS - 1, Math.floor((max - logits[i]!) * scale));
    bins[i] = bin;
    counts[bin]!++;
    masses[bin]! += weights[i]!;
  }
  // Bins up to the one in which the first of the two cuts must fall. Only without a top-k is all mass what top-p is a share of.
  let wantedMass = k === vocab && topP < 1 ? topP * (total ?? masses.reduce((a, b) => a + b, 0)) : Infinity;
  let last = 0;
  let count = counts[0]!;
  let mass = masses[0]!;
  while (last < BINS - 1 && count < k && mass < wantedMass) {
    last++;
    count += counts[last]!;
    mass += masses[last]!;
  }
  const starts = new Uint32Array(last + 2);
  for (let bin = 0; bin <= last; bin++) starts[bin + 1] = starts[bin]! + counts[bin]!;
  const ends = starts.slice(0, last + 1);
  for (let i = 0; i < vocab; i++) {
    const bin = bins[i]!;
    if (bin <= last) order[ends[bin]!++] = i;
  }
  // Within the cut's bin ids ascend; a stable sort keeps that on ties.
  const sortBin = (bin: number): void => {
    order.subarray(starts[bin]!, starts[bin + 1]!).sort((a, b) => logits[b]! - logits[a]! || a - b);
  };
  let n = count;
  let sorted = -1;
  if (k < n) {
    sortBin(last);
    sorted = last;
    n = k;
  }
  if (topP < 1) {
    if (k < vocab) {
      wantedMass = 0;
      for (let i = 0; i < n; i++) wantedMass += weights[order[i]!]!;
      wantedMass *= topP;
    }
    let bin = 0;
    let before = 0;
    while (bin < last && before + masses[bin]! < wantedMass) before += masses[bin++]!;
    if (bin !== sorted) sortBin(bin);
    let i = starts[bin]!;
    const stop = Math.min(n, starts[bin + 1]!);
    while (i < stop && before < wantedMass) before += weights[order[i++]!]!;
    n = Math.max(1, Math.min(n, i));
  }
  if (minP > 0) {
    let m = 0;
    for (let i = 0; i < n; i++) if (weights[order[i]!]! >= minP) order[m++] = order[i]!;
    n = m;
  }
  return order.subarray(0, n);
}

/** The set of tokens from which a draw would choose, most likely bins first. For tests and for those who want to look. */
export function keptOf(logits: Float32Array, options: SamplingOptions): number[] {
  const temperature = options.temperature || 1;
  const scratch = createScratch(logits.length);
  const max = logits[argmaxOf(logits)]!;
  logits.forEach((x, i) => {
    scratch.weights[i] = exponential((x - max) / temperature);
  });
  const kept = keptTokens(logits, max, temperature, options, scratch);
  return kept ? [...kept] : [...logits.keys()];
}
