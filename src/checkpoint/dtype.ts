// The one table of storage formats: how many elements make a block, and how many bytes that block takes in a file.
// Source: ggml.h `enum ggml_type` and ggml-common.h `block_*` (ggml-org/ggml).

/** One row of the table. */
export interface Format {
  /** `general.file_type`-independent id of the tensor type in a GGUF file (`enum ggml_type`). */
  readonly ggmlType: number;
  /** Elements of one block. A row's length is a multiple of it. */
  readonly blockSize: number;
  /** Bytes of one block in a file. */
  readonly blockBytes: number;
}

export const formats = {
  F32: { ggmlType: 0, blockSize: 1, blockBytes: 4 },
  F16: { ggmlType: 1, blockSize: 1, blockBytes: 2 },
  BF16: { ggmlType: 30, blockSize: 1, blockBytes: 2 },
  I32: { ggmlType: 26, blockSize: 1, blockBytes: 4 },
  Q4_0: { ggmlType: 2, blockSize: 32, blockBytes: 18 },
  Q4_1: { ggmlType: 3, blockSize: 32, blockBytes: 20 },
  Q5_0: { ggmlType: 6, blockSize: 32, blockBytes: 22 },
  Q5_1: { ggmlType: 7, blockSize: 32, blockBytes: 24 },
  Q8_0: { ggmlType: 8, blockSize: 32, blockBytes: 34 },
  Q2_K: { ggmlType: 10, blockSize: 256, blockBytes: 84 },
  Q3_K: { ggmlType: 11, blockSize: 256, blockBytes: 110 },
  Q4_K: { ggmlType: 12, blockSize: 256, blockBytes: 144 },
  Q5_K: { ggmlType: 13, blockSize: 256, blockBytes: 176 },
  Q6_K: { ggmlType: 14, blockSize: 256, blockBytes: 210 },
  IQ4_NL: { ggmlType: 20, blockSize: 32, blockBytes: 18 },
  IQ4_XS: { ggmlType: 23, blockSize: 256, blockBytes: 136 },
  IQ3_S: { ggmlType: 21, blockSize: 256, blockBytes: 110 },
  IQ3_XXS: { ggmlType: 18, blockSize: 256, blockBytes: 98 },
  IQ2_S: { ggmlType: 22, blockSize: 256, blockBytes: 82 },
  IQ2_XS: { ggmlType: 17, blockSize: 256, blockBytes: 74 },
  IQ2_XXS: { ggmlType: 16, blockSize: 256, blockBytes: 66 },
  IQ1_M: { ggmlType: 29, blockSize: 256, blockBytes: 56 },
  IQ1_S: { ggmlType: 19, blockSize: 256, blockBytes: 50 },
  MXFP4: { ggmlType: 39, blockSize: 32, blockBytes: 17 },
  NVFP4: { ggmlType: 40, blockSize: 64, blockBytes: 36 },
  TQ1_0: { ggmlType: 34, blockSize: 256, blockBytes: 54 },
  TQ2_0: { ggmlType: 35, blockSize: 256, blockBytes: 66 },
  Q1_0: { ggmlType: 41, blockSize: 128, blockBytes: 18 },
  Q2_0: { ggmlType: 42, blockSize: 64, blockBytes: 18 },
} as const satisfies Record<string, Format>;

/** The name of a storage format. */
export type DType = keyof typeof formats;

const byGgmlType: ReadonlyMap<number, DType> = new Map(
  (Object.keys(formats) as DType[]).map(name => [formats[name].ggmlType, name]),
);

/** The format with this GGUF tensor-type id, or undefined where we have none. */
export const dtypeOfGgml = (ggmlType: number): DType | undefined => byGgmlType.get(ggmlType);

/** Bytes of `elements` elements, which must be a whole number of blocks. */
export function byteLengthOf(dtype: DType, elements: number): number {
  const { blockSize, blockBytes } = formats[dtype];
  if (elements % blockSize !== 0)
    throw new RangeError(`${dtype} stores blocks of ${blockSize} elements; ${elements} is not a multiple of that.`);
  return (elements / blockSize) * blockBytes;
}
