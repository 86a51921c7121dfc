// Which experts tokens are sent to, for whoever asks: stores of experts that note what is asked of them, and otherwise stand aside.
import type { Backend } from '../backends/backend.ts';
import type { ExpertStore, Llama4 } from './llama4.ts';

/** The notes of one forward pass after another. */
export interface RoutingNotes {
  /** Numbers of the layers that have experts, ascending. */
  readonly layers: readonly number[];
  /** The next pass is noted: in every layer with experts the host waits for the router. What an earlier, failed one left is forgotten. */
  begin(): void;
  /** Ends that. @returns by position in `layers`, the ids of the pass's T tokens, [T · expertsPerToken] */
  end(): readonly Float32Array[];
}

/**
 * A model with the same weights whose routing can be noted. A pass that nobody notes costs what it did, and noting changes no result.
 */
export function notedRouting(k: Backend, model: Llama4): { readonly model: Llama4; readonly notes: RoutingNotes } {
  const layers = model.layers.filter(layer => layer.moe).map(({ index }) => index);
  let noted: Float32Array[] | null = null;

  const noting = (store: ExpertStore, layer: number): ExpertStore => ({
    load(ids, h) {
      const waves = store.load(ids, h);
      return noted ? afterNoting(k.read(ids), waves, noted, layer) : waves;
    },
  });
  async function* afterNoting<T>(
    ids: Promise<Float32Array>,
    waves: AsyncIterable<T>,
    into: Float32Array[],
    at: number,
  ) {
    into[at] = await ids;
    yield* waves;
  }

  return {
    model: {
      ...model,
      layers: model.layers.map(layer => {
        if (!layer.moe) return layer;
        return { ...layer, moe: { ...layer.moe, experts: noting(layer.moe.experts, layers.indexOf(layer.index)) } };
      }),
    },
    notes: {
      layers,
      begin() {
        noted = [];
      },
      end() {
        const all = noted ?? [];
        noted = null;
        return all;
      },
    },
  };
}
