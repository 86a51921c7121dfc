// The tensors of a Hugging Face folder under GGUF's names: packed experts sliced and transposed, single ones joined, FP8 scaled.
// Sources: transformers modeling_llama4.py, modeling_llama.py; llama.cpp convert_hf_to_gguf.py; compressed-tensors' `weight_scale`.
import { type Arranged, type Part, type Strided, type Triple, wholePart } from '../arranged.ts';
import { CheckpointError } from '../checkpoint.ts';
import { byteLengthOf, type DType } from '../dtype.ts';
import { shown } from '../gguf-header.ts';
import { matrixType } from '../numbers.ts';
import { elementsOf, type RawTensor } from '../raw-tensors.ts';
import { memorySource } from '../sources.ts';
import { isFolderVision } from '../vision-names.ts';
import type { ModelShape } from './config.ts';

/** What goes before the names of the text model: in Llama4ForConditionalGeneration, in newer files of it, and in text models. */
const prefixes = ['language_model.model.', 'model.language_model.', 'model.'];
/** What some files hold beside the weights: buffers computed from the config, and scales of activations and of cached keys. */
const computed =
  /\.(rotary_emb\.inv_freq|input_scale|input_scale_ub|output_scale|k_scale|v_scale|q_scale)$|\.experts\.\w+_input_scale$/;

/**
 * Everything of the folder: what the text model is made of, and the encoder's tensors under their own names.
 * @throws CheckpointError naming a tensor that is missing, of another shape than config.json says, or that has no place
 */
export function arrangeTensors(path: string, tensors: ReadonlyMap<string, RawTensor>, shape: ModelShape): Arranged[] {
  const prefix = prefixes.find(p => tensors.has(`${p}embed_tokens.weight`)) ?? prefixes.at(-1)!;
  const finder = new Finder(path, tensors);
  const { dim, heads, kvHeads, headDim, vocab, ff, expertFf, layers, architecture } = shape;
  const result: Arranged[] = [];
  const matrix = (name: string, from: string, rows: number, columns: number): void => {
    result.push(arrange(name, [rows, columns], [1, rows, columns], 1, [finder.matrix(from, rows, columns)]));
  };
  const vector = (name: string, from: string, size: number): void => {
    result.push(arrange(name, [size], [1, 1, size], 1, [finder.need(from, [size], [1, 1, size])], 'F32'));
  };
  /** Rows of each head in the order of pairs: transformers' Llama has the pairs' first halves before all second ones. */
  const rotated = (name: string, from: string, count: number): void => {
    if (architecture === 'llama4') {
      matrix(name, from, count * headDim, dim);
      return;
    }
    const whole = finder.matrix(from, count * headDim, dim);
    const half = headDim / 2;
    const parts = [0, half].map(row => rowsOf(whole, row, [headDim, 1], [count, half, dim]));
    result.push(arrange(name, [count * headDim, dim], [count, half, 2 * dim], 2, parts));
  };
  const mlp = (block: string, from: string, suffix: string, width: number): void => {
    matrix(`${block}.ffn_gate${suffix}`, `${from}gate_proj.weight`, width, dim);
    matrix(`${block}.ffn_up${suffix}`, `${from}up_proj.weight`, width, dim);
    matrix(`${block}.ffn_down${suffix}`, `${from}down_proj.weight`, dim, width);
  };

  matrix('token_embd', `${prefix}embed_tokens.weight`, vocab, dim);
  for (let i = 0; i < layers; i++) {
    const [block, from] = [`blk.${i}`, `${prefix}layers.${i}.`];
    vector(`${block}.attn_norm`, `${from}input_layernorm.weight`, dim);
    rotated(`${block}.attn_q`, `${from}self_attn.q_proj.weight`, heads);
    rotated(`${block}.attn_k`, `${from}self_attn.k_proj.weight`, kvHeads);
    matrix(`${block}.attn_v`, `${from}self_attn.v_proj.weight`, kvHeads * headDim, dim);
    matrix(`${block}.attn_output`, `${from}self_attn.o_proj.weight`, dim, heads * headDim);
    vector(`${block}.ffn_norm`, `${from}post_attention_layernorm.weight`, dim);
    const feedForward = `${from}${architecture === 'llama' ? 'mlp' : 'feed_forward'}.`;
    if (!shape.moe[i]) {
      mlp(block, feedForward, '', ff);
      continue;
    }
    matrix(`${block}.ffn_gate_inp`, `${feedForward}router.weight`, shape.experts, dim);
    result.push(...routedExperts(finder, block, `${feedForward}experts.`, shape));
    mlp(block, `${feedForward}shared_expert.`, '_shexp', expertFf);
  }
  vector('output_norm', `${prefix}norm.weight`, dim);
  const head = ['language_model.lm_head.weight', 'lm_head.weight'].find(name => tensors.has(name));
  if (shape.tied && head) finder.used.add(head);
  else if (!shape.tied) matrix('output', head ?? 'lm_head.weight', vocab, dim);
  if (shape.ropeFactors) result.push(ropeFactors(path, shape.ropeFactors));
  return [...result, ...finder.others()];
}

