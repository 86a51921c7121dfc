// One forward pass, and what is wanted of it: no more than that leaves the backend.
import type { Backend, Batch, KVCache, Tensor } from '../backends/backend.ts';
import { hiddenStates, type Llama4, logitsOf } from '../model/llama4.ts';
import { type LogitSummary, summaryOf } from './log-softmax.ts';

/**
 * What a row of a pass is wanted for: 'best', the most likely token alone; 'logits', all of them, [vocab]; 'states', what they
 * are made of, [dim].
 */
export type Wanted = 'best' | 'logits' | 'states';

export interface Row {
  /** Logits or states; empty for 'best'. The array is the receiver's to change. */
  readonly numbers: Float32Array;
  /** Of logits. */
  readonly summary?: LogitSummary;
}

/** Tokens of a pass and, for each use, the rows wanted for it. */
export interface Pass extends Omit<Batch, 'logitRows'> {
  readonly rows: Readonly<Record<Wanted, readonly number[]>>;
  /** Of the rows wanted for 'logits': at which they are drawn from, or 0. Default: none is. */
  readonly temperatures?: readonly number[];
}

/**
 * Computes a pass.
 * @returns the nth row of those wanted for a use; @throws RangeError, then, when the row is no distribution
 */
export async function computePass(
  k: Backend,
  model: Llama4,
  cache: KVCache,
  { rows, temperatures = [], ...batch }: Pass,
): Promise<(use: Wanted, nth: number) => Row> {
  const best = rows.best.length;
  const sampled = best + rows.logits.length;
  const all = sampled + rows.states.length;
  const logitRows = Int32Array.from([...rows.best, ...rows.logits, ...rows.states]);
  const { vocab, dim } = model.config;
  const nothing = new Float32Array();
  const read = (x: Tensor, from: number, to: number): Promise<Float32Array> | Float32Array =>
    from === to ? nothing : k.read(part(k, x, from, to));

  return k.step(async () => {
    const states = await hiddenStates(k, model, { ...batch, logitRows }, cache);
    const logits = sampled > 0 ? logitsOf(k, model, part(k, states, 0, sampled)) : null;
    const sums = logits && k.softmaxSums(logits);
    const largest = logits && k.topK(logits, 1).ids;
    const wanted = logits && rows.logits.length > 0 ? part(k, logits, best, sampled) : null;
    const drawn = wanted && temperatures.some(temperature => temperature > 0);
    const masses =
      drawn &&
      k.softmaxMasses(
        wanted,
        Float32Array.from(temperatures, temperature => temperature || 1),
      );
    const results = {
      sums: sums ? await k.read(sums) : nothing,
      largest: largest ? await k.read(largest) : nothing,
      logits: wanted ? await k.read(wanted) : nothing,
      masses: masses ? await k.read(masses) : nothing,
      states: await read(states, sampled, all),
    };
    return (use: Wanted, nth: number): Row => {
      if (use === 'states') return { numbers: results.states.subarray(nth * dim, (nth + 1) * dim) };
      const at = use === 'best' ? nth : best + nth;
      const numbers = use === 'best' ? nothing : results.logits.subarray(nth * vocab, (nth + 1) * vocab);
      const [max, sum] = results.sums.subarray(2 * at, 2 * at + 2) as unknown as [number, number];
      const summary = summaryOf({ argmax: results.largest[at]!, max, sum }, numbers);
      if (use === 'best' || !temperatures[nth]) return { numbers, summary };
      const each = results.masses.length / rows.logits.length;
      return { numbers, summary: { ...summary, masses: results.masses.subarray(nth * each, (nth + 1) * each) } };
    };
  });
}

/** Rows [from, to) of a tensor; all of them are the tensor itself. */
const part = (k: Backend, x: Tensor, from: number, to: number): Tensor =>
  from === 0 && to === x.shape[0]
    ? x
    : k.gatherRows(
        x,
        Int32Array.from({ length: to - from }, (_, i) => from + i),
      );
