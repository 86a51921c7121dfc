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
  /** Rows around the last small reads of tensors that are transposed, where each row is spread over all of its matrix. */
  readonly #bands = new Map<string, Promise<Uint8Array>>();

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
    if (!isSpread(arranged, into.length)) return readArranged(arranged, offset, into);
    for (let done = 0; done < into.length; ) {
      const { start, end } = bandAt(arranged, offset + done);
      const rows = await this.#band(arranged, start, end);
      const part = rows.subarray(offset + done - start, offset + into.length - start);
      into.set(part, done);
      done += part.length;
    }
  }

  /** Bytes `start` to `end` of a tensor, read now or kept from the last reads. */
  #band(arranged: Arranged, start: number, end: number): Promise<Uint8Array> {
    const key = `${start} ${arranged.info.name}`;
    const band = this.#bands.get(key) ?? bytesOf(arranged, start, end);
    this.#bands.delete(key);
    this.#bands.set(key, band); // the last one is the youngest
    band.catch(() => this.#bands.delete(key));
    if (this.#bands.size > mostBands) this.#bands.delete(this.#bands.keys().next().value!);
    return band;
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
    this.#bands.clear();
    await Promise.all(this.#sources.map(source => source[Symbol.asyncDispose]()));
  }
}

/** 64 MiB at most: several matrices of several experts may be read at once, each from its beginning to its end. */
const bandBytes = 8 * 2 ** 20;
const mostBands = 8;

async function bytesOf(arranged: Arranged, start: number, end: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start);
  await readArranged(arranged, start, bytes);
  return bytes;
}

/** Whether a range of this length had better be read with the rows around it. */
const isSpread = ({ info, grid, parts }: Arranged, length: number): boolean =>
  length < Math.min(info.byteLength / grid[0], bandBytes) && parts.some(part => part.strides[2] !== 1);

/** The rows to read for the one at byte `offset`: as many as fit into a band, of one matrix. */
function bandAt({ info, grid }: Arranged, offset: number): { start: number; end: number } {
  const matrix = info.byteLength / grid[0];
  const rowBytes = matrix / grid[1];
  const bytes = Math.max(1, Math.floor(bandBytes / rowBytes)) * rowBytes;
  const first = Math.floor(offset / matrix) * matrix;
  const start = first + Math.floor((offset - first) / bytes) * bytes;
  return { start, end: Math.min(first + matrix, start + bytes) };
}
