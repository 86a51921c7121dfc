// A checkpoint whose tensors are views of others: under the names and in the shapes that a GGUF of the same model has.
import { type Arranged, isPlain, readArranged } from './arranged.ts';
import { type Checkpoint, CheckpointError, type MetadataValue, type TensorInfo } from './checkpoint.ts';
import { numberBytes } from './numbers.ts';
import type { Source } from './sources.ts';

export class ArrangedCheckpoint implements Checkpoint {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly #arranged: ReadonlyMap<string, Arranged>;
  readonly #sources: readonly Source[];
  /** The rows around the last small read of a tensor that is transposed, where each row is spread over all of it. */
  #band: { readonly name: string; readonly start: number; readonly bytes: Promise<Uint8Array> } | null = null;

  /** @param sources files that are closed with the checkpoint */
  constructor(
    path: string,
    metadata: ReadonlyMap<string, MetadataValue>,
    arranged: readonly Arranged[],
    sources: readonly Source[],
  ) {
    this.path = path;
    this.metadata = metadata;
    this.#arranged = new Map(arranged.map(tensor => [tensor.info.name, tensor]));
    this.tensors = new Map(arranged.map(({ info }) => [info.name, info]));
    this.#sources = sources;
  }

  async read(tensor: TensorInfo, offset: number, into: Uint8Array): Promise<void> {
    const arranged = this.#arranged.get(tensor.name);
    if (!arranged) throw new CheckpointError(this.path, `tensor ${tensor.name}: there is no such tensor.`);
    const band = bandOf(arranged, offset, into.length);
    if (!band) return readArranged(arranged, offset, into);
    if (this.#band?.name !== tensor.name || this.#band.start !== band.start) {
      const rows = new Uint8Array(band.end - band.start);
      const bytes = readArranged(arranged, band.start, rows).then(() => rows);
      bytes.catch(() => {
        this.#band = null;
      });
      this.#band = { name: tensor.name, start: band.start, bytes };
    }
    const rows = await this.#band.bytes;
    into.set(rows.subarray(offset - band.start, offset - band.start + into.length));
  }

  placeOf(tensor: TensorInfo): { path: string; offset: number } | null {
    const arranged = this.#arranged.get(tensor.name);
    if (!arranged || !isPlain(arranged)) return null;
    const { raw, start } = arranged.parts[0]!;
    return raw.source.checkUnchanged
      ? { path: raw.source.path, offset: raw.offset + start * numberBytes[raw.type] }
      : null;
  }

  async checkUnchanged(): Promise<void> {
    for (const source of this.#sources) await source.checkUnchanged?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#band = null;
    await Promise.all(this.#sources.map(source => source[Symbol.asyncDispose]()));
  }
}

const bandBytes = 16 * 2 ** 20;

/** The rows to read around a small range of a transposed tensor, or null where the range is read as it is. */
function bandOf(
  { info, grid, parts }: Arranged,
  offset: number,
  length: number,
): { start: number; end: number } | null {
  const matrix = info.byteLength / grid[0];
  if (length === 0 || length >= Math.min(matrix, bandBytes)) return null;
  if (!parts.some(part => part.strides[2] !== 1)) return null;
  const rowBytes = matrix / grid[1];
  const bytes = Math.max(1, Math.floor(bandBytes / rowBytes)) * rowBytes;
  const plane = Math.floor(offset / matrix) * matrix;
  const start = plane + Math.floor((offset - plane) / bytes) * bytes;
  const end = Math.min(plane + matrix, start + bytes);
  return offset + length <= end ? { start, end } : null;
}
