// Attention over the visible keys of a ragged batch, without a mask.
import type { Batch } from '../backend.ts';
import type { ReferenceCache } from './cache.ts';
import { timesRows } from './matmul.ts';

/** Scores held at once; decides how many queries are computed together, and nothing of their results. */
const scoreBudget = 1 << 18;

/**
 * softmax(q·kᵀ/√headDim)·v for each query over the keys of its sequence (and its chunk, on chunked layers) up to itself.
 * Scores are rounded to float32, exponentials and their sums are doubles, keys are taken in ascending position.
 * Source: "Attention Is All You Need" (arXiv 1706.03762) §3.2.1; groups of query heads share a key head (arXiv 2305.13245).
 * @param q [T, heads, headDim].
 * @returns [T, heads, headDim].
 */
export function attend(
  q: Float32Array,
  heads: number,
  cache: ReferenceCache,
  layer: number,
  batch: Batch,
): Float32Array {
  const { kvHeads, headDim, chunks } = cache.shape;
  const chunk = chunks[layer] ?? null;
  const tokens = batch.positions.length;
  const group = heads / kvHeads;
  const scale = 1 / Math.sqrt(headDim);
  const out = new Float32Array(q.length);
  const firstVisible = (position: number): number => (chunk === null ? 0 : position - (position % chunk));

  for (let t = 0; t < tokens; ) {
    // A run: neighbouring rows of one sequence and chunk, which see the same keys but for the last few.
    const sequence = batch.sequences[t]!;
    const first = batch.positions[t]!;
    const start = firstVisible(first);
    const most = Math.max(1, Math.floor(scoreBudget / (group * (first - start + 1))));
    let run = 1;
    while (
      run < most &&
      t + run < tokens &&
      batch.sequences[t + run] === sequence &&
      batch.positions[t + run] === first + run &&
      firstVisible(first + run) === start
    )
      run++;
    const span = first + run - start;
    const queries = new Float32Array(run * group * headDim);
    const scores = new Float32Array(run * group * span);
    const sums = new Float64Array(run * group * headDim);
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      for (let i = 0; i < run; i++) {
        const from = ((t + i) * heads + kvHead * group) * headDim;
        queries.set(q.subarray(from, from + group * headDim), i * group * headDim);
      }
      cache.visit(layer, sequence, start, first + run, (page, at, count, position) => {
        const keysAt = (kvHead * page.length + at) * headDim;
        timesRows(queries, 0, run * group, page.keys, keysAt, count, headDim, scores, position - start, span);
      });
      const totals = new Float64Array(run * group);
      for (let row = 0; row < run * group; row++) {
        const visible = first + Math.floor(row / group) - start + 1;
        totals[row] = exponentials(scores.subarray(row * span, row * span + visible), scale);
      }
      sums.fill(0);
      cache.visit(layer, sequence, start, first + run, (page, at, count, position) => {
        const valuesAt = (kvHead * page.length + at) * headDim;
        for (let row = 0; row < run * group; row++) {
          const visible = Math.min(count, first + Math.floor(row / group) - position + 1);
          if (visible > 0)
            addWeighted(
              sums,
              row * headDim,
              scores,
              row * span + position - start,
              visible,
              page.values,
              valuesAt,
              headDim,
            );
        }
      });
      for (let row = 0; row < run * group; row++) {
        const to = ((t + Math.floor(row / group)) * heads + kvHead * group + (row % group)) * headDim;
        for (let d = 0; d < headDim; d++) out[to + d] = sums[row * headDim + d]! / totals[row]!;
      }
    }
    t += run;
  }
  return out;
}

/** Replaces scores by exp(scale · (score − largest)) and returns their sum. */
function exponentials(scores: Float32Array, scale: number): number {
  let largest = -Infinity;
  for (let j = 0; j < scores.length; j++) if (scores[j]! > largest) largest = scores[j]!;
  let sum = 0;
  for (let j = 0; j < scores.length; j++) {
    const weight = Math.exp(scale * (scores[j]! - largest));
    scores[j] = weight;
    sum += weight;
  }
  return sum;
}

/** sums[d] += Σⱼ weights[j] · values[j, d], j ascending. */
function addWeighted(
  sums: Float64Array,
  sumsAt: number,
  weights: Float32Array,
  weightsAt: number,
  count: number,
  values: Float32Array,
  valuesAt: number,
  headDim: number,
): void {
  let d = 0;
  for (; d + 4 <= headDim; d += 4) {
    let s0 = sums[sumsAt + d]!;
    let s1 = sums[sumsAt + d + 1]!;
    let s2 = sums[sumsAt + d + 2]!;
    let s3 = sums[sumsAt + d + 3]!;
    for (let j = 0, at = valuesAt + d; j < count; j++, at += headDim) {
      const weight = weights[weightsAt + j]!;
      s0 += weight * values[at]!;
      s1 += weight * values[at + 1]!;
      s2 += weight * values[at + 2]!;
      s3 += weight * values[at + 3]!;
    }
    sums[sumsAt + d] = s0;
    sums[sumsAt + d + 1] = s1;
    sums[sumsAt + d + 2] = s2;
    sums[sumsAt + d + 3] = s3;
  }
  for (; d < headDim; d++) {
    let sum = sums[sumsAt + d]!;
    for (let j = 0; j < count; j++) sum += weights[weightsAt + j]! * values[valuesAt + j * headDim + d]!;
    sums[sumsAt + d] = sum;
  }
}
