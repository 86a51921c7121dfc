// Watches forward passes from beside: a backend around another that hands out what flows through the graph. The graph knows nothing of it.
// What is where is told by the weights: the input of a layer's first norm is the layer before's output, the router says which layer's
// experts come next. So it is the same for experts that are resident and for those that come from disk into slots.
import type { Backend, Tensor } from '../backends/backend.ts';
import type { Llama4 } from './llama4.ts';

/** Called while a pass is computed, in the order of the graph. The arrays are the callee's to keep. */
export interface Observer {
  /** The residual stream after a layer, [T, dim]. */
  output?(layer: number, h: Float32Array): void;
  /**
   * What weights are multiplied with: x is [T, columns].
   * @param weights their names in a GGUF file: those that share this input
   * @param experts of routed experts: which expert each row goes to, −1 where that expert is not in this wave; null elsewhere
   */
  input?(weights: readonly string[], x: Float32Array, columns: number, experts: Int32Array | null): void;
}

/** Whose input the products of a wave of experts bring, in their order in the graph. */
const waveInputs = [['gate', 'up'], [], ['down']] as const;

/** What is to be read before its step ends, and who gets it. */
type Wanted = () => Promise<void>;

/**
 * A backend that computes as `backend` does and tells `observer`. Reading makes it slower; the numbers are the same.
 * @param model uploaded to `backend`
 */
export function observed(backend: Backend, model: Llama4, observer: Observer): Backend {
  const names = new Map<Tensor, string>();
  const routers = new Map<Tensor, number>();
  /** The layer whose output goes into this norm. */
  const before = new Map<Tensor, number>();
  for (const layer of model.layers) {
    const block = `blk.${layer.index}`;
    const shared = layer.moe ? '_shexp' : '';
    const { wq, wk, wv, wo, mlp, moe } = layer;
    for (const [name, { weight }] of Object.entries({ attn_q: wq, attn_k: wk, attn_v: wv, attn_output: wo }))
      names.set(weight, `${block}.${name}.weight`);
    for (const [name, { weight }] of Object.entries({ gate: mlp.gate, up: mlp.up, down: mlp.down }))
      names.set(weight, `${block}.ffn_${name}${shared}.weight`);
    if (moe) {
      names.set(moe.router.weight, `${block}.ffn_gate_inp.weight`);
      routers.set(moe.router.weight, layer.index);
    }
    if (layer.index > 0) before.set(layer.attentionNorm, layer.index - 1);
  }

  const last = model.layers.at(-1);
  let ends = false;

  let wanted: Wanted[] = [];
  /** Inputs of products in this step: weights that share one are told together. */
  let inputs = new Map<Tensor, string[]>();
  /** The layer whose experts are being computed, the experts of its rows, and how many of their products there were. */
  let routed: { readonly layer: number; ids: Tensor | null; products: number } | null = null;

  const tellOutput = (layer: number, h: Tensor): void => {
    wanted.push(async () => observer.output?.(layer, await backend.read(h)));
  };
  const tellInput = (weight: string, x: Tensor): void => {
    const known = inputs.get(x);
    if (known) {
      known.push(weight);
      return;
    }
    const weights = [weight];
    inputs.set(x, weights);
    wanted.push(async () => observer.input?.(weights, await backend.read(x), x.shape.at(-1)!, null));
  };
  const tellExperts = (weights: readonly string[], x: Tensor, ids: Tensor, slots: Tensor): void => {
    wanted.push(async () => {
      const experts = Int32Array.from(await backend.read(ids));
      const places = slots === ids ? experts : await backend.read(slots);
      observer.input?.(
        weights,
        await backend.read(x),
        x.shape.at(-1)!,
        experts.map((expert, row) => (places[row]! < 0 ? -1 : expert)),
      );
    });
  };

  const taps: Partial<Backend> = {
    /** Before a step frees what was made in it, what is wanted of that is read. */
    async step(run) {
      const around = { wanted, inputs };
      wanted = [];
      inputs = new Map();
      try {
        return await backend.step(async () => {
          const result = await run();
          for (const tell of wanted) await tell();
          return result;
        });
      } finally {
        ({ wanted, inputs } = around);
      }
    },
    rmsNorm(x, weight, eps) {
      const layer = weight === null ? undefined : before.get(weight);
      if (layer !== undefined && observer.output) tellOutput(layer, x);
      if (weight === last?.ffnNorm) ends = true;
      return backend.rmsNorm(x, weight, eps);
    },
    /** Behind the last layer rows of its output are gathered. */
    gatherRows(x, rows) {
      if (ends && observer.output) tellOutput(model.layers.length - 1, x);
      ends = false;
      return backend.gatherRows(x, rows);
    },
    matmul(x, weight) {
      const name = observer.input && names.get(weight);
      if (name !== undefined) tellInput(name, x);
      const layer = routers.get(weight);
      if (layer !== undefined) routed = { layer, ids: null, products: 0 };
      return backend.matmul(x, weight);
    },
    topK(x, k) {
      const found = backend.topK(x, k);
      if (routed && !routed.ids) routed.ids = found.ids;
      return found;
    },
    /** A wave is three products: gate and up, which share their input and are told together, then down. */
    expertMatmul(x, experts, slots) {
      if (routed?.ids && observer.input) {
        const { layer, ids } = routed;
        const weights = waveInputs[routed.products++ % 3]!.map(part => `blk.${layer}.ffn_${part}_exps.weight`);
        if (weights.length > 0) tellExperts(weights, x, ids, slots);
      }
      return backend.expertMatmul(x, experts, slots);
    },
  };
  return new Proxy(backend, {
    get(target, key) {
      const tap: unknown = Reflect.get(taps, key);
      const own: unknown = tap ?? Reflect.get(target, key, target);
      return typeof own === 'function' && tap === undefined ? own.bind(target) : own;
    },
  });
}
