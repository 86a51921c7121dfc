// What a routing says of a text: how evenly each layer's experts are used, and how soon one is used again.

/** Where tokens went, [tokens, layers, expertsPerToken], the strongest first. */
export interface RoutedTokens {
  readonly layers: readonly number[];
  readonly experts: number;
  readonly expertsPerToken: number;
  readonly ids: Uint16Array;
}

export interface LayerFigures {
  readonly layer: number;
  /** Uses by expert. */
  readonly counts: readonly number[];
  /** Experts that were used at all. */
  readonly used: number;
  /** Of the shares of uses, bits; log2(experts) where all are alike. */
  readonly entropy: number;
  /**
   * Uses by how many other experts were used in this layer since the expert's own last use: an expert with distance d is found by a memory
   * of more than d experts that forgets the least recently used.
   */
  readonly reuse: readonly number[];
  /** First uses, which have no distance. */
  readonly first: number;
}

/** Figures of each layer, by position in `layers`. */
export function routingFigures({ layers, experts, expertsPerToken, ids }: RoutedTokens): LayerFigures[] {
  const width = layers.length * expertsPerToken;
  return layers.map((layer, at) => {
    const counts = new Array<number>(experts).fill(0);
    const reuse = new Array<number>(experts).fill(0);
    const recent: number[] = []; // the last used first
    let first = 0;
    let all = 0;
    for (let from = at * expertsPerToken; from < ids.length; from += width)
      for (let rank = 0; rank < expertsPerToken; rank++) {
        const id = ids[from + rank]!;
        counts[id]!++;
        all++;
        const distance = recent.indexOf(id);
        if (distance < 0) first++;
        else {
          reuse[distance]!++;
          recent.splice(distance, 1);
        }
        recent.unshift(id);
      }
    const entropy = counts.reduce((sum, n) => (n === 0 ? sum : sum - (n / all) * Math.log2(n / all)), 0);
    return { layer, counts, used: counts.filter(n => n > 0).length, entropy: Math.max(0, entropy), reuse, first };
  });
}

/** Share of a layer's uses that a memory of so many experts finds, the least recently used giving way. */
export function foundBy({ reuse, first }: LayerFigures, slots: number): number {
  const all = reuse.reduce((sum, n) => sum + n, first);
  const found = reuse.slice(0, slots).reduce((sum, n) => sum + n, 0);
  return all === 0 ? 0 : found / all;
}
