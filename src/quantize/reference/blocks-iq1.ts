// Encoding to −1, 0 and 1 on a grid, shifted by ⅛ up or down: IQ1_S and IQ1_M. Of all ways to part the sorted values in three, the best.
// Layouts: backends/reference/blocks-lookup.ts. Rounding: ggml-quants.c (ggml-org/ggml), bit for bit.

import { toHalf } from '../../backends/reference/half.ts';
import { type Grid, grids } from './grids.ts';
import { clamp, f, nearest, putHalf, putWord16, sumOfSquares, weigh } from './single.ts';

/** What the levels 0, 1 and 2 stand for, shifted up and down. */
const up = [-0.875, 0.125, 1.125] as const;
const down = [-1.125, -0.125, 0.875] as const;
type Values = typeof up | typeof down;

/** A sub-block: its scale, a point for each eight values, and the values of each eight. */
interface Found {
  readonly scale: number;
  readonly points: readonly number[];
  readonly values: readonly Values[];
}

/** The best parting of the values in order: below `one` level 0, from `two` on level 2. */
interface Parting {
  readonly one: number;
  readonly two: number;
  readonly scale: number;
  readonly values: readonly Values[];
}

const inOrder = (x: Float32Array): number[] => Array.from(x, (_, i) => i).sort((a, b) => x[a]! - x[b]!);

/** Sums over the values in order: entry j is that of the first j of them that belong. */
function running(order: readonly number[], term: (i: number) => number, belongs: (i: number) => boolean): Float32Array {
  const sums = new Float32Array(order.length + 1);
  for (const [j, i] of order.entries()) sums[j + 1] = belongs(i) ? sums[j]! + term(i) : sums[j]!;
  return sums;
}

const all = (): boolean => true;

/** One shift for all values of the sub-block. */
function partWhole(x: Float32Array, weights: Float32Array, order: readonly number[]): Parting | null {
  const n = x.length;
  const sx = running(order, i => f(weights[i]! * x[i]!), all);
  const sw = running(order, i => weights[i]!, all);
  let best: Parting | null = null;
  let score = -3.4028234663852886e38;
  for (let one = 0; one <= n; one++)
    for (let two = one; two <= n; two++)
      for (const v of [up, down]) {
        const parts = (s: Float32Array): [number, number, number] => [
          f(s[one]! - s[0]!),
          f(s[two]! - s[one]!),
          f(s[n]! - s[two]!),
        ];
        const [x0, x1, x2] = parts(sx);
        const [w0, w1, w2] = parts(sw);
        const qx = f(f(f(x0 * v[0]) + f(x1 * v[1])) + f(x2 * v[2]));
        const q2 = f(f(f(f(w0 * v[0]) * v[0]) + f(f(w1 * v[1]) * v[1])) + f(f(w2 * v[2]) * v[2]));
        if (q2 > 0 && f(qx * qx) > f(score * q2)) {
          const scale = f(qx / q2);
          score = f(scale * qx);
          best = { one, two, scale, values: [v, v, v, v] };
        }
      }
  return best;
}

/** A shift for each half of sixteen values. */
function partHalves(x: Float32Array, weights: Float32Array, order: readonly number[]): Parting | null {
  const n = x.length;
  const halves = [(i: number) => i < 8, (i: number) => i >= 8];
  const sx = halves.map(half => running(order, i => f(weights[i]! * x[i]!), half));
  const sw = halves.map(half => running(order, i => weights[i]!, half));
  let best: Parting | null = null;
  let score = -3.4028234663852886e38;
  for (let one = 0; one <= n; one++)
    for (let two = one; two <= n; two++) {
      const sums = (h: number, v: Values): [number, number] => {
        const [px, pw] = [sx[h]!, sw[h]!];
        const qx = f(f(px[n]! * v[2]) - f(px[one]! + px[two]!));
        const first = f(f(f(pw[n]! * v[2]) * v[2]) + f(pw[one]! * (v[0] * v[0] - v[1] * v[1])));
        return [qx, f(first + f(pw[two]! * (v[1] * v[1] - v[2] * v[2])))];
      };
      for (const a of [up, down])
        for (const b of [up, down]) {
          const [[ax, a2], [bx, b2]] = [sums(0, a), sums(1, b)];
          const qx = f(ax + bx);
          const q2 = f(a2 + b2);
          if (q2 > 0 && f(qx * qx) > f(score * q2)) {
            const scale = f(qx / q2);
            score = f(scale * qx);
            best = { one, two, scale, values: [a, b] };
          }
        }
    }
  return best;
}

/** The neighbour with the least weighted error. */
function bestNeighbour(
  grid: Grid,
  code: number,
  x: Float32Array,
  weights: Float32Array,
  at: number,
  scale: number,
  v: Values,
): number {
  const from = -1 - grid.map[code]!;
  let best = grid.neighbours[from + 1]!;
  let least = Number.POSITIVE_INFINITY;
  for (let j = 1; j <= grid.neighbours[from]!; j++) {
    const point = grid.neighbours[from + j]!;
    let error = 0;
    for (let i = 0; i < 8; i++) {
      const difference = f(f(scale * v[grid.points[8 * point + i] as 0 | 1 | 2]) - x[at + i]!);
      error = f(error + f(f(weights[at + i]! * difference) * difference));
    }
    if (error < least) {
      least = error;
      best = point;
    }
  }
  return best;
}

