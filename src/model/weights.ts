// Binds every tensor of a checkpoint to its place in the model, once: after this no string looks up a tensor and no shape is checked.
// Names: llama.cpp's GGUF converter (gguf-py tensor_mapping.py). Nothing is read before everything is bound.
import type { Backend, Tensor } from '../backends/backend.ts';
import { type Checkpoint, CheckpointError, type TensorInfo } from '../checkpoint/checkpoint.ts';
import type { ModelPlan } from './config.ts';
import { fetchWeight } from './expert-reader.ts';
import type { ExpertStream, StreamedLayer } from './expert-stream.ts';
import { residentExperts } from './experts.ts';
import type { Linear } from './linear.ts';
import type { ExpertStore, Layer, Llama4, Mlp } from './llama4.ts';

interface BoundMlp {
  readonly gate: TensorInfo;
  readonly up: TensorInfo;
  readonly down: TensorInfo;
}

/** One layer's tensors, by the names of `Layer`. */
export interface BoundLayer {
  readonly attentionNorm: TensorInfo;
  readonly wq: TensorInfo;
  readonly wk: TensorInfo;
  readonly wv: TensorInfo;
  readonly wo: TensorInfo;
  readonly ffnNorm: TensorInfo;
  /** The dense feed-forward, or with `moe` the shared expert. */
  readonly mlp: BoundMlp;
  readonly moe: { readonly router: TensorInfo; readonly experts: BoundMlp } | null;
}

/** A checkpoint whose tensors are all found, of the right shape, and accounted for; nothing of them is in memory yet. */
export interface BoundModel {
  readonly checkpoint: Checkpoint;
  readonly plan: ModelPlan;
  readonly tokEmbeddings: TensorInfo;
  readonly layers: readonly BoundLayer[];
  readonly norm: TensorInfo;
  /** The same as `tokEmbeddings` where the output is tied to it. */
  readonly output: TensorInfo;
  /** Divisors of the rotation's frequencies (Llama 3.1 and Scout scale them so), or null. */
  readonly ropeFactors: TensorInfo | null;
  /** Tensors of the file that this model has no use for: vision encoders and the like. */
  readonly unused: readonly TensorInfo[];
  /** Weights of the model, the scaling factors of RoPE left out. */
  readonly parameters: number;
  /** Of these, the ones a token uses: of routed experts its own. */
  readonly activeParameters: number;
  /** Bytes of all bound tensors in the file. */
  readonly weightBytes: number;
}

/**
 * Finds every tensor the plan needs and doubts its shape and format.
 * @throws CheckpointError naming the tensor: missing, of another shape, or one that would change results and that we do not compute.
 */
