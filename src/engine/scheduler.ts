// What the next forward pass computes: a pure function of who runs and how much one pass may hold.

/** A sequence that has tokens to compute. */
export interface Work {
  /** Whose it is: keys share a pass equally. */
  readonly key: string;
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
 * number at most. What is left goes to prompts, in pieces: equal shares to the keys, where one that needs less leaves the rest to the
 * others; within a key at least half to the oldest, so that it is never starved, and the rest to the shortest first, so that a short
 * question does not wait for a long document.
 * @param works in the order of arrival
 */
export function plan(works: readonly Work[], budget: Budget): Piece[] {
  let { tokens, logitRows } = budget;
  const counts = new Map<number, number>();
  /** @returns how many could be taken */
  const take = (index: number, most: number): number => {
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
    if (count <= 0) return 0;
    counts.set(index, had + count);
    tokens -= count;
    logitRows -= work.logitRows(had + count) - rowsHad;
    return count;
  };
  const remaining = (index: number): number => works[index]!.remaining;
  const longestWaiting = (a: number, b: number): number => works[b]!.waited - works[a]!.waited || a - b;

  const indices = works.map((_, index) => index).filter(index => remaining(index) > 0);
  const decoding = inTurns(indices.filter(index => remaining(index) === 1).sort(longestWaiting), works);
  for (const index of decoding) take(index, 1);
  const guessing = decoding.filter(index => counts.has(index) && works[index]!.drafts > 0);
  const drafts = Math.floor(budget.drafts / Math.max(1, guessing.length));
  for (const index of guessing) take(index, drafts);

  const prompts = indices.filter(index => remaining(index) > 1);
  const groups = [...Map.groupBy(prompts, index => works[index]!.key).values()];
  const need = (group: readonly number[]): number => group.reduce((sum, index) => sum + remaining(index), 0);
  // Who needs least is served first and leaves what it does not need; too many for a token each take turns.
  if (tokens < groups.length)
    groups.sort((a, b) => longestWaiting(a.toSorted(longestWaiting)[0]!, b.toSorted(longestWaiting)[0]!));
  else groups.sort((a, b) => need(a) - need(b));
  for (const [i, group] of groups.entries()) {
    let share = Math.ceil(tokens / (groups.length - i));
    const [oldest, ...others] = group as [number, ...number[]];
    share -= take(oldest, others.length > 0 ? Math.ceil(share / 2) : share);
    const shortest = others.sort((a, b) => remaining(a) - remaining(b) || a - b);
    for (const index of [...shortest, oldest]) share -= take(index, share);
  }
  for (const index of prompts) take(index, tokens);
  return [...counts].map(([index, count]) => ({ index, count })).sort((a, b) => a.index - b.index);
}

/** The first of each key, then the second of each, and so on. */
function inTurns(indices: readonly number[], works: readonly Work[]): number[] {
  const turns = new Map<string, number>();
  const ranked = indices.map(index => {
    const { key } = works[index]!;
    const turn = turns.get(key) ?? 0;
    turns.set(key, turn + 1);
    return { index, turn };
  });
  return ranked.sort((a, b) => a.turn - b.turn).map(({ index }) => index);
}

/**
 * Who of those that wait is let in next: the first of the key that was served least (virtual token counters, arXiv 2401.00588).
 * @param keys of who waits, in the order of arrival, at least one
 * @param served tokens computed for each key
 */
export function nextOf(keys: readonly string[], served: ReadonlyMap<string, number>): number {
  const amount = (key: string): number => served.get(key) ?? 0;
  let best = 0;
  for (const [i, key] of keys.entries()) if (amount(key) < amount(keys[best]!)) best = i;
  return best;
}
