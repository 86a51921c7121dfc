// Quantizes a checkpoint: ranges are read, encoded by threads and written to OUT.partial; OUT appears when all is there and verified.
import { type FileHandle, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { byteLengthOf } from '../checkpoint/dtype.ts';
import type { GgufPart, SizedTensor } from '../checkpoint/gguf-writer.ts';
import { EncodePool, type EncodingPlace } from './encode-pool.ts';
import type { WorkerSetup } from './encode-worker.ts';
import { QuantizeError, writeFailure } from './errors.ts';
import { Journal } from './journal.ts';
import { type Plan, type Range, rangesOf } from './plan.ts';

export interface QuantizeOptions {
  /** Threads that encode; default: the processors there are. */
  readonly threads?: number;
  /** An existing file of this name is replaced, once the new one is complete. */
  readonly overwrite?: boolean;
  /** What an earlier run left is not used. */
  readonly restart?: boolean;
  readonly signal?: AbortSignal;
  /** Bytes free on the disk of the result; default: asks the system. */
  readonly freeBytes?: (folder: string) => Promise<number>;
  /** @param done bytes of the files to be; in the phase `verifying` they are read again */
  readonly onProgress?: (done: number, total: number, phase: 'quantizing' | 'verifying') => void;
}

export interface Quantized {
  readonly paths: readonly string[];
  readonly byteLength: number;
  /** What computed: `wasm` or an instruction set. */
  readonly variant: string;
  /** Bytes that an earlier run had made. */
  readonly resumedBytes: number;
  /** Until all was written, and all in all. */
  readonly quantizeMs: number;
  readonly ms: number;
}

/** Places a thread works in: one is filled or emptied while another is encoded. */
const placesOfThread = 3;

export const partialPath = (path: string): string => `${path}.partial`;
export const journalPath = (path: string): string => `${path}.journal`;

/**
 * Makes the files of a plan. A run that was ended, by whatever, goes on where it stopped when it is begun again.
 * @throws QuantizeError when a tensor cannot be encoded, or a file cannot be written; what was made so far stays for the next run
 * @throws CheckpointError when the source cannot be read
 */
export async function quantize(source: Checkpoint, plan: Plan, options: QuantizeOptions = {}): Promise<Quantized> {
  const start = performance.now();
  await checkPlaces(source, plan, options);
  if (options.restart) await discard(plan);
  await using journal = await Journal.open(journalPath(plan.path), plan.identity);
  await using run = await Run.begin(source, plan, journal, options);
  await run.pass('quantizing');
  const quantizeMs = performance.now() - start;
  await run.pass('verifying');
  await run.finish();
  await rm(journalPath(plan.path), { force: true });
  return {
    paths: plan.parts.map(({ path }) => path),
    byteLength: plan.byteLength,
    variant: run.variant,
    resumedBytes: run.resumedBytes,
    quantizeMs,
    ms: performance.now() - start,
  };
}

/** Removes what an unfinished run of the plan left. */
export async function discard(plan: Plan): Promise<void> {
  for (const path of [journalPath(plan.path), ...plan.parts.map(part => partialPath(part.path))])
    await rm(path, { force: true });
}

const exists = (path: string) => stat(path).catch(() => null);

async function checkPlaces(source: Checkpoint, plan: Plan, options: QuantizeOptions): Promise<void> {
  const { overwrite, restart, freeBytes = freeBytesAt } = options;
  const from = await exists(source.path);
  let missing = 0;
  const resumed = !restart && (await exists(journalPath(plan.path))) !== null;
  for (const { path, byteLength } of plan.parts) {
    const found = await exists(path);
    if (found && from && found.ino === from.ino && found.dev === from.dev)
      throw new QuantizeError(`${path} is the source itself; give the result another name.`);
    if (found?.isDirectory()) throw new QuantizeError(`${path} is a directory; name a file.`);
    if (found && !overwrite && !resumed)
      throw new QuantizeError(
        `${path} exists; give another name, or --overwrite to replace it when the new file is complete.`,
      );
    const partial = await exists(partialPath(path));
    missing += byteLength - Math.min(byteLength, (partial?.blocks ?? 0) * 512);
  }
  const folder = dirname(resolve(plan.path));
  const free = await freeBytes(folder).catch(() => null);
  if (free === null) throw new QuantizeError(`${folder} does not exist; make it first.`);
  if (free < missing)
    throw new QuantizeError(
      `${folder}: ${missing} bytes are still to be written, the disk has ${free} left; free room or choose another place.`,
    );
}

async function freeBytesAt(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Whether the first byte is zero, and every byte is the one before it. */
const isZeros = (bytes: Uint8Array): boolean =>
  bytes[0] === 0 && Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0;

/** One file of the result while it is made. */
interface OpenPart {
  readonly path: string;
  readonly file: FileHandle;
}

class Run implements AsyncDisposable {
  resumedBytes = 0;
  readonly #source: Checkpoint;
  readonly #plan: Plan;
  readonly #journal: Journal;
  readonly #options: QuantizeOptions;
  readonly #pool: EncodePool;
  readonly #parts: readonly OpenPart[];
  /** Files that nothing was written to before: what is not written of them reads as zeros. */
  readonly #fresh: boolean;

  private constructor(
    source: Checkpoint,
    plan: Plan,
    journal: Journal,
    options: QuantizeOptions,
    pool: EncodePool,
    parts: readonly OpenPart[],
  ) {
    this.#source = source;
    this.#plan = plan;
    this.#journal = journal;
    this.#options = options;
    this.#pool = pool;
    this.#parts = parts;
    this.#fresh = journal.done.size === 0;
  }

  static async begin(source: Checkpoint, plan: Plan, journal: Journal, options: QuantizeOptions): Promise<Run> {
    const parts: OpenPart[] = [];
    try {
      for (const part of plan.parts) parts.push(await openPart(part, journal.done.size > 0));
      const threads = options.threads ?? availableParallelism();
      const pool = await EncodePool.start(threads, setupFor(plan));
      return new Run(source, plan, journal, options, pool, parts);
    } catch (error) {
      await Promise.all(parts.map(({ file }) => file.close()));
      throw error;
    }
  }

  get variant(): string {
    return this.#pool.variant;
  }

  /** Makes every range that is not there, or reads every one again and compares. */
  async pass(phase: 'quantizing' | 'verifying'): Promise<void> {
    const ranges = rangesOf(this.#plan);
    const { signal, onProgress } = this.#options;
    let done = 0;
    const failed = new AbortController();
    const work = async (place: EncodingPlace): Promise<void> => {
      for (const range of ranges) {
        if (failed.signal.aborted) return;
        signal?.throwIfAborted();
        const known = this.#journal.done.get(range.index);
        if (phase === 'verifying') await this.#verify(place, range, known);
        else if (known !== undefined && (await this.#hashOf(place, range)) === known) this.resumedBytes += range.bytes;
        else await this.#make(place, range);
        done += range.bytes;
        onProgress?.(done, this.#plan.byteLength, phase);
      }
    };
    // All places are let come to rest before anything is closed.
    const ends = await Promise.allSettled(
      this.#pool.places.map(place =>
        work(place).catch(error => {
          failed.abort();
          throw error;
        }),
      ),
    );
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    if (phase === 'quantizing')
      for (const { path, file } of this.#parts)
        await file.sync().catch(error => Promise.reject(writeFailure(path, error)));
  }

  async #make(place: EncodingPlace, range: Range): Promise<void> {
    const { tensor, rows, columns, bytes, matrix } = range;
    const { from, dtype, importance } = tensor;
    const copied = from.dtype === dtype;
    await this.#source.read(from, range.fromOffset, (copied ? place.output : place.input).subarray(0, range.fromBytes));
    if (importance) {
      const own = importance.subarray(matrix * columns, (matrix + 1) * columns);
      place.importance.set(new Uint8Array(own.buffer, own.byteOffset, own.byteLength));
    }
    const weighted = importance !== null;
    const answer = await place.encode({ from: from.dtype, to: copied ? null : dtype, rows, columns, weighted, bytes });
    if (answer.refused) throw refusedRow(this.#source.path, range, answer.refused);
    await this.#write(range, place.output.subarray(0, bytes));
    await this.#journal.add(range.index, answer.hash);
  }

  async #write({ part, offset }: Range, bytes: Uint8Array): Promise<void> {
    if (this.#fresh && isZeros(bytes)) return; // a hole, which takes no room
    const { path, file } = this.#parts[part]!;
    try {
      for (let done = 0; done < bytes.length; )
        done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
    } catch (error) {
      throw writeFailure(path, error);
    }
  }

  /** The hash of what lies in the file where a range belongs; an empty text where the file ends before. */
  async #hashOf(place: EncodingPlace, { part, offset, bytes, tensor, rows, columns }: Range): Promise<string> {
    const { file, path } = this.#parts[part]!;
    const into = place.output.subarray(0, bytes);
    try {
      for (let done = 0; done < bytes; ) {
        const { bytesRead } = await file.read(into, done, bytes - done, offset + done);
        if (bytesRead === 0) return '';
        done += bytesRead;
      }
    } catch (error) {
      throw writeFailure(path, error);
    }
    return (await place.encode({ from: tensor.dtype, to: null, rows, columns, weighted: false, bytes })).hash;
  }

  async #verify(place: EncodingPlace, range: Range, known: string | undefined): Promise<void> {
    if (known !== undefined && (await this.#hashOf(place, range)) === known) return;
    throw new QuantizeError(
      `${this.#parts[range.part]!.path}: tensor ${range.tensor.name} is not on the disk as it was written (bytes ${range.offset} to ${range.offset + range.bytes}). Run the same command again: it makes anew what is wrong. If it happens twice, the disk or the memory is failing.`,
    );
  }

  /** Gives the files their names: all are whole by now. */
  async finish(): Promise<void> {
    for (const [index, { path, file }] of this.#parts.entries()) {
      for (const { offset, bytes } of betweenTensors(this.#plan.parts[index]!)) {
        const read = new Uint8Array(bytes.length);
        await file.read(read, 0, read.length, offset);
        if (Buffer.compare(read, bytes) !== 0)
          throw new QuantizeError(
            `${path}: bytes ${offset} to ${offset + bytes.length} are not on the disk as they were written; run the same command again.`,
          );
      }
      await file.sync();
    }
    for (const { path } of this.#plan.parts)
      await rename(partialPath(path), path).catch(error => Promise.reject(writeFailure(path, error)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
    await Promise.all(this.#parts.map(({ file }) => file.close()));
  }
}

/** What of a file is no tensor: its header, and the zeros that put tensors at their places. */
function* betweenTensors(part: GgufPart<SizedTensor>): Generator<{ offset: number; bytes: Uint8Array }> {
  yield { offset: 0, bytes: part.header };
  let end = part.header.length;
  for (const { offset, byteLength } of [...part.tensors, { offset: part.byteLength, byteLength: 0 }]) {
    if (offset > end) yield { offset: end, bytes: new Uint8Array(offset - end) };
    end = offset + byteLength;
  }
}

/** The file under its name for now, of its full length, with all that is no tensor. */
async function openPart(part: GgufPart<SizedTensor>, resumed: boolean): Promise<OpenPart> {
  const { path, byteLength } = part;
  const partial = partialPath(path);
  let file: FileHandle | undefined;
  try {
    // A part may have its name already, where a run was ended between the first name and the last.
    if (resumed && !(await exists(partial)) && (await exists(path))?.size === byteLength) await rename(path, partial);
    file = await open(partial, resumed && (await exists(partial)) ? 'r+' : 'w+');
    await file.truncate(byteLength);
    for (const { offset, bytes } of betweenTensors(part)) await file.write(bytes, 0, bytes.length, offset);
    return { path: partial, file };
  } catch (error) {
    await file?.close();
    throw writeFailure(partial, error);
  }
}

function setupFor(plan: Plan): WorkerSetup {
  let setup = { places: placesOfThread, inputBytes: 64, outputBytes: 64, columns: 64, wideBytes: 0 };
  const seen = new Set<string>();
  for (const { tensor, fromBytes, bytes, rows, columns } of rangesOf(plan)) {
    if (seen.has(tensor.name)) continue; // a tensor's first range is its largest
    seen.add(tensor.name);
    const copied = tensor.dtype === tensor.from.dtype;
    const blocks = byteLengthOf(tensor.from.dtype, 256) < 512;
    setup = {
      places: placesOfThread,
      inputBytes: Math.max(setup.inputBytes, copied ? 0 : fromBytes),
      outputBytes: Math.max(setup.outputBytes, bytes),
      columns: Math.max(setup.columns, tensor.importance ? columns : 0),
      wideBytes: Math.max(setup.wideBytes, blocks && !copied ? 4 * rows * columns : 0),
    };
  }
  return setup;
}

function refusedRow(
  path: string,
  range: Range,
  { row, why }: { row: number; why: 'not finite' | 'too large' },
): QuantizeError {
  const { tensor, matrix, firstRow, columns } = range;
  const rows = tensor.shape.at(-2) ?? 1;
  const absolute = firstRow + row;
  const where = tensor.shape.length > 2 ? `expert ${matrix}, row ${absolute - matrix * rows}` : `row ${absolute}`;
  const exact = columns === tensor.shape.at(-1) ? where : `row ${absolute} or after`;
  return new QuantizeError(
    why === 'not finite'
      ? `${path}: tensor ${tensor.name}, ${exact}: holds an infinity or no number (NaN). No format can hold that; the source is damaged, fetch or convert it again.`
      : `${path}: tensor ${tensor.name}, ${exact}: holds values too large for ${tensor.dtype}, whose scales end at 65504. Keep the tensor as BF16 or F32 by a recipe.`,
  );
}
