// One tiny random Llama 4 in numbers, and every form in which models are published, written from the same numbers.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DType } from './dtype.ts';
import { typed, type WritableTensor, type WritableValue, writeGguf } from './gguf-writer.ts';
import { fromBf16, fromF8, fromF16, type NumberType, toBf16 } from './numbers.ts';
import { type WritableRaw, writeSafetensorsFolder } from './safetensors-writer.ts';

export interface TinyShape {
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ff: number;
  readonly experts: number;
  readonly expertFf: number;
  readonly moeStep: number;
  readonly vocab: number;
  readonly qkNorm: boolean;
  readonly chunk: number;
}

export const tinyShape: TinyShape = {
  layers: 4,
  dim: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ff: 96,
  experts: 4,
  expertFf: 32,
  moeStep: 2,
  vocab: 300,
  qkNorm: true,
  chunk: 16,
};

/** Row after row, by the name and in the shape of GGUF. */
export interface TinyTensor {
  readonly shape: readonly number[];
  readonly numbers: Float32Array;
}
export type Tiny = ReadonlyMap<string, TinyTensor>;

export const isSparse = (s: TinyShape, layer: number): boolean => s.experts > 0 && (layer + 1) % s.moeStep === 0;

/** Numbers that BF16 and F16 both hold exactly. */
export function makeTiny(s: TinyShape, seed = 1): Tiny {
  let state = seed >>> 0;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const tensors = new Map<string, TinyTensor>();
  const add = (name: string, shape: readonly number[], deviation: number, mean = 0): void => {
    const numbers = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < numbers.length; i++) {
      const value = mean + deviation * (random() + random() + random() - 1.5) * 2;
      numbers[i] = Math.abs(value) < 2 ** -12 ? 0 : fromBf16(toBf16(value));
    }
    tensors.set(`${name}.weight`, { shape, numbers });
  };
  const matrix = (name: string, ...shape: number[]): void => add(name, shape, shape.at(-1)! ** -0.5);
  matrix('token_embd', s.vocab, s.dim);
  for (let i = 0; i < s.layers; i++) {
    const b = `blk.${i}`;
    add(`${b}.attn_norm`, [s.dim], 0.1, 1);
    matrix(`${b}.attn_q`, s.heads * s.headDim, s.dim);
    matrix(`${b}.attn_k`, s.kvHeads * s.headDim, s.dim);
    matrix(`${b}.attn_v`, s.kvHeads * s.headDim, s.dim);
    matrix(`${b}.attn_output`, s.dim, s.heads * s.headDim);
    add(`${b}.ffn_norm`, [s.dim], 0.1, 1);
    const sparse = isSparse(s, i);
    if (sparse) {
      matrix(`${b}.ffn_gate_inp`, s.experts, s.dim);
      matrix(`${b}.ffn_gate_exps`, s.experts, s.expertFf, s.dim);
      matrix(`${b}.ffn_up_exps`, s.experts, s.expertFf, s.dim);
      matrix(`${b}.ffn_down_exps`, s.experts, s.dim, s.expertFf);
    }
    const [width, suffix] = sparse ? [s.expertFf, '_shexp'] : [s.ff, ''];
    matrix(`${b}.ffn_gate${suffix}`, width, s.dim);
    matrix(`${b}.ffn_up${suffix}`, width, s.dim);
    matrix(`${b}.ffn_down${suffix}`, s.dim, width);
  }
  add('output_norm', [s.dim], 0.1, 1);
  matrix('output', s.vocab, s.dim);
  return tensors;
}

/** Numbers in a type's bytes; exact ones stay exact. */
export function encode(numbers: Float32Array, type: 'F32' | 'F16' | 'BF16'): Uint8Array {
  if (type === 'F32') return new Uint8Array(numbers.slice().buffer);
  const words = Uint16Array.from(numbers, type === 'BF16' ? toBf16 : toF16);
  return new Uint8Array(words.buffer);
}

