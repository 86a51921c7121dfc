// Logits to log-probabilities, and the few most likely of them. Sums are doubles: float32 loses a vocabulary of 202,048.

import { exponential } from './exponential.ts';

export interface LogitSummary {
  readonly max: number;
  /** First index of the largest. */
  readonly argmax: number;
  /** ln Σ exp(logit): a logit minus this is its log-probability. */
  readonly logSum: number;
  /** What a backend found besides: Σ exp((logit − max) / temperature) of every `massTokens` tokens. */
  readonly masses?: Float32Array;
}

/**
 * One look at a row of logits. −∞ is an impossible token; NaN and +∞ are no logits.
 * @throws RangeError naming the token whose logit is none, or when every token is impossible.
 */
export function summarize(logits: Float32Array): LogitSummary {
  let max = -Infinity;
  let argmax = -1;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i]!;
    if (x > max) {
      max = x;
      argmax = i;
    } else if (Number.isNaN(x)) throw unusable(`the logit of token ${i} is NaN`);
  }
  if (max === Infinity) throw unusable(`the logit of token ${argmax} is Infinity`);
  if (argmax < 0) throw unusable('all logits are -Infinity');
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += exponential(logits[i]! - max);
  return { max, argmax, logSum: max + Math.log(sum) };
}

/**
 * The same of what a backend found in a row: the first index of the largest logit, that logit, and Σ exp(logit − largest).
 * @param logits the row where it is at hand, for the error's words
 * @throws RangeError when they are no distribution
 */
export function summaryOf(
  { argmax, max, sum }: { readonly argmax: number; readonly max: number; readonly sum: number },
  logits: Float32Array,
): LogitSummary {
  if (sum > 0 && sum < Infinity) return { max, argmax, logSum: max + Math.log(sum) };
  if (logits.length > 0) return summarize(logits);
  throw unusable('a logit is NaN or Infinity, or all are -Infinity');
}

function unusable(what: string): RangeError {
  return new RangeError(
    `The model computed no usable distribution: ${what}, wanted finite numbers. ` +
      "Its weights are damaged or the backend is broken; try backend 'reference', or get the file again.",
  );
}

/** Replaces logits by log-probabilities. */
export function logSoftmax(logits: Float32Array, { logSum } = summarize(logits)): void {
  for (let i = 0; i < logits.length; i++) logits[i]! -= logSum;
}

/** The n most likely tokens, most likely first and lower ids first on ties. */
export function mostLikely(
  logits: Float32Array,
  logSum: number,
  n: number,
): readonly { token: number; logprob: number }[] {
  // Logits are compared, not differences of them: rounding must not make two alike.
  const best: number[] = [];
  let least = -Infinity;
  for (let token = 0; token < logits.length && n > 0; token++) {
    const logit = logits[token]!;
    if (best.length === n && !(logit > least)) continue;
    let at = best.length;
    while (at > 0 && logits[best[at - 1]!]! < logit) at--;
    best.splice(at, 0, token);
    if (best.length > n) best.pop();
    least = logits[best[best.length - 1]!]!;
  }
  return best.map(token => ({ token, logprob: logits[token]! - logSum }));
}
