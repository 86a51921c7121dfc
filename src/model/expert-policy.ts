// Which expert leaves memory when another needs its place: the one that will be wanted last, as far as the past tells.
// Measured against least-recently-used and others on even and on skewed routing: bench/expert-policies.ts, docs/streaming.md.

/** How often an expert was wanted, counted in tokens: what happened this many tokens ago counts half. */
export const halfLifeTokens = 4096;
/** A token's worth of belief that all experts of a layer are alike. */
const priorTokens = 16;
/** What a token that happened one token ago counts. */
const decay = 2 ** (-1 / halfLifeTokens);
/** Weights are brought back to 1 from here: far from the largest number there is, also after a long prompt. */
const mostWeight = 2 ** 64;

/**
 * Counts uses and foretells them. Experts are numbered through all layers with experts: layer · expertsPerLayer + expert, where
 * layers are counted from 0 on.
 */
export class ExpertUse {
  readonly layers: number;
  readonly expertsPerLayer: number;
  /** Uses, those of later tokens weighing more: a layer's are all divided by its `weight` when they are looked at. */
  private readonly counts: Float64Array;
  private readonly weight: Float64Array;
  /** What all tokens that each layer has seen weigh by now. */
  private readonly seenBy: Float64Array;
  private lastRows = 1;

  constructor(layers: number, expertsPerLayer: number) {
    this.layers = layers;
    this.expertsPerLayer = expertsPerLayer;
    this.counts = new Float64Array(layers * expertsPerLayer);
    this.weight = new Float64Array(layers).fill(1);
    this.seenBy = new Float64Array(layers);
  }

  /** A layer was computed for `rows` tokens, which wanted these experts so many times each. */
  seen(layer: number, rows: number, wanted: Iterable<readonly [expert: number, times: number]>): void {
    const faded = decay ** rows;
    this.lastRows = rows;
    this.seenBy[layer] = this.seenBy[layer]! * faded + (1 - faded) / (1 - decay); // a geometric series
    this.weight[layer]! /= faded;
    if (this.weight[layer]! > mostWeight) this.put(layer, this.countsOf(layer));
    for (const [expert, times] of wanted)
      this.counts[layer * this.expertsPerLayer + expert]! += times * this.weight[layer]!;
  }

  /** The share of a layer's tokens that want this expert. */
  shareOf(key: number): number {
    const layer = Math.floor(key / this.expertsPerLayer);
    const count = this.counts[key]! / this.weight[layer]!;
    return (count + priorTokens / this.expertsPerLayer) / (this.seenBy[layer]! + priorTokens);
  }

  /** Passes until an expert is wanted again, as seen from `layer`, which is being computed: the fraction is layers of the pass to come. */
  waitOf(key: number, layer: number): number {
    const own = Math.floor(key / this.expertsPerLayer);
    const ahead = (own - layer - 1 + this.layers) % this.layers;
    const share = Math.min(1, this.shareOf(key));
    const inPass = this.lastRows === 1 ? share : 1 - (1 - share) ** this.lastRows;
    return (ahead + 1) / this.layers + 1 / Math.max(1e-9, inPass) - 1;
  }

  /** Counts as of now, to be kept: [layer · expertsPerLayer + expert]. */
  save(): Float64Array {
    return Float64Array.from(Array.from({ length: this.layers }, (_, layer) => [...this.countsOf(layer)]).flat());
  }

  /** Takes up what `save` gave, and no more of it than all tokens ever seen can weigh. */
  restore(counts: ArrayLike<number>): void {
    for (let layer = 0; layer < this.layers; layer++) {
      const own = Float64Array.from(
        { length: this.expertsPerLayer },
        (_, e) => counts[layer * this.expertsPerLayer + e]!,
      );
      const sum = own.reduce((all, count) => all + count, 0);
      const most = 1 / (1 - decay);
      const scale = sum > most ? most / sum : 1;
      this.seenBy[layer] = sum * scale;
      this.put(
        layer,
        own.map(count => count * scale),
      );
    }
  }

  private countsOf(layer: number): Float64Array {
    const first = layer * this.expertsPerLayer;
    return this.counts.slice(first, first + this.expertsPerLayer).map(count => count / this.weight[layer]!);
  }

  /** A layer's counts as of now. */
  private put(layer: number, counts: Float64Array): void {
    this.counts.set(counts, layer * this.expertsPerLayer);
    this.weight[layer] = 1;
  }
}
