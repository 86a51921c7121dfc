// The models on this machine: GGUF files and folders of safetensors in the Hugging Face cache, with names people can type.
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cachePaths } from './cache.ts';
import { ggufFiles, quantizationOf } from './choose.ts';
import { HubError } from './errors.ts';
import { folderModel } from './folders.ts';
import { namedModel, namedModels } from './models.ts';
import { type HubReference, parseReference, repoFolder } from './reference.ts';
import type { HubSettings } from './settings.ts';

export interface LibraryModel {
  /** What to type: `smollm2:Q4_K_M`, or `hf:owner/repo:file`. */
  readonly name: string;
  readonly repo: string;
  readonly commit: string;
  /** Path in the repository (of the first part); of a folder of safetensors `config.json`. */
  readonly file: string;
  readonly quantization: string | null;
  /** Path on this machine (of the first part, or of the folder). */
  readonly path: string;
  /** Of all parts. */
  readonly bytes: number;
  /** False when parts of a split model are missing. */
  readonly complete: boolean;
  /** Milliseconds since 1970. */
  readonly modified: number;
}

/** Every model in the cache, by name. A file that is there in several commits counts once: as of refs/main, else the newest. */
export async function listModels({ cache }: Pick<HubSettings, 'cache'>): Promise<LibraryModel[]> {
  const folders = await entries(cache);
  const models: LibraryModel[] = [];
  for (const folder of folders) {
    const repo = /^models--([^-].*?)--(.+)$/.exec(folder);
    if (repo) models.push(...(await modelsOf(cache, `${repo[1]}/${repo[2]}`)));
  }
  return models.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function modelsOf(cache: string, repo: string): Promise<LibraryModel[]> {
  const snapshots = join(cache, repoFolder(repo), 'snapshots');
  const main = await readFile(cachePaths(cache, repo).ref('main'), 'utf8').catch(() => '');
  const found = new Map<string, LibraryModel>();
  for (const commit of await entries(snapshots)) {
    for (const model of await modelsOfCommit(repo, commit, join(snapshots, commit))) {
      const other = found.get(model.file);
      const rank = (candidate: LibraryModel) =>
        candidate.commit === main.trim() ? Number.POSITIVE_INFINITY : candidate.modified;
      if (!other || rank(model) > rank(other)) found.set(model.file, model);
    }
  }
  return [...found.values()];
}

async function modelsOfCommit(repo: string, commit: string, folder: string): Promise<LibraryModel[]> {
  const files = (await readdir(folder, { recursive: true }).catch(() => [])).map(path => path.replaceAll('\\', '/'));
  const models: LibraryModel[] = [];
  for (const gguf of ggufFiles(files)) {
    const stats = await Promise.all(gguf.parts.map(part => stat(join(folder, part)).catch(() => null)));
    const present = stats.filter(found => found?.isFile());
    if (!stats[0]?.isFile()) continue; // a link whose blob was deleted
    models.push({
      name: nameOf(repo, gguf.path, gguf.quantization),
      repo,
      commit,
      file: gguf.path,
      quantization: gguf.quantization,
      path: join(folder, gguf.path),
      bytes: present.reduce((total, part) => total + part!.size, 0),
      complete: present.length === gguf.expectedParts,
      modified: stats[0].mtimeMs,
    });
  }
  const weights = await folderModel(folder);
  if (weights)
    models.push({
      name: `hf:${repo}`,
      repo,
      commit,
      file: 'config.json',
      quantization: null,
      path: folder,
      ...weights,
    });
  return models;
}

function nameOf(repo: string, file: string, quantization: string | null): string {
  const named = namedModels.find(model => model.repos[0] === repo);
  return named && quantization ? `${named.name}:${quantization}` : `hf:${repo}:${quantization ?? file}`;
}

const entries = (folder: string): Promise<string[]> =>
  readdir(folder).then(
    names => names.sort(),
    () => [], // no library yet
  );

/**
 * The model that a name means: `smollm2`, `smollm2:Q8_0`, `hf:owner/repo[:file]`, or a file's name.
 * @throws HubError of kind `missing` that lists near names and how to pull.
 */
export async function findModel(name: string, settings: HubSettings): Promise<LibraryModel> {
  const models = await listModels(settings);
  const found = matching(name, models);
  if (found?.complete) return found;
  if (found)
    throw new HubError(
      'missing',
      found.file === 'config.json'
        ? `${found.name} is not whole yet: shards are missing in ${found.path}. Go on with: maverick pull ${found.name}:safetensors`
        : `${found.name} is not whole yet: parts of ${found.file} are missing. Go on with: maverick pull ${found.name}`,
    );
  throw new HubError('missing', unknownName(name, models));
}

function matching(name: string, models: readonly LibraryModel[]): LibraryModel | undefined {
  const exact = models.find(model => model.name.toLowerCase() === name.toLowerCase());
  if (exact) return exact;
  if (name.startsWith('hf:')) return byReference(parseReference(name), models);
  const named = namedModel(name);
  if (named) {
    const references = name.includes(':')
      ? named.references
      : [...named.references, ...named.references.map(r => ({ ...r, file: null }))];
    for (const reference of references) {
      const model = byReference(reference, models);
      if (model) return model;
    }
    return undefined;
  }
  const lower = name.toLowerCase();
  return models.find(model =>
    [basename(model.file), basename(model.file, '.gguf')].some(file => file.toLowerCase() === lower),
  );
}

function byReference(
  { repo, revision, file }: HubReference,
  models: readonly LibraryModel[],
): LibraryModel | undefined {
  const inRepo = models.filter(
    model =>
      model.repo.toLowerCase() === repo.toLowerCase() && (revision === 'main' || model.commit.startsWith(revision)),
  );
  if (file === null) return inRepo.find(model => model.quantization === 'Q4_K_M') ?? inRepo[0];
  const wanted = file.toLowerCase();
  return inRepo.find(
    model =>
      model.file.toLowerCase() === wanted ||
      basename(model.file).toLowerCase() === wanted ||
      (wanted === 'safetensors' && model.file === 'config.json') ||
      model.quantization?.toLowerCase() === wanted ||
      (quantizationOf(file) !== null && model.file.replace(/-\d{5}-of-/, '') === file.replace(/-\d{5}-of-/, '')),
  );
}

function unknownName(name: string, models: readonly LibraryModel[]): string {
  const known = [...new Set([...models.map(model => model.name), ...namedModels.map(model => model.name)])];
  const near = known.filter(candidate => isNear(name.toLowerCase(), candidate.toLowerCase()));
  const here =
    models.length === 0
      ? 'There are no models on this machine yet.'
      : `Here are: ${models.map(model => model.name).join(', ')}.`;
  const pullable = namedModel(name) || name.startsWith('hf:');
  return [
    `There is no model '${name}' on this machine.`,
    near.length > 0 && !pullable ? `Did you mean ${near.join(' or ')}?` : '',
    here,
    pullable ? `Get it with: maverick pull ${name}` : `Get one with: maverick pull ${namedModels[0]!.name}`,
  ]
    .filter(Boolean)
    .join(' ');
}

/** Names that differ by a few letters, or share a beginning. */
function isNear(a: string, b: string): boolean {
  if (a.length >= 3 && (b.startsWith(a) || b.includes(a))) return true;
  return (
    distance(a, b.split(':')[0]!) <= Math.max(1, Math.floor(a.length / 3)) || distance(a, b) <= Math.floor(a.length / 4)
  );
}

/** Levenshtein's distance. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
