// The tensors of Meta's shards under GGUF's names: what each of the ranks has is joined by range, fused tensors are cut, others transposed.
// Sources: llama-models models/llama4/{model,moe,ffn}.py (load hooks: every name below); transformers' converter (which axis is split).
import { type Arranged, type Part, type Strided, type Triple, wholePart } from '../arranged.ts';
import { CheckpointError, type MetadataValue } from '../checkpoint.ts';
import { shown } from '../gguf-header.ts';
import { arrange, ropeFactors } from '../huggingface/tensors.ts';
import { matrixType } from '../numbers.ts';
import { elementsOf, type RawTensor } from '../raw-tensors.ts';
import { isFolderVision } from '../vision-names.ts';
import type { MetaShape } from './params.ts';

export interface Rank {
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** Of fp8_scales_N.pt: of each FP8 expert's outputs, by the names of llama-models' modules (scripts/quantize.py). */
  readonly scales: ReadonlyMap<string, RawTensor>;
}

/** What training left behind: statistics of the router, states of extensions, tables computed from the parameters. */
const computed =
  /(^|\.)(rope\.freqs|freqs_cis|_extra_state|global_gate_stats_3E|running_gate_stats_3E|expert_activation_DE)$/;

/**
 * Everything of the shards. Sets the metadata that only tensors know: widths of feed-forwards and the vocabulary.
 * @throws CheckpointError naming a tensor that is missing, of another shape than params.json says, or that has no place
 */
export function arrangeShards(
  path: string,
  ranks: readonly Rank[],
  shape: MetaShape,
  metadata: Map<string, MetadataValue>,
): Arranged[] {
  const shards = new Shards(path, ranks);
  const { layers, dim, heads, kvHeads, headDim, experts, architecture, moe } = shape;
  const result: Arranged[] = [];
  const vector = (name: string, ...from: string[]): void => {
    const raw = shards.all(from)[0]!;
    shards.check(raw, [dim]);
    result.push(arrange(name, [dim], [1, 1, dim], 1, [wholePart(raw, [1, 1, dim])], 'F32'));
  };
  const matrix = (name: string, rows: number, columns: number, axis: 1 | 2, parts: readonly Part[]): void => {
    result.push(arrange(name, [rows, columns], [1, rows, columns], axis, parts));
  };
  /** Rows in the order of ranks. */
  const byRows = (name: string, rows: number | null, columns: number, ...from: string[]): number => {
    const parts = shards.all(from).map(raw => rowsOf(raw, 0, shards.rows(raw, columns), columns));
    const found = parts.reduce((sum, part) => sum + part.sizes[1], 0);
    if (rows !== null && found !== rows)
      shards.wrong(parts[0]!.raw, `${found} rows in all`, `${rows} as params.json says`);
    matrix(name, found, columns, 1, parts);
    return found;
  };
  /** Columns in the order of ranks. */
  const byColumns = (name: string, rows: number, columns: number, ...from: string[]): void => {
    const raws = shards.all(from);
    const width = columns / raws.length;
    for (const raw of raws) shards.check(raw, [rows, width]);
    matrix(
      name,
      rows,
      columns,
      2,
      raws.map(raw => wholePart(raw, [1, rows, width])),
    );
  };

  const vocab = byRows('token_embd', null, dim, 'tok_embeddings.weight');
  metadata.set(`${architecture}.vocab_size`, vocab);
  for (let i = 0; i < layers; i++) {
    const [block, from] = [`blk.${i}`, `layers.${i}.`];
    const [attention, feedForward] = [`${from}attention.`, `${from}feed_forward.`];
    vector(`${block}.attn_norm`, `${from}attention_norm.weight`, `${attention}wqkv.layer_norm_weight`);
    const heights = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
    if (shards.has(`${attention}wqkv.weight`)) {
      // Each rank has its own heads of q, then of k, then of v.
      const raws = shards.all([`${attention}wqkv.weight`]);
      const local = heights.map(height => height / raws.length);
      for (const raw of raws) shards.check(raw, [local.reduce((a, b) => a + b), dim]);
      let start = 0;
      for (const [index, which] of ['q', 'k', 'v'].entries()) {
        matrix(
          `${block}.attn_${which}`,
          heights[index]!,
          dim,
          1,
          raws.map(raw => rowsOf(raw, start, local[index]!, dim)),
        );
        start += local[index]!;
      }
    } else
      for (const [index, which] of ['q', 'k', 'v'].entries())
        byRows(`${block}.attn_${which}`, heights[index]!, dim, `${attention}w${which}.weight`);
    byColumns(`${block}.attn_output`, dim, heads * headDim, `${attention}wo.weight`);
    vector(
      `${block}.ffn_norm`,
      `${from}ffn_norm.weight`,
      `${feedForward}norm.weight`,
      `${feedForward}mlp.layer_norm_weight`,
      `${feedForward}mlp.layer_norm.weight`,
    );
    if (moe[i]) {
      const router = shards.all([`${feedForward}router_DE`])[0]!;
      shards.check(router, [dim, experts]);
      const part: Part = { ...wholePart(router, [1, experts, dim]), strides: [dim * experts, 1, experts] };
      matrix(`${block}.ffn_gate_inp`, experts, dim, 1, [part]);
      const expertFf = routedExperts(result, shards, block, `${feedForward}experts.`, shape);
      metadata.set('llama4.expert_feed_forward_length', expertFf);
      byRows(
        `${block}.ffn_gate_shexp`,
        expertFf,
        dim,
        `${feedForward}w_in_shared_FD.weight`,
        `${feedForward}shared_expert.w1.weight`,
      );
      byRows(
        `${block}.ffn_up_shexp`,
        expertFf,
        dim,
        `${feedForward}w_swiglu_FD.weight`,
        `${feedForward}shared_expert.w3.weight`,
      );
      byColumns(
        `${block}.ffn_down_shexp`,
        dim,
        expertFf,
        `${feedForward}w_out_shared_DF.weight`,
        `${feedForward}shared_expert.w2.weight`,
      );
      continue;
    }
    const ff = denseInputs(block, feedForward);
    metadata.set(`${architecture}.feed_forward_length`, ff);
    byColumns(`${block}.ffn_down`, dim, ff, `${feedForward}mlp.fc2_weight`, `${feedForward}w2.weight`);
  }
  vector('output_norm', 'norm.weight');
  byRows('output', vocab, dim, 'output.weight');
  if (shape.ropeFactors) result.push(ropeFactors(path, shape.ropeFactors));
  return [...result, ...shards.others()];

  /** Gate and up of a dense layer: apart, or one above the other in each rank. @returns their width */
  function denseInputs(block: string, from: string): number {
    if (!shards.has(`${from}mlp.fc1_weight`)) {
      const width = byRows(`${block}.ffn_gate`, null, dim, `${from}w1.weight`);
      return byRows(`${block}.ffn_up`, width, dim, `${from}w3.weight`);
    }
    const raws = shards.all([`${from}mlp.fc1_weight`]);
    const halves = raws.map(raw => shards.rows(raw, dim) / 2);
    const ff = halves.reduce((a, b) => a + b, 0);
    if (!halves.every(Number.isInteger)) shards.wrong(raws[0]!, 'an odd number of rows', 'gate above up');
    matrix(
      `${block}.ffn_gate`,
      ff,
      dim,
      1,
      raws.map((raw, rank) => rowsOf(raw, 0, halves[rank]!, dim)),
    );
    matrix(
      `${block}.ffn_up`,
      ff,
      dim,
      1,
      raws.map((raw, rank) => rowsOf(raw, halves[rank]!, halves[rank]!, dim)),
    );
    return ff;
  }
}

