// Llama 4's forward pass. It reads like the paper: one step a line, shapes at the line's end.
// Sources: meta-llama/llama-models models/llama4/{model,moe,ffn}.py; huggingface/transformers modeling_llama4.py.
import type { Backend, Batch, KVCache, Tensor } from '../backends/backend.ts';
import { type Linear, linear } from './linear.ts';

/** Fixed for the life of a model. */
export interface Llama4Config {
  readonly architecture: string;
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly normEps: number;
  /** Most positions the checkpoint was made for. */
  readonly contextLength: number;
  readonly experts: number;
  readonly expertsPerToken: number;
  /** Temperature tuning of NoPE layers: 1 + attnScale · ln(1 + ⌊(position + 1) / floorScale⌋); attnScale is 0 where it is off. */
  readonly floorScale: number;
  readonly attnScale: number;
}

/** SwiGLU: down(silu(gate x) ⊙ up x). */
export interface Mlp {
  readonly gate: Linear; // [ff, dim]
  readonly up: Linear; // [ff, dim]
  readonly down: Linear; // [dim, ff]
}

/** The experts a batch needs that are in memory together. A row whose expert is not among them has slot −1 and gets 0. */
export interface ExpertWave {
  readonly gate: Tensor; // [slots, ff, dim]
  readonly up: Tensor; // [slots, ff, dim]
  readonly down: Tensor; // [slots, dim, ff]
  readonly slots: Tensor; // [T, 1]
}

/** Reading starts at the call. Resident experts are one wave; experts on disk come as many as the slots in memory allow. */
export interface ExpertStore {
  /** @param h what the layer's feed-forward is about to change, [T, dim]: a store may guess from it what later layers will want */
  load(ids: Tensor, h: Tensor): AsyncIterable<ExpertWave>;
}

export interface Layer {
  readonly index: number;
  readonly attentionNorm: Tensor; // [dim]
  readonly wq: Linear; // [heads · headDim, dim]
  readonly wk: Linear; // [kvHeads · headDim, dim]
  readonly wv: Linear; // [kvHeads · headDim, dim]
  readonly wo: Linear; // [dim, heads · headDim]
  readonly qkNorm: boolean;
  /** Frequencies [headDim / 2], or null on NoPE layers, which see the whole context … */
  readonly rope: Tensor | null;
  /** … while RoPE layers attend within one chunk of this many tokens (null: within the whole context). */
  readonly chunk: number | null;
  readonly ffnNorm: Tensor; // [dim]
  /** The dense feed-forward, or with `moe` the shared expert. */
  readonly mlp: Mlp;
  readonly moe: { readonly router: Linear; readonly experts: ExpertStore } | null;
}

export interface Llama4 {
  readonly config: Llama4Config;
  readonly tokEmbeddings: Tensor; // [vocab, dim]
  readonly layers: readonly Layer[];
  readonly norm: Tensor; // [dim]
  readonly output: Linear; // [vocab, dim]
}

/** Logits of `batch.logitRows`, [rows, vocab]. Keys and values of the whole batch are added to `cache`. */
export async function forward(k: Backend, m: Llama4, batch: Batch, cache: KVCache): Promise<Tensor> {
  return logitsOf(k, m, await hiddenStates(k, m, batch, cache));
}

/** What the next token is judged by: the normed states of `batch.logitRows`, [rows, dim]. */
export async function hiddenStates(k: Backend, m: Llama4, batch: Batch, cache: KVCache): Promise<Tensor> {
  let h = k.embed(m.tokEmbeddings, batch.tokens); // [T, dim]
  for (const layer of m.layers) {
    const x = h;
    h = await k.step(() => block(k, m.config, layer, x, batch, cache)); // [T, dim]
    k.release(x);
  }
  return k.rmsNorm(k.gatherRows(h, batch.logitRows), m.norm, m.config.normEps); // [rows, dim]
}

export const logitsOf = (k: Backend, m: Llama4, states: Tensor): Tensor => linear(k, states, m.output); // [rows, vocab]

/** One layer. Each step leaves nothing behind but what it returns. */
async function block(
  k: Backend,
  c: Llama4Config,
  layer: Layer,
  x: Tensor,
  batch: Batch,
  cache: KVCache,
): Promise<Tensor> {
  const h = await k.step(async () => {
    return k.add(x, attention(k, c, layer, k.rmsNorm(x, layer.attentionNorm, c.normEps), batch, cache)); // [T, dim]
  });
  return k.step(async () => {
    return k.add(h, await feedForward(k, c, layer, h)); // [T, dim]
  });
}

function attention(k: Backend, c: Llama4Config, layer: Layer, x: Tensor, batch: Batch, cache: KVCache): Tensor {
  let q = k.reshape(linear(k, x, layer.wq), [-1, c.heads, c.headDim]); // [T, heads, headDim]
  let key = k.reshape(linear(k, x, layer.wk), [-1, c.kvHeads, c.headDim]); // [T, kvHeads, headDim]
  const value = k.reshape(linear(k, x, layer.wv), [-1, c.kvHeads, c.headDim]); // [T, kvHeads, headDim]
  if (layer.rope) {
    q = k.rope(q, layer.rope, batch.positions);
    key = k.rope(key, layer.rope, batch.positions);
  } else if (c.attnScale !== 0) {
    q = k.scaleRows(q, temperature(c, batch.positions)); // attention keeps its sharpness at length: arXiv 2501.19399
  }
  if (layer.qkNorm) {
    q = k.rmsNorm(q, null, c.normEps); // over each head's headDim, after RoPE, without a weight
    key = k.rmsNorm(key, null, c.normEps);
  }
  cache.append(layer.index, key, value, batch);
  const out = k.attention(q, cache, layer.index, batch); // [T, heads, headDim]
  return linear(k, k.reshape(out, [-1, c.heads * c.headDim]), layer.wo); // [T, dim]
}

async function feedForward(k: Backend, c: Llama4Config, { ffnNorm, mlp, moe }: Layer, h: Tensor): Promise<Tensor> {
  const x = k.rmsNorm(h, ffnNorm, c.normEps); // [T, dim]
  if (!moe) return swigluMlp(k, mlp, x); // [T, dim]
  const route = k.topK(linear(k, x, moe.router), c.expertsPerToken); // ids and logits, [T, 1]
  const waves = moe.experts.load(route.ids, h); // from disk: reads start here …
  let out = swigluMlp(k, mlp, x); // … and run while the shared expert computes
  const routed = k.scaleRows(x, k.sigmoid(route.values)); // the score scales the expert's input, not its output
  for await (const { gate, up, down, slots } of waves) {
    const sum = out;
    out = await k.step(async () => {
      const hidden = k.swiglu(k.expertMatmul(routed, gate, slots), k.expertMatmul(routed, up, slots)); // [T, ff]
      return k.add(sum, k.expertMatmul(hidden, down, slots)); // [T, dim]
    });
    k.release(sum); // many waves need no more room than one
  }
  return out;
}

const swigluMlp = (k: Backend, w: Mlp, x: Tensor): Tensor =>
  linear(k, k.swiglu(linear(k, x, w.gate), linear(k, x, w.up)), w.down);

const temperature = (c: Llama4Config, positions: Int32Array): Float32Array =>
  Float32Array.from(positions, p => 1 + c.attnScale * Math.log(1 + Math.floor((p + 1) / c.floorScale)));
