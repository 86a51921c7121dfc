// Finds the texts of special tokens in a text: the leftmost, and of those that begin at one place the longest.

export interface SpecialMatch {
  readonly start: number;
  readonly end: number;
  readonly token: number;
}

export class SpecialFinder {
  readonly #tokens: ReadonlyMap<string, number>;
  /** Lengths of the special texts by their first UTF-16 unit, longest first. */
  readonly #lengths = new Map<number, number[]>();

  constructor(tokens: ReadonlyMap<string, number>) {
    this.#tokens = tokens;
    const byFirst = new Map<number, Set<number>>();
    for (const text of tokens.keys()) {
      if (text === '') continue;
      const first = text.charCodeAt(0);
      const lengths = byFirst.get(first) ?? new Set();
      byFirst.set(first, lengths.add(text.length));
    }
    for (const [first, lengths] of byFirst)
      this.#lengths.set(
        first,
        [...lengths].sort((a, b) => b - a),
      );
  }

  /** The special text that begins exactly at i, the longest if several do. */
  at(text: string, i: number): SpecialMatch | null {
    const lengths = this.#lengths.get(text.charCodeAt(i));
    if (lengths === undefined) return null;
    for (const length of lengths) {
      if (i + length > text.length) continue;
      const token = this.#tokens.get(text.slice(i, i + length));
      if (token !== undefined) return { start: i, end: i + length, token };
    }
    return null;
  }

  /** All matches from left to right; they do not overlap. */
  *all(text: string): Generator<SpecialMatch, void> {
    if (this.#lengths.size === 0) return;
    for (let i = 0; i < text.length; i++) {
      const match = this.at(text, i);
      if (match === null) continue;
      yield match;
      i = match.end - 1;
    }
  }
}
