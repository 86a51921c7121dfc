// GGUF metadata becomes a configuration and a plan of every layer. Everything the metadata says is doubted here, and nowhere later.
// Sources: llama.cpp src/models/llama4.cpp and its converter (key names, defaults); transformers configuration_llama4.py.
import type { CacheShape } from '../backends/backend.ts';
import { type Checkpoint, CheckpointError } from '../checkpoint/checkpoint.ts';
import type { Llama4Config } from './llama4.ts';

/** What sets one layer apart from another. */
export interface LayerPlan {
  readonly index: number;
  /** False on NoPE layers, which carry no position and see the whole context. */
  readonly rope: boolean;
  /** Attention chunk of this many tokens, or null: the whole context. */
  readonly chunk: number | null;
  readonly qkNorm: boolean;
  /** True: routed experts beside a shared one. False: one dense feed-forward. */
  readonly moe: boolean;
  /** Width of the dense feed-forward, or with `moe` of each expert and of the shared one. */
  readonly ff: number;
}

/** All that the weights must agree with. */
export interface ModelPlan {
  readonly config: Llama4Config;
  readonly layers: readonly LayerPlan[];
  readonly ropeTheta: number;
  /** Positions are divided by this before rotation (`rope.scaling.type` linear); 1 where there is no such scaling. */
  readonly ropeLinearFactor: number;
}

/** Every how many layers Llama 4 leaves positions out: no GGUF key states it. */
const NOPE_STEP = 4;
const DEFAULT_CHUNK = 8192;
/** Temperature tuning as released (arXiv 2501.19399; meta-llama/llama-models args.py). */
const FLOOR_SCALE = 8192;
const ATTENTION_SCALE = 0.1;
/** llama.cpp's rule where `use_qk_norm` is not stated: Maverick, known by its 128 experts, is the one without. */
const EXPERTS_WITHOUT_QK_NORM = 128;

/**
 * Reads what a checkpoint says about its model.
 * @throws CheckpointError naming the key, what it got and what it wanted, for anything missing, absurd or not supported.
 */
export function planModel(checkpoint: Checkpoint): ModelPlan {
  const architecture = checkpoint.metadata.get('general.architecture');
  if (architecture !== 'llama4' && architecture !== 'llama')
    throw new CheckpointError(
      checkpoint.path,
      `general.architecture: got ${show(architecture)}, wanted "llama4" or "llama". Other architectures are not supported.`,
    );
  const keys = new Keys(checkpoint, architecture);
  const dim = keys.integer('embedding_length', 1, 2 ** 20);
  const layers = keys.integer('block_count', 1, 4096);
  const heads = keys.integer('attention.head_count', 1, 65536);
  const kvHeads = keys.integer('attention.head_count_kv', 1, 65536, heads);
  if (heads % kvHeads !== 0)
    throw keys.error('attention.head_count_kv', kvHeads, `a divisor of attention.head_count, which is ${heads}`);
  if (!keys.has('attention.key_length') && dim % heads !== 0)
    throw keys.error('attention.head_count', heads, `a divisor of embedding_length (${dim}), or attention.key_length`);
  const headDim = keys.integer('attention.key_length', 2, 65536, dim / heads);
  if (headDim % 2 !== 0) throw keys.error('attention.key_length', headDim, 'an even number: RoPE rotates pairs');
  same(keys, 'attention.value_length', headDim, 'attention.key_length');
  same(keys, 'rope.dimension_count', headDim, 'the head dimension; partial rotation is not supported');

  const experts = keys.integer('expert_count', 0, 65536, 0);
  const contextLength = keys.integer('context_length', 1, 2 ** 31 - 1);
  const shape = {
    architecture,
    layers,
    dim,
    heads,
    kvHeads,
    headDim,
    vocab: vocabularySize(checkpoint),
    normEps: keys.number('attention.layer_norm_rms_epsilon', n => n > 0 && n < 1, 'a number between 0 and 1'),
    experts,
  };
  const rope = ropeOf(keys, architecture);
  if (architecture === 'llama') {
    if (experts > 0)
      throw keys.error('expert_count', experts, '0: experts of the llama architecture (Mixtral) are not supported');
    // Within its window a sliding-window model is the plain one; past it we would compute something else.
    const window = keys.integer('attention.sliding_window', 0, 2 ** 31 - 1, 0);
    const ff = keys.integer('feed_forward_length', 1, 2 ** 24);
    const config: Llama4Config = {
      ...shape,
      contextLength: window > 0 ? Math.min(window, contextLength) : contextLength,
      expertsPerToken: 0,
      floorScale: FLOOR_SCALE,
      attnScale: 0,
    };
    const layer = { rope: true, chunk: null, qkNorm: false, moe: false, ff };
    return { config, layers: range(layers).map(index => ({ index, ...layer })), ...rope };
  }
  return { ...llama4(keys, { ...shape, contextLength }), ...rope };
}

/** The cache of keys and values that a model of this plan needs. @param limits how much it may hold at once */
export const cacheShape = (
  { config, layers }: ModelPlan,
  limits: Pick<CacheShape, 'maxTokens' | 'maxSequences' | 'longSequences' | 'maxBatch' | 'type'>,
): CacheShape => ({
  layers: config.layers,
  kvHeads: config.kvHeads,
  headDim: config.headDim,
  chunks: layers.map(layer => layer.chunk),
  ...limits,
});

type Shape = Omit<Llama4Config, 'expertsPerToken' | 'floorScale' | 'attnScale'>;

