// How numbers of one sub-block become whole ones and a scale: searches over a few scales near the plain one for the least weighted error.
// Source of the rules: ggml-quants.c (ggml-org/ggml), whose results these give bit for bit.
import { bitsOf, clamp, f, nearest } from './single.ts';

/** Below it a group counts as all zero. */
export const tiny: number = f(1e-15);

/** The value farthest from zero, the first of equals. */
function farthest(x: Float32Array): number {
  let most = 0;
  let value = 0;
  for (const candidate of x)
    if (Math.abs(candidate) > most) {
      most = Math.abs(candidate);
      value = candidate;
    }
  return value;
}

/**
 * Signed steps −steps … steps − 1 with one scale, whose sign may be negative: the farthest value becomes −steps, or nearly.
 * @param levels receives the steps, `steps` added (all 0 for a group of zeros).
 * @param weights of the squared errors; x² where absent.
 * @returns the scale
 */
export function roundSigned(x: Float32Array, steps: number, levels: Uint8Array, weights?: Float32Array): number {
  const most = farthest(x);
  if (Math.abs(most) < tiny) {
    levels.fill(0);
    return 0;
  }
  const level = (inverse: number, i: number): number => clamp(nearest(f(inverse * x[i]!)), -steps, steps - 1);
  const weight = (i: number): number => weights?.[i] ?? f(x[i]! * x[i]!);
  let scale = 0;
  let best = 0;
  let bestInverse = 0;
  for (let turn = -10; turn <= 9; turn++) {
    if (turn === 0) continue;
    // The plain scale comes first and is taken as it is.
    const first = turn === -10;
    const inverse = first ? f(-steps / most) : f(-f(steps + f(f(0.1) * turn)) / most);
    let sumLX = 0;
    let sumL2 = 0;
    for (let i = 0; i < x.length; i++) {
      const l = level(inverse, i);
      const w = weight(i);
      sumLX = f(sumLX + f(f(w * x[i]!) * l));
      sumL2 = f(sumL2 + f(f(w * l) * l));
    }
    if (first || (sumL2 > 0 && f(sumLX * sumLX) > f(best * sumL2))) {
      scale = sumL2 === 0 ? 0 : f(sumLX / sumL2);
      best = f(scale * sumLX);
      bestInverse = inverse;
    }
  }
  for (let i = 0; i < x.length; i++) levels[i] = level(bestInverse, i) + steps;
  return scale;
}

/**
 * As `roundSigned` with weights x², but from the plain scale on, one value after the other goes where the error is least, five times at most.
 */
export function roundSignedInTurns(x: Float32Array, steps: number, levels: Uint8Array): number {
  const most = farthest(x);
  if (Math.abs(most) < tiny) {
    levels.fill(0);
    return 0;
  }
  const inverse = f(-steps / most);
  const at = new Int8Array(x.length);
  let sumLX = 0;
  let sumL2 = 0;
  for (let i = 0; i < x.length; i++) {
    const l = clamp(nearest(f(inverse * x[i]!)), -steps, steps - 1);
    at[i] = l;
    const w = f(x[i]! * x[i]!);
    sumLX = f(sumLX + f(f(w * x[i]!) * l));
    sumL2 = f(sumL2 + f(f(w * l) * l));
  }
  for (let turn = 0, changed = true; turn < 5 && changed; turn++) {
    changed = false;
    for (let i = 0; i < x.length; i++) {
      const value = x[i]!;
      const w = f(value * value);
      const wx = f(w * value);
      let lx = f(sumLX - f(wx * at[i]!));
      if (!(lx > 0)) continue;
      let l2 = f(sumL2 - f(f(w * at[i]!) * at[i]!));
      const l = clamp(nearest(f(f(value * l2) / lx)), -steps, steps - 1);
      if (l === at[i]) continue;
      lx = f(lx + f(wx * l));
      l2 = f(l2 + f(f(w * l) * l));
      if (l2 > 0 && f(f(lx * lx) * sumL2) > f(f(sumLX * sumLX) * l2)) {
        at[i] = l;
        sumLX = lx;
        sumL2 = l2;
        changed = true;
      }
    }
  }
  for (let i = 0; i < x.length; i++) levels[i] = at[i]! + steps;
  return sumL2 > 0 ? f(sumLX / sumL2) : 0;
}

/** Which scales near the plain one `roundAffine` tries. */
export interface Search {
  /** Levels above the highest that the first scale would reach, and how many more each further one. */
  readonly from: number;
  readonly by: number;
  readonly count: number;
  /** Errors count by their size, not by their square. */
  readonly absolute?: boolean;
}

/**
 * Levels 0 … highest with a scale and a minimum at or below zero: value = scale · level + minimum.
 * @returns scale and −minimum, which is at least 0
 */
