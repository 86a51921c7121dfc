// Makes a GGUF model of random weights in any geometry, streamed to disk: for the benchmark, for tests, and for a first run offline.
import { open } from 'node:fs/promises';
import { randomBlocks } from '../backends/reference/quantize.ts';
import { seededRandom } from '../backends/reference/random.ts';
import { byteLengthOf, type DType, formats } from '../checkpoint/dtype.ts';
import { layoutGguf, typed, type WritableValue, writeGguf } from '../checkpoint/gguf-writer.ts';

/** The shape of a model. Names are those of the GGUF keys they become. */
export interface Geometry {
  readonly architecture: 'llama4' | 'llama';
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Width of dense feed-forward layers. */
  readonly ff: number;
  /** Routed experts, 0 for a dense model. */
  readonly experts: number;
  /** Width of an expert, and of the shared expert beside it. */
  readonly expertFf: number;
  /** Every how many layers a layer has experts. */
  readonly moeStep: number;
  readonly vocab: number;
  readonly contextLength: number;
  /** Output and embedding are one tensor. */
  readonly tied?: boolean;
  /** Attention chunk of RoPE layers; left out, the architecture's own (8192). */
  readonly chunk?: number;
  readonly qkNorm?: boolean;
  readonly ropeTheta?: number;
}

/** The benchmark: a Llama 4 of 2.31 B parameters, 0.74 B of them used by a token. */
export const benchmarkGeometry: Geometry = {
  architecture: 'llama4',
  layers: 16,
  dim: 2048,
  heads: 16,
  kvHeads: 4,
  headDim: 128,
  ff: 6144,
  experts: 16,
  expertFf: 2048,
  moeStep: 2,
  vocab: 32000,
  contextLength: 16384,
};

/** Llama 4 Maverick, 17B-128E: 400.7 B parameters. */
export const maverickGeometry: Geometry = {
  architecture: 'llama4',
  layers: 48,
  dim: 5120,
  heads: 40,
  kvHeads: 8,
  headDim: 128,
  ff: 16384,
  experts: 128,
  expertFf: 8192,
  moeStep: 2,
  vocab: 202048,
  contextLength: 1048576,
};

/** Llama 4 Scout, 17B-16E: 107.8 B parameters. */
export const scoutGeometry: Geometry = {
  ...maverickGeometry,
  experts: 16,
  moeStep: 1,
  contextLength: 10485760,
};

/** A Llama 4 of a few megabytes with every kind of layer, to look around with. */
export const tinyGeometry: Geometry = {
  architecture: 'llama4',
  layers: 4,
  dim: 256,
  heads: 8,
  kvHeads: 2,
  headDim: 32,
  ff: 512,
  experts: 4,
  expertFf: 256,
  moeStep: 2,
  vocab: 512,
  contextLength: 8192,
};

export interface RandomModelOptions {
  /** Format of the matrices (norms and routers are F32). Default Q4_0. */
  readonly dtype?: DType;
  readonly seed?: number;
  readonly onProgress?: (writtenBytes: number, totalBytes: number) => void;
}

interface Part {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Standard deviation of the weights; null: all ones (norms). */
  readonly deviation: number | null;
}

