// Encoding to the formats whose sizes lie on a grid beside their signs: IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S.
// Layouts: backends/reference/blocks-lookup.ts. Rounding: ggml-quants.c (ggml-org/ggml), bit for bit.
import { type Grid, grids } from './grids.ts';
import { roundPositive, tiny } from './rounding.ts';
import { clamp, f, nearest, putHalf, putWord16, putWord32, sumOfSquares, weigh } from './single.ts';

/** How one format searches. */
interface Rules {
  readonly grid: () => Grid;
  /** Values that share a scale. */
  readonly sub: 16 | 32;
  /** Only the signs of seven of eight values are stored: their number must be even. */
  readonly evenSigns: boolean;
  /** The mean square counts so often beside a value's own square. */
  readonly sigma: 1 | 2;
  /** Weights where there is no importance: this share of sigma2, and x²; null: there must be importance. */
  readonly plain: number | null;
  /** Below it all of a sub-block are zeros. */
  readonly least: number;
  /** Scales tried on each side of the plain one, and how many levels they differ by. */
  readonly tries: number;
  readonly by: number;
  /** When the best scale is known, all points are sought anew, not only those that were not on the grid. */
  readonly all: boolean;
  /** The scale starts from the best without a grid. */
  readonly fit: boolean;
}

const rules = {
  IQ2_XXS: {
    ...{ grid: grids.IQ2_XXS, sub: 32, evenSigns: true, sigma: 1, plain: null, least: tiny },
    ...{ tries: 6, by: 0.1, all: true, fit: true },
  },
  IQ2_XS: {
    ...{ grid: grids.IQ2_XS, sub: 16, evenSigns: true, sigma: 1, plain: null, least: tiny },
    ...{ tries: 9, by: 0.1, all: false, fit: false },
  },
  IQ2_S: {
    ...{ grid: grids.IQ2_S, sub: 16, evenSigns: false, sigma: 2, plain: 0.25, least: f(1e-8) },
    ...{ tries: 9, by: 0.1, all: false, fit: false },
  },
  IQ3_XXS: {
    ...{ grid: grids.IQ3_XXS, sub: 32, evenSigns: true, sigma: 2, plain: 0, least: f(1e-8) },
    ...{ tries: 15, by: 0.2, all: false, fit: false },
  },
  IQ3_S: {
    ...{ grid: grids.IQ3_S, sub: 32, evenSigns: false, sigma: 2, plain: 0, least: 0 },
    ...{ tries: 9, by: 0.2, all: true, fit: false },
  },
} as const satisfies Record<string, Rules>;

/** What a sub-block became: `points` has an index for each group of the grid's size, `signs` a byte for each eight values. */
interface Found {
  scale: number;
  readonly points: Uint16Array;
  readonly signs: Uint8Array;
}

/** The code of levels, each 0 … most. */
function codeOf(grid: Grid, levels: Uint8Array, at: number): number {
  let code = 0;
  for (let i = 0; i < grid.size; i++) code |= levels[at + i]! << (grid.bits * i);
  return code & (grid.map.length - 1);
}

/** Takes the point of a code's neighbours with the least weighted error; returns its index, and puts its levels. */
function bestNeighbour(
  grid: Grid,
  code: number,
  x: Float32Array,
  roots: Float32Array,
  at: number,
  scale: number,
  levels: Uint8Array,
): number {
  const from = -1 - grid.map[code]!;
  const count = grid.neighbours[from]!;
  let best = grid.neighbours[from + 1]!;
  let least = Number.POSITIVE_INFINITY;
  for (let j = 1; j <= count; j++) {
    const point = grid.neighbours[from + j]!;
    let error = 0;
    for (let i = 0; i < grid.size; i++) {
      const difference = f(f(scale * (2 * grid.points[grid.size * point + i]! + 1)) - x[at + i]!);
      error = f(error + f(f(roots[at + i]! * difference) * difference));
    }
    if (error < least) {
      least = error;
      best = point;
    }
  }
  for (let i = 0; i < grid.size; i++) levels[at + i] = grid.points[grid.size * best + i]!;
  return best;
}

