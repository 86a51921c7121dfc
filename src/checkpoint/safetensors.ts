// All safetensors files of a folder as one set of tensors: model.safetensors, or the shards that model.safetensors.index.json names.
import { CheckpointError } from './checkpoint.ts';
import { type Folder, readSmallFile } from './folder.ts';
import { shown } from './gguf-header.ts';
import { Fields, parseJson } from './json.ts';
import type { RawTensor } from './raw-tensors.ts';
import { readSafetensorsHeader } from './safetensors-header.ts';
import type { Source } from './sources.ts';

const indexName = 'model.safetensors.index.json';
const singleName = 'model.safetensors';
const maxIndexBytes = 32 * 2 ** 20;
const maxShards = 1000;

/** Named tensors, and the files they are in, which whoever opened them closes. */
export interface RawTensors {
  readonly tensors: ReadonlyMap<string, RawTensor>;
  readonly sources: readonly Source[];
}

/** Whether the folder holds a model in safetensors files. */
export const hasSafetensors = ({ names }: Folder): boolean => names.has(singleName) || names.has(indexName);

/**
 * Reads headers alone; nothing is kept open when it fails.
 * @throws CheckpointError naming the file, and the tensor or field in it, that is wrong
 */
export async function openSafetensors(folder: Folder): Promise<RawTensors> {
  const index = folder.names.has(indexName) ? await readIndex(folder) : null;
  const files = filesOf(index);
  const missing = files.find(name => !folder.names.has(name));
  if (missing !== undefined)
    throw new CheckpointError(
      folder.path,
      `${missing} is missing${index ? `, which ${indexName} names (${files.length} files in all)` : ''}; fetch it.`,
    );
  const sources: Source[] = [];
  const tensors = new Map<string, RawTensor>();
  try {
    for (const name of files) {
      const source = await folder.open(name);
      sources.push(source);
      for (const [tensorName, tensor] of await readSafetensorsHeader(source)) {
        const other = tensors.get(tensorName);
        if (other)
          throw new CheckpointError(
            source.path,
            `tensor ${shown(tensorName)}: ${other.source.path} has it too; one file is wrong.`,
          );
        tensors.set(tensorName, tensor);
      }
    }
    for (const [name, file] of index ?? []) {
      const tensor = tensors.get(name);
      if (!tensor)
        throw new CheckpointError(
          folder.path,
          `tensor ${shown(name)}: ${indexName} says it is in ${file}, which lacks it.`,
        );
    }
  } catch (error) {
    await Promise.all(sources.map(source => source[Symbol.asyncDispose]()));
    throw error;
  }
  return { tensors, sources };
}

/** The names of the files of weights, whether they are there or not. @throws CheckpointError where the index is damaged */
export const safetensorsFilesOf = async (folder: Folder): Promise<string[]> =>
  filesOf(folder.names.has(indexName) ? await readIndex(folder) : null);

const filesOf = (index: ReadonlyMap<string, string> | null): string[] =>
  index ? [...new Set(index.values())] : [singleName];

/** Names of tensors and of the files they are in. */
async function readIndex(folder: Folder): Promise<Map<string, string>> {
  const path = `${folder.path}/${indexName}`;
  const index = new Fields(path, parseJson(path, await readSmallFile(folder, indexName, maxIndexBytes)));
  const weightMap = index.inner('weight_map') ?? index.fail('weight_map', 'an object of tensor: file');
  const map = new Map<string, string>();
  for (const name of weightMap.keys()) {
    const file = weightMap.text(name);
    // A file name only: an index must not lead out of its folder.
    if (!/^[\w.-]{1,200}\.safetensors$/.test(file) || file.startsWith('.'))
      weightMap.fail(name, 'the name of a .safetensors file in this folder');
    map.set(name, file);
  }
  if (map.size === 0) index.fail('weight_map', 'an object of tensor: file, with one tensor at least');
  const files = new Set(map.values()).size;
  if (files > maxShards) throw new CheckpointError(path, `weight_map names ${files} files, more than ${maxShards}.`);
  return map;
}
