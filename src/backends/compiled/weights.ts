// Weights on their way into memory: read from their file piece by piece, and packed as the kernels take them.
import { byteLengthOf, type DType, formats } from '../../checkpoint/dtype.ts';
import type { Fill } from '../backend.ts';
import type { KernelQueries } from './commands.ts';
import { sizeOf } from './tensor.ts';

/** Where a tensor's matrices lie: [matrices, out, n], one behind the other, each as `pack` of kernels/matmul.h leaves it. */
export interface WeightLayout {
  readonly format: number;
  readonly matrices: number;
  readonly out: number;
  readonly n: number;
  /** Of a row in the file. */
  readonly rowBytes: number;
  /** Of a matrix in the file, and in memory. */
  readonly storedBytes: number;
  readonly matrixBytes: number;
  readonly packed: boolean;
}

/** Rows are packed by so many. */
const tileRows = 16;
/** Bytes that are asked for at once, at most (but whole tiles): they are packed while the processor's cache still holds them. */
const pieceBytes = 2 ** 20;

/** @throws RangeError when the kernels do not have the format: its blocks would be read as floats, and the answer be noise. */
export function layoutOf(dtype: DType, shape: readonly number[], kernels: KernelQueries): WeightLayout {
  const { ggmlType: format, blockSize } = formats[dtype];
  if (blockSize > 1 && kernels.activation_bits(format, blockSize) === 32)
    throw new RangeError(
      `These kernels cannot multiply with ${dtype} weights; take the reference backend, which is slow, or a file of another format.`,
    );
  const n = shape.at(-1)!;
  const out = shape.at(-2) ?? 1;
  const rowBytes = byteLengthOf(dtype, n);
  const packed = blockSize > 1;
  return {
    format,
    matrices: sizeOf(shape.slice(0, -2)),
    out,
    n,
    rowBytes,
    storedBytes: out * rowBytes,
    matrixBytes: packed ? kernels.matrix_bytes(format, out, n) : out * rowBytes,
    packed,
  };
}

export interface Piece {
  /** Of matrix rows; `address` is where they lie. */
  readonly rows: number;
  readonly address: number;
}

/**
 * Fills `count` matrices from `address` on, and gives every piece of rows to `pack` once it is there, while the next one is read.
 * @param view bytes of memory to write to
 */
export async function fillMatrices(
  layout: WeightLayout,
  address: number,
  count: number,
  view: (address: number, bytes: number) => Uint8Array,
  fill: Fill,
  pack: (piece: Piece) => void,
): Promise<void> {
  const { out, rowBytes, storedBytes, matrixBytes } = layout;
  if (count * storedBytes === 0) return;
  // Matrices without gaps between them are one matrix of more rows.
  const whole = matrixBytes === storedBytes;
  const rowsOfAll = whole ? count * out : out;
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / (rowBytes * tileRows))) * tileRows;
  let before: Piece | undefined;
  for (let matrix = 0; matrix < (whole ? 1 : count); matrix++)
    for (let row = 0; row < rowsOfAll; row += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, rowsOfAll - row);
      const at = address + matrix * matrixBytes + row * rowBytes;
      const filled = fill(view(at, rows * rowBytes), matrix * storedBytes + row * rowBytes);
      filled.catch(() => {}); // is heard below; packing may throw first
      if (before) pack(before);
      await filled;
      before = { rows, address: at };
    }
  if (before) pack(before);
}
