// How a tensor's bytes lie in memory, and in which pieces they come from its file.
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import type { KernelQueries } from './commands.ts';
import { sizeOf } from './tensor.ts';

/** Rows that kernels read side by side; mirrors `tile_rows` in kernels/formats.h. */
const tileRows = 16;

/** Matrices [rows, n] one behind the other. Packed ones have rows interleaved, in whole tiles, so that there may be gaps. */
export interface Layout {
  readonly packed: boolean;
  readonly matrices: number;
  readonly rows: number;
  readonly n: number;
  readonly rowBytes: number;
  /** Bytes from one matrix to the next. */
  readonly matrixBytes: number;
}

/** A tensor of one axis is a matrix of one row. */
export function layoutOf(dtype: DType, shape: readonly number[], kernels: KernelQueries): Layout {
  const n = shape.at(-1)!;
  const rows = shape.at(-2) ?? 1;
  const format = formats[dtype].ggmlType;
  const rowBytes = byteLengthOf(dtype, n);
  const packed = dtype !== 'I32' && Boolean(kernels.is_packed(format));
  const matrixBytes = packed ? kernels.matrix_bytes(format, rows, n) : rows * rowBytes;
  return { packed, matrices: sizeOf(shape.slice(0, -2)), rows, n, rowBytes, matrixBytes };
}

/** So many rows go from the file's byte `offset` to byte `at` of the tensor. */
export interface Piece {
  readonly offset: number;
  readonly at: number;
  readonly rows: number;
}

/**
 * The first `matrices` of a layout, in ascending pieces of whole rows, at most `most` bytes if a row (or tile) has no more; packed ones
 * of whole tiles, or a matrix's last rows.
 */
export function* piecesOf(layout: Layout, matrices: number, most: number): Generator<Piece> {
  const { packed, rows, rowBytes, matrixBytes } = layout;
  const step = packed ? tileRows : 1;
  const mostRows = Math.max(1, Math.floor(most / rowBytes / step)) * step;
  const joined = rows * rowBytes === matrixBytes; // without gaps they are one matrix
  const height = joined ? rows * matrices : rows;
  for (let matrix = 0, offset = 0; matrix < (joined ? 1 : matrices); matrix++)
    for (let row = 0; row < height; row += mostRows) {
      const count = Math.min(mostRows, height - row);
      yield { offset, at: matrix * matrixBytes + row * rowBytes, rows: count };
      offset += count * rowBytes;
    }
}