/** Sizes and signs of the values, with an even number of minuses in each eight if so asked: the least important value then turns. */
function takeSigns(x: Float32Array, weights: Float32Array, even: boolean, signs: Uint8Array): Float32Array {
  const sizes = x.map(value => (value >= 0 ? value : -value));
  for (let group = 0; group < x.length / 8; group++) {
    let bits = 0;
    let count = 0;
    for (let i = 0; i < 8; i++)
      if (!(x[8 * group + i]! >= 0)) {
        bits |= 1 << i;
        count++;
      }
    if (even && count % 2 === 1) {
      const cost = (i: number): number => f(f(weights[i]! * x[i]!) * x[i]!);
      let least = 8 * group;
      for (let i = least + 1; i < 8 * group + 8; i++) if (cost(i) < cost(least)) least = i;
      sizes[least] = -sizes[least]!;
      bits ^= 1 << (least - 8 * group);
    }
    signs[group] = even ? bits & 127 : bits;
  }
  return sizes;
}

function roundToGrid(x: Float32Array, weights: Float32Array, rule: Rules): Found {
  const grid = rule.grid();
  const most = 2 ** grid.bits === 8 ? 8 : 3; // levels of a point are below it
  const groups = rule.sub / grid.size;
  const found: Found = { scale: 0, points: new Uint16Array(groups), signs: new Uint8Array(rule.sub / 8) };
  const roots = weights.map(Math.sqrt);
  const sizes = takeSigns(x, weights, rule.evenSigns, found.signs);
  const largest = sizes.reduce((high, value) => (value > high ? value : high));
  const nothing = (): Found => {
    found.signs.fill(0);
    return found;
  };
  if (largest < rule.least || largest === 0) return nothing();
  let levels = new Uint8Array(rule.sub);
  let top = largest;
  let scale = f(largest / (2 * most - 1));
  if (rule.fit) {
    scale = roundPositive(sizes, most + 1, levels, weights);
    top = f(scale * most);
    if (top <= 0) return nothing();
  }
  const levelOf = (inverse: number, i: number): number =>
    clamp(nearest(f(0.5 * f(f(inverse * sizes[i]!) - 1))), 0, most - 1);
  /** Puts a group on the grid; says whether it was there. */
  const settle = (inverse: number, withScale: number, group: number, into: Uint8Array): boolean => {
    const at = group * grid.size;
    for (let i = 0; i < grid.size; i++) into[at + i] = levelOf(inverse, at + i);
    const code = codeOf(grid, into, at);
    if (grid.map[code]! >= 0) return true;
    bestNeighbour(grid, code, sizes, roots, at, withScale, into);
    return false;
  };
  const sums = (of: Uint8Array): [number, number] => {
    let qx = 0;
    let q2 = 0;
    for (let i = 0; i < rule.sub; i++) {
      const q = 2 * of[i]! + 1;
      qx = f(qx + f(f(weights[i]! * sizes[i]!) * q));
      q2 = f(q2 + f(f(weights[i]! * q) * q));
    }
    return [qx, q2];
  };
  let best = 0;
  let onGrid = new Array<boolean>(groups).fill(!rule.all);
  for (let turn = -rule.tries; turn <= rule.tries; turn++) {
    const inverse = f(f(2 * most - 1 + f(turn * f(rule.by))) / top);
    const candidate = new Uint8Array(rule.sub);
    const there = onGrid.map((_, group) => settle(inverse, f(1 / inverse), group, candidate));
    const [qx, q2] = sums(candidate);
    if (q2 > 0 && f(qx * qx) > f(best * q2)) {
      scale = f(qx / q2);
      best = f(scale * qx);
      levels = candidate;
      onGrid = there;
    }
  }
  if ((rule.fit || onGrid.includes(false)) && scale > 0) {
    const inverse = f(1 / scale);
    for (let group = 0; group < groups; group++) if (rule.all || !onGrid[group]) settle(inverse, scale, group, levels);
    const [qx, q2] = sums(levels);
    if (q2 > 0) scale = f(qx / q2);
  }
  if (scale < 0) {
    scale = -scale;
    for (let i = 0; i < found.signs.length; i++) found.signs[i] = ~found.signs[i]! & (rule.evenSigns ? 127 : 255);
  }
  for (let group = 0; group < groups; group++) {
    const code = codeOf(grid, levels, group * grid.size);
    const place = grid.map[code]!;
    found.points[group] = place >= 0 ? place : grid.neighbours[-place]!;
  }
  found.scale = scale;
  return found;
}