export function roundAffine(
  x: Float32Array,
  weights: Float32Array,
  highest: number,
  levels: Uint8Array,
  search: Search,
): { scale: number; depth: number } {
  let low = x[0]!;
  let high = x[0]!;
  let sumW = weights[0]!;
  let sumX = f(sumW * x[0]!);
  for (let i = 1; i < x.length; i++) {
    if (x[i]! < low) low = x[i]!;
    if (x[i]! > high) high = x[i]!;
    sumW = f(sumW + weights[i]!);
    sumX = f(sumX + f(weights[i]! * x[i]!));
  }
  if (low > 0) low = 0;
  if (high === low) {
    levels.fill(0);
    return { scale: 0, depth: -low };
  }
  /** `low` is the minimum of the best so far: what is tried next is measured from there. */
  const level = (inverse: number, i: number): number => clamp(nearest(f(inverse * f(x[i]! - low))), 0, highest);
  const errorOf = (inverse: number, scale: number, minimum: number): number => {
    let error = 0;
    for (let i = 0; i < x.length; i++) {
      const difference = f(f(f(scale * level(inverse, i)) + minimum) - x[i]!);
      error = f(error + f(weights[i]! * (search.absolute ? Math.abs(difference) : f(difference * difference))));
    }
    return error;
  };
  const take = (inverse: number): void => {
    for (let i = 0; i < x.length; i++) levels[i] = level(inverse, i);
  };
  const plain = f(highest / f(high - low));
  let scale = f(1 / plain);
  let least = errorOf(plain, scale, low);
  take(plain);
  for (let turn = 0; turn <= search.count; turn++) {
    const inverse = f(f(f(f(search.from) + f(f(search.by) * turn)) + highest) / f(high - low));
    let sumL = 0;
    let sumL2 = 0;
    let sumXL = 0;
    for (let i = 0; i < x.length; i++) {
      const l = level(inverse, i);
      const wl = f(weights[i]! * l);
      sumL = f(sumL + wl);
      sumL2 = f(sumL2 + f(wl * l));
      sumXL = f(sumXL + f(wl * x[i]!));
    }
    const determinant = f(f(sumW * sumL2) - f(sumL * sumL));
    if (!(determinant > 0)) continue;
    let thisScale = f(f(f(sumW * sumXL) - f(sumX * sumL)) / determinant);
    let thisMinimum = f(f(f(sumL2 * sumX) - f(sumL * sumXL)) / determinant);
    if (thisMinimum > 0) {
      thisMinimum = 0;
      thisScale = f(sumXL / sumL2);
    }
    const error = errorOf(inverse, thisScale, thisMinimum);
    if (error < least) {
      take(inverse);
      least = error;
      scale = thisScale;
      low = thisMinimum;
    }
  }
  return { scale, depth: -low };
}

/** Levels 0 … highest with one scale for numbers that are not negative, as scales of sub-blocks are; `weights` of their squared errors. */
export function roundPositive(x: Float32Array, highest: number, levels: Uint8Array, weights: Float32Array): number {
  let most = 0;
  for (const value of x) if (value > most) most = value;
  if (most < tiny) {
    levels.fill(0);
    return 0;
  }
  const errorOf = (inverse: number, bounded: boolean): number => {
    const scale = f(1 / inverse);
    let error = 0;
    for (let i = 0; i < x.length; i++) {
      const l = nearest(f(inverse * x[i]!));
      const difference = f(x[i]! - f(scale * (bounded ? Math.min(highest, l) : l & 255)));
      error = f(error + f(f(weights[i]! * difference) * difference));
    }
    return error;
  };
  let inverse = f(highest / most);
  let least = errorOf(inverse, false);
  for (let turn = -4; turn <= 4; turn++) {
    if (turn === 0) continue;
    const candidate = f(f(f(f(0.1) * turn) + highest) / most);
    const error = errorOf(candidate, true);
    if (error < least) {
      least = error;
      inverse = candidate;
    }
  }
  let sumLX = 0;
  let sumL2 = 0;
  for (let i = 0; i < x.length; i++) {
    const l = Math.min(highest, nearest(f(inverse * x[i]!)));
    levels[i] = l;
    sumLX = f(sumLX + f(f(weights[i]! * x[i]!) * l));
    sumL2 = f(sumL2 + f(f(weights[i]! * l) * l));
  }
  for (let turn = 0, changed = true; turn < 5 && changed; turn++) {
    changed = false;
    for (let i = 0; i < x.length; i++) {
      const w = weights[i]!;
      const wx = f(w * x[i]!);
      let lx = f(sumLX - f(wx * levels[i]!));
      let l2 = f(sumL2 - f(f(w * levels[i]!) * levels[i]!));
      if (!(lx > 0 && l2 > 0)) continue;
      const l = Math.min(highest, nearest(f(f(x[i]! * l2) / lx)));
      if (l === levels[i]) continue;
      lx = f(lx + f(wx * l));
      l2 = f(l2 + f(f(w * l) * l));
      if (f(f(lx * lx) * sumL2) > f(f(sumLX * sumLX) * l2)) {
        levels[i] = l;
        sumLX = lx;
        sumL2 = l2;
        changed = true;
      }
    }
  }
  return sumL2 > 0 ? f(sumLX / sumL2) : 0;
}

/** The index of the value nearest to x in an ascending list, the upper one of a tie. */
export function nearestIndex(values: ArrayLike<number>, x: number): number {
  const last = values.length - 1;
  if (x <= values[0]!) return 0;
  if (x >= values[last]!) return last;
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x < values[middle]!) high = middle;
    else low = middle;
  }
  return f(x - values[high - 1]!) < f(values[high]! - x) ? high - 1 : high;
}

/** ⌊log₂ value⌋ as C's float functions give it: log2f rounds up to a whole number just below one. value > 0, not infinite. */
export const floorLog2 = (value: number): number => Math.floor(f(Math.log2(value)));

/** A float's exponent as its bits have it, 127 less. */
export const exponentOf = (value: number): number => ((bitsOf(value) >> 23) & 255) - 127;
