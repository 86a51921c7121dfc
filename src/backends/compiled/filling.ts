// Bytes of weights come from files in pieces, a few at once, and are packed as they come.
import { formats } from '../../checkpoint/dtype.ts';
import type { Fill } from '../backend.ts';
import { commands } from './commands.ts';
import type { Device } from './device.ts';
import { type Layout, piecesOf } from './layout.ts';
import type { PlacedTensor } from './tensor.ts';

/** Enough that files are read while others' bytes are packed. All pieces under way are to be in a processor's cache. */
const mostAtOnce = 4;
const pieceBytes = 2 * 2 ** 20;
/** Of a bank, for the pieces under way; for small banks. */
const bankShare = 1 / 8;
/** Weights that one thread packs sooner than several. */
const alone = 65536;

export class Filling {
  private readonly device: Device;
  private underWay = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(device: Device) {
    this.device = device;
  }

  /**
   * Fills `count` matrices of a tensor from the one at index `first` on. Pieces of all tensors are asked for in order. When it is
   * over, nothing writes to the tensor any more, also when `fill` throws.
   */
  async fill(tensor: PlacedTensor, layout: Layout, first: number, count: number, fill: Fill): Promise<void> {
    const { bank, start } = tensor.storage;
    const from = start + first * layout.matrixBytes;
    const most = Math.min(pieceBytes, (bank.heap.size * bankShare) / mostAtOnce);
    let failed = false;
    const pieces = Array.from(piecesOf(layout, count, most), ({ offset, at, rows }) =>
      this.inTurn(async () => {
        if (failed) return;
        try {
          this.device.checkLive();
          if (layout.packed) await this.packed(tensor, layout, rows, from + at, into => fill(into, offset));
          else await fill(bank.bytes(from + at, rows * layout.rowBytes), offset);
        } catch (error) {
          failed = true;
          throw error;
        }
      }),
    );
    const failure = (await Promise.allSettled(pieces)).find(({ status }) => status === 'rejected');
    if (failure) throw (failure as PromiseRejectedResult).reason;
  }

  /** Rows are read beside the tensor and packed from there to address `to`. */
  private async packed(
    { dtype, storage: { bank } }: PlacedTensor,
    { n, rowBytes }: Layout,
    rows: number,
    to: number,
    fill: (into: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const { device } = this;
    const bytes = rows * rowBytes;
    const staging = device.hostBytes(bank, bytes, 'Rows to be packed');
    try {
      await fill(bank.bytes(staging, bytes));
      device.checkLive();
      device.enqueue(bank, {
        kind: commands.Pack,
        arguments: [formats[dtype].ggmlType, staging, rows, n, to],
        reads: [],
        writes: [],
        single: rows * n <= alone,
      });
      device.flush();
    } finally {
      bank.heap.free(staging, bytes);
    }
  }

  /** Runs `piece` when fewer than the most are under way: who came first goes first. */
  private async inTurn(piece: () => Promise<void>): Promise<void> {
    if (this.underWay < mostAtOnce) this.underWay++;
    else await new Promise<void>(resolve => this.waiting.push(resolve));
    try {
      await piece();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.underWay--;
    }
  }
}