/** Each rank has a part of every expert's width: [experts · in, width] for gate and up, [experts · width, out] for down. */
function routedExperts(
  result: Arranged[],
  shards: Shards,
  block: string,
  from: string,
  { experts, dim }: MetaShape,
): number {
  const widthOf = (raw: RawTensor): number => {
    const width = elementsOf(raw.shape) / (experts * dim);
    if (!Number.isInteger(width) || width < 1)
      shards.wrong(raw, `shape [${raw.shape.join(', ')}]`, `${experts} experts of ${dim} inputs`);
    return width;
  };
  let ff = 0;
  for (const [which, ...names] of [
    ['gate', 'moe_w_in_eD_F', 'w1'],
    ['up', 'moe_w_swiglu_eD_F', 'w3'],
  ] as const) {
    const raws = shards.all(
      names.map(name => from + name),
      true,
    );
    const parts = raws.map((raw, rank): Part => {
      const width = widthOf(raw);
      const scale = shards.scaleOf(raw, rank, from + names[1], [experts, width]);
      return { ...wholePart(raw, [experts, width, dim]), strides: [dim * width, 1, width], scale };
    });
    const total = parts.reduce((sum, part) => sum + part.sizes[1], 0);
    if (which === 'up' && total !== ff) shards.wrong(parts[0]!.raw, `${total} outputs`, `${ff} as the gate has`);
    ff = total;
    const grid: Triple = [experts, ff, dim];
    result.push(arrange(`${block}.ffn_${which}_exps`, grid, grid, 1, parts));
  }
  const parts = shards.all([`${from}moe_w_out_eF_D`, `${from}w2`], true).map((raw, rank): Part => {
    const width = widthOf(raw);
    const scale = shards.scaleOf(raw, rank, `${from}w2`, [experts, dim]);
    return { ...wholePart(raw, [experts, dim, width]), strides: [width * dim, 1, dim], scale };
  });
  const total = parts.reduce((sum, part) => sum + part.sizes[2], 0);
  if (total !== ff) shards.wrong(parts[0]!.raw, `${total} inputs`, `${ff} as the gate has outputs`);
  const grid: Triple = [experts, dim, ff];
  result.push(arrange(`${block}.ffn_down_exps`, grid, grid, 2, parts));
  return ff;
}