/** All tensors of a geometry, in file order. */
export function tensorsOf(g: Geometry, dtype: DType): Part[] {
  const parts: Part[] = [];
  const matrix = (name: string, ...shape: number[]): void => {
    const inner = shape[shape.length - 1]!;
    // A row that is no whole number of blocks cannot have the format asked for.
    const type = inner % formats[dtype].blockSize === 0 ? dtype : 'F16';
    parts.push({ name: `${name}.weight`, dtype: type, shape, deviation: 1 / Math.sqrt(inner) });
  };
  const norm = (name: string): void => {
    parts.push({ name: `${name}.weight`, dtype: 'F32', shape: [g.dim], deviation: null });
  };
  matrix('token_embd', g.vocab, g.dim);
  for (let i = 0; i < g.layers; i++) {
    const b = `blk.${i}`;
    norm(`${b}.attn_norm`);
    matrix(`${b}.attn_q`, g.heads * g.headDim, g.dim);
    matrix(`${b}.attn_k`, g.kvHeads * g.headDim, g.dim);
    matrix(`${b}.attn_v`, g.kvHeads * g.headDim, g.dim);
    matrix(`${b}.attn_output`, g.dim, g.heads * g.headDim);
    norm(`${b}.ffn_norm`);
    const sparse = g.experts > 0 && (i + 1) % g.moeStep === 0;
    if (sparse) {
      parts.push({
        name: `${b}.ffn_gate_inp.weight`,
        dtype: 'F32',
        shape: [g.experts, g.dim],
        deviation: 1 / Math.sqrt(g.dim),
      });
      matrix(`${b}.ffn_gate_exps`, g.experts, g.expertFf, g.dim);
      matrix(`${b}.ffn_up_exps`, g.experts, g.expertFf, g.dim);
      matrix(`${b}.ffn_down_exps`, g.experts, g.dim, g.expertFf);
    }
    const [width, suffix] = sparse ? [g.expertFf, '_shexp'] : [g.ff, ''];
    matrix(`${b}.ffn_gate${suffix}`, width, g.dim);
    matrix(`${b}.ffn_up${suffix}`, width, g.dim);
    matrix(`${b}.ffn_down${suffix}`, g.dim, width);
  }
  norm('output_norm');
  if (!g.tied) matrix('output', g.vocab, g.dim);
  return parts;
}

/** Bytes of all tensors together. */
export const modelBytes = (g: Geometry, dtype: DType): number =>
  tensorsOf(g, dtype).reduce(
    (sum, p) =>
      sum +
      byteLengthOf(
        p.dtype,
        p.shape.reduce((a, b) => a * b, 1),
      ),
    0,
  );

/** What the header of a geometry's file says of it, its vocabulary left out. */
export function metadataOf(g: Geometry): Map<string, WritableValue> {
  const a = g.architecture;
  const meta = new Map<string, WritableValue>([
    ['general.architecture', a],
    ['general.name', `random-${a}`],
    ['general.description', 'random weights: answers are noise'],
    [`${a}.block_count`, g.layers],
    [`${a}.context_length`, g.contextLength],
    [`${a}.embedding_length`, g.dim],
    [`${a}.feed_forward_length`, g.ff],
    [`${a}.attention.head_count`, g.heads],
    [`${a}.attention.head_count_kv`, g.kvHeads],
    [`${a}.attention.key_length`, g.headDim],
    [`${a}.attention.value_length`, g.headDim],
    [`${a}.attention.layer_norm_rms_epsilon`, typed('f32', 1e-5)],
    [`${a}.rope.dimension_count`, g.headDim],
    [`${a}.rope.freq_base`, typed('f32', g.ropeTheta ?? 500000)],
    [`${a}.vocab_size`, g.vocab],
  ]);
  if (a === 'llama4') {
    meta.set(`${a}.expert_count`, g.experts);
    meta.set(`${a}.expert_used_count`, g.experts > 0 ? 1 : 0);
    meta.set(`${a}.expert_feed_forward_length`, g.expertFf);
    meta.set(`${a}.interleave_moe_layer_step`, g.experts > 0 ? g.moeStep : 0);
    if (g.chunk !== undefined) meta.set(`${a}.attention.chunk_size`, g.chunk);
    if (g.qkNorm !== undefined) meta.set(`${a}.use_qk_norm`, g.qkNorm);
  }
  return meta;
}

const specials = ['<|begin_of_text|>', '<|end_of_text|>', '<|header_start|>', '<|header_end|>', '<|eom|>', '<|eot|>'];

