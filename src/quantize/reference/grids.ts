// The grids of IQ1, IQ2 and IQ3: which points are in them, and for all others which of their points lie near.
// Source of the rule: ggml-quants.c (ggml-org/ggml).
import { iq1Grid, iq2sGrid, iq2xsGrid, iq2xxsGrid, iq3sGrid, iq3xxsGrid } from '../../backends/formats-tables.ts';

/** Points of `size` levels 0 … 2^bits − 1. A code holds one, its first level in the lowest bits. */
export interface Grid {
  readonly size: 4 | 8;
  readonly bits: 2 | 3;
  /** Levels of point i: `[size · i, size · (i + 1))`. */
  readonly points: Uint8Array;
  /** For each code: its point's index, or −1 − where its neighbours are. */
  readonly map: Int32Array;
  /** From there on: how many neighbours, and their indices, nearest first, of equals the lower index. */
  readonly neighbours: Uint16Array;
}

/** @param rings how many distances neighbours are taken from: all points at the nearest so many. */
function gridOf(table: ArrayLike<number>, size: 4 | 8, bits: 2 | 3, rings: number): Grid {
  const values = [...new Set(Array.from(table))].sort((a, b) => a - b);
  const points = Uint8Array.from(table, value => values.indexOf(value));
  const count = points.length / size;
  const codes = 2 ** (size * bits);
  const map = new Int32Array(codes).fill(-1);
  for (let i = 0; i < count; i++) {
    let code = 0;
    for (let k = 0; k < size; k++) code |= points[size * i + k]! << (bits * k);
    map[code] = i;
  }
  // Squared distances of the points from a code are those from its two halves together.
  const half = size / 2;
  const halves = 2 ** (half * bits);
  const parts = [0, 1].map(part => {
    const distances = new Uint8Array(halves * count); // at most 2 · 7² or 4 · 2²
    for (let code = 0; code < halves; code++)
      for (let i = 0; i < count; i++)
        for (let k = 0; k < half; k++)
          distances[code * count + i]! +=
            (points[size * i + half * part + k]! - ((code >> (bits * k)) & (2 ** bits - 1))) ** 2;
    return distances;
  }) as [Uint8Array, Uint8Array];
  const found: number[] = [];
  const distances = new Uint8Array(count);
  for (let code = 0; code < codes; code++) {
    if (map[code]! >= 0) continue;
    const lower = (code % halves) * count;
    const upper = Math.floor(code / halves) * count;
    for (let i = 0; i < count; i++) distances[i] = parts[0][lower + i]! + parts[1][upper + i]!;
    map[code] = -1 - found.length;
    const start = found.push(0);
    for (let ring = 0, beyond = -1; ring < rings; ring++) {
      let nearest = 256;
      for (let i = 0; i < count; i++) if (distances[i]! > beyond && distances[i]! < nearest) nearest = distances[i]!;
      if (nearest === 256) break;
      for (let i = 0; i < count; i++) if (distances[i] === nearest) found.push(i);
      beyond = nearest;
    }
    found[start - 1] = found.length - start;
  }
  return { size, bits, points, map, neighbours: Uint16Array.from(found) };
}

/** A grid that is made when it is first asked for: that takes tens of milliseconds. */
const once = (make: () => Grid): (() => Grid) => {
  let made: Grid | undefined;
  return () => {
    made ??= make();
    return made;
  };
};

export const grids = {
  IQ1: once(() => gridOf(iq1Grid, 8, 2, 3)),
  IQ2_XXS: once(() => gridOf(iq2xxsGrid, 8, 2, 2)),
  IQ2_XS: once(() => gridOf(iq2xsGrid, 8, 2, 2)),
  IQ2_S: once(() => gridOf(iq2sGrid, 8, 2, 1)),
  IQ3_XXS: once(() => gridOf(iq3xxsGrid, 4, 3, 2)),
  IQ3_S: once(() => gridOf(iq3sGrid, 4, 3, 3)),
} as const satisfies Record<string, () => Grid>;
