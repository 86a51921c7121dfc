// Meta's folder as a checkpoint: params.json, consolidated.NN.pth and tokenizer.model, seen as a GGUF of the same model would be.
import { ArrangedCheckpoint } from '../arranged-checkpoint.ts';
import { type Checkpoint, CheckpointError } from '../checkpoint.ts';
import { type Folder, modelNameOf, readSmallFile } from '../folder.ts';
import { Fields, parseJson } from '../json.ts';
import type { Source } from '../sources.ts';
import { readParams } from './params.ts';
import { arrangeShards, type Rank } from './tensors.ts';
import { readTokenizerModel } from './tokenizer-model.ts';
import { readTorchFile } from './torch-file.ts';

const shardName = /^consolidated\.(\d+)\.pth$/;
const maxParamsBytes = 2 ** 20;
const maxTokenizerBytes = 32 * 2 ** 20;

/** Whether the folder holds a model in Meta's shards. */
export const hasShards = ({ names }: Folder): boolean => shardsOf(names).length > 0;

/** By rank; `consolidated.pth` is the only one. */
function shardsOf(names: ReadonlySet<string>): string[] {
  const numbered = [...names].filter(name => shardName.test(name));
  if (numbered.length === 0) return names.has('consolidated.pth') ? ['consolidated.pth'] : [];
  return numbered.sort((a, b) => Number(shardName.exec(a)![1]) - Number(shardName.exec(b)![1]));
}

/**
 * Reads headers and small files alone; nothing is kept open when it fails.
 * @throws CheckpointError naming the file, and the field or tensor in it, that is wrong
 */
export async function openMeta(folder: Folder): Promise<Checkpoint> {
  const path = `${folder.path}/params.json`;
  const params = new Fields(path, parseJson(path, await readSmallFile(folder, 'params.json', maxParamsBytes)));
  const { shape, metadata } = readParams(params, folder.path);
  metadata.set('general.name', modelNameOf(folder.path));
  const files = shardsOf(folder.names);
  const missing = files.length > 1 ? files.findIndex((name, rank) => Number(shardName.exec(name)![1]) !== rank) : -1;
  if (missing >= 0)
    throw new CheckpointError(
      folder.path,
      `there are ${files.length} shards, but none of number ${missing}; fetch it.`,
    );
  const sources: Source[] = [];
  try {
    const read = async (name: string) => {
      const source = await folder.open(name);
      sources.push(source);
      return readTorchFile(source);
    };
    const ranks: Rank[] = [];
    for (const [rank, name] of files.entries()) {
      const scales = `fp8_scales_${rank}.pt`;
      ranks.push({ tensors: await read(name), scales: folder.names.has(scales) ? await read(scales) : new Map() });
    }
    const arranged = arrangeShards(folder.path, ranks, shape, metadata);
    if (folder.names.has('tokenizer.model') && shape.architecture === 'llama4') {
      const file = await readSmallFile(folder, 'tokenizer.model', maxTokenizerBytes);
      for (const [key, value] of readTokenizerModel(`${folder.path}/tokenizer.model`, file)) metadata.set(key, value);
    }
    return new ArrangedCheckpoint(folder.path, metadata, arranged, sources);
  } catch (error) {
    await Promise.all(sources.map(source => source[Symbol.asyncDispose]()));
    throw error;
  }
}
