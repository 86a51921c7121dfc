// A weight matrix, and the low-rank update that may ride on it (LoRA, arXiv 2106.09685).
import type { Backend, Tensor } from '../backends/backend.ts';

export interface Linear {
  readonly weight: Tensor; // [out, in]
  readonly lora: { readonly a: Tensor; readonly b: Tensor; readonly scale: number } | null; // [rank, in], [out, rank]
}

/** x · weightᵀ, plus the adapter's share: [T, out]. */
export const linear = (k: Backend, x: Tensor, { weight, lora }: Linear): Tensor =>
  lora ? k.add(k.matmul(x, weight), k.matmul(k.matmul(x, lora.a), lora.b), lora.scale) : k.matmul(x, weight);