function roundToGrid(x: Float32Array, weights: Float32Array, least: number, part: typeof partWhole): Found | null {
  if (x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) < least) return null;
  const order = inOrder(x);
  const parting = part(x, weights, order);
  if (!parting) return null;
  const grid = grids.IQ1();
  const levels = new Uint8Array(x.length);
  for (const [j, i] of order.entries()) levels[i] = j < parting.one ? 0 : j < parting.two ? 1 : 2;
  let { scale, values } = parting;
  if (scale < 0) {
    for (let j = 0; j < levels.length; j++) levels[j] = 2 - levels[j]!;
    scale = -scale;
    values = values.map(v => (v === up ? down : up));
  }
  let onGrid = true;
  const points = Array.from({ length: x.length / 8 }, (_, k) => {
    let code = 0;
    for (let j = 0; j < 8; j++) code |= levels[8 * k + j]! << (2 * j);
    if (grid.map[code]! >= 0) return grid.map[code]!;
    onGrid = false;
    return bestNeighbour(grid, code, x, weights, 8 * k, scale, values[k]!);
  });
  if (!onGrid) {
    let qx = 0;
    let q2 = 0;
    for (let i = 0; i < x.length; i++) {
      const q = values[i >> 3]![grid.points[8 * points[i >> 3]! + (i & 7)] as 0 | 1 | 2];
      const wq = f(weights[i]! * q);
      qx = f(qx + f(wq * x[i]!));
      q2 = f(q2 + f(wq * q));
    }
    if (qx > 0 && q2 > 0) scale = f(qx / q2);
  }
  return { scale, points, values };
}

/** Needs importance. */
export function encodeIQ1_S(
  row: Float32Array,
  out: Uint8Array,
  importance: Float32Array = new Float32Array(row.length).fill(1),
): void {
  for (let from = 0, at = 0; from < row.length; from += 256, at += 50) {
    const x = row.subarray(from, from + 256);
    const block = out.subarray(at, at + 50).fill(0);
    const sigma2 = f(f(2 * sumOfSquares(x)) / 256);
    const found = Array.from({ length: 8 }, (_, sub) => {
      const part = x.subarray(32 * sub, 32 * (sub + 1));
      const own = importance.subarray(from + 32 * sub, from + 32 * (sub + 1));
      return roundToGrid(part, weigh(part, own, sigma2), f(1e-12), partWhole);
    });
    const most = found.reduce((high, sub) => Math.max(high, sub?.scale ?? 0), 0);
    const scale = f(most / 15);
    const inverse = f(1 / scale);
    for (const [sub, one] of found.entries()) {
      let word = 0;
      for (const [k, point] of (one?.points ?? []).entries()) {
        block[2 + 4 * sub + k] = point;
        word |= (point >> 8) << (3 * k);
      }
      if (most !== 0) {
        const level = clamp(nearest(f(0.5 * f(f(inverse * (one?.scale ?? 0)) - 1))), 0, 7);
        word |= (level | (one?.values[0] === down ? 8 : 0)) << 12;
      }
      putWord16(block, 34 + 2 * sub, word);
    }
    if (most !== 0) putHalf(block, 0, f(scale * 1.125));
  }
}

export function encodeIQ1_M(row: Float32Array, out: Uint8Array, importance?: Float32Array): void {
  const grid = grids.IQ1();
  for (let from = 0, at = 0; from < row.length; from += 256, at += 56) {
    const x = row.subarray(from, from + 256);
    const block = out.subarray(at, at + 56).fill(0);
    const sigma2 = f(f(2 * sumOfSquares(x)) / 256);
    const weights = importance
      ? weigh(x, importance.subarray(from, from + 256), sigma2)
      : x.map(value => f(value * value));
    const found = Array.from({ length: 16 }, (_, sub) => {
      const [start, end] = [16 * sub, 16 * (sub + 1)];
      return roundToGrid(x.subarray(start, end), weights.subarray(start, end), f(1e-7), partHalves);
    });
    const most = found.reduce((high, sub) => Math.max(high, sub?.scale ?? 0), 0);
    for (const [sub, one] of found.entries())
      for (const [k, point] of (one?.points ?? []).entries()) {
        block[2 * sub + k] = point;
        block[32 + sub]! |= (point >> 8) << (4 * k);
      }
    if (most === 0) continue;
    const inverse = f(1 / f(most / 15));
    const words = [0, 0, 0, 0];
    let qx = 0;
    let q2 = 0;
    for (const [sub, one] of found.entries()) {
      const level = clamp(nearest(f(0.5 * f(f(inverse * (one?.scale ?? 0)) - 1))), 0, 7);
      words[sub >> 2]! |= level << (3 * (sub & 3));
      for (let k = 0; k < 2; k++) {
        const values = one?.values[k] ?? up;
        if (values === down) block[32 + sub]! |= 8 << (4 * k);
        for (let j = 0; j < 8; j++) {
          const i = 16 * sub + 8 * k + j;
          const q = f(values[grid.points[8 * (one?.points[k] ?? 0) + j] as 0 | 1 | 2] * (2 * level + 1));
          const wq = f(weights[i]! * q);
          qx = f(qx + f(wq * x[i]!));
          q2 = f(q2 + f(wq * q));
        }
      }
    }
    // The scale anew, now that those of the sub-blocks are known; and a little more, which lessens the error.
    const half = toHalf(f((q2 > 0 ? f(qx / q2) : f(most / 15)) * f(1.1125)));
    for (const [i, word] of words.entries()) putWord16(block, 48 + 2 * i, word | (((half >> (4 * i)) & 15) << 12));
  }
}
