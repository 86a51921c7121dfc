// What the next forward pass computes: a pure function of who runs and how much one pass may hold.

/** A sequence that has tokens to compute. */
export interface Work {
  /** Tokens not yet in the cache. */
  readonly remaining: number;
  /** Guessed tokens that may be computed behind them. */
  readonly drafts: number;
  /** How many of the next `count` tokens' logits are wanted. Monotonic in `count`. */
  logitRows(count: number): number;
  /** Passes since this sequence was last part of one: the longer it waited, the earlier it is served. */
  readonly waited: number;
}

export interface Budget {
  /** Tokens of one pass. */
  readonly tokens: number;
  /** Rows of logits of one pass, at least 1. */
  readonly logitRows: number;
  /** Guessed tokens of one pass: beside many sequences they cost more than they save. */
  readonly drafts: number;
}

/** Take `count` tokens of `works[index]`. */
export interface Piece {
  readonly index: number;
  readonly count: number;
}

/**
 * Sequences that decode (one token left) come first, for somebody reads along, and then their guesses, each sequence's the same
 * number at most. What is left goes to prompts, in pieces: at least half of it to the oldest, so that it is never starved, and the rest to the shortest first, so that a short question does not
 * wait for a long document.
 * @param works in the order of arrival
 */
export function plan(works: readonly Work[], budget: Budget): Piece[] {
  let { tokens, logitRows } = budget;
  const counts = new Map<number, number>();
  const take = (index: number, most: number): void => {
    const work = works[index]!;
    const had = counts.get(index) ?? 0;
    const rowsHad = work.logitRows(had);
    let count = Math.min(work.remaining + work.drafts - had, most, tokens);
    // The longest beginning whose logits fit: rows grow with the count, so that halving finds it.
    if (count > 0 && work.logitRows(had + count) - rowsHad > logitRows) {
      let fits = 0;
      while (count - fits > 1) {
        const middle = (fits + count) >>> 1;
        if (work.logitRows(had + middle) - rowsHad <= logitRows) fits = middle;
        else count = middle;
      }
      count = fits;
    }
    if (count <= 0) return;
    counts.set(index, had + count);
    tokens -= count;
    logitRows -= work.logitRows(had + count) - rowsHad;
  };

  const indices = works.map((_, index) => index).filter(index => works[index]!.remaining > 0);
  const decoding = indices.filter(index => works[index]!.remaining === 1);
  for (const index of decoding.sort((a, b) => works[b]!.waited - works[a]!.waited || a - b)) take(index, 1);
  const guessing = decoding.filter(index => counts.has(index) && works[index]!.drafts > 0);
  const drafts = Math.floor(budget.drafts / Math.max(1, guessing.length));
  for (const index of guessing) take(index, drafts);

  const prompts = indices.filter(index => works[index]!.remaining > 1);
  if (prompts.length > 0) {
    take(prompts[0]!, prompts.length > 1 ? Math.ceil(tokens / 2) : tokens);
    const shortest = prompts.slice(1).sort((a, b) => works[a]!.remaining - works[b]!.remaining || a - b);
    for (const index of [...shortest, prompts[0]!]) take(index, tokens);
  }
  return [...counts].map(([index, count]) => ({ index, count })).sort((a, b) => a.index - b.index);
}
