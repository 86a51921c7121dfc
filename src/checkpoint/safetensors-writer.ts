// Writes safetensors, streamed to disk: one file, or a folder of shards with their index; a file appears only when it is whole.
// Source: huggingface/safetensors README ("Format"); transformers' names of shards and index.
import { randomUUID } from 'node:crypto';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from './checkpoint.ts';
import { append } from './gguf-writer.ts';
import { type NumberType, numberBytes } from './numbers.ts';
import { elementsOf } from './raw-tensors.ts';

/** A tensor to be written. */
export interface WritableRaw {
  readonly name: string;
  readonly type: NumberType;
  /** Outermost dimension first; empty for a single number. */
  readonly shape: readonly number[];
  /** Its numbers, little-endian, row after row: whole, or in pieces of any size. */
  readonly data: Uint8Array | (() => Iterable<Uint8Array> | AsyncIterable<Uint8Array>);
}

const byteLengthOf = ({ shape, type }: WritableRaw): number => elementsOf(shape) * numberBytes[type];

/**
 * Writes one file, under a temporary name in the same folder until it is whole.
 * @throws CheckpointError when two tensors have one name, or a tensor's bytes are too few or too many
 */
export async function writeSafetensors(path: string, tensors: readonly WritableRaw[]): Promise<void> {
  const temporary = `${path}.${randomUUID()}.incomplete`;
  try {
    await writeFileOf(path, temporary, tensors);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function writeFileOf(path: string, temporary: string, tensors: readonly WritableRaw[]): Promise<void> {
  const entries: [string, unknown][] = [['__metadata__', { format: 'pt' }]];
  let end = 0;
  for (const tensor of tensors) {
    const begin = end;
    end += byteLengthOf(tensor);
    entries.push([tensor.name, { dtype: tensor.type, shape: tensor.shape, data_offsets: [begin, end] }]);
  }
  const names = new Map(entries);
  if (names.size !== entries.length) throw new CheckpointError(path, 'two tensors have the same name.');
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(names)));
  // Spaces up to a multiple of eight: readers map the file and want aligned numbers.
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  await using file = await open(temporary, 'wx');
  let position = await append(file, header, 0);
  for (const tensor of tensors) {
    const start = position;
    const { data } = tensor;
    for await (const piece of data instanceof Uint8Array ? [data] : data())
      position = await append(file, piece, position);
    if (position - start !== byteLengthOf(tensor))
      throw new CheckpointError(
        path,
        `tensor ${tensor.name}: its data are ${position - start} bytes, its shape and type take ${byteLengthOf(tensor)}.`,
      );
  }
}

/**
 * Writes `model.safetensors` into a folder that is there, or where `maxBytes` of tensors are not enough for one file, shards and
 * `model.safetensors.index.json`, which comes last. A shard holds one tensor at least.
 * @returns names of the files
 */
export async function writeSafetensorsFolder(
  folder: string,
  tensors: readonly WritableRaw[],
  { maxBytes = Number.POSITIVE_INFINITY }: { readonly maxBytes?: number } = {},
): Promise<string[]> {
  const shards: WritableRaw[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const size = byteLengthOf(tensor);
    if (shards.at(-1)!.length > 0 && bytes + size > maxBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(tensor);
    bytes += size;
  }
  if (shards.length === 1) {
    await writeSafetensors(join(folder, 'model.safetensors'), tensors);
    return ['model.safetensors'];
  }
  const number = (n: number): string => String(n).padStart(5, '0');
  const nameOf = (index: number): string => `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
  for (const [index, shard] of shards.entries()) await writeSafetensors(join(folder, nameOf(index)), shard);
  const weight_map = Object.fromEntries(
    shards.flatMap((shard, index) => shard.map(({ name }) => [name, nameOf(index)])),
  );
  const total_size = tensors.reduce((sum, tensor) => sum + byteLengthOf(tensor), 0);
  const index = JSON.stringify({ metadata: { total_size }, weight_map }, null, 2);
  const indexName = 'model.safetensors.index.json';
  await writeFile(join(folder, indexName), `${index}\n`);
  return [...shards.keys().map(nameOf), indexName];
}