/** 256 byte tokens, the special tokens of a Llama 4 chat, two merges, and unused tokens up to `size`. */
function vocabulary(size: number): [string, WritableValue][] {
  const base = 256 + 2 + specials.length;
  if (size < base) throw new RangeError(`A vocabulary needs at least ${base} tokens; got ${size}.`);
  const bytes = Array.from({ length: 256 }, (_, b) => byteToUnicode(b));
  const tokens = [...bytes, 'he', 'll', ...specials];
  const types: number[] = [...bytes.map(() => 1), 1, 1, ...specials.map(() => 3)];
  while (tokens.length < size) {
    tokens.push(`<|unused_${tokens.length}|>`);
    types.push(5);
  }
  const id = (text: string): number => tokens.indexOf(text);
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'llama4'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', types],
    ['tokenizer.ggml.merges', ['h e', 'l l']],
    ['tokenizer.ggml.bos_token_id', id('<|begin_of_text|>')],
    ['tokenizer.ggml.eos_token_id', id('<|eot|>')],
    ['tokenizer.ggml.eot_token_id', id('<|eot|>')],
    ['tokenizer.ggml.eom_token_id', id('<|eom|>')],
    ['tokenizer.ggml.add_bos_token', true],
  ];
}

/** GPT-2's printable stand-in for a byte: visible Latin-1 stands for itself, the others follow from U+0100. */
function byteToUnicode(byte: number): string {
  const visible = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (visible(byte)) return String.fromCodePoint(byte);
  let rank = 0;
  for (let b = 0; b < byte; b++) if (!visible(b)) rank++;
  return String.fromCodePoint(256 + rank);
}

/** Elements of noise that are made anew; a longer tensor is put together from slices of them at random places. */
const noiseElements = 1 << 20;

/**
 * Writes a model of random weights: normal deviates scaled by 1/√(inputs), norms of one, so that activations keep their size through
 * the layers. The same geometry, format and seed give the same bytes.
 * @returns the path.
 */
export async function writeRandomModel(
  path: string,
  geometry: Geometry,
  options: RandomModelOptions = {},
): Promise<string> {
  const { dtype = 'Q4_0', seed = 1, onProgress } = options;
  const random = seededRandom(seed);
  const parts = tensorsOf(geometry, dtype);
  const total = modelBytes(geometry, dtype);
  const noise = new Map<string, Uint8Array>();
  let written = 0;

  function* fill(part: Part): Generator<Uint8Array> {
    const elements = part.shape.reduce((a, b) => a * b, 1);
    let left = byteLengthOf(part.dtype, elements);
    const ones = part.deviation === null;
    const key = ones ? `ones ${elements}` : `${part.dtype} ${part.deviation}`;
    const pool =
      noise.get(key) ??
      (part.deviation === null
        ? new Uint8Array(new Float32Array(elements).fill(1).buffer)
        : randomBlocks(part.dtype, noiseElements, random, part.deviation));
    noise.set(key, pool);
    const { blockBytes } = formats[part.dtype];
    while (left > 0) {
      const start = ones ? 0 : Math.floor((random() * pool.length) / 2 / blockBytes) * blockBytes;
      const piece = pool.subarray(start, start + left);
      yield piece;
      left -= piece.length;
      written += piece.length;
      onProgress?.(written, total);
    }
  }

  await writeGguf(path, {
    metadata: new Map([...metadataOf(geometry), ...vocabulary(geometry.vocab)]),
    tensors: parts.map(part => ({ name: part.name, dtype: part.dtype, shape: part.shape, data: () => fill(part) })),
  });
  return path;
}

/**
 * Writes the header of a model and leaves its weights out: files of full length that take no room on the disk, where it knows holes. All
 * weights read as zeros. For what a size or a place in a file does, not for what a model says.
 * @param maxBytes of one part's tensors; without it there is one file
 * @returns the paths.
 */
export async function writeSparseModel(
  path: string,
  geometry: Geometry,
  { dtype = 'Q4_0', maxBytes }: { readonly dtype?: DType; readonly maxBytes?: number } = {},
): Promise<string[]> {
  const parts = layoutGguf(path, {
    metadata: new Map([...metadataOf(geometry), ...vocabulary(geometry.vocab)]),
    tensors: tensorsOf(geometry, dtype),
    ...(maxBytes && { split: { maxBytes } }),
  });
  for (const part of parts) {
    await using file = await open(part.path, 'w');
    await file.write(part.header);
    await file.truncate(part.byteLength);
  }
  return parts.map(part => part.path);
}
