// The named mixes of formats, as llama.cpp names them: what each tensor of a model becomes under "Q4_K_M" and its like.
// Source of the rules: ggml-org/llama.cpp src/llama-quant.cpp (llama_tensor_get_type and its fallbacks), include/llama.h (file types).
import type { DType } from '../checkpoint/dtype.ts';
import { formats } from '../checkpoint/dtype.ts';

interface MixRow {
  /** `general.file_type` of a file so made. */
  readonly fileType: number;
  /** The format of all tensors that no rule says otherwise of. */
  readonly dtype: DType;
}

export const mixes = {
  F32: { fileType: 0, dtype: 'F32' },
  F16: { fileType: 1, dtype: 'F16' },
  BF16: { fileType: 32, dtype: 'BF16' },
  Q8_0: { fileType: 7, dtype: 'Q8_0' },
  Q6_K: { fileType: 18, dtype: 'Q6_K' },
  Q5_K_M: { fileType: 17, dtype: 'Q5_K' },
  Q5_K_S: { fileType: 16, dtype: 'Q5_K' },
  Q5_1: { fileType: 9, dtype: 'Q5_1' },
  Q5_0: { fileType: 8, dtype: 'Q5_0' },
  Q4_K_M: { fileType: 15, dtype: 'Q4_K' },
  Q4_K_S: { fileType: 14, dtype: 'Q4_K' },
  Q4_1: { fileType: 3, dtype: 'Q4_1' },
  Q4_0: { fileType: 2, dtype: 'Q4_0' },
  IQ4_NL: { fileType: 25, dtype: 'IQ4_NL' },
  IQ4_XS: { fileType: 30, dtype: 'IQ4_XS' },
  MXFP4_MOE: { fileType: 38, dtype: 'MXFP4' },
  NVFP4: { fileType: 39, dtype: 'NVFP4' },
  Q3_K_L: { fileType: 13, dtype: 'Q3_K' },
  Q3_K_M: { fileType: 12, dtype: 'Q3_K' },
  Q3_K_S: { fileType: 11, dtype: 'Q3_K' },
  IQ3_M: { fileType: 27, dtype: 'IQ3_S' },
  IQ3_S: { fileType: 26, dtype: 'IQ3_S' },
  IQ3_XS: { fileType: 22, dtype: 'IQ3_S' },
  IQ3_XXS: { fileType: 23, dtype: 'IQ3_XXS' },
  Q2_K: { fileType: 10, dtype: 'Q2_K' },
  Q2_K_S: { fileType: 21, dtype: 'Q2_K' },
  IQ2_M: { fileType: 29, dtype: 'IQ2_S' },
  IQ2_S: { fileType: 28, dtype: 'IQ2_XS' },
  IQ2_XS: { fileType: 20, dtype: 'IQ2_XS' },
  IQ2_XXS: { fileType: 19, dtype: 'IQ2_XXS' },
  Q2_0: { fileType: 41, dtype: 'Q2_0' },
  TQ2_0: { fileType: 37, dtype: 'TQ2_0' },
  IQ1_M: { fileType: 31, dtype: 'IQ1_M' },
  TQ1_0: { fileType: 36, dtype: 'TQ1_0' },
  IQ1_S: { fileType: 24, dtype: 'IQ1_S' },
  Q1_0: { fileType: 40, dtype: 'Q1_0' },
} as const satisfies Record<string, MixRow>;

/** The name of a mix; several are the name of their main format. */
export type MixName = keyof typeof mixes;

const aliases: Readonly<Record<string, MixName>> = {
  Q3_K: 'Q3_K_M',
  Q4_K: 'Q4_K_M',
  Q5_K: 'Q5_K_M',
  MXFP4: 'MXFP4_MOE',
};

/** The mix of this name in any case, its short forms included; undefined where there is none. */
export function mixNamed(text: string): MixName | undefined {
  const name = text.toUpperCase();
  return name in mixes ? (name as MixName) : aliases[name];
}

/** A tensor as the rules see it. */
export interface RuledTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** What the rules ask of the model. */
export interface RuledModel {
  readonly architecture: string;
  readonly layers: number;
  readonly experts: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** There is importance for the tensors. */
  readonly importance: boolean;
}

