// What a checkpoint's header says of size: parameters, bytes by kind, keys and values. Also for models that cannot be run here.
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.ts';
import { isVision } from '../checkpoint/vision-names.ts';

/**
 * Embeddings and output; everything a token always passes; shared experts; routed experts, of which a token uses a few; and the
 * encoder of images, which texts do not pass.
 */
export type Kind = 'embeddings' | 'dense' | 'shared' | 'experts' | 'vision';
export const kinds: readonly Kind[] = ['embeddings', 'dense', 'shared', 'experts', 'vision'];

export interface Share {
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
}

export interface CheckpointSummary {
  readonly architecture: string | null;
  readonly name: string | null;
  readonly parameters: number;
  /** Parameters a token of text uses: all but the routed experts that it is not sent to, and the encoder of images. */
  readonly activeParameters: number;
  readonly bytes: number;
  readonly byKind: Readonly<Record<Kind, Share>>;
  /** Bytes by storage format, largest first. */
  readonly byFormat: readonly { readonly dtype: string; readonly tensors: number; readonly bytes: number }[];
  readonly layers: number | null;
  readonly dim: number | null;
  readonly heads: number | null;
  readonly kvHeads: number | null;
  readonly headDim: number | null;
  readonly vocab: number | null;
  readonly experts: number;
  readonly expertsPerToken: number;
  readonly contextLength: number | null;
}

const elements = (tensor: TensorInfo): number => tensor.shape.reduce((product, size) => product * size, 1);

/** By the names of GGUF tensors (llama.cpp's llama-arch.cpp); those of vision as each kind of checkpoint calls them. */
export function kindOf(name: string): Kind {
  if (isVision(name)) return 'vision';
  if (/_exps\.|_exps$/.test(name)) return 'experts';
  if (/_shexp\.|_shexp$/.test(name)) return 'shared';
  return /^(token_embd|output)\.weight$/.test(name) ? 'embeddings' : 'dense';
}

export function summarize({ metadata, tensors }: Pick<Checkpoint, 'metadata' | 'tensors'>): CheckpointSummary {
  const text = (key: string) => {
    const value = metadata.get(key);
    return typeof value === 'string' ? value : null;
  };
  const architecture = text('general.architecture');
  const whole = (key: string): number | null => {
    const value = metadata.get(`${architecture}.${key}`);
    return typeof value === 'number' && Number.isFinite(value) ? value : null;
  };
  const byKind: Record<Kind, Share> = { embeddings: none, dense: none, shared: none, experts: none, vision: none };
  const formats = new Map<string, { dtype: string; tensors: number; bytes: number }>();
  for (const tensor of tensors.values()) {
    const kind = kindOf(tensor.name);
    const { tensors: count, parameters, bytes } = byKind[kind];
    byKind[kind] = { tensors: count + 1, parameters: parameters + elements(tensor), bytes: bytes + tensor.byteLength };
    const format = formats.get(tensor.dtype) ?? { dtype: tensor.dtype, tensors: 0, bytes: 0 };
    formats.set(tensor.dtype, { ...format, tensors: format.tensors + 1, bytes: format.bytes + tensor.byteLength });
  }
  const total = (field: keyof Share) => kinds.reduce((sum, kind) => sum + byKind[kind][field], 0);
  const experts = whole('expert_count') ?? 0;
  const used = whole('expert_used_count') ?? 0;
  const unrouted = experts > 0 ? byKind.experts.parameters * (1 - used / experts) : 0;
  const dim = whole('embedding_length');
  const heads = whole('attention.head_count');
  return {
    architecture,
    name: text('general.name'),
    parameters: total('parameters'),
    activeParameters: total('parameters') - unrouted - byKind.vision.parameters,
    bytes: total('bytes'),
    byKind,
    byFormat: [...formats.values()].sort((a, b) => b.bytes - a.bytes),
    layers: whole('block_count'),
    dim,
    heads,
    kvHeads: whole('attention.head_count_kv') ?? heads,
    headDim: whole('attention.key_length') ?? (dim && heads ? dim / heads : null),
    vocab: tensors.get('token_embd.weight')?.shape[0] ?? whole('vocab_size'),
    experts,
    expertsPerToken: used,
    contextLength: whole('context_length'),
  };
}

const none: Share = { tensors: 0, parameters: 0, bytes: 0 };

export interface KeysAndValues {
  /** A token's bytes in all layers, while it lies in every layer's reach. */
  readonly bytesPerToken: number;
  /** Bytes of one sequence at this many tokens. */
  at(tokens: number): number;
}

/**
 * Bytes of the key-value cache at 2 bytes a number. Of Llama 4's layers every fourth keeps all tokens, the others one chunk.
 * @returns null where the header does not say enough.
 */
export function keysAndValues(summary: CheckpointSummary, metadata: Checkpoint['metadata']): KeysAndValues | null {
  const { layers, kvHeads, headDim, architecture } = summary;
  if (!layers || !kvHeads || !headDim) return null;
  const perLayer = 2 * kvHeads * headDim * 2;
  const given = metadata.get('llama4.attention.chunk_size');
  const chunk =
    architecture === 'llama4' && metadata.get('llama4.attention.sliding_window') !== 0 ? Number(given ?? 8192) : null;
  const global = chunk === null ? layers : Math.floor(layers / 4);
  return {
    bytesPerToken: layers * perLayer,
    at: tokens => perLayer * (global * tokens + (layers - global) * Math.min(tokens, chunk ?? tokens)),
  };
}
