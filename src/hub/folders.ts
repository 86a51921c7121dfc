// Models in safetensors among the snapshots of the Hugging Face cache, as other programs pull them: those that run here.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openFolder, readSmallFile } from '../checkpoint/folder.ts';
import { Fields, parseJson } from '../checkpoint/json.ts';

/** By `model_type` of config.json. */
const architectures = ['llama4', 'llama4_text', 'llama'];
const [single, index] = ['model.safetensors', 'model.safetensors.index.json'];

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
    if (!folder.names.has('config.json') || !(folder.names.has(single) || folder.names.has(index))) return null;
    const config = await fieldsOf(path, 'config.json', 2 ** 20);
    if (!architectures.includes(config.text('model_type', ''))) return null;
    const weights = folder.names.has(index) ? (await fieldsOf(path, index, 32 * 2 ** 20)).inner('weight_map') : null;
    const files = weights ? [...new Set(weights.keys().map(name => weights.text(name)))] : [single];
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

async function fieldsOf(path: string, name: string, most: number): Promise<Fields> {
  return new Fields(
    join(path, name),
    parseJson(join(path, name), await readSmallFile(await openFolder(path), name, most)),
  );
}
