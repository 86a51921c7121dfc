// Which of a repository's files make the model that was named: a GGUF file with all its parts, or a folder of safetensors.
import { readFile } from 'node:fs/promises';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import type { Folder } from '../checkpoint/folder.ts';
import { readFolderConfig } from '../checkpoint/huggingface/huggingface.ts';
import { hasSafetensors, safetensorsFilesOf } from '../checkpoint/safetensors.ts';
import { memorySource } from '../checkpoint/sources.ts';
import type { RepoFile, RepoInfo } from './api.ts';
import { chooseFiles, ggufFiles } from './choose.ts';
import { downloadBlob } from './download.ts';
import { HubError } from './errors.ts';
import type { HttpOptions } from './http.ts';

export interface ModelFiles {
  /** In the order of fetching: what is small first. */
  readonly paths: readonly string[];
  /** The file by which the model is opened, or null where that is the folder they are in. */
  readonly entry: string | null;
}

/** Beside weights only small files are fetched; Llama 4's tokenizer.json takes 27 MB. */
const mostSmallBytes = 96 * 2 ** 20;

/**
 * The files to fetch. Of safetensors the config and the index are fetched for that, and what would not run here is refused before its
 * hundreds of gigabytes come.
 * @param file as {@link chooseFiles}, or `safetensors`, or one of the folder's files of weights; null is GGUF where there is one
 * @throws HubError of kind `missing` that says what there is; others where small files cannot be fetched
 */
export async function modelFiles(
  repo: RepoInfo,
  there: readonly RepoFile[],
  file: string | null,
  options: HttpOptions,
): Promise<ModelFiles> {
  const paths = there.map(({ path }) => path);
  if (!isFolder(paths, file)) {
    const { path, parts } = chooseFiles(`hf:${repo.repo}`, paths, file);
    return { paths: parts, entry: path };
  }
  const folder = remoteFolder(repo, there, options);
  if (!folder.names.has('config.json') || !hasSafetensors(folder))
    throw new HubError(
      'missing',
      `${folder.path} has no model in safetensors: config.json and model.safetensors, or its index, are not both there. Look for another repository of the model.`,
    );
  try {
    await readFolderConfig(folder);
    const weights = (await safetensorsFilesOf(folder)).sort();
    const missing = weights.find(name => !folder.names.has(name));
    if (missing !== undefined)
      throw new CheckpointError(folder.path, `its index names ${missing}, which is not in the repository.`);
    const small = there.filter(({ path, bytes }) => ofFolder.test(path) && bytes <= mostSmallBytes);
    return { paths: [...small.map(({ path }) => path), ...weights], entry: null };
  } catch (cause) {
    if (!(cause instanceof CheckpointError)) throw cause;
    throw new HubError('missing', `${cause.message} No weights were fetched.`, { cause });
  }
}

/** Configs, the index, the tokenizer and the template of a chat: all that stands beside weights and is read by one program or another. */
const ofFolder = /^[^/]+\.(json|jinja)$|^tokenizer\.model$/;

/** Whether a folder of safetensors is meant by `file`, in a repository with these files. */
export const isFolder = (paths: readonly string[], file: string | null): boolean =>
  file === null
    ? ggufFiles(paths).length === 0 && paths.some(path => /^[^/]+\.safetensors$/.test(path))
    : /(^|\.)safetensors(\.index\.json)?$/i.test(file);

/** The repository as a folder, whose small files are fetched when they are read. */
function remoteFolder(repo: RepoInfo, there: readonly RepoFile[], options: HttpOptions): Folder {
  const path = `hf:${repo.repo}`;
  const files = new Map(there.filter(file => !file.path.includes('/')).map(file => [file.path, file]));
  return {
    path,
    names: new Set(files.keys()),
    async open(name) {
      const file = files.get(name)!;
      if (file.bytes > mostSmallBytes)
        throw new CheckpointError(`${path}/${name}`, `it has ${file.bytes} bytes, more than such a file may have.`);
      const quiet = { ...options, onProgress() {}, onWait() {} }; // what a pull tells is of all its files
      return memorySource(`${path}/${name}`, await readFile(await downloadBlob(repo, file, quiet)));
    },
  };
}
