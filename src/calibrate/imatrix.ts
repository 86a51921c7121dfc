// Importance matrices: how large the inputs of each matrix were, column by column and expert by expert, over a text. Read by quantizers.
// Two files hold them: llama.cpp's GGUF form, and its older .dat form, which knows no counts of single experts.
// Source: ggml-org/llama.cpp tools/imatrix/imatrix.cpp (save_imatrix, save_imatrix_legacy), tools/quantize/quantize.cpp (load_imatrix).
import { randomUUID } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { openGguf } from '../checkpoint/gguf.ts';
import { typed, type WritableTensor, writeGguf } from '../checkpoint/gguf-writer.ts';
import { openFile, type Source } from '../checkpoint/sources.ts';
import { parseDat } from './imatrix-dat.ts';

/** What one weight tensor was multiplied with. */
export interface ImatrixEntry {
  /** Σ x² of each input column, [matrices, columns]; packed experts are several matrices, all others one. */
  readonly sums: Float32Array;
  /** Rows (tokens) that each matrix has seen, [matrices]. From a .dat file one number stands for all experts. */
  readonly counts: Float32Array;
}

export interface Imatrix {
  /** By the name of the weight, such as `blk.3.ffn_down_exps.weight`. */
  readonly entries: ReadonlyMap<string, ImatrixEntry>;
  /** The texts it was made from. */
  readonly datasets: readonly string[];
  /** Chunks of text computed, and tokens of each. */
  readonly chunks: number;
  readonly chunkSize: number;
}

/** The weights of a tensor's columns for a quantizer. */
export interface Importance {
  /** Mean x² a column, [matrices, columns]. */
  readonly values: Float32Array;
  /** Matrices (experts) that saw no token, and so have the mean over all tokens of the layer's other experts. */
  readonly pooled: readonly number[];
}

/**
 * Means of squares, as quantizers weigh columns by. A matrix that saw nothing gets the mean over all rows that the others saw: experts
 * of one layer read the same stream, so that is nearer to the truth than the equal weights that llama.cpp gives them.
 * @returns null where no matrix saw anything.
 */
export function importanceOf({ sums, counts }: ImatrixEntry): Importance | null {
  const columns = sums.length / counts.length;
  const rows = counts.reduce((total, count) => total + count, 0);
  if (!(rows > 0)) return null;
  const pool = new Float64Array(columns);
  for (let i = 0; i < sums.length; i++) pool[i % columns]! += sums[i]! / rows;
  const values = new Float32Array(sums.length);
  const pooled: number[] = [];
  for (const [matrix, count] of counts.entries()) {
    const at = matrix * columns;
    if (count === 0) {
      pooled.push(matrix);
      values.set(pool, at);
    } else for (let i = 0; i < columns; i++) values[at + i] = sums[at + i]! / count;
  }
  return { values, pooled };
}

const SUMS = '.in_sum2';
const COUNTS = '.counts';

/**
 * Reads an importance matrix of either form.
 * @throws CheckpointError naming the file and the entry that is wrong.
 */
export async function readImatrix(path: string): Promise<Imatrix> {
  {
    await using source = await openFile(path);
    const magic = new Uint8Array(4);
    await source.read(0, magic);
    if (String.fromCharCode(...magic) !== 'GGUF') return await readDatForm(source);
  }
  return readGgufForm(path);
}

