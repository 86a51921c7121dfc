// params.json of Meta's folders becomes the metadata that a GGUF of the model has.
// Sources: llama-models models/llama4/args.py and model.py (names, defaults); transformers' converter (what params.json leaves open).
import type { MetadataValue } from '../checkpoint.ts';
import { modelNameOf } from '../folder.ts';
import { setExpertLayers, setLayerPositions } from '../huggingface/config.ts';
import type { Fields } from '../json.ts';
import { scaledFrequencies } from '../rope-scaling.ts';

/** What params.json says of the shapes of tensors. */
export interface MetaShape {
  readonly architecture: 'llama4' | 'llama';
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly experts: number;
  readonly moe: readonly boolean[];
  readonly ropeFactors: Float32Array | null;
}

const positive = (n: number): boolean => Number.isFinite(n) && n > 0;

/**
 * @param root the fields of params.json
 * @returns metadata without what only the tensors say: the widths of feed-forwards and the vocabulary
 * @throws CheckpointError naming the field, what it is and what it must be
 */
export function readParams(root: Fields, folder: string): { shape: MetaShape; metadata: Map<string, MetadataValue> } {
  const params = root.inner('model') ?? root;
  const keys = new Set(params.keys());
  // Llama 3's have none of these.
  const llama4 = ['moe_args', 'use_qk_norm', 'nope_layer_interval', 'attention_chunk_size'].some(key => keys.has(key));
  const a = llama4 ? 'llama4' : 'llama';
  const dim = params.integer('dim', 1, 2 ** 20);
  const layers = params.integer('n_layers', 1, 4096);
  const heads = params.integer('n_heads', 1, 65536);
  const kvHeads = params.integer('n_kv_heads', 1, 65536, heads);
  const headDim = params.integer('head_dim', 2, 65536, dim % heads === 0 ? dim / heads : undefined);
  if (params.inner('quantization_args')?.get('scheme') != null)
    params.fail(
      'quantization_args',
      'none: quantized shards are not read; get the BF16 shards, or the FP8 release from Hugging Face',
    );
  const theta = params.number('rope_theta', positive, 'a positive number', 500_000);
  const scaled = params.boolean('use_scaled_rope', false);
  // Only Scout and Llama 3.1 scale; Meta's code puts these where params.json leaves them out.
  const scaling = {
    factor: params.number('rope_scaling_factor', positive, 'a positive number', llama4 ? 16 : 8),
    lowFrequencyFactor: 1,
    highFrequencyFactor: params.number('rope_high_freq_factor', positive, 'a positive number', llama4 ? 1 : 4),
    originalContext: 8192,
  };
  const moeArgs = llama4 ? params.inner('moe_args') : null;
  const experts = moeArgs?.integer('num_experts', 1, 65536) ?? 0;
  const step = moeArgs?.integer('interleave_moe_layer_step', 1, 4096, 1) ?? 0;
  const moe = Array.from({ length: layers }, (_, i) => step > 0 && (i + 1) % step === 0);
  const contextLength = llama4 ? contextOf(experts, folder) : scaled ? 131_072 : 8192;
  const metadata = new Map<string, MetadataValue>([
    ['general.architecture', a],
    [`${a}.block_count`, layers],
    [`${a}.context_length`, contextLength],
    [`${a}.embedding_length`, dim],
    [`${a}.attention.head_count`, heads],
    [`${a}.attention.head_count_kv`, kvHeads],
    [`${a}.attention.key_length`, headDim],
    [`${a}.attention.value_length`, headDim],
    [
      `${a}.attention.layer_norm_rms_epsilon`,
      params.number('norm_eps', n => n > 0 && n < 1, 'a number between 0 and 1', 1e-5),
    ],
    [`${a}.rope.dimension_count`, headDim],
    [`${a}.rope.freq_base`, theta],
  ]);
  if (llama4) {
    const set = (key: string, value: MetadataValue): void => {
      metadata.set(`llama4.${key}`, value);
    };
    set('expert_count', experts);
    if (moeArgs) {
      set('expert_used_count', moeArgs.integer('top_k', 1, 65536, 1));
      if (moe.includes(true)) setExpertLayers(set, moe);
    }
    set('use_qk_norm', params.boolean('use_qk_norm', false));
    const tuned = params.boolean('attn_temperature_tuning', true); // as released: Meta's code has it off where it is left out
    set(
      'attention.temperature_scale',
      tuned ? params.number('attn_scale', Number.isFinite, 'a finite number', 0.1) : 0,
    );
    set('attention.temperature_length', params.integer('floor_scale', 1, 2 ** 31 - 1, 8192));
    const nullable = (key: string): number | null =>
      (params.get(key) ?? null) === null ? null : params.integer(key, 1, 2 ** 31 - 1);
    const interval = nullable('nope_layer_interval');
    const rope = Array.from({ length: layers }, (_, i) => interval === null || (i + 1) % interval !== 0);
    setLayerPositions(set, rope, nullable('attention_chunk_size'), contextLength);
  }
  const ropeFactors = scaled ? scaledFrequencies(headDim, theta, scaling) : null;
  return { shape: { architecture: a, layers, dim, heads, kvHeads, headDim, experts, moe, ropeFactors }, metadata };
}

/** params.json does not say. As transformers' converter has it; a folder whose name says Instruct holds such a model. */
function contextOf(experts: number, folder: string): number {
  if (experts === 0) return 8192;
  if (!/instruct/i.test(modelNameOf(folder))) return 262_144;
  return experts === 16 ? 10_485_760 : 1_048_576;
}
