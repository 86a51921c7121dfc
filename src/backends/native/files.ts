// Files read by the addon's own threads: direct, many reads at once, each packed where it belongs.
import { getSystemErrorMap } from 'node:util';
import { FileReadError, type FileReading } from '../backend.ts';
import type { FileReader, PlacedPart } from '../compiled/machine.ts';
import type { Addon, Pool } from './load.ts';

/** An addon for a system on which it can read. */
export type ReadingAddon = Addon &
  Required<Pick<Addon, 'createReader' | 'openFile' | 'read' | 'hurryRead' | 'cancelRead' | 'failRead'>>;

/** Reads at once; with eight of 2 MiB each a disk is as fast as it gets (bench/stream.ts). What nobody waits for yet takes fewer. */
const readers = 8;
const idleReaders = 4;
/** Bytes of the largest chunk. */
const mostChunkBytes = 4 * 2 ** 20;

interface Waiting {
  readonly resolve: (checksum: bigint) => void;
  readonly reject: (error: FileReadError) => void;
}

export class NativeFiles implements FileReader {
  private readonly addon: ReadingAddon;
  private readonly pool: Pool;
  private readonly files = new Map<string, number>();
  private readonly waiting = new Map<number, Waiting>();
  private started = false;
  private last = 0;

  constructor(addon: ReadingAddon, pool: Pool) {
    this.addon = addon;
    this.pool = pool;
  }

  read(parts: readonly PlacedPart[], urgent: boolean): FileReading {
    const { addon, pool } = this;
    const numbers = parts.flatMap(({ path, offset, format, rows, n, rowBytes, address, chunkRows }) => {
      if (chunkRows % 16 !== 0 || chunkRows * rowBytes > mostChunkBytes)
        throw new RangeError(
          `A chunk of ${chunkRows} rows of ${rowBytes} bytes must be whole tiles of 16, and ${mostChunkBytes} bytes at most.`,
        );
      return [this.open(path), offset, format, rows, n, address, chunkRows];
    });
    this.last = (this.last + 1) >>> 0;
    const id = this.last;
    const done = new Promise<bigint>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
    });
    addon.read(pool, id, urgent ? 1 : 0, Float64Array.from(numbers));
    return { done, hurry: () => addon.hurryRead(pool, id), cancel: () => addon.cancelRead(pool, id) };
  }

  /** For tests: what the n-th read of a chunk from now on meets. */
  fail(after: number, kind: 'error' | 'short' | 'end' | 'wrong'): void {
    this.start();
    this.addon.failRead(this.pool, after, { error: 1, short: 2, end: 3, wrong: 4 }[kind]);
  }

  private start(): void {
    if (this.started) return;
    this.addon.createReader(this.pool, readers, idleReaders, mostChunkBytes, (id, status, high, low) =>
      this.over(id, status, (BigInt(high) << 32n) | BigInt(low)),
    );
    this.started = true;
  }

  private open(path: string): number {
    const known = this.files.get(path);
    if (known !== undefined) return known;
    this.start();
    const file = this.addon.openFile(this.pool, path);
    if (file < 0) throw failure(-file);
    this.files.set(path, file);
    return file;
  }

  private over(id: number, status: number, checksum: bigint): void {
    const { resolve, reject } = this.waiting.get(id)!;
    this.waiting.delete(id);
    if (status === 0) resolve(checksum);
    else reject(failure(status));
  }
}

/** Mirrors what native/reader.h says of a read's end. */
function failure(status: number): FileReadError {
  if (status === -1) return new FileReadError('cancelled', 'the read was given up');
  if (status === -2) return new FileReadError('short', 'the file ends too soon; fetch it again');
  if (status === -3)
    return new FileReadError('changed', 'the file was changed while it was in use; leave it alone, and open it again');
  const [name, message] = getSystemErrorMap().get(-status) ?? [`error ${status}`, 'unknown'];
  return new FileReadError('system', `it cannot be read: ${name}, ${message}`);
}
