// A checkpoint in memory: metadata and shapes of a small Llama 4, to be changed in one place and looked at.
import type { Checkpoint, MetadataValue, TensorInfo } from '../checkpoint/checkpoint.ts';
import { byteLengthOf, type DType } from '../checkpoint/dtype.ts';

export const tiny = {
  layers: 4,
  dim: 32,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  ff: 48,
  expertFf: 16,
  experts: 3,
  vocab: 10,
};

export const llama4Metadata = (): Record<string, MetadataValue> => ({
  'general.architecture': 'llama4',
  'llama4.block_count': tiny.layers,
  'llama4.context_length': 100_000,
  'llama4.embedding_length': tiny.dim,
  'llama4.feed_forward_length': tiny.ff,
  'llama4.expert_feed_forward_length': tiny.expertFf,
  'llama4.expert_count': tiny.experts,
  'llama4.expert_used_count': 1,
  'llama4.interleave_moe_layer_step': 2,
  'llama4.attention.head_count': tiny.heads,
  'llama4.attention.head_count_kv': tiny.kvHeads,
  'llama4.attention.key_length': tiny.headDim,
  'llama4.attention.value_length': tiny.headDim,
  'llama4.attention.layer_norm_rms_epsilon': 1e-5,
  'llama4.rope.dimension_count': tiny.headDim,
  'llama4.rope.freq_base': 500_000,
});

export const llamaMetadata = (): Record<string, MetadataValue> => ({
  'general.architecture': 'llama',
  'llama.block_count': tiny.layers,
  'llama.context_length': 2048,
  'llama.embedding_length': tiny.dim,
  'llama.feed_forward_length': tiny.ff,
  'llama.attention.head_count': tiny.heads,
  'llama.attention.head_count_kv': tiny.kvHeads,
  'llama.attention.layer_norm_rms_epsilon': 1e-5,
});

/** Names, shapes and formats of the tensors that go with `llama4Metadata` (or with `llamaMetadata`, if `sparse` is false). */
export function tensorShapes(sparse = true): Record<string, [number[], DType?]> {
  const { dim, heads, kvHeads, headDim, ff, expertFf, experts, vocab } = tiny;
  const shapes: Record<string, [number[], DType?]> = {
    'token_embd.weight': [[vocab, dim], 'F16'],
    'output_norm.weight': [[dim]],
    'output.weight': [[vocab, dim], 'Q8_0'],
  };
  for (let i = 0; i < tiny.layers; i++) {
    const moe = sparse && i % 2 === 1;
    const [width, suffix] = moe ? [expertFf, '_shexp'] : [ff, ''];
    Object.assign(shapes, {
      [`blk.${i}.attn_norm.weight`]: [[dim]],
      [`blk.${i}.attn_q.weight`]: [[heads * headDim, dim]],
      [`blk.${i}.attn_k.weight`]: [[kvHeads * headDim, dim]],
      [`blk.${i}.attn_v.weight`]: [[kvHeads * headDim, dim]],
      [`blk.${i}.attn_output.weight`]: [[dim, heads * headDim]],
      [`blk.${i}.ffn_norm.weight`]: [[dim]],
      [`blk.${i}.ffn_gate${suffix}.weight`]: [[width, dim]],
      [`blk.${i}.ffn_up${suffix}.weight`]: [[width, dim]],
      [`blk.${i}.ffn_down${suffix}.weight`]: [[dim, width]],
    });
    if (moe)
      Object.assign(shapes, {
        [`blk.${i}.ffn_gate_inp.weight`]: [[experts, dim]],
        [`blk.${i}.ffn_gate_exps.weight`]: [[experts, expertFf, dim]],
        [`blk.${i}.ffn_up_exps.weight`]: [[experts, expertFf, dim]],
        [`blk.${i}.ffn_down_exps.weight`]: [[experts, dim, expertFf]],
      });
  }
  return shapes;
}

/** Bytes are zero unless `contents` has a tensor's. */
export function fakeCheckpoint(
  metadata: Record<string, MetadataValue | undefined>,
  shapes: Record<string, [number[], DType?] | undefined>,
  contents: Record<string, Float32Array> = {},
): Checkpoint {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of Object.entries(shapes)) {
    if (!entry) continue;
    const [shape, dtype = 'F32'] = entry;
    const elements = shape.reduce((a, b) => a * b, 1);
    tensors.set(name, { name, dtype, shape, byteLength: byteLengthOf(dtype, elements) });
  }
  return {
    path: 'tiny.gguf',
    metadata: new Map(Object.entries(metadata).filter((e): e is [string, MetadataValue] => e[1] !== undefined)),
    tensors,
    async read(tensor, offset, into) {
      const numbers = contents[tensor.name];
      if (numbers) into.set(new Uint8Array(numbers.buffer).subarray(offset, offset + into.length));
      else into.fill(0);
    },
    async [Symbol.asyncDispose]() {},
  };
}
