// A Hugging Face folder as a checkpoint: config.json, safetensors and tokenizer files, seen as a GGUF of the same model would be.
import { ArrangedCheckpoint } from '../arranged-checkpoint.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { type Folder, modelNameOf, readSmallFile } from '../folder.ts';
import { Fields, parseJson } from '../json.ts';
import { openSafetensors } from '../safetensors.ts';
import { type ModelConfig, readConfig } from './config.ts';
import { arrangeTensors } from './tensors.ts';
import { readTokenizer } from './tokenizer.ts';

const maxConfigBytes = 2 ** 20;

/**
 * Reads headers and small files alone; nothing is kept open when it fails.
 * @throws CheckpointError naming the file, and the field or tensor in it, that is wrong
 */
export async function openHuggingFace(folder: Folder): Promise<Checkpoint> {
  const { config, shape, metadata } = await readFolderConfig(folder);
  metadata.set('general.name', modelNameOf(folder.path));
  const text = config.inner('text_config');
  const tokenIds = text?.get('eos_token_id') === undefined ? config : text;
  for (const [key, value] of await readTokenizer(folder, tokenIds, shape.vocab)) metadata.set(key, value);
  const { tensors, sources } = await openSafetensors(folder);
  try {
    return new ArrangedCheckpoint(folder.path, metadata, arrangeTensors(folder.path, tensors, shape), sources);
  } catch (error) {
    await Promise.all(sources.map(source => source[Symbol.asyncDispose]()));
    throw error;
  }
}

/** What config.json says. @throws CheckpointError also where it describes a model that cannot be read */
export async function readFolderConfig(folder: Folder): Promise<ModelConfig & { readonly config: Fields }> {
  const path = `${folder.path}/config.json`;
  const config = new Fields(path, parseJson(path, await readSmallFile(folder, 'config.json', maxConfigBytes)));
  return { config, ...readConfig(config) };
}
