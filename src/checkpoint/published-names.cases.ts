// The names and shapes of every tensor of the published models, as files that have a header and no bytes.
// Source: transformers' converter and modeling_llama4.py; compressed-tensors for the FP8 release.
import type { Checkpoint } from './checkpoint.ts';
import type { Folder } from './folder.ts';
import { openHuggingFace } from './huggingface/huggingface.ts';
import { type NumberType, numberBytes } from './numbers.ts';
import { elementsOf } from './raw-tensors.ts';

export interface Published {
  readonly config: Record<string, unknown>;
  readonly tensors: [name: string, type: NumberType, shape: number[]][];
}

const vocab = 202_048;
const dim = 5120;
const ff = 8192;

const visionTensors = (): Published['tensors'] => {
  const of = (name: string, ...shape: number[]): Published['tensors'][number] => [name, 'BF16', shape];
  const both = (name: string, out: number, ...input: number[]) => [
    of(`${name}.weight`, out, ...input),
    of(`${name}.bias`, out),
  ];
  const v = 'vision_model';
  return [
    of(`${v}.patch_embedding.linear.weight`, 1408, 588),
    of(`${v}.class_embedding`, 1408),
    of(`${v}.positional_embedding_vlm`, 577, 1408),
    ...both(`${v}.layernorm_pre`, 1408),
    ...both(`${v}.layernorm_post`, 1408),
    ...Array.from({ length: 34 }, (_, i) => `${v}.model.layers.${i}`).flatMap(layer => [
      ...['q', 'k', 'v', 'o'].flatMap(which => both(`${layer}.self_attn.${which}_proj`, 1408, 1408)),
      ...both(`${layer}.mlp.fc1`, 5632, 1408),
      ...both(`${layer}.mlp.fc2`, 1408, 5632),
      ...both(`${layer}.input_layernorm`, 1408),
      ...both(`${layer}.post_attention_layernorm`, 1408),
    ]),
    of(`${v}.vision_adapter.mlp.fc1.weight`, 4096, 5632),
    of(`${v}.vision_adapter.mlp.fc2.weight`, 4096, 4096),
    of('multi_modal_projector.linear_1.weight', dim, 4096),
  ];
};

export type PublishedName = 'maverick' | 'maverick-fp8' | 'scout' | 'guard';

/** @param size smaller than published, for tests that read */
export function published(
  name: PublishedName,
  size: { readonly layers?: number; readonly experts?: number } = {},
): Published {
  const layers = size.layers ?? 48;
  const experts = size.experts ?? (name === 'scout' ? 16 : name === 'guard' ? 0 : 128);
  const step = name === 'scout' ? 1 : 2;
  const p = 'language_model.model.';
  const tensors: Published['tensors'] = [];
  const add = (tensor: string, ...shape: number[]) => tensors.push([tensor, 'BF16', shape]);
  add(`${p}embed_tokens.weight`, vocab, dim);
  for (let i = 0; i < layers; i++) {
    const layer = `${p}layers.${i}`;
    add(`${layer}.input_layernorm.weight`, dim);
    add(`${layer}.post_attention_layernorm.weight`, dim);
    for (const which of ['q', 'o']) add(`${layer}.self_attn.${which}_proj.weight`, dim, dim);
    for (const which of ['k', 'v']) add(`${layer}.self_attn.${which}_proj.weight`, 1024, dim);
    const mlp = (from: string, width: number): void => {
      for (const which of ['gate', 'up']) add(`${from}.${which}_proj.weight`, width, dim);
      add(`${from}.down_proj.weight`, dim, width);
    };
    const from = `${layer}.feed_forward`;
    if (experts === 0 || (i + 1) % step !== 0) {
      mlp(from, name === 'guard' ? ff : 2 * ff);
      continue;
    }
    add(`${from}.router.weight`, experts, dim);
    mlp(`${from}.shared_expert`, ff);
    // Meta's FP8 has the last layer in BF16: single experts as well, since their modules are.
    if (name !== 'maverick-fp8') {
      add(`${from}.experts.gate_up_proj`, experts, dim, 2 * ff);
      add(`${from}.experts.down_proj`, experts, ff, dim);
    } else
      for (let e = 0; e < experts; e++)
        for (const [which, rows, columns] of [
          ['gate', ff, dim],
          ['up', ff, dim],
          ['down', dim, ff],
        ] as const) {
          const expert = `${from}.experts.${e}.${which}_proj.weight`;
          tensors.push([expert, i === layers - 1 ? 'BF16' : 'F8_E4M3', [rows, columns]]);
          if (i < layers - 1) tensors.push([`${expert}_scale`, 'BF16', [rows, 1]]);
        }
  }
  add(`${p}norm.weight`, dim);
  add('language_model.lm_head.weight', vocab, dim);
  const text_config = {
    model_type: 'llama4_text',
    hidden_size: dim,
    num_hidden_layers: layers,
    num_attention_heads: 40,
    num_key_value_heads: 8,
    head_dim: 128,
    vocab_size: vocab,
    intermediate_size: ff,
    intermediate_size_mlp: name === 'guard' ? ff : 2 * ff,
    num_local_experts: experts,
    num_experts_per_tok: name === 'guard' ? 0 : 1,
    interleave_moe_layer_step: name === 'guard' ? 0 : step,
    ...(name === 'guard' && { moe_layers: [], attention_chunk_size: null, no_rope_layers: Array(layers).fill(1) }),
    max_position_embeddings: { maverick: 1_048_576, 'maverick-fp8': 1_048_576, scout: 10_485_760, guard: 163_840 }[
      name
    ],
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling:
      name === 'scout'
        ? {
            factor: 16,
            high_freq_factor: 1,
            low_freq_factor: 1,
            original_max_position_embeddings: 8192,
            rope_type: 'llama3',
          }
        : null,
    use_qk_norm: name === 'scout' || name === 'guard',
    attn_temperature_tuning: 4,
  };
  const quantization_config = {
    quant_method: 'compressed-tensors',
    format: 'float-quantized',
    config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: 8, strategy: 'channel', type: 'float' } } },
  };
  const config = { model_type: 'llama4', text_config, ...(name === 'maverick-fp8' && { quantization_config }) };
  return { config, tensors: [...tensors, ...visionTensors()] };
}

