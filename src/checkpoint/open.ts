// The one door: opens a checkpoint of whatever kind it is, a GGUF file or a folder as Hugging Face or Meta publish models in.
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Checkpoint, CheckpointError } from './checkpoint.ts';
import { type Folder, openFolder } from './folder.ts';
import { openGguf } from './gguf.ts';
import { openHuggingFace } from './huggingface/huggingface.ts';
import { hasShards, openMeta } from './meta/meta.ts';
import { hasSafetensors } from './safetensors.ts';
import { openerOf, type SourceModule } from './sources.ts';

/** Files that stand for the folder they are in. */
const ofFolder =
  /^(config\.json|params\.json|model\.safetensors(\.index\.json)?|model-\d{5}-of-\d{5}\.safetensors|consolidated(\.\d+)?\.pth)$/;

/**
 * Opens the checkpoint at `path`: a GGUF file or any part of a split one; a Hugging Face folder (config.json and safetensors); Meta's
 * folder (params.json and consolidated.NN.pth); or a file in one of the folders that tells which it is. Whatever it is, metadata,
 * names and shapes are those of a GGUF of the model, and nothing but headers is read.
 * @param sources where the bytes of a GGUF file come from that is not, or not wholly, on this machine
 * @throws CheckpointError when it cannot be opened, is damaged, or is of another kind: the message says which, and what to do.
 */
export async function openCheckpoint(path: string, sources?: SourceModule): Promise<Checkpoint> {
  if (sources) return openGguf(path, await openerOf(sources));
  const found = await stat(path).catch(() => null); // what is wrong with a file is said by those who read it
  if (found?.isDirectory()) return openModelFolder(await openFolder(path));
  if (ofFolder.test(basename(path))) return openModelFolder(await openFolder(dirname(path)));
  return openGguf(path);
}

/** Opens what a folder holds, wherever it is. @throws CheckpointError as {@link openCheckpoint} */
export async function openModelFolder(folder: Folder): Promise<Checkpoint> {
  const { names, path } = folder;
  if (names.has('config.json') && hasSafetensors(folder)) return openHuggingFace(folder);
  if (names.has('params.json') && hasShards(folder)) return openMeta(folder);
  const gguf = [...names].filter(name => /\.gguf$/i.test(name) && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/i.test(name));
  if (gguf.length === 1) return openGguf(join(path, gguf[0]!));
  throw new CheckpointError(path, `the folder holds no model: ${whatIsMissing(names, gguf)}`);
}

function whatIsMissing(names: ReadonlySet<string>, gguf: readonly string[]): string {
  if (gguf.length > 1) return `it has several GGUF files (${gguf.slice(0, 8).join(', ')}); name one.`;
  if (names.has('config.json')) {
    const pickled = [...names].some(name => /^pytorch_model.*\.bin$/.test(name));
    return `config.json is there, but no model.safetensors and no model.safetensors.index.json${pickled ? '; pytorch_model.bin is not read, get the safetensors files' : '; fetch them'}.`;
  }
  if (names.has('params.json')) return 'params.json is there, but no consolidated.00.pth; fetch all shards.';
  if (hasSafetensors({ names } as Folder)) return 'safetensors files are there, but no config.json; fetch it.';
  return 'wanted a GGUF file, or config.json and model.safetensors, or params.json and consolidated.00.pth.';
}