/** The routed experts of a layer: [experts, ff, dim] twice, and [experts, dim, ff]. */
function routedExperts(finder: Finder, block: string, from: string, shape: ModelShape): Arranged[] {
  const { experts, dim, expertFf: ff } = shape;
  const names = { gate: `${block}.ffn_gate_exps`, up: `${block}.ffn_up_exps`, down: `${block}.ffn_down_exps` };
  const gate = [experts, ff, dim] as const;
  const down = [experts, dim, ff] as const;
  if (finder.has(`${from}gate_up_proj`)) {
    // [experts, in, out], gate's outputs before up's.
    const both = finder.packed(`${from}gate_up_proj`, [experts, dim, 2 * ff]);
    const single = finder.packed(`${from}down_proj`, [experts, ff, dim]);
    const half = (offset: number): Part => transposed(both, offset, [2 * ff * dim, 2 * ff], gate);
    return [
      arrange(names.gate, gate, gate, 0, [half(0)]),
      arrange(names.up, gate, gate, 0, [half(ff)]),
      arrange(names.down, down, down, 0, [transposed(single, 0, [ff * dim, dim], down)]),
    ];
  }
  const joined = (which: string, rows: number, columns: number): Part[] =>
    Array.from({ length: experts }, (_, e) => finder.matrix(`${from}${e}.${which}_proj.weight`, rows, columns));
  return [
    arrange(names.gate, gate, gate, 0, joined('gate', ff, dim)),
    arrange(names.up, gate, gate, 0, joined('up', ff, dim)),
    arrange(names.down, down, down, 0, joined('down', dim, ff)),
  ];
}

/** [experts, out, in] of packed [experts, in, out], from output `offset` on. */
function transposed(packed: Part, offset: number, [expert, input]: readonly [number, number], sizes: Triple): Part {
  const { raw, scale } = packed;
  return {
    raw,
    start: offset,
    strides: [expert, 1, input],
    sizes,
    // Scales lie beside the outputs: [experts, 1, out].
    scale: scale && {
      ...scale,
      start: scale.start + offset * scale.strides[2],
      strides: [scale.strides[0], scale.strides[2], 0],
    },
  };
}

/** Rows `start`, `start` + [a, b] · steps of a matrix as a grid of their own. */
function rowsOf(matrix: Part, start: number, steps: readonly [number, number], sizes: Triple): Part {
  const move = (s: Strided, row: number): Strided => ({
    raw: s.raw,
    start: s.start + start * row,
    strides: [steps[0] * row, steps[1] * row, s.strides[2]],
  });
  return {
    ...move(matrix, matrix.strides[1]),
    sizes,
    scale: matrix.scale && move(matrix.scale, matrix.scale.strides[1]),
  };
}

/** A tensor of parts, in the type that matrices of theirs are computed in, or in `dtype`. */
export function arrange(
  name: string,
  shape: readonly number[],
  grid: Triple,
  axis: 0 | 1 | 2,
  parts: readonly Part[],
  dtype?: DType,
): Arranged {
  const types = new Set(parts.map(part => matrixType(part.raw.type)));
  const [first] = parts;
  if (!dtype && (types.size !== 1 || types.has(undefined)))
    throw new CheckpointError(
      first?.raw.source.path ?? name,
      `tensor ${shown(first?.raw.name ?? name)}: its numbers are ${[...new Set(parts.map(p => p.raw.type))].join(' and ')}; wanted BF16, F16, F32 or F8_E4M3 throughout.`,
    );
  const type = dtype ?? [...types][0]!;
  const byteLength = byteLengthOf(type, elementsOf(shape));
  return { info: { name: `${name}.weight`, dtype: type, shape, byteLength }, grid, axis, parts };
}

/** RoPE's divisors, which no file holds. */
export function ropeFactors(path: string, factors: Float32Array): Arranged {
  const bytes = new Uint8Array(factors.buffer, factors.byteOffset, factors.byteLength);
  const size = factors.length;
  const raw: RawTensor = {
    name: 'rope_freqs.weight',
    type: 'F32',
    shape: [size],
    source: memorySource(path, bytes),
    offset: 0,
    byteLength: bytes.length,
  };
  return arrange('rope_freqs', [size], [1, 1, size], 1, [wholePart(raw, [1, 1, size])]);
}