/** What was asked of the files. */
export interface Asked {
  reads: number;
  bytes: number;
  longest: number;
}

/** A published model in shards of about 15 GB whose numbers are all zero and take no room. */
export function virtualFolder(name: PublishedName, size = {}, asked?: Asked): Folder {
  const { config, tensors } = published(name, size);
  const shards: { header: Record<string, unknown>; bytes: number }[] = [];
  const weight_map: Record<string, string> = {};
  const nameOf = (shard: number): string => `model-${String(shard + 1).padStart(5, '0')}.safetensors`;
  for (const [tensor, type, shape] of tensors) {
    const length = elementsOf(shape) * numberBytes[type];
    if (shards.length === 0 || shards.at(-1)!.bytes + length > 15e9) shards.push({ header: {}, bytes: 0 });
    const shard = shards.at(-1)!;
    shard.header[tensor] = { dtype: type, shape, data_offsets: [shard.bytes, shard.bytes + length] };
    shard.bytes += length;
    weight_map[tensor] = nameOf(shards.length - 1);
  }
  const files = new Map<string, { front: Uint8Array; size: number }>();
  const text = (content: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(content));
  const put = (file: string, content: unknown): void => {
    const front = text(content);
    files.set(file, { front, size: front.length });
  };
  put('config.json', config);
  put('model.safetensors.index.json', { metadata: {}, weight_map });
  for (const [index, { header, bytes }] of shards.entries()) {
    const json = text(header);
    const front = new Uint8Array(8 + json.length);
    new DataView(front.buffer).setBigUint64(0, BigInt(json.length), true);
    front.set(json, 8);
    files.set(nameOf(index), { front, size: front.length + bytes });
  }
  return {
    path: name,
    names: new Set(files.keys()),
    async open(file) {
      const { front, size: length } = files.get(file)!;
      return {
        path: `${name}/${file}`,
        size: length,
        async read(offset, into) {
          if (asked) {
            asked.reads++;
            asked.bytes += into.length;
            asked.longest = Math.max(asked.longest, into.length);
          }
          into.fill(0);
          into.set(front.subarray(offset, offset + into.length));
          return Math.max(0, Math.min(into.length, length - offset));
        },
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

export const openVirtual = (name: PublishedName, size = {}, asked?: Asked): Promise<Checkpoint> =>
  openHuggingFace(virtualFolder(name, size, asked));
