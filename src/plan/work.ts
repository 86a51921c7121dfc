// What a forward pass of a bound model has to do, in bytes and products: nothing of a machine is in here.

import type { TensorInfo } from '../checkpoint/checkpoint.ts';
import type { DType } from '../checkpoint/dtype.ts';
import type { BoundModel } from '../model/weights.ts';

/** Matrices of one format and row length that are multiplied together. */
export interface Product {
  readonly dtype: DType;
  readonly columns: number;
  /** Weights, and their bytes: of routed experts, of one. */
  readonly weights: number;
  readonly bytes: number;
  /** Matrices. */
  readonly count: number;
}

export interface LayerWork {
  readonly products: readonly Product[];
  /** One expert's. */
  readonly expert: readonly Product[] | null;
  /** Of these, what is computed while experts are read. */
  readonly shared: readonly Product[];
  /** Keys a token sees at most, or null: all. */
  readonly chunk: number | null;
}

export interface ModelWork {
  readonly layers: readonly LayerWork[];
  readonly output: Product;
  readonly experts: number;
  readonly expertsPerToken: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
}

function productOf(tensor: TensorInfo, parts = 1): Product {
  const weights = tensor.shape.reduce((a, b) => a * b, 1) / parts;
  return { dtype: tensor.dtype, columns: tensor.shape.at(-1)!, weights, bytes: tensor.byteLength / parts, count: 1 };
}

export function workOf({ plan, layers, output }: BoundModel): ModelWork {
  const { config } = plan;
  return {
    layers: layers.map(({ wq, wk, wv, wo, mlp, moe }, index) => {
      const dense = Object.values(mlp).map(tensor => productOf(tensor));
      return {
        products: [
          ...[wq, wk, wv, wo].map(tensor => productOf(tensor)),
          ...dense,
          ...(moe ? [productOf(moe.router)] : []),
        ],
        expert: moe && Object.values(moe.experts).map(tensor => productOf(tensor, config.experts)),
        shared: moe ? dense : [],
        chunk: plan.layers[index]!.chunk,
      };
    }),
    output: productOf(output),
    experts: config.experts,
    expertsPerToken: config.expertsPerToken,
    heads: config.heads,
    kvHeads: config.kvHeads,
    headDim: config.headDim,
    vocab: config.vocab,
  };
}

/** The formats and lengths of rows that must be known, each once. */
export function formatsOf(work: ModelWork): { readonly dtype: DType; readonly columns: number }[] {
  const all = [work.output, ...work.layers.flatMap(({ products, expert }) => [...products, ...(expert ?? [])])];
  return [...new Map(all.map(({ dtype, columns }) => [`${dtype} ${columns}`, { dtype, columns }])).values()];
}