/** Finds tensors by name, doubts their shapes, and knows which of all were asked for. */
class Finder {
  readonly used = new Set<string>();
  readonly #path: string;
  readonly #tensors: ReadonlyMap<string, RawTensor>;

  constructor(path: string, tensors: ReadonlyMap<string, RawTensor>) {
    this.#path = path;
    this.#tensors = tensors;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** A tensor of this very shape, as a grid, without a scale. */
  need(name: string, shape: readonly number[], sizes: Triple): Part {
    const raw = this.#tensors.get(name);
    const fail = (got: string): never => {
      throw new CheckpointError(
        raw?.source.path ?? this.#path,
        `tensor ${shown(name)}: got ${got}, wanted one of shape [${shape.join(', ')}], as config.json says. Fetch the model again.`,
      );
    };
    if (!raw) return fail('no such tensor');
    if (raw.shape.length !== shape.length || raw.shape.some((n, i) => n !== shape[i]))
      fail(`shape [${raw.shape.join(', ')}]`);
    if (matrixType(raw.type) === undefined || raw.type === 'I32') fail(`numbers of type ${raw.type}`);
    this.used.add(name);
    return wholePart(raw, sizes);
  }

  /** A matrix of a Linear, with the scale of its rows where it is FP8. */
  matrix(name: string, rows: number, columns: number): Part {
    const part = this.need(name, [rows, columns], [1, rows, columns]);
    if (part.raw.type !== 'F8_E4M3') return part;
    const scale = this.#scale(`${name}_scale`, part.raw);
    if (scale.shape.length > 2 || (elementsOf(scale.shape) !== 1 && elementsOf(scale.shape) !== rows))
      this.#odd(scale, rows);
    return { ...part, scale: { raw: scale, start: 0, strides: [0, elementsOf(scale.shape) === 1 ? 0 : 1, 0] } };
  }

  /** Packed experts [experts, in, out], with a scale for each output where they are FP8. */
  packed(name: string, sizes: Triple): Part {
    const part = this.need(name, sizes, sizes);
    if (part.raw.type !== 'F8_E4M3') return part;
    // fbgemm calls it …_scale, ModelOpt …_weight_scale.
    const named = `${name}_weight_scale`;
    const scale = this.#scale(this.has(named) ? named : `${name}_scale`, part.raw);
    const [experts, , out] = sizes;
    const count = elementsOf(scale.shape);
    if (count !== 1 && count !== experts && count !== experts * out) this.#odd(scale, experts * out);
    const strides: Triple = count === 1 ? [0, 0, 0] : count === experts ? [1, 0, 0] : [out, 0, 1];
    return { ...part, scale: { raw: scale, start: 0, strides } };
  }

  #scale(name: string, of: RawTensor): RawTensor {
    const scale = this.#tensors.get(name);
    if (!scale)
      throw new CheckpointError(
        of.source.path,
        `tensor ${shown(of.name)}: its numbers are FP8, but there is no tensor ${shown(name)} to scale them by.${this.#tensors.has(`${of.name}_scale_inv`) ? ' Scales of blocks (weight_scale_inv) are not supported.' : ''} Fetch the model again.`,
      );
    if (scale.type !== 'F32' && scale.type !== 'BF16' && scale.type !== 'F16')
      throw new CheckpointError(
        scale.source.path,
        `tensor ${shown(name)}: got ${scale.type}, wanted a scale in F32, BF16 or F16.`,
      );
    this.used.add(name);
    return scale;
  }

  #odd(scale: RawTensor, outputs: number): never {
    throw new CheckpointError(
      scale.source.path,
      `tensor ${shown(scale.name)}: got shape [${scale.shape.join(', ')}], wanted one number, or one for each of ${outputs} outputs. Other scales are not supported.`,
    );
  }

  /** What nobody asked for: the image encoder's tensors. @throws CheckpointError for anything that could change results */
  others(): Arranged[] {
    const result: Arranged[] = [];
    for (const [name, raw] of this.#tensors) {
      if (this.used.has(name) || computed.test(name)) continue;
      if (!isFolderVision(name))
        throw new CheckpointError(
          raw.source.path,
          `tensor ${shown(name)}: the model that config.json describes has no place for it, and leaving it out would change the results. This variant is not supported.`,
        );
      const dtype = matrixType(raw.type);
      if (!dtype)
        throw new CheckpointError(
          raw.source.path,
          `tensor ${shown(name)}: numbers of type ${raw.type} are not supported.`,
        );
      const size = elementsOf(raw.shape);
      const info = { name, dtype, shape: raw.shape, byteLength: byteLengthOf(dtype, size) };
      result.push({ info, grid: [1, 1, size], axis: 1, parts: [wholePart(raw, [1, 1, size])] });
    }
    return result;
  }
}
