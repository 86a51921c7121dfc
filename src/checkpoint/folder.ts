// A folder of files that together are a checkpoint: on disk today, anything whose files can be named and read by range tomorrow.
import { readdir } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { CheckpointError } from './checkpoint.ts';
import { openFile, type Source } from './sources.ts';

export interface Folder {
  /** The path or address, for messages. */
  readonly path: string;
  /** Names of the files in it, without folders. */
  readonly names: ReadonlySet<string>;
  /** @throws CheckpointError when there is no such file, or it cannot be read. */
  open(name: string): Promise<Source>;
}

/** @throws CheckpointError when the path is no folder, or it may not be read. */
export async function openFolder(path: string): Promise<Folder> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CheckpointError(path, `the folder cannot be read: ${reason}`, { cause: error });
  }
  return { path, names: new Set(names), open: name => openFile(join(path, name)) };
}

/** What a model in this folder is called: by the folder, or where that is a commit of Hugging Face's cache by the repository. */
export function modelNameOf(path: string): string {
  const parts = resolve(path).split(sep);
  if (parts.at(-1) === 'original' && parts.length > 2) parts.pop(); // where repositories keep Meta's shards
  const repository = parts.at(-2) === 'snapshots' ? /^models--.+?--(.+)$/.exec(parts.at(-3) ?? '')?.[1] : undefined;
  return repository ?? parts.at(-1) ?? path;
}

/** All of a small file. @throws CheckpointError when it is missing, larger than `mostBytes`, or cannot be read. */
export async function readSmallFile(folder: Folder, name: string, mostBytes: number): Promise<Uint8Array> {
  await using source = await folder.open(name);
  if (source.size > mostBytes)
    throw new CheckpointError(
      source.path,
      `it has ${source.size} bytes; at most ${mostBytes} are read of such a file. It is damaged, or no part of a model.`,
    );
  const bytes = new Uint8Array(source.size);
  const got = await source.read(0, bytes);
  if (got < bytes.length)
    throw new CheckpointError(
      source.path,
      `it was ${bytes.length} bytes when opened and now ends at ${got}; fetch it again.`,
    );
  return bytes;
}
