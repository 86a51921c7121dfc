// The tensors and metadata of real models, Maverick and Scout among them, without their weights: what decisions are tested on.
import type { SizedTensor, WritableValue } from '../checkpoint/gguf-writer.ts';
import { typed } from '../checkpoint/gguf-writer.ts';

interface Shapes {
  readonly architecture: 'llama4' | 'llama';
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly ff: number;
  readonly experts: number;
  readonly expertFf: number;
  readonly moeStep: number;
  readonly vocab: number;
  readonly tied?: boolean;
}

export const models = {
  maverick: {
    ...{ architecture: 'llama4', layers: 48, dim: 5120, heads: 40, kvHeads: 8, ff: 16384, vocab: 202048 },
    ...{ experts: 128, expertFf: 8192, moeStep: 2 },
  },
  scout: {
    ...{ architecture: 'llama4', layers: 48, dim: 5120, heads: 40, kvHeads: 8, ff: 16384, vocab: 202048 },
    ...{ experts: 16, expertFf: 8192, moeStep: 1 },
  },
  'llama-70b': {
    ...{ architecture: 'llama', layers: 80, dim: 8192, heads: 64, kvHeads: 8, ff: 28672, vocab: 128256 },
    ...{ experts: 0, expertFf: 0, moeStep: 0 },
  },
  'llama-1b': {
    ...{ architecture: 'llama', layers: 17, dim: 2048, heads: 32, kvHeads: 32, ff: 8192, vocab: 128256 },
    ...{ experts: 0, expertFf: 0, moeStep: 0, tied: true },
  },
  mixtral: {
    ...{ architecture: 'llama', layers: 32, dim: 4096, heads: 32, kvHeads: 8, ff: 14336, vocab: 32000 },
    ...{ experts: 8, expertFf: 14336, moeStep: 1 },
  },
  /** Rows of 576, 1536 and 320: whole numbers of blocks of 32 only, or of 64. */
  smol: {
    ...{ architecture: 'llama', layers: 30, dim: 576, heads: 9, kvHeads: 3, ff: 1536, vocab: 49152 },
    ...{ experts: 0, expertFf: 0, moeStep: 0, tied: true },
  },
} as const satisfies Record<string, Shapes>;

export type ModelName = keyof typeof models;

/** All tensors, BF16 but for norms and routers. */
export function tensorsOfModel(name: ModelName): SizedTensor[] {
  const m: Shapes = models[name];
  const head = m.dim / m.heads;
  const tensors: SizedTensor[] = [];
  const matrix = (tensor: string, ...shape: number[]): void => {
    tensors.push({ name: `${tensor}.weight`, dtype: 'BF16', shape });
  };
  const floats = (tensor: string, ...shape: number[]): void => {
    tensors.push({ name: `${tensor}.weight`, dtype: 'F32', shape });
  };
  matrix('token_embd', m.vocab, m.dim);
  for (let layer = 0; layer < m.layers; layer++) {
    const b = `blk.${layer}`;
    floats(`${b}.attn_norm`, m.dim);
    matrix(`${b}.attn_q`, m.dim, m.dim);
    matrix(`${b}.attn_k`, m.kvHeads * head, m.dim);
    matrix(`${b}.attn_v`, m.kvHeads * head, m.dim);
    matrix(`${b}.attn_output`, m.dim, m.dim);
    floats(`${b}.ffn_norm`, m.dim);
    const sparse = m.experts > 0 && (layer + 1) % m.moeStep === 0;
    if (sparse) {
      floats(`${b}.ffn_gate_inp`, m.experts, m.dim);
      matrix(`${b}.ffn_gate_exps`, m.experts, m.expertFf, m.dim);
      matrix(`${b}.ffn_up_exps`, m.experts, m.expertFf, m.dim);
      matrix(`${b}.ffn_down_exps`, m.experts, m.dim, m.expertFf);
    }
    if (sparse && m.architecture === 'llama') continue; // no shared expert there
    const [width, suffix] = sparse ? [m.expertFf, '_shexp'] : [m.ff, ''];
    matrix(`${b}.ffn_gate${suffix}`, width, m.dim);
    matrix(`${b}.ffn_up${suffix}`, width, m.dim);
    matrix(`${b}.ffn_down${suffix}`, m.dim, width);
  }
  floats('output_norm', m.dim);
  if (!m.tied) matrix('output', m.vocab, m.dim);
  return tensors;
}

export function metadataOfModel(name: ModelName): Map<string, WritableValue> {
  const m: Shapes = models[name];
  const a = m.architecture;
  const head = m.dim / m.heads;
  return new Map<string, WritableValue>([
    ['general.architecture', a],
    [`${a}.block_count`, m.layers],
    [`${a}.context_length`, 8192],
    [`${a}.embedding_length`, m.dim],
    [`${a}.feed_forward_length`, m.ff],
    [`${a}.attention.head_count`, m.heads],
    [`${a}.attention.head_count_kv`, m.kvHeads],
    [`${a}.attention.key_length`, head],
    [`${a}.attention.value_length`, head],
    [`${a}.attention.layer_norm_rms_epsilon`, typed('f32', 1e-5)],
    [`${a}.rope.dimension_count`, head],
    [`${a}.rope.freq_base`, typed('f32', 500000)],
    [`${a}.vocab_size`, m.vocab],
    ...(m.experts > 0
      ? ([
          [`${a}.expert_count`, m.experts],
          [`${a}.expert_used_count`, a === 'llama4' ? 1 : 2],
        ] as const)
      : []),
    ...(a === 'llama4'
      ? ([
          [`${a}.expert_feed_forward_length`, m.expertFf],
          [`${a}.interleave_moe_layer_step`, m.moeStep],
        ] as const)
      : []),
  ]);
}