function llama4(keys: Keys, shape: Shape): Pick<ModelPlan, 'config' | 'layers'> {
  const { experts } = shape;
  // A stated window of 0 means, as llama.cpp's loader says, no chunks and RoPE on every layer (MobileLLM).
  const window = keys.integer('attention.sliding_window', 0, 2 ** 31 - 1, DEFAULT_CHUNK);
  const chunk = window === 0 ? null : keys.integer('attention.chunk_size', 1, 2 ** 31 - 1, window);
  const qkNorm = keys.boolean('use_qk_norm', experts !== EXPERTS_WITHOUT_QK_NORM);
  const expertsPerToken = experts > 0 ? keys.integer('expert_used_count', 0, 65536) : 0;
  if (experts > 0 && expertsPerToken !== 1)
    throw keys.error('expert_used_count', expertsPerToken, '1: Llama 4 routes every token to one expert');
  const step = experts > 0 ? keys.integer('interleave_moe_layer_step', 0, 4096) : 0;
  const indices = range(shape.layers);
  // Lists of our own, for folders whose layers follow no such rule (Hugging Face: moe_layers, no_rope_layers).
  const sparse = keys.layers('expert_layers', shape.layers, i => step > 0 && (i + 1) % step === 0);
  const rotated = keys.layers('rope_layers', shape.layers, i => window === 0 || (i + 1) % NOPE_STEP !== 0);
  const dense = indices.some(i => !sparse(i)) ? keys.integer('feed_forward_length', 1, 2 ** 24) : 0;
  const expertFf = indices.some(sparse) ? keys.integer('expert_feed_forward_length', 1, 2 ** 24) : 0;
  return {
    config: {
      ...shape,
      expertsPerToken,
      floorScale: keys.integer('attention.temperature_length', 1, 2 ** 31 - 1, FLOOR_SCALE),
      attnScale: keys.number('attention.temperature_scale', Number.isFinite, 'a finite number', ATTENTION_SCALE),
    },
    layers: indices.map(index => {
      const rope = rotated(index);
      const moe = sparse(index);
      return { index, rope, chunk: rope ? chunk : null, qkNorm: rope && qkNorm, moe, ff: moe ? expertFf : dense };
    }),
  };
}

function ropeOf(keys: Keys, architecture: string): Pick<ModelPlan, 'ropeTheta' | 'ropeLinearFactor'> {
  // Old llama files leave the base out and mean 10,000; every llama4 file states it.
  const theta = keys.number(
    'rope.freq_base',
    n => Number.isFinite(n) && n > 0,
    'a positive number',
    architecture === 'llama' ? 10_000 : undefined,
  );
  const type = keys.get('rope.scaling.type') ?? 'none';
  if (type !== 'none' && type !== 'linear')
    throw keys.error('rope.scaling.type', type, '"none", "linear", or none and a tensor rope_freqs.weight');
  const positive = (n: number): boolean => Number.isFinite(n) && n > 0;
  const factor = type === 'linear' ? keys.number('rope.scaling.factor', positive, 'a positive number') : 1;
  return { ropeTheta: theta, ropeLinearFactor: factor };
}

/** The table of embeddings is the truth: tokenizers are padded to it, and `vocab_size` is missing from old files. */
function vocabularySize(checkpoint: Checkpoint): number {
  const table = checkpoint.tensors.get('token_embd.weight');
  const size = table?.shape[0];
  if (table?.shape.length !== 2 || size === undefined || !Number.isSafeInteger(size) || size < 1)
    throw new CheckpointError(
      checkpoint.path,
      `token_embd.weight: got ${table ? `shape [${table.shape.join(', ')}]` : 'no such tensor'}, wanted [vocab, dim]. ` +
        'The file holds no whole language model (a projector or an adapter?); get the text model.',
    );
  return size;
}

function same(keys: Keys, key: string, wanted: number, because: string): void {
  const got = keys.integer(key, 0, 2 ** 31 - 1, wanted);
  if (got !== wanted) throw keys.error(key, got, `${wanted}, equal to ${because}`);
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** A value in words, however long it is. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Metadata under one architecture's prefix, with types and ranges. A missing key is an error unless it has a default. */
class Keys {
  readonly #checkpoint: Checkpoint;
  readonly #prefix: string;

  constructor(checkpoint: Checkpoint, prefix: string) {
    this.#checkpoint = checkpoint;
    this.#prefix = prefix;
  }

  has(key: string): boolean {
    return this.#checkpoint.metadata.has(`${this.#prefix}.${key}`);
  }

  get(key: string): unknown {
    return this.#checkpoint.metadata.get(`${this.#prefix}.${key}`);
  }

  integer(key: string, least: number, most: number, otherwise?: number): number {
    const wanted = `an integer from ${least} to ${most}`;
    return this.number(key, n => Number.isInteger(n) && n >= least && n <= most, wanted, otherwise);
  }

  number(key: string, good: (n: number) => boolean, wanted: string, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value !== 'number' || !good(value)) throw this.error(key, value, wanted);
    return value;
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.get(key) ?? otherwise;
    if (typeof value !== 'boolean') throw this.error(key, value, 'true or false');
    return value;
  }

  /** By layer: a list where the key is there, else a rule. */
  layers(key: string, count: number, rule: (index: number) => boolean): (index: number) => boolean {
    const value = this.get(key);
    if (value === undefined) return rule;
    if (!Array.isArray(value) || value.length !== count || value.some(item => typeof item !== 'boolean'))
      throw this.error(key, value, `true or false for each of the ${count} layers`);
    return index => value[index] === true;
  }

  error(key: string, got: unknown, wanted: string): CheckpointError {
    const cure = 'Convert the model again, or get another file of it.';
    return new CheckpointError(
      this.#checkpoint.path,
      `${this.#prefix}.${key}: got ${show(got)}, wanted ${wanted}. ${cure}`,
    );
  }
}