/** Every sub-block of a block, the block's scale times `fudge`, and the sub-blocks' scales: value = scale · (2s + 1) / 31 and so on. */
function roundBlock(x: Float32Array, importance: Float32Array | undefined, rule: Rules, fudge: number) {
  const sigma2 = f(f(rule.sigma * sumOfSquares(x)) / 256);
  const found = Array.from({ length: 256 / rule.sub }, (_, sub) => {
    const [from, to] = [rule.sub * sub, rule.sub * (sub + 1)];
    const part = x.subarray(from, to);
    const share = f((rule.plain ?? 0) * sigma2);
    const weights = importance
      ? weigh(part, importance.subarray(from, to), sigma2)
      : part.map(value => f(share + f(value * value)));
    return roundToGrid(part, weights, rule);
  });
  const most = found.reduce((high, { scale }) => Math.max(high, scale), 0);
  const scale = f(most / 31);
  const inverse = f(1 / scale);
  const levels = found.map(sub => (most === 0 ? 0 : clamp(nearest(f(0.5 * f(f(inverse * sub.scale) - 1))), 0, 15)));
  return { found, zero: most === 0, scale: f(scale * f(fudge)), levels };
}

type Put = (found: readonly Found[], levels: readonly number[], out: Uint8Array) => void;

const rows =
  (rule: Rules, blockBytes: number, scaleAt: number, fudge: number, put: Put, keepZeros = false) =>
  (row: Float32Array, out: Uint8Array, importance?: Float32Array): void => {
    for (let from = 0, at = 0; from < row.length; from += 256, at += blockBytes) {
      const block = out.subarray(at, at + blockBytes).fill(0);
      const { found, zero, scale, levels } = roundBlock(
        row.subarray(from, from + 256),
        importance?.subarray(from, from + 256),
        rule,
        fudge,
      );
      if (zero && !keepZeros) continue;
      put(found, levels, block);
      putHalf(block, scaleAt, scale);
    }
  };

/** Four times seven signs, and a scale above them. */
const signsAndScale = (signs: Uint8Array, level: number): number =>
  signs[0]! | (signs[1]! << 7) | (signs[2]! << 14) | (signs[3]! << 21) | (level << 28);

export const encodeIQ2_XXS = rows(rules.IQ2_XXS, 66, 0, 1, (found, levels, out) => {
  for (const [sub, { points, signs }] of found.entries()) {
    for (let k = 0; k < 4; k++) out[2 + 8 * sub + k] = points[k]!;
    putWord32(out, 2 + 8 * sub + 4, signsAndScale(signs, levels[sub]!));
  }
});

export const encodeIQ2_XS = rows(rules.IQ2_XS, 74, 0, 1, (found, levels, out) => {
  for (const [sub, { points, signs }] of found.entries()) {
    for (let k = 0; k < 2; k++) putWord16(out, 2 + 2 * (2 * sub + k), points[k]! | (signs[k]! << 9));
    out[66 + (sub >> 1)]! |= levels[sub]! << (4 * (sub & 1));
  }
});

export const encodeIQ2_S = rows(
  rules.IQ2_S,
  82,
  0,
  0.9875,
  (found, levels, out) => {
    for (const [sub, { points, signs }] of found.entries()) {
      for (let k = 0; k < 2; k++) {
        const l = 2 * sub + k;
        out[2 + l] = points[k]!;
        out[34 + l] = signs[k]!;
        out[66 + (l >> 2)]! |= (points[k]! >> 8) << (2 * (l & 3));
      }
      out[74 + (sub >> 1)]! |= levels[sub]! << (4 * (sub & 1));
    }
  },
  true,
);

export const encodeIQ3_XXS = rows(rules.IQ3_XXS, 98, 0, 1.0125, (found, levels, out) => {
  for (const [sub, { points, signs }] of found.entries()) {
    for (let k = 0; k < 8; k++) out[2 + 8 * sub + k] = points[k]!;
    putWord32(out, 66 + 4 * sub, signsAndScale(signs, levels[sub]!));
  }
});

export const encodeIQ3_S = rows(
  rules.IQ3_S,
  110,
  0,
  1.033,
  (found, levels, out) => {
    for (const [sub, { points, signs }] of found.entries()) {
      for (let k = 0; k < 8; k++) {
        out[2 + 8 * sub + k] = points[k]!;
        out[66 + sub]! |= (points[k]! >> 8) << k;
      }
      out.set(signs, 74 + 4 * sub);
      out[106 + (sub >> 1)]! |= levels[sub]! << (4 * (sub & 1));
    }
  },
  true,
);
