// config.json of a Hugging Face folder becomes the metadata that a GGUF of the model has, and what is needed to find its tensors.
// Sources: transformers configuration_llama4.py and configuration_llama.py (names, defaults); llama.cpp's converter (GGUF keys).
import { CheckpointError, type MetadataValue } from '../checkpoint.ts';
import { type Fields, shownJson } from '../json.ts';
import { type RopeScaling, scaledFrequencies } from '../rope-scaling.ts';

/** What a config says that is no metadata: how tensors are laid out. */
export interface ModelShape {
  readonly architecture: 'llama4' | 'llama';
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly experts: number;
  readonly expertFf: number;
  readonly ff: number;
  /** By layer. */
  readonly moe: readonly boolean[];
  readonly tied: boolean;
  /** Divisors of the frequencies of RoPE, or null where it is not scaled so. */
  readonly ropeFactors: Float32Array | null;
}

export interface ModelConfig {
  readonly shape: ModelShape;
  readonly metadata: Map<string, MetadataValue>;
}

const most = 2 ** 31 - 1;
const positive = (n: number): boolean => Number.isFinite(n) && n > 0;

/**
 * @param root the fields of config.json
 * @throws CheckpointError naming the field, what it is and what it must be; also for quantizations that are not read
 */
export function readConfig(root: Fields): ModelConfig {
  const type = root.text('model_type');
  if (type !== 'llama4' && type !== 'llama4_text' && type !== 'llama')
    root.fail('model_type', '"llama4", "llama4_text" or "llama"; other architectures are not supported');
  checkQuantization(root);
  const fields = type === 'llama4' ? (root.inner('text_config') ?? root.fail('text_config', 'an object')) : root;
  return type === 'llama' ? llama(fields) : llama4(fields, root);
}

/** Weights whose numbers are packed in ways of their own have names of their own, and would fail less clearly. */
function checkQuantization(root: Fields): void {
  const quantization = root.inner('quantization_config') ?? root.inner('compression_config');
  if (!quantization) return;
  const method = quantization.get('quant_method');
  const readable = ['compressed-tensors', 'fbgemm_fp8', 'fp8', 'modelopt'];
  if (typeof method !== 'string' || !readable.includes(method))
    quantization.fail(
      'quant_method',
      `${readable.join(', ')}: FP8 with its scales, or no quantization; use the BF16 or the FP8 release`,
    );
  const format = quantization.get('format');
  if (
    method === 'compressed-tensors' &&
    format !== undefined &&
    format !== 'float-quantized' &&
    format !== 'naive-quantized'
  )
    quantization.fail('format', '"float-quantized" (FP8); use the BF16 or the FP8 release');
}

function geometry(fields: Fields, defaultHeadDim?: number) {
  const dim = fields.integer('hidden_size', 1, 2 ** 20);
  const heads = fields.integer('num_attention_heads', 1, 65536);
  const headDim = fields.integer('head_dim', 2, 65536, defaultHeadDim ?? (dim % heads === 0 ? dim / heads : undefined));
  const activation = fields.text('hidden_act', 'silu');
  if (activation !== 'silu') fields.fail('hidden_act', '"silu", the one that Llama has');
  for (const key of ['attention_bias', 'mlp_bias'])
    if (fields.boolean(key, false)) fields.fail(key, 'false: projections with biases are not supported');
  return {
    layers: fields.integer('num_hidden_layers', 1, 4096),
    dim,
    heads,
    kvHeads: fields.integer('num_key_value_heads', 1, 65536, heads),
    headDim,
    vocab: fields.integer('vocab_size', 1, 2 ** 24),
  };
}

function sharedMetadata(
  architecture: string,
  fields: Fields,
  g: ReturnType<typeof geometry>,
): Map<string, MetadataValue> {
  const a = architecture;
  return new Map<string, MetadataValue>([
    ['general.architecture', a],
    [`${a}.vocab_size`, g.vocab],
    [`${a}.block_count`, g.layers],
    [`${a}.context_length`, fields.integer('max_position_embeddings', 1, most)],
    [`${a}.embedding_length`, g.dim],
    [`${a}.attention.head_count`, g.heads],
    [`${a}.attention.head_count_kv`, g.kvHeads],
    [`${a}.attention.key_length`, g.headDim],
    [`${a}.attention.value_length`, g.headDim],
    [
      `${a}.attention.layer_norm_rms_epsilon`,
      fields.number('rms_norm_eps', n => n > 0 && n < 1, 'a number between 0 and 1'),
    ],
    [`${a}.rope.dimension_count`, g.headDim],
  ]);
}

function llama(fields: Fields): ModelConfig {
  const g = geometry(fields);
  const metadata = sharedMetadata('llama', fields, g);
  const ff = fields.integer('intermediate_size', 1, 2 ** 24);
  metadata.set('llama.feed_forward_length', ff);
  const ropeFactors = setRope(metadata, 'llama', fields, g.headDim, 10_000);
  const moe = Array.from({ length: g.layers }, () => false);
  const tied = fields.boolean('tie_word_embeddings', false);
  return { shape: { architecture: 'llama', ...g, experts: 0, expertFf: 0, ff, moe, tied, ropeFactors }, metadata };
}

