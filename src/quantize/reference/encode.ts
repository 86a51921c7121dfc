// The normative meaning of quantizing: rows of float32 as bytes of every storage format. Fast kernels are tested against this.
import { toBfloat, toHalf } from '../../backends/reference/half.ts';
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import { encodeIQ2_S, encodeIQ2_XS, encodeIQ2_XXS, encodeIQ3_S, encodeIQ3_XXS } from './blocks-grid.ts';
import { encodeIQ1_M, encodeIQ1_S } from './blocks-iq1.ts';
import { encodeIQ4_NL, encodeIQ4_XS } from './blocks-iq4.ts';
import { encodeMXFP4, encodeNVFP4, encodeQ1_0, encodeQ2_0, encodeTQ1_0, encodeTQ2_0 } from './blocks-small.ts';
import { encodeQ4_0, encodeQ4_1, encodeQ5_0, encodeQ5_1, encodeQ8_0 } from './blocks32.ts';
import { encodeQ2_K, encodeQ3_K, encodeQ4_K, encodeQ5_K, encodeQ6_K } from './blocks256.ts';

/** The formats there are encoders for: all but that of ids. */
export type EncodableDType = Exclude<DType, 'I32'>;

type EncodeRow = (row: Float32Array, out: Uint8Array, importance?: Float32Array) => void;

const encoders: Readonly<Record<EncodableDType, EncodeRow>> = {
  F32: (row, out) => {
    const view = new DataView(out.buffer, out.byteOffset);
    for (const [i, value] of row.entries()) view.setFloat32(4 * i, value, true);
  },
  F16: (row, out) => putWords(row, out, toHalf),
  BF16: (row, out) => putWords(row, out, toBfloat),
  Q4_0: encodeQ4_0,
  Q4_1: encodeQ4_1,
  Q5_0: encodeQ5_0,
  Q5_1: encodeQ5_1,
  Q8_0: encodeQ8_0,
  Q2_K: encodeQ2_K,
  Q3_K: encodeQ3_K,
  Q4_K: encodeQ4_K,
  Q5_K: encodeQ5_K,
  Q6_K: encodeQ6_K,
  IQ4_NL: encodeIQ4_NL,
  IQ4_XS: encodeIQ4_XS,
  IQ3_S: encodeIQ3_S,
  IQ3_XXS: encodeIQ3_XXS,
  IQ2_S: encodeIQ2_S,
  IQ2_XS: encodeIQ2_XS,
  IQ2_XXS: encodeIQ2_XXS,
  IQ1_M: encodeIQ1_M,
  IQ1_S: encodeIQ1_S,
  MXFP4: encodeMXFP4,
  NVFP4: encodeNVFP4,
  TQ1_0: encodeTQ1_0,
  TQ2_0: encodeTQ2_0,
  Q1_0: encodeQ1_0,
  Q2_0: encodeQ2_0,
};

function putWords(row: Float32Array, out: Uint8Array, word: (value: number) => number): void {
  for (const [i, value] of row.entries()) {
    const bits = word(value);
    out[2 * i] = bits;
    out[2 * i + 1] = bits >> 8;
  }
}

/** The formats that mean nothing without importance. */
export const needsImportance: ReadonlySet<DType> = new Set(['IQ2_XXS', 'IQ2_XS', 'IQ1_S']);

/**
 * Encodes rows of `columns` finite values, each by itself.
 * @param importance of the columns, at least 0: how much an error there costs. Some formats do not look at it.
 * @throws RangeError when the values are not whole rows, or a row is no whole number of blocks, or importance is wanting or of another length.
 */
export function encodeRows(
  dtype: EncodableDType,
  values: Float32Array,
  columns: number,
  importance?: Float32Array,
): Uint8Array {
  if (columns < 1 || values.length % columns !== 0)
    throw new RangeError(`${values.length} values are no whole number of rows of ${columns}.`);
  if (importance && importance.length !== columns)
    throw new RangeError(`Importance is of ${importance.length} columns; the rows have ${columns}.`);
  if (!importance && needsImportance.has(dtype))
    throw new RangeError(`${dtype} needs importance: it chooses which of its few values errors may fall on.`);
  const rowBytes = byteLengthOf(dtype, columns);
  const rows = values.length / columns;
  const bytes = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++)
    encoders[dtype](
      values.subarray(row * columns, (row + 1) * columns),
      bytes.subarray(row * rowBytes, (row + 1) * rowBytes),
      importance,
    );
  return bytes;
}

/** The formats there are encoders for. */
export const encodableDTypes = (Object.keys(formats) as DType[]).filter(
  (dtype): dtype is EncodableDType => dtype !== 'I32',
);