export function bindWeights(checkpoint: Checkpoint, plan: ModelPlan): BoundModel {
  const { config } = plan;
  const { dim, heads, kvHeads, headDim, experts, vocab } = config;
  const used = new Set<TensorInfo>();
  const fail = (name: string, got: string, wanted: string): never => {
    throw new CheckpointError(
      checkpoint.path,
      `${name}: got ${got}, wanted ${wanted}. Get another file of this model.`,
    );
  };
  const find = (name: string, shape: readonly number[]): TensorInfo | null => {
    const tensor = checkpoint.tensors.get(`${name}.weight`);
    if (!tensor) return null;
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i]))
      fail(`${name}.weight`, `shape [${tensor.shape.join(', ')}]`, `[${shape.join(', ')}] as the metadata say`);
    if (shape.length > 1 && tensor.dtype === 'I32') fail(`${name}.weight`, 'I32', 'a format of weights');
    used.add(tensor);
    return tensor;
  };
  const need = (name: string, ...shape: number[]): TensorInfo =>
    find(name, shape) ?? fail(`${name}.weight`, 'no such tensor', `one of shape [${shape.join(', ')}]`);
  /** Norms and factors: small, and F32 in every file that llama.cpp's tools make. */
  const vector = <T extends TensorInfo | null>(tensor: T): T => {
    if (tensor && tensor.dtype !== 'F32') fail(tensor.name, `format ${tensor.dtype}`, 'F32');
    return tensor;
  };
  const mlp = (block: string, suffix: string, ff: number, ...packed: number[]): BoundMlp => ({
    gate: need(`${block}.ffn_gate${suffix}`, ...packed, ff, dim),
    up: need(`${block}.ffn_up${suffix}`, ...packed, ff, dim),
    down: need(`${block}.ffn_down${suffix}`, ...packed, dim, ff),
  });

  const tokEmbeddings = need('token_embd', vocab, dim);
  const layers = plan.layers.map(({ index, moe, ff }): BoundLayer => {
    const block = `blk.${index}`;
    return {
      attentionNorm: vector(need(`${block}.attn_norm`, dim)),
      wq: need(`${block}.attn_q`, heads * headDim, dim),
      wk: need(`${block}.attn_k`, kvHeads * headDim, dim),
      wv: need(`${block}.attn_v`, kvHeads * headDim, dim),
      wo: need(`${block}.attn_output`, dim, heads * headDim),
      ffnNorm: vector(need(`${block}.ffn_norm`, dim)),
      mlp: mlp(block, moe ? '_shexp' : '', ff),
      moe: moe
        ? { router: need(`${block}.ffn_gate_inp`, experts, dim), experts: mlp(block, '_exps', ff, experts) }
        : null,
    };
  });
  const norm = vector(need('output_norm', dim));
  const output = find('output', [vocab, dim]) ?? tokEmbeddings;
  const ropeFactors = vector(find('rope_freqs', [headDim / 2]));

  const unused = [...checkpoint.tensors.values()].filter(tensor => !used.has(tensor));
  const meaningful = unused.find(tensor => changesResults(tensor.name));
  if (meaningful)
    throw new CheckpointError(
      checkpoint.path,
      `tensor ${meaningful.name}: a model of architecture ${config.architecture} with these metadata has no place for it, and ` +
        'leaving it out would change the results. This variant of the architecture is not supported.',
    );

  const routed = layers.reduce((sum, { moe }) => sum + (moe ? sizeOf(Object.values(moe.experts)) : 0), 0);
  const parameters = sizeOf([...used].filter(tensor => tensor !== ropeFactors));
  return {
    checkpoint,
    plan,
    tokEmbeddings,
    layers,
    norm,
    output,
    ropeFactors,
    unused,
    parameters,
    activeParameters: parameters - routed + (experts > 0 ? (routed / experts) * config.expertsPerToken : 0),
    weightBytes: [...used].reduce((sum, tensor) => sum + tensor.byteLength, 0),
  };
}

/** Tensors without a place that are known to be harmless: tables some converters store beside what they are computed from. */
const harmless = /^blk\.\d+\.(attn_rot_embd|rope_freqs)\.weight$/;
/** Tensors that belong to the text model's graph: all of its blocks, and what stands before and after them. */
const graph = /^(blk\.|token_embd|token_types|position_embd|output|rope_factors|cls)/;

const changesResults = (name: string): boolean => graph.test(name) && !harmless.test(name);

const sizeOf = (tensors: readonly TensorInfo[]): number =>
  tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/** The layers whose experts can be streamed, in order. */
export const expertLayers = ({ layers }: BoundModel): StreamedLayer[] =>
  layers.flatMap(({ moe }, index) => (moe ? [{ index, ...moe.experts }] : []));

/** Bytes of all routed experts in the file. */
export const routedBytes = (bound: BoundModel): number =>
  expertLayers(bound).reduce((sum, { gate, up, down }) => sum + gate.byteLength + up.byteLength + down.byteLength, 0);