function llama4(fields: Fields, root: Fields): ModelConfig {
  const g = geometry(fields, 128);
  const metadata = sharedMetadata('llama4', fields, g);
  const set = (key: string, value: MetadataValue): void => {
    metadata.set(`llama4.${key}`, value);
  };
  const step = fields.integer('interleave_moe_layer_step', 0, 4096, 1);
  const listed = fields.integers('moe_layers', 0, g.layers - 1);
  const indices = Array.from({ length: g.layers }, (_, i) => i);
  const wanted = indices.map(i => (listed ? listed.includes(i) : step > 0 && (i + 1) % step === 0));
  const experts = wanted.includes(true) ? fields.integer('num_local_experts', 0, 65536) : 0;
  const moe = wanted.map(sparse => sparse && experts > 0);
  const routed = experts > 0;
  const ff = fields.integer('intermediate_size_mlp', 1, 2 ** 24);
  const expertFf = fields.integer('intermediate_size', 1, 2 ** 24);
  set('feed_forward_length', ff);
  set('expert_count', experts);
  if (routed) {
    set('expert_feed_forward_length', expertFf);
    set('expert_used_count', fields.integer('num_experts_per_tok', 1, 65536, 1));
    setExpertLayers(set, moe);
  }
  set('use_qk_norm', fields.boolean('use_qk_norm', true));
  const tuned = fields.get('attn_temperature_tuning') ?? true;
  // Configs of the first days hold the number 4, for true.
  if (typeof tuned !== 'boolean' && typeof tuned !== 'number') fields.fail('attn_temperature_tuning', 'true or false');
  const scale = fields.number('attn_scale', Number.isFinite, 'a finite number', 0.1);
  set('attention.temperature_scale', tuned ? scale : 0);
  set('attention.temperature_length', fields.integer('floor_scale', 1, most, 8192));
  setPositions(set, fields, g.layers, metadata.get('llama4.context_length') as number);
  const ropeFactors = setRope(metadata, 'llama4', fields, g.headDim, 500_000);
  const tied = fields.boolean('tie_word_embeddings', root.boolean('tie_word_embeddings', false));
  return { shape: { architecture: 'llama4', ...g, experts, expertFf, ff, moe, tied, ropeFactors }, metadata };
}

type Set = (key: string, value: MetadataValue) => void;

/** As a step, which GGUF has a key for, or where they follow none as a list of our own. */
export function setExpertLayers(set: Set, moe: readonly boolean[]): void {
  const step = moe.indexOf(true) + 1;
  set('interleave_moe_layer_step', step);
  if (moe.some((sparse, i) => sparse !== ((i + 1) % step === 0))) set('expert_layers', moe);
}

/** Which layers rotate positions and attend within chunks. */
function setPositions(set: Set, fields: Fields, layers: number, contextLength: number): void {
  const listed = fields.integers('no_rope_layers', 0, 1);
  if (listed && listed.length > 0 && listed.length < layers)
    fields.fail('no_rope_layers', `one number for each of the ${layers} layers, 1 with RoPE and 0 without`);
  const interval = fields.integer('no_rope_layer_interval', 1, most, 4);
  const rope = Array.from({ length: layers }, (_, i) => (listed?.length ? listed[i] === 1 : (i + 1) % interval !== 0));
  const chunk =
    fields.get('attention_chunk_size') === null ? null : fields.integer('attention_chunk_size', 1, most, 8192);
  const types = fields.get('layer_types') ?? null;
  if (types !== null) {
    const wrong =
      !Array.isArray(types) ||
      types.length !== layers ||
      types.some((type, i) => type !== (rope[i] ? 'chunked_attention' : 'full_attention'));
    const full = Array.isArray(types) && types.every(type => type === 'full_attention');
    if (full) {
      setLayerPositions(set, rope, null, contextLength);
      return;
    }
    if (wrong)
      fields.fail('layer_types', '"chunked_attention" for layers with RoPE and "full_attention" for those without');
  }
  setLayerPositions(set, rope, chunk, contextLength);
}

/** @param chunk null: all layers see the whole context, which is one chunk then */
export function setLayerPositions(
  set: Set,
  rope: readonly boolean[],
  chunk: number | null,
  contextLength: number,
): void {
  if (chunk === null && rope.every(Boolean)) {
    set('attention.sliding_window', 0);
    return;
  }
  set('attention.chunk_size', chunk ?? contextLength);
  if (rope.some((rotated, i) => rotated !== ((i + 1) % 4 !== 0))) set('rope_layers', rope);
}

/** Sets base and scaling, and returns the divisors of frequencies that "llama3" scaling means. */
function setRope(
  metadata: Map<string, MetadataValue>,
  architecture: string,
  fields: Fields,
  headDim: number,
  defaultTheta: number,
): Float32Array | null {
  // transformers 5 keeps all of it in rope_parameters; before, the base stood beside rope_scaling.
  const parameters = fields.inner('rope_parameters') ?? fields.inner('rope_scaling');
  const outer = fields.number('rope_theta', positive, 'a positive number', defaultTheta);
  const theta = parameters?.number('rope_theta', positive, 'a positive number', outer) ?? outer;
  metadata.set(`${architecture}.rope.freq_base`, theta);
  const type = parameters ? (parameters.get('rope_type') ?? parameters.get('type') ?? 'default') : 'default';
  if (!parameters || type === 'default') return null;
  const factor = parameters.number('factor', positive, 'a positive number');
  if (type === 'linear') {
    metadata.set(`${architecture}.rope.scaling.type`, 'linear');
    metadata.set(`${architecture}.rope.scaling.factor`, factor);
    return null;
  }
  if (type !== 'llama3')
    throw new CheckpointError(
      fields.path,
      `rope_scaling: got type ${shownJson(type)}, wanted "llama3", "linear", "default" or none. Other scalings are not supported.`,
    );
  const scaling: RopeScaling = {
    factor,
    lowFrequencyFactor: parameters.number('low_freq_factor', positive, 'a positive number'),
    highFrequencyFactor: parameters.number('high_freq_factor', positive, 'a positive number'),
    originalContext: parameters.integer('original_max_position_embeddings', 1, most),
  };
  return scaledFrequencies(headDim, theta, scaling);
}