async function readGgufForm(path: string): Promise<Imatrix> {
  await using file = await openGguf(path);
  const { metadata, tensors } = file;
  const fail = (message: string): never => {
    throw new CheckpointError(path, message);
  };
  if (metadata.get('general.type') !== 'imatrix')
    fail(
      `metadata general.type: got ${JSON.stringify(metadata.get('general.type') ?? null)}, wanted "imatrix". This GGUF file is no importance matrix; make one with: maverick calibrate`,
    );
  const whole = (key: string): number => {
    const value = metadata.get(key);
    return typeof value === 'number' && Number.isInteger(value) && value >= 0
      ? value
      : fail(`metadata ${key}: got ${String(value)}, wanted a whole number.`);
  };
  const floats = async (name: string, most: number): Promise<Float32Array> => {
    const tensor = tensors.get(name) ?? fail(`tensor ${name} is missing.`);
    if (tensor.dtype !== 'F32') fail(`tensor ${name}: got ${tensor.dtype}, wanted F32.`);
    if (tensor.byteLength > most) fail(`tensor ${name}: ${tensor.byteLength} bytes are more than any matrix needs.`);
    const values = new Float32Array(tensor.byteLength / 4);
    await file.read(tensor, 0, new Uint8Array(values.buffer));
    const wrong = values.findIndex(value => !(value >= 0 && value < Infinity));
    if (wrong >= 0) fail(`tensor ${name}[${wrong}]: got ${values[wrong]}, wanted a number from 0 on.`);
    return values;
  };
  const entries = new Map<string, ImatrixEntry>();
  for (const name of tensors.keys()) {
    if (!name.endsWith(SUMS)) continue;
    const weight = name.slice(0, -SUMS.length);
    const sums = await floats(name, 2 ** 30);
    const counts = await floats(`${weight}${COUNTS}`, 2 ** 20);
    if (counts.length === 0 || sums.length % counts.length !== 0)
      fail(`${weight}: ${sums.length} sums do not belong to ${counts.length} matrices.`);
    entries.set(weight, { sums, counts });
  }
  if (entries.size === 0) fail('holds no entries; make it anew with: maverick calibrate');
  const datasets = metadata.get('imatrix.datasets');
  return {
    entries,
    datasets: Array.isArray(datasets) ? datasets.map(String) : [],
    chunks: whole('imatrix.chunk_count'),
    chunkSize: whole('imatrix.chunk_size'),
  };
}

async function readDatForm(source: Source): Promise<Imatrix> {
  if (source.size > 2 ** 31)
    throw new CheckpointError(source.path, `${source.size} bytes are more than an importance matrix has.`);
  const bytes = new Uint8Array(source.size);
  const got = await source.read(0, bytes);
  return parseDat(source.path, bytes.subarray(0, got));
}

/** Writes the GGUF form, as llama.cpp does, under a temporary name that becomes `path` when all is written. */
export async function writeImatrix(path: string, imatrix: Imatrix): Promise<void> {
  const tensors: WritableTensor[] = [];
  for (const [name, { sums, counts }] of sorted(imatrix.entries)) {
    const matrices = counts.length;
    const shape = (columns: number): number[] => (matrices === 1 ? [columns] : [matrices, columns]);
    tensors.push({ name: `${name}${SUMS}`, dtype: 'F32', shape: shape(sums.length / matrices), data: bytesOf(sums) });
    tensors.push({ name: `${name}${COUNTS}`, dtype: 'F32', shape: shape(1), data: bytesOf(counts) });
  }
  await writeGguf(path, {
    metadata: {
      'general.type': 'imatrix',
      'imatrix.datasets': typed('string', [...imatrix.datasets]),
      'imatrix.chunk_count': typed('u32', imatrix.chunks),
      'imatrix.chunk_size': typed('u32', imatrix.chunkSize),
    },
    tensors,
  });
}

/**
 * Writes the .dat form, in which a value is the mean times the number of chunks. It cannot say that an expert saw nothing: such a one
 * gets the mean of its layer (`importanceOf`); an entry of which no expert saw anything is left out.
 */
export async function writeImatrixDat(path: string, imatrix: Imatrix): Promise<void> {
  const parts: Uint8Array[] = [];
  let count = 0;
  for (const [name, entry] of sorted(imatrix.entries)) {
    const importance = importanceOf(entry);
    if (!importance) continue;
    const calls = Math.max(1, Math.ceil(Math.max(...entry.counts) / Math.max(1, imatrix.chunkSize)));
    const text = new TextEncoder().encode(name);
    const values = importance.values.map(value => value * calls);
    parts.push(integers(text.length), text, integers(calls, values.length), bytesOf(values));
    count++;
  }
  const dataset = new TextEncoder().encode(imatrix.datasets[0] ?? '');
  parts.unshift(integers(count));
  parts.push(integers(imatrix.chunks, dataset.length), dataset);
  const temporary = `${path}.${randomUUID()}.incomplete`;
  try {
    await using file = await open(temporary, 'wx');
    for (const part of parts) await file.writeFile(part);
    await file.close();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

const sorted = (entries: ReadonlyMap<string, ImatrixEntry>): [string, ImatrixEntry][] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : 1));

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

const integers = (...values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
