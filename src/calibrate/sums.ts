// Sums of squares as they grow: in double precision, row after row, so that neither the size of a batch nor a pause changes a bit of them.
import type { Imatrix, ImatrixEntry } from './imatrix.ts';

/** What one input, shared by one or more weights, has come to. */
interface Sum {
  readonly weights: readonly string[];
  readonly columns: number;
  /** [matrices, columns] and [matrices]. */
  readonly squares: Float64Array;
  readonly counts: Float64Array;
}

/** How it is kept: what is said of each sum, and all numbers one after the other. */
export interface SavedSums {
  readonly sums: readonly {
    readonly weights: readonly string[];
    readonly columns: number;
    readonly matrices: number;
  }[];
  readonly numbers: Float64Array;
}

export class Sums {
  readonly #experts: number;
  readonly #all = new Map<string, Sum>();

  /** @param experts routed experts of each layer that has any */
  constructor(experts: number) {
    this.#experts = experts;
  }

  /** An `Observer`'s input. */
  add(weights: readonly string[], x: Float32Array, columns: number, experts: Int32Array | null): void {
    const { squares, counts } = this.#of(weights, columns, experts ? this.#experts : 1);
    for (let row = 0; row * columns < x.length; row++) {
      const matrix = experts ? experts[row]! : 0;
      if (matrix < 0) continue;
      const from = row * columns;
      const to = matrix * columns;
      for (let i = 0; i < columns; i++) squares[to + i]! += x[from + i]! ** 2;
      counts[matrix]!++;
    }
  }

  #of(weights: readonly string[], columns: number, matrices: number): Sum {
    const key = weights.join(' ');
    const known = this.#all.get(key);
    if (known) return known;
    const made = {
      weights: [...weights],
      columns,
      squares: new Float64Array(matrices * columns),
      counts: new Float64Array(matrices),
    };
    this.#all.set(key, made);
    return made;
  }

  save(): SavedSums {
    const all = [...this.#all.values()];
    const numbers = new Float64Array(all.reduce((sum, { squares, counts }) => sum + squares.length + counts.length, 0));
    let at = 0;
    for (const { squares, counts } of all) {
      numbers.set(squares, at);
      numbers.set(counts, at + squares.length);
      at += squares.length + counts.length;
    }
    return {
      sums: all.map(({ weights, columns, counts }) => ({ weights, columns, matrices: counts.length })),
      numbers,
    };
  }

  /** Goes on from what `save` gave. */
  static restore(experts: number, { sums, numbers }: SavedSums): Sums {
    const restored = new Sums(experts);
    let at = 0;
    for (const { weights, columns, matrices } of sums) {
      const sum = restored.#of(weights, columns, matrices);
      sum.squares.set(numbers.subarray(at, at + sum.squares.length));
      sum.counts.set(numbers.subarray(at + sum.squares.length, at + sum.squares.length + matrices));
      at += sum.squares.length + matrices;
    }
    return restored;
  }

  /** In the precision of files. */
  entries(): Imatrix['entries'] {
    const entries = new Map<string, ImatrixEntry>();
    for (const { weights, squares, counts } of this.#all.values()) {
      const entry = { sums: Float32Array.from(squares), counts: Float32Array.from(counts) };
      for (const weight of weights) entries.set(weight, entry);
    }
    return entries;
  }
}