type Kind =
  | 'embedding'
  | 'q'
  | 'k'
  | 'v'
  | 'qkv'
  | 'kv_b'
  | 'attention output'
  | 'up'
  | 'gate'
  | 'down'
  | 'output'
  | 'other';

function kindOf(name: string): Kind {
  if (name === 'output.weight') return 'output';
  if (name === 'token_embd.weight' || name === 'per_layer_token_embd.weight') return 'embedding';
  const parts: readonly [string, Kind][] = [
    ['attn_qkv.weight', 'qkv'],
    ['attn_kv_b.weight', 'kv_b'],
    ['attn_v.weight', 'v'],
    ['attn_k.weight', 'k'],
    ['attn_q.weight', 'q'],
    ['attn_output.weight', 'attention output'],
    ['ffn_up', 'up'],
    ['ffn_gate', 'gate'],
    ['ffn_down', 'down'],
  ];
  return parts.find(([part]) => name.includes(part))?.[1] ?? 'other';
}

/** Parts of names of matrices that are left as they are: routers, norms, positions, what is small. */
const kept = [
  '_norm.weight',
  'ffn_gate_inp.weight',
  'altup',
  'laurel',
  'per_layer_model_proj',
  'ssm_conv1d',
  'shortconv.conv.weight',
  'attn_rel_b.weight',
  '.position_embd',
  '.rel_pos',
  '.patch_embd',
  '.patch_merger',
] as const;

/** Whether a mix applies to a tensor at all: to matrices named …weight that are no norm, router or table of positions. */
export function mayBeQuantized({ name, shape }: RuledTensor): boolean {
  const dimensions = shape.length - shape.findIndex((size, i) => size > 1 || i === shape.length - 1);
  return (
    dimensions >= 2 &&
    name.endsWith('weight') &&
    name !== 'position_embd.weight' &&
    name !== 'token_types.weight' &&
    !kept.some(part => name.includes(part))
  );
}

/** Tensors in the order in which the rules count them, which is that of the file written: without a layer first, then by layer, by name. */
export function inRuledOrder<T extends { readonly name: string }>(tensors: Iterable<T>): T[] {
  const layerOf = (name: string): number => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);
  return [...tensors].sort(
    (a, b) => layerOf(a.name) - layerOf(b.name) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
}

/** A format, and the one that the rules wanted where rows are no whole number of its blocks. */
export interface Choice {
  readonly dtype: DType;
  readonly insteadOf?: DType;
}

/** What each tensor becomes under a mix. Tensors come in `inRuledOrder`, all of them. */
export function chooseFormats(mix: MixName, tensors: readonly RuledTensor[], model: RuledModel): Map<string, Choice> {
  const rules = new Rules(mix, model, tensors);
  return new Map(
    tensors.map(tensor => {
      if (!mayBeQuantized(tensor)) return [tensor.name, { dtype: tensor.dtype }];
      if (formats[mixes[mix].dtype].blockSize === 1) return [tensor.name, { dtype: mixes[mix].dtype }];
      return [tensor.name, fitting(rules.next(tensor), tensor.shape.at(-1)!)];
    }),
  );
}

/** A format whose blocks fill the rows: the wanted one, else one with small blocks, else F16. */
export function fitting(wanted: DType, columns: number): Choice {
  const fits = (dtype: DType): boolean => columns % formats[dtype].blockSize === 0;
  if (fits(wanted)) return { dtype: wanted };
  const fallbacks: Partial<Record<DType, DType>> = {
    Q4_K: 'Q5_0',
    Q5_K: 'Q5_1',
    Q6_K: 'Q8_0',
    NVFP4: 'Q4_0',
    Q1_0: 'Q4_0',
  };
  const smaller = fallbacks[wanted] ?? (wanted.startsWith('IQ') ? 'IQ4_NL' : 'Q4_0');
  return { dtype: formats[wanted].blockSize > 32 && fits(smaller) ? smaller : 'F16', insteadOf: wanted };
}

class Rules {
  readonly #mix: MixName;
  readonly #model: RuledModel;
  readonly #tied: boolean;
  readonly #values: number;
  /** How many tensors of a kind have come by. */
  readonly #seen = { v: 0, down: 0, gate: 0, up: 0 };

  constructor(mix: MixName, model: RuledModel, tensors: readonly RuledTensor[]) {
    this.#mix = mix;
    this.#model = model;
    this.#tied = !tensors.some(({ name }) => name === 'output.weight');
    this.#values = tensors.filter(({ name }) => isValue(kindOf(name))).length;
  }

