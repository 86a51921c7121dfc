// How far two models' predictions are apart: one position at a time, and what many positions come to.

/** Two predictions of one next token. */
export interface Divergence {
  /** Σ p_A ln(p_A / p_B), nats; 0 where both are the same. */
  readonly kl: number;
  /** Both take the same token for the likeliest. */
  readonly agrees: boolean;
}

/**
 * Kullback-Leibler divergence of B from A, in double precision.
 * @param a log-probabilities of the model that is measured against, [vocab]
 * @param b of the other
 */
export function divergenceOf(a: Float32Array, b: Float32Array): Divergence {
  let kl = 0;
  let bestA = 0;
  let bestB = 0;
  for (let i = 0; i < a.length; i++) {
    const logA = a[i]!;
    const logB = b[i]!;
    if (logA > a[bestA]!) bestA = i;
    if (logB > b[bestB]!) bestB = i;
    if (logA > -103) kl += Math.exp(logA) * (logA - logB); // less than the smallest float32 adds nothing
  }
  return { kl: Math.max(0, kl), agrees: bestA === bestB }; // sums of roundings may fall below 0
}

/** What many numbers come to. Quantiles are by nearest rank. */
export interface Spread {
  readonly mean: number;
  /** Standard error of the mean. */
  readonly error: number;
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / n;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const rank = (share: number): number => sorted[Math.max(0, Math.ceil(share * n) - 1)]!;
  return {
    mean,
    error: n > 1 ? Math.sqrt(squares / (n - 1) / n) : 0,
    median: rank(0.5),
    p99: rank(0.99),
    max: sorted[n - 1]!,
  };
}

/** Perplexities of the same tokens under both models. Errors are standard errors; the pairing makes that of the ratio small. */
export interface Perplexities {
  readonly a: number;
  readonly aError: number;
  readonly b: number;
  readonly bError: number;
  readonly ratio: number;
  readonly ratioError: number;
  /** b − a. */
  readonly difference: number;
  readonly differenceError: number;
}

/** @param a ln p of each token under A @param b under B */
export function perplexitiesOf(a: readonly number[], b: readonly number[]): Perplexities {
  const nllA = spreadOf(a.map(logprob => -logprob));
  const nllB = spreadOf(b.map(logprob => -logprob));
  const paired = spreadOf(a.map((logprob, i) => logprob - b[i]!));
  const [pplA, pplB, ratio] = [Math.exp(nllA.mean), Math.exp(nllB.mean), Math.exp(paired.mean)];
  // Var(mean a − mean b) = Var a + Var b − 2 Cov gives the covariance; then the delta method for e^b − e^a.
  const covariance = (nllA.error ** 2 + nllB.error ** 2 - paired.error ** 2) / 2;
  const variance = (pplA * nllA.error) ** 2 + (pplB * nllB.error) ** 2 - 2 * pplA * pplB * covariance;
  return {
    a: pplA,
    aError: pplA * nllA.error,
    b: pplB,
    bError: pplB * nllB.error,
    ratio,
    ratioError: ratio * paired.error,
    difference: pplB - pplA,
    differenceError: Math.sqrt(Math.max(0, variance)),
  };
}

/** Two states of the residual stream at one position. */
export interface Drift {
  /** ‖b − a‖ / ‖a‖ */
  readonly relativeError: number;
  /** a·b / (‖a‖‖b‖), from −1 to 1. */
  readonly cosine: number;
}

export function driftOf(a: Float32Array, b: Float32Array): Drift {
  let aa = 0;
  let bb = 0;
  let ab = 0;
  let dd = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    aa += x * x;
    bb += y * y;
    ab += x * y;
    dd += (y - x) ** 2;
  }
  const norms = Math.sqrt(aa) * Math.sqrt(bb);
  return { relativeError: dd === 0 ? 0 : Math.sqrt(dd / aa), cosine: dd === 0 ? 1 : norms === 0 ? 0 : ab / norms };
}