export interface LoadOptions {
  /** Where routed experts come from, if not all of them become resident. */
  readonly stream?: ExpertStream | null | undefined;
  /** Called as bytes of weights arrive. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Uploads a bound model to a backend, tensor by tensor in the order of the layers; all experts become resident, if they are not streamed.
 * @throws CheckpointError when the file cannot be read; the signal's reason when it aborts.
 */
export async function loadWeights(bound: BoundModel, backend: Backend, options: LoadOptions = {}): Promise<Llama4> {
  const { checkpoint, plan } = bound;
  const { stream } = options;
  const total = bound.weightBytes - (stream ? routedBytes(bound) : 0);
  let loaded = 0;
  let streamed = 0;
  const upload = async (tensor: TensorInfo): Promise<Tensor> => {
    const fetched = stream && (await fetchWeight(backend, checkpoint, tensor));
    options.signal?.throwIfAborted();
    if (!fetched) return await copy(tensor);
    loaded += tensor.byteLength;
    options.onProgress?.(loaded, total);
    return fetched;
  };
  const copy = (tensor: TensorInfo): Promise<Tensor> =>
    backend.upload(tensor.dtype, tensor.shape, async (into, offset) => {
      options.signal?.throwIfAborted();
      await checkpoint.read(tensor, offset, into);
      options.signal?.throwIfAborted(); // or what was asked for at once would all be read
      loaded += into.byteLength;
      options.onProgress?.(loaded, total);
    });
  const linear = async (tensor: TensorInfo): Promise<Linear> => ({ weight: await upload(tensor), lora: null });
  const mlp = async (tensors: BoundMlp): Promise<Mlp> => {
    const [gate, up, down] = await Promise.all([linear(tensors.gate), linear(tensors.up), linear(tensors.down)]);
    return { gate, up, down };
  };
  const experts = async ({ gate, up, down }: BoundMlp): Promise<ExpertStore> =>
    stream?.storeOf(streamed++) ?? residentExperts(...(await Promise.all([upload(gate), upload(up), upload(down)])));

  const rope = await uploadFloats(backend, await frequencies(bound));
  if (bound.ropeFactors) loaded += bound.ropeFactors.byteLength;
  const layer = async (tensors: BoundLayer, index: number): Promise<Layer> => {
    const { rope: rotated, chunk, qkNorm } = plan.layers[index]!;
    const [attentionNorm, wq, wk, wv, wo, ffnNorm, dense, router, routed] = await Promise.all([
      upload(tensors.attentionNorm),
      linear(tensors.wq),
      linear(tensors.wk),
      linear(tensors.wv),
      linear(tensors.wo),
      upload(tensors.ffnNorm),
      mlp(tensors.mlp),
      tensors.moe && linear(tensors.moe.router),
      tensors.moe && experts(tensors.moe.experts),
    ]);
    const moe = router && routed && { router, experts: routed };
    const frequencies = rotated ? rope : null;
    return { index, attentionNorm, wq, wk, wv, wo, qkNorm, rope: frequencies, chunk, ffnNorm, mlp: dense, moe };
  };
  // All are asked for at once: a backend reads them in this order, and several pieces at a time.
  const [tokEmbeddings, layers, norm, output] = await Promise.all([
    upload(bound.tokEmbeddings),
    Promise.all(bound.layers.map(layer)),
    upload(bound.norm),
    bound.output === bound.tokEmbeddings ? null : linear(bound.output),
  ]);
  // A guess must not delay what is wanted now, which only reads with an order of their own see to.
  if (stream && backend.fetch) {
    const sparse = layers.flatMap(({ ffnNorm, moe }) => (moe ? [{ ffnNorm, router: moe.router }] : []));
    stream.foresee = (h, next) => {
      const { ffnNorm, router } = sparse[next]!;
      return backend.topK(backend.matmul(backend.rmsNorm(h, ffnNorm, plan.config.normEps), router.weight), 1).ids;
    };
  }
  return { config: plan.config, tokEmbeddings, layers, norm, output: output ?? { weight: tokEmbeddings, lora: null } };
}

/**
 * Angles per position of the rotated pairs, [headDim / 2]: theta^(−2j / headDim), divided by the checkpoint's factors.
 * RoFormer, arXiv 2104.09864; the factors: llama-models `apply_scaling`, computed by the converter.
 * @throws CheckpointError when a factor is no positive number.
 */
export async function frequencies({ checkpoint, plan, ropeFactors }: BoundModel): Promise<Float32Array<ArrayBuffer>> {
  const { headDim } = plan.config;
  const factors = new Float32Array(headDim / 2).fill(1);
  if (ropeFactors) await checkpoint.read(ropeFactors, 0, new Uint8Array(factors.buffer));
  const wrong = factors.findIndex(factor => !(factor > 0 && factor < Infinity));
  if (wrong >= 0)
    throw new CheckpointError(
      checkpoint.path,
      `rope_freqs.weight[${wrong}]: got ${factors[wrong]}, wanted a positive number. Get another file of this model.`,
    );
  return factors.map((factor, j) => plan.ropeTheta ** ((-2 * j) / headDim) / (factor * plan.ropeLinearFactor));
}

/** Uploads numbers that are computed and not read. */
function uploadFloats(backend: Backend, numbers: Float32Array): Promise<Tensor> {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return backend.upload('F32', [numbers.length], async (into, offset) => {
    into.set(bytes.subarray(offset, offset + into.byteLength));
  });
}