const rowsOf = (raw: RawTensor, start: number, rows: number, columns: number): Part => ({
  ...wholePart(raw, [1, rows, columns]),
  start: start * columns,
});

/** Finds a tensor in all ranks, and knows which of all were asked for. */
class Shards {
  readonly #path: string;
  readonly #ranks: readonly Rank[];
  readonly #used = new Set<string>();

  constructor(path: string, ranks: readonly Rank[]) {
    this.#path = path;
    this.#ranks = ranks;
  }

  has(name: string): boolean {
    return this.#ranks[0]!.tensors.has(name);
  }

  /** The tensor of every rank, under the first of its names that there is. @param scaled whether it may be FP8 */
  all(names: readonly string[], scaled = false): RawTensor[] {
    const name = names.find(candidate => this.has(candidate));
    if (name === undefined)
      throw new CheckpointError(
        this.#path,
        `tensor ${names.map(shown).join(' or ')}: got no such tensor. Fetch the model again.`,
      );
    this.#used.add(name);
    return this.#ranks.map((rank, index) => {
      const raw = rank.tensors.get(name);
      if (!raw)
        throw new CheckpointError(
          this.#path,
          `tensor ${shown(name)}: shard 0 has it, shard ${index} has not; they are of two models.`,
        );
      if (matrixType(raw.type) === undefined || raw.type === 'I32' || (raw.type === 'F8_E4M3' && !scaled))
        this.wrong(raw, `numbers of type ${raw.type}`, 'BF16, F16 or F32');
      return raw;
    });
  }

  /** The scale of each output of an expert in FP8: of [experts, outputs]. */
  scaleOf(raw: RawTensor, rank: number, name: string, [experts, outputs]: readonly [number, number]): Strided | null {
    if (raw.type !== 'F8_E4M3') return null;
    const scale = this.#ranks[rank]!.scales.get(name);
    if (!scale)
      return this.wrong(raw, `FP8 without ${shown(name)} in fp8_scales_${rank}.pt`, 'a scale for each output');
    if (scale.type !== 'F32' || elementsOf(scale.shape) !== experts * outputs)
      this.wrong(scale, `${scale.type} [${scale.shape.join(', ')}]`, `F32 [${experts}, ${outputs}]`);
    return { raw: scale, start: 0, strides: [outputs, 1, 0] };
  }

  rows(raw: RawTensor, columns: number): number {
    if (raw.shape.length !== 2 || raw.shape[1] !== columns)
      this.wrong(raw, `shape [${raw.shape.join(', ')}]`, `[rows, ${columns}]`);
    return raw.shape[0]!;
  }

  check(raw: RawTensor, shape: readonly number[]): void {
    if (raw.shape.length !== shape.length || raw.shape.some((n, i) => n !== shape[i]))
      this.wrong(
        raw,
        `shape [${raw.shape.join(', ')}]`,
        `[${shape.join(', ')}] of ${this.#ranks.length} shards as params.json says`,
      );
  }

  wrong(raw: RawTensor, got: string, wanted: string): never {
    throw new CheckpointError(
      raw.source.path,
      `tensor ${shown(raw.name)}: got ${got}, wanted ${wanted}. Fetch the model again.`,
    );
  }

  /** The image encoder's tensors, of every rank. @throws CheckpointError for anything that could change results */
  others(): Arranged[] {
    const result: Arranged[] = [];
    for (const [index, rank] of this.#ranks.entries())
      for (const [name, raw] of rank.tensors) {
        if (this.#used.has(name) || computed.test(name)) continue;
        if (!isFolderVision(name))
          throw new CheckpointError(
            raw.source.path,
            `tensor ${shown(name)}: the model that params.json describes has no place for it, and leaving it out would change the results. This variant is not supported.`,
          );
        const dtype = matrixType(raw.type);
        if (!dtype) this.wrong(raw, `numbers of type ${raw.type}`, 'BF16, F16 or F32');
        const size = elementsOf(raw.shape);
        const named = this.#ranks.length > 1 ? `${name} (shard ${index})` : name;
        const info = { name: named, dtype, shape: raw.shape, byteLength: raw.byteLength };
        result.push({ info, grid: [1, 1, size], axis: 1, parts: [wholePart(raw, [1, 1, size])] });
      }
    return result;
  }
}