/** For numbers that F16 holds exactly. */
function toF16(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  const fraction = Math.round((Math.abs(value) / 2 ** exponent - 1) * 1024);
  const word = (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | fraction;
  if (fromF16(word) !== value) throw new Error(`${value} is no number of F16.`);
  return word;
}

export const tinyTokens = (s: TinyShape, length = 40): number[] =>
  Array.from({ length }, (_, i) => (i * 37 + ((i * i) % 11)) % Math.min(256, s.vocab));

function metadataOf(s: TinyShape): [string, WritableValue][] {
  return [
    ['general.architecture', 'llama4'],
    ['llama4.block_count', s.layers],
    ['llama4.context_length', 4096],
    ['llama4.embedding_length', s.dim],
    ['llama4.feed_forward_length', s.ff],
    ['llama4.expert_feed_forward_length', s.expertFf],
    ['llama4.expert_count', s.experts],
    ['llama4.expert_used_count', s.experts > 0 ? 1 : 0],
    ['llama4.interleave_moe_layer_step', s.moeStep],
    ['llama4.attention.head_count', s.heads],
    ['llama4.attention.head_count_kv', s.kvHeads],
    ['llama4.attention.key_length', s.headDim],
    ['llama4.attention.value_length', s.headDim],
    ['llama4.attention.layer_norm_rms_epsilon', typed('f64', 1e-5)],
    ['llama4.rope.dimension_count', s.headDim],
    ['llama4.rope.freq_base', typed('f32', 500_000)],
    ['llama4.use_qk_norm', s.qkNorm],
    ['llama4.attention.chunk_size', s.chunk],
  ];
}

/** @param more metadata and tensors beside the model's, as Ollama has them */
export async function writeTinyGguf(
  path: string,
  s: TinyShape,
  tiny: Tiny,
  dtype: 'F16' | 'BF16' | 'F32',
  more: { readonly metadata?: [string, WritableValue][]; readonly tensors?: WritableTensor[] } = {},
): Promise<string> {
  const tensors = [...tiny].map(([name, { shape, numbers }]): WritableTensor => {
    const type: DType & ('F16' | 'BF16' | 'F32') = shape.length === 1 ? 'F32' : dtype;
    return { name, dtype: type, shape, data: encode(numbers, type) };
  });
  await writeGguf(path, {
    metadata: new Map([...metadataOf(s), ...(more.metadata ?? [])]),
    tensors: [...tensors, ...(more.tensors ?? [])],
  });
  return path;
}

export const tinyConfig = (s: TinyShape): Record<string, unknown> => ({
  model_type: 'llama4_text',
  hidden_size: s.dim,
  num_hidden_layers: s.layers,
  num_attention_heads: s.heads,
  num_key_value_heads: s.kvHeads,
  head_dim: s.headDim,
  vocab_size: s.vocab,
  intermediate_size: s.expertFf,
  intermediate_size_mlp: s.ff,
  num_local_experts: s.experts,
  num_experts_per_tok: 1,
  interleave_moe_layer_step: s.moeStep,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  use_qk_norm: s.qkNorm,
  attention_chunk_size: s.chunk,
});

/** [experts, rows, columns] → [experts, columns, rows]. */
export function transpose(
  numbers: Float32Array,
  [experts, rows, columns]: readonly [number, number, number],
): Float32Array {
  const result = new Float32Array(numbers.length);
  for (let e = 0; e < experts; e++)
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) result[(e * columns + c) * rows + r] = numbers[(e * rows + r) * columns + c]!;
  return result;
}

const kinds: readonly (readonly [gguf: RegExp, name: string])[] = [
  [/^token_embd\.weight$/, 'model.embed_tokens.weight'],
  [/^output_norm\.weight$/, 'model.norm.weight'],
  [/^output\.weight$/, 'lm_head.weight'],
  [/^blk\.(\d+)\.attn_norm\.weight$/, 'model.layers.$1.input_layernorm.weight'],
  [/^blk\.(\d+)\.attn_([qkv])\.weight$/, 'model.layers.$1.self_attn.$2_proj.weight'],
  [/^blk\.(\d+)\.attn_output\.weight$/, 'model.layers.$1.self_attn.o_proj.weight'],
  [/^blk\.(\d+)\.ffn_norm\.weight$/, 'model.layers.$1.post_attention_layernorm.weight'],
  [/^blk\.(\d+)\.ffn_gate_inp\.weight$/, 'model.layers.$1.feed_forward.router.weight'],
  [/^blk\.(\d+)\.ffn_(gate|up|down)_shexp\.weight$/, 'model.layers.$1.feed_forward.shared_expert.$2_proj.weight'],
  [/^blk\.(\d+)\.ffn_(gate|up|down)\.weight$/, 'model.layers.$1.feed_forward.$2_proj.weight'],
];

export const huggingFaceName = (gguf: string): string => {
  const [pattern, name] = kinds.find(([candidate]) => candidate.test(gguf))!;
  return gguf.replace(pattern, name);
};

export interface HuggingFaceForm {
  readonly type?: 'F32' | 'F16' | 'BF16';
  /** Routed experts in FP8: one by one with a scale for each row (compressed-tensors), or packed with one for each output (fbgemm). */
  readonly fp8?: 'single' | 'packed';
  readonly prefix?: string;
  readonly maxBytes?: number;
  readonly config?: Record<string, unknown>;
}

