// Which expert leaves memory when another needs its place: the one that will be wanted last, as far as the past tells.
// Measured against least-recently-used and others on even and on skewed routing: bench/expert-policies.ts, docs/streaming.md.

/** How often an expert was wanted, counted in tokens: what happened this many tokens ago counts half. */
export const halfLifeTokens = 4096;
/** A token's worth of belief that all experts of a layer are alike. */
const priorTokens = 16;

/**
 * Counts uses and foretells them. Experts are numbered through all layers with experts: layer · expertsPerLayer + expert, where
 * layers are counted from 0 on.
 */
export class ExpertUse {
  readonly layers: number;
  readonly expertsPerLayer: number;
  /** Uses by now, halved with time, and the token up to which each is: they are brought up to date when looked at. */
  private readonly counts: Float64Array;
  private readonly upTo: Float64Array;
  /** Tokens that each layer has seen. */
  private readonly tokens: Float64Array;
  private lastRows = 1;

  constructor(layers: number, expertsPerLayer: number) {
    this.layers = layers;
    this.expertsPerLayer = expertsPerLayer;
    this.counts = new Float64Array(layers * expertsPerLayer);
    this.upTo = new Float64Array(layers * expertsPerLayer);
    this.tokens = new Float64Array(layers);
  }

  /** A layer was computed for `rows` tokens, which wanted these experts so many times each. */
  seen(layer: number, rows: number, wanted: Iterable<readonly [expert: number, times: number]>): void {
    this.tokens[layer]! += rows;
    this.lastRows = rows;
    for (const [expert, times] of wanted) {
      const key = layer * this.expertsPerLayer + expert;
      this.counts[key] = this.countOf(key) + times;
    }
  }

  /** The share of a layer's tokens that want this expert. */
  shareOf(key: number): number {
    const layer = Math.floor(key / this.expertsPerLayer);
    // Weights of all tokens seen: a geometric series.
    const decay = 2 ** (-1 / halfLifeTokens);
    const seen = (1 - decay ** this.tokens[layer]!) / (1 - decay);
    return (this.countOf(key) + priorTokens / this.expertsPerLayer) / (seen + priorTokens);
  }

  /** Passes until an expert is wanted again, as seen from `layer`, which is being computed: the fraction is layers of the pass to come. */
  waitOf(key: number, layer: number): number {
    const own = Math.floor(key / this.expertsPerLayer);
    const ahead = (own - layer - 1 + this.layers) % this.layers;
    const inPass = 1 - (1 - Math.min(1, this.shareOf(key))) ** this.lastRows;
    return (ahead + 1) / this.layers + 1 / Math.max(1e-9, inPass) - 1;
  }

  /** Counts as of now, to be kept: [layer · expertsPerLayer + expert]. */
  save(): Float64Array {
    return this.counts.map((_, key) => this.countOf(key));
  }

  /** Takes up what `save` gave, and so many tokens' weight of it at most. */
  restore(counts: ArrayLike<number>): void {
    for (let layer = 0; layer < this.layers; layer++) {
      const first = layer * this.expertsPerLayer;
      let sum = 0;
      for (let e = 0; e < this.expertsPerLayer; e++) sum += counts[first + e]!;
      // As many tokens as weigh that much: the series of `shareOf` solved for its length.
      const decay = 2 ** (-1 / halfLifeTokens);
      const most = (1 / (1 - decay)) * 0.999;
      const scale = sum > most ? most / sum : 1;
      this.tokens[layer] = Math.log(1 - sum * scale * (1 - decay)) / Math.log(decay);
      for (let e = 0; e < this.expertsPerLayer; e++) {
        this.counts[first + e] = counts[first + e]! * scale;
        this.upTo[first + e] = this.tokens[layer]!;
      }
    }
  }

  private countOf(key: number): number {
    const now = this.tokens[Math.floor(key / this.expertsPerLayer)]!;
    const age = now - this.upTo[key]!;
    if (age > 0) {
      this.counts[key]! *= 2 ** (-age / halfLifeTokens);
      this.upTo[key] = now;
    }
    return this.counts[key]!;
  }
}
