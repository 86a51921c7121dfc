// A request's own record of where its tokens were sent, filled pass by pass.
import type { RoutingNotes } from '../model/routing.ts';
import type { Routing } from './types.ts';

/** Of tokens from one position on; positions that are computed again are written over. */
export class RoutingLog {
  readonly #layers: readonly number[];
  readonly #experts: number;
  readonly #expertsPerToken: number;
  #from = 0;
  #ids: Uint16Array<ArrayBuffer>;

  constructor({ layers }: RoutingNotes, model: { readonly experts: number; readonly expertsPerToken: number }) {
    this.#layers = layers;
    this.#experts = model.experts;
    this.#expertsPerToken = model.expertsPerToken;
    this.#ids = new Uint16Array(64 * this.#width);
  }

  get #width(): number {
    return this.#layers.length * this.#expertsPerToken;
  }

  /** Tokens before this position are not recorded. */
  begin(from: number): void {
    this.#from = from;
  }

  /**
   * A pass computed `count` tokens from `position` on.
   * @param noted what `RoutingNotes` gives @param row the first of these tokens in the pass
   */
  add(position: number, noted: readonly Float32Array[], row: number, count: number): void {
    const width = this.#width;
    const each = this.#expertsPerToken;
    const end = (position + count - this.#from) * width;
    if (end > this.#ids.length) {
      const grown = new Uint16Array(Math.max(end, 2 * this.#ids.length));
      grown.set(this.#ids);
      this.#ids = grown;
    }
    for (let i = Math.max(0, this.#from - position); i < count; i++)
      for (const [layer, ids] of noted.entries())
        for (let rank = 0; rank < each; rank++)
          this.#ids[(position + i - this.#from) * width + layer * each + rank] = ids[(row + i) * each + rank]!;
  }

  /** @param to tokens from this position on are left out: guesses that did not come true, and the last, which is not computed */
  end(to: number): Routing {
    const tokens = Math.max(0, to - this.#from);
    return {
      from: this.#from,
      tokens,
      layers: this.#layers,
      experts: this.#experts,
      expertsPerToken: this.#expertsPerToken,
      ids: this.#ids.slice(0, tokens * this.#width),
    };
  }
}