/** All tensors of the folder. With `fp8`, `tiny` must hold what {@link roundToF8} made. */
export function huggingFaceTensors(s: TinyShape, tiny: Tiny, form: HuggingFaceForm = {}): WritableRaw[] {
  const { type = 'BF16', fp8, prefix = '' } = form;
  const tensors: WritableRaw[] = [];
  const add = (name: string, shape: readonly number[], data: Uint8Array, as: NumberType = type): void => {
    tensors.push({ name: `${prefix}${name}`, type: as, shape, data });
  };
  const of = (name: string): TinyTensor => tiny.get(name)!;
  for (const [name, { shape, numbers }] of tiny)
    if (!name.includes('_exps')) add(huggingFaceName(name), shape, encode(numbers, type));
  for (let i = 0; i < s.layers; i++) {
    if (!isSparse(s, i)) continue;
    const from = `model.layers.${i}.feed_forward.experts`;
    const { experts: E, dim: D, expertFf: F } = s;
    const [gate, up, down] = ['gate', 'up', 'down'].map(which => of(`blk.${i}.ffn_${which}_exps.weight`).numbers);
    if (fp8 === 'single') {
      for (const [which, numbers, rows, columns] of [
        ['gate', gate!, F, D],
        ['up', up!, F, D],
        ['down', down!, D, F],
      ] as const)
        for (let e = 0; e < E; e++) {
          const { bytes, scales } = toF8(numbers.subarray(e * F * D, (e + 1) * F * D), rows);
          add(`${from}.${e}.${which}_proj.weight`, [rows, columns], bytes, 'F8_E4M3');
          add(`${from}.${e}.${which}_proj.weight_scale`, [rows, 1], encode(scales, 'BF16'), 'BF16');
        }
      continue;
    }
    const both = new Float32Array(E * D * 2 * F);
    const [gateIn, upIn] = [transpose(gate!, [E, F, D]), transpose(up!, [E, F, D])];
    for (let row = 0; row < E * D; row++) {
      both.set(gateIn.subarray(row * F, (row + 1) * F), row * 2 * F);
      both.set(upIn.subarray(row * F, (row + 1) * F), row * 2 * F + F);
    }
    const single = transpose(down!, [E, D, F]);
    if (!fp8) {
      add(`${from}.gate_up_proj`, [E, D, 2 * F], encode(both, type));
      add(`${from}.down_proj`, [E, F, D], encode(single, type));
      continue;
    }
    for (const [name, ins, outs, parts] of [
      ['gate_up_proj', D, 2 * F, [gate!, up!]],
      ['down_proj', F, D, [down!]],
    ] as const) {
      // Quantized by output, then put as the packed tensor lies.
      const bytes = new Uint8Array(E * ins * outs);
      const scales = new Float32Array(E * outs);
      const height = outs / parts.length;
      for (const [p, numbers] of parts.entries())
        for (let e = 0; e < E; e++) {
          const rows = toF8(numbers.subarray(e * height * ins, (e + 1) * height * ins), height);
          scales.set(rows.scales, e * outs + p * height);
          for (let r = 0; r < height; r++)
            for (let c = 0; c < ins; c++) bytes[(e * ins + c) * outs + p * height + r] = rows.bytes[r * ins + c]!;
        }
      add(`${from}.${name}`, [E, ins, outs], bytes, 'F8_E4M3');
      add(`${from}.${name}_scale`, [E, 1, outs], encode(scales, 'F32'), 'F32');
    }
  }
  return tensors;
}

export async function writeTinyHuggingFace(
  folder: string,
  s: TinyShape,
  tiny: Tiny,
  form: HuggingFaceForm = {},
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const { maxBytes } = form;
  await writeSafetensorsFolder(folder, huggingFaceTensors(s, tiny, form), maxBytes === undefined ? {} : { maxBytes });
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...tinyConfig(s), ...form.config }));
  return folder;
}

/** Rows as FP8 with a scale each, a power of two so that products are exact in BF16. */
export function toF8(numbers: Float32Array, rows: number): { bytes: Uint8Array; scales: Float32Array } {
  const columns = numbers.length / rows;
  const scales = new Float32Array(rows);
  const bytes = new Uint8Array(numbers.length);
  for (let r = 0; r < rows; r++) {
    const row = numbers.subarray(r * columns, (r + 1) * columns);
    const largest = row.reduce((most, x) => Math.max(most, Math.abs(x)), 2 ** -20);
    scales[r] = 2 ** Math.ceil(Math.log2(largest / 448));
    for (let c = 0; c < columns; c++) bytes[r * columns + c] = nearestF8(row[c]! / scales[r]!);
  }
  return { bytes, scales };
}

const positiveF8 = Array.from({ length: 127 }, (_, byte) => fromF8(byte));

function nearestF8(value: number): number {
  const size = Math.abs(value);
  let above = positiveF8.findIndex(n => n >= size);
  if (above < 0) above = 126;
  const below = Math.max(0, above - 1);
  const byte = size - positiveF8[below]! < positiveF8[above]! - size ? below : above;
  return byte | (value < 0 ? 0x80 : 0);
}

/** The same model with the routed experts' numbers as FP8 has them. */
export function roundToF8(tiny: Tiny): Tiny {
  return new Map(
    [...tiny].map(([name, tensor]) => {
      if (!name.includes('_exps')) return [name, tensor];
      const rows = tensor.shape[0]! * tensor.shape[1]!;
      const { bytes, scales } = toF8(tensor.numbers, rows);
      const columns = tensor.numbers.length / rows;
      const numbers = Float32Array.from(bytes, (byte, i) => fromF8(byte) * scales[Math.floor(i / columns)]!);
      return [name, { shape: tensor.shape, numbers }];
    }),
  );
}
