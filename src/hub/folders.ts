// Models in safetensors among the snapshots of the Hugging Face cache, whoever pulled them: those that run here.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openFolder, readSmallFile } from '../checkpoint/folder.ts';
import { Fields, parseJson } from '../checkpoint/json.ts';
import { hasSafetensors, safetensorsFilesOf } from '../checkpoint/safetensors.ts';

/** By `model_type` of config.json. */
const architectures = ['llama4', 'llama4_text', 'llama'];

export interface FolderModel {
  /** Of all files of weights that are there. */
  readonly bytes: number;
  /** Whether all files that the index names are there. */
  readonly complete: boolean;
  /** Milliseconds since 1970. */
  readonly modified: number;
}

/** What a snapshot holds, or null where it is no such model, or another architecture's. */
export async function folderModel(path: string): Promise<FolderModel | null> {
  try {
    const folder = await openFolder(path);
    if (!folder.names.has('config.json') || !hasSafetensors(folder)) return null;
    const file = join(path, 'config.json');
    const config = new Fields(file, parseJson(file, await readSmallFile(folder, 'config.json', 2 ** 20)));
    if (!architectures.includes(config.text('model_type', ''))) return null;
    const files = await safetensorsFilesOf(folder);
    const found = await Promise.all(files.map(file => stat(join(path, file)).catch(() => null)));
    const present = found.filter(file => file !== null);
    return {
      bytes: present.reduce((sum, { size }) => sum + size, 0),
      complete: present.length === files.length,
      modified: Math.max(0, ...present.map(({ mtimeMs }) => mtimeMs)),
    };
  } catch {
    return null; // a list of models is no place to complain of one of them
  }
}