  #is(...names: MixName[]): boolean {
    return names.includes(this.#mix);
  }

  get #shared(): number {
    return this.#model.heads / this.#model.kvHeads;
  }

  /** The format of the next tensor. */
  next(tensor: RuledTensor): DType {
    const kind = kindOf(tensor.name);
    const plain = mixes[this.#mix].dtype;
    if (kind === 'output' || (this.#tied && kind === 'embedding')) return this.#output(tensor, plain);
    if (this.#is('MXFP4_MOE')) return tensor.shape.length > 2 && tensor.shape.at(-3)! > 1 ? 'MXFP4' : 'Q8_0';
    if (kind === 'embedding') return this.#embedding(plain);
    if (this.#is('IQ2_XXS', 'IQ2_XS', 'IQ1_S', 'IQ2_S', 'IQ2_M', 'IQ1_M')) return this.#smallest(kind, plain);
    if (isValue(kind)) return this.#value(kind, plain);
    if (kind === 'k' || kind === 'q') {
      if (kind === 'k' && this.#model.experts === 8) return 'Q8_0';
      if (this.#is('IQ3_XS')) return 'IQ3_XXS';
      return this.#is('IQ3_XXS') ? 'IQ2_S' : plain;
    }
    if (kind === 'down') return this.#down(tensor.name, plain);
    if (kind === 'attention output') return this.#attentionOutput(plain);
    if (kind === 'gate' || kind === 'up') {
      const layer = this.#layer(tensor.name, kind);
      const [first, last] = [share(this.#model.layers, 8), share(7 * this.#model.layers, 8)];
      return this.#is('IQ3_XS') && layer >= first && layer < last ? 'IQ3_XXS' : plain;
    }
    return plain;
  }

  /** The layer of a tensor: where there are experts by its name, else by how many of its kind came before. */
  #layer(name: string, kind: 'down' | 'gate' | 'up'): number {
    const counted = this.#seen[kind]++;
    return this.#model.experts > 1 ? Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? counted) : counted;
  }

  #output(tensor: RuledTensor, plain: DType): DType {
    if (this.#is('MXFP4_MOE') || tensor.shape.at(-1)! % formats[plain].blockSize !== 0) return 'Q8_0';
    if (this.#is('IQ2_XXS', 'IQ2_XS', 'IQ3_XXS', 'IQ1_S', 'IQ2_S', 'IQ2_M', 'IQ1_M')) return 'Q5_K';
    return plain === 'Q8_0' ? plain : 'Q6_K';
  }

  #embedding(plain: DType): DType {
    if (this.#is('IQ2_XXS', 'IQ2_XS', 'IQ1_S', 'IQ1_M')) return 'Q2_K';
    if (this.#is('IQ2_S', 'IQ2_M', 'IQ3_XXS')) return 'IQ3_S';
    return this.#is('TQ1_0', 'TQ2_0', 'Q2_0') ? 'Q4_K' : plain;
  }

  /** Below three bits. */
  #smallest(kind: Kind, plain: DType): DType {
    const { experts, layers } = this.#model;
    const better = this.#is('IQ2_S', 'IQ2_M') ? 'IQ3_S' : 'Q2_K';
    if (isValue(kind)) {
      this.#seen.v++;
      return this.#shared >= 4 || experts >= 4 ? 'Q4_K' : better;
    }
    if (experts === 8 && kind === 'k') return 'Q4_K';
    if (kind === 'down') return this.#seen.down++ < share(layers, 8) ? better : plain;
    if (kind === 'attention output') {
      if (experts === 8) return 'Q5_K';
      if (this.#is('IQ1_S', 'IQ1_M')) return 'IQ2_XXS';
      return this.#is('IQ2_S', 'IQ2_M') ? 'IQ3_S' : plain;
    }
    return plain;
  }

  #value(kind: Kind, plain: DType): DType {
    const { architecture, layers, heads, kvHeads, experts, importance } = this.#model;
    const index = this.#seen.v++;
    const shared = this.#shared >= 4;
    let dtype = plain;
    if (this.#is('Q2_K')) dtype = shared ? 'Q4_K' : 'Q3_K';
    else if (this.#is('Q2_K_S') && shared) dtype = 'Q4_K';
    else if (this.#is('IQ3_XXS')) dtype = shared ? 'Q4_K' : importance ? 'IQ3_XXS' : 'IQ3_S';
    else if (this.#is('IQ3_XS', 'IQ3_S') && shared) dtype = 'Q4_K';
    else if (this.#is('IQ3_M')) dtype = 'Q4_K';
    else if (this.#is('Q3_K_M')) dtype = index < 2 ? 'Q5_K' : 'Q4_K';
    else if (this.#is('Q3_K_L')) dtype = 'Q5_K';
    else if (this.#is('IQ4_NL', 'IQ4_XS') && shared) dtype = 'Q5_K';
    else if (this.#is('Q4_K_M', 'Q5_K_M') && wantsMore(index, this.#values)) dtype = 'Q6_K';
    else if (this.#is('Q4_K_S') && index < 4) dtype = 'Q5_K';
    // Llama 2 and 3 of 70 B: eight heads share their values, which are so small that better ones cost nothing.
    if (architecture === 'llama' && layers === 80 && heads !== kvHeads && (dtype === 'Q3_K' || dtype === 'Q4_K'))
      dtype = 'Q5_K';
    return experts === 8 && isValue(kind) ? 'Q8_0' : dtype;
  }

  #down(name: string, plain: DType): DType {
    const { layers, experts, importance } = this.#model;
    const layer = this.#layer(name, 'down');
    const early = layer < share(layers, 8);
    if (this.#is('Q2_K')) return 'Q3_K';
    if (this.#is('Q2_K_S')) return early ? 'Q4_K' : plain;
    if (this.#is('IQ3_XXS')) return importance ? plain : early ? 'Q4_K' : 'Q3_K';
    if (this.#is('Q3_K_M')) return layer < share(layers, 16) ? 'Q5_K' : 'Q4_K';
    if (this.#is('IQ3_M')) return early || (experts === 8 && wantsMore(layer, layers)) ? 'Q4_K' : plain;
    if (this.#is('Q3_K_L')) return 'Q5_K';
    if (this.#is('Q4_K_M', 'Q5_K_M')) return wantsMore(layer, layers) ? 'Q6_K' : plain;
    if (this.#is('IQ4_NL', 'IQ4_XS')) return early && !importance ? 'Q5_K' : plain;
    if (this.#is('Q4_K_S')) return early ? 'Q5_K' : plain;
    // Even with importance the first layers go wrong in these.
    if (this.#is('Q4_0', 'Q5_0') && importance && early) return this.#is('Q4_0') ? 'Q4_1' : 'Q5_1';
    return plain;
  }

  #attentionOutput(plain: DType): DType {
    if (this.#model.experts === 8) {
      const five: readonly MixName[] = [
        ...(['Q2_K', 'IQ3_XS', 'IQ3_XXS', 'Q3_K_S', 'Q3_K_M', 'IQ4_NL', 'Q4_K_S', 'Q4_K_M'] as const),
        ...(['IQ3_S', 'IQ3_M', 'IQ4_XS'] as const),
      ];
      return this.#is(...five) ? 'Q5_K' : plain;
    }
    if (this.#is('Q2_K')) return 'Q3_K';
    if (this.#is('IQ3_XXS')) return 'IQ3_S';
    if (this.#is('Q3_K_M', 'IQ3_M')) return 'Q4_K';
    return this.#is('Q3_K_L') ? 'Q5_K' : plain;
  }
}

const isValue = (kind: Kind): boolean => kind === 'v' || kind === 'qkv' || kind === 'kv_b';

const share = (count: number, of: number): number => Math.floor(count / of);

/** The first and the last eighth of the layers, and every third between. */
const wantsMore = (layer: number, layers: number): boolean =>
  layer < share(layers, 8) || layer >= share(7 * layers, 8) || (layer - share(layers, 8)) % 3 === 2;

const weighed: ReadonlySet<DType> = new Set(['IQ3_XXS', 'IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'IQ1_M', 'IQ1_S']);

/** Whether a tensor in this format means little without importance. (Embedding and output are read row by row, and are not asked.) */
export const wantsImportance = (name: string, dtype: DType, mix: MixName | undefined): boolean =>
  kindOf(name) !== 'embedding' &&
  kindOf(name) !== 'output' &&
  (weighed.has(dtype) || (dtype === 'Q2_K' && mix === 'Q2_K_S'));
