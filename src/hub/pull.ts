// Gets a model: which files, under which licence, is there room, then one after the other into the cache.
import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Licence, type RepoFile, type RepoInfo, repoFiles, repoInfo } from './api.ts';
import { cachePaths, lengthOf, writeRef } from './cache.ts';
import { download, incompleteBytes } from './download.ts';
import { HubError } from './errors.ts';
import type { HttpOptions } from './http.ts';
import { modelFiles } from './model-files.ts';
import { namedModel, namedModels } from './models.ts';
import { type HubReference, parseReference, repoFolder } from './reference.ts';

/** Known before the first weight of a model is fetched. */
export interface PullPlan {
  readonly repo: string;
  readonly commit: string;
  readonly licence: Licence;
  /** The model's files, and texts such as its licence, in the order of fetching. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  readonly bytes: number;
  /** Of these, already here (whole files, and the beginnings that broken downloads left). */
  readonly presentBytes: number;
}

export interface PullProgress {
  readonly file: string;
  readonly phase: 'checking' | 'downloading';
  readonly fileBytes: number;
  readonly fileTotal: number;
  readonly bytes: number;
  readonly total: number;
}

export interface PullOptions extends HttpOptions {
  /** Shows the licence and the size; throwing here stops the pull before it begins. */
  readonly onPlan?: (plan: PullPlan) => void | Promise<void>;
  readonly onProgress?: (progress: PullProgress) => void;
  readonly onWait?: (file: string) => void;
  /** Bytes free on the cache's disk; default: asks the system. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

export interface Pulled {
  /** Path of the model's first file, or of the folder of its safetensors. */
  readonly path: string;
  readonly repo: string;
  readonly commit: string;
  readonly licence: Licence;
}

/** Left free on the disk beyond the model itself. */
const spareBytes = 64 * 2 ** 20;

/**
 * Pulls `smollm2`, `smollm2:Q8_0`, `hf:owner/repo`, `hf:owner/repo:file` or `hf:owner/repo:safetensors` into the cache. What is there already is not fetched again.
 * @throws HubError.
 */
export async function pull(name: string, options: PullOptions): Promise<Pulled> {
  const references = referencesOf(name);
  for (const [index, reference] of references.entries()) {
    try {
      return await pullReference(reference, options);
    } catch (error) {
      const last = index === references.length - 1;
      if (last || !(error instanceof HubError && (error.kind === 'missing' || error.kind === 'denied'))) throw error;
    }
  }
  throw new HubError('name', `'${name}' has no repository.`);
}

function referencesOf(name: string): readonly HubReference[] {
  if (name.startsWith('hf:')) return [parseReference(name)];
  const named = namedModel(name);
  if (named) return named.references;
  throw new HubError(
    'name',
    `'${name}' is no model that can be pulled by name. Names: ${namedModels.map(model => model.name).join(', ')}; any other model: hf:owner/repository[:file].`,
  );
}

async function pullReference(reference: HubReference, options: PullOptions): Promise<Pulled> {
  const { cache } = options.settings;
  const what = `hf:${reference.repo}`;
  const repo = await repoInfo(reference.repo, reference.revision, options);
  const there = await repoFiles(repo, options);
  const model = await modelFiles(repo, there, reference.file, options);
  const byPath = new Map(there.map(file => [file.path, file]));
  const texts = there.filter(file => /^(LICENSE|NOTICE|USE_POLICY)[^/]*$/i.test(file.path) && file.bytes <= 2 ** 20);
  const files = [...texts, ...model.paths.map(path => byPath.get(path)!)];

  const present = await Promise.all(files.map(file => bytesHere(cache, repo, file)));
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const bytes = sum(files.map(file => file.bytes));
  const presentBytes = sum(present);
  await ensureRoom(what, cache, bytes - presentBytes, options);
  await options.onPlan?.({ repo: repo.repo, commit: repo.commit, licence: repo.licence, files, bytes, presentBytes });

  let done = 0;
  for (const file of files) {
    const before = done;
    await download(repo, file, {
      ...options,
      onWait: () => options.onWait?.(file.path),
      onProgress: (fileBytes, phase) =>
        options.onProgress?.({
          file: file.path,
          phase,
          fileBytes,
          fileTotal: file.bytes,
          bytes: before + fileBytes,
          total: bytes,
        }),
    });
    done += file.bytes;
  }
  const paths = cachePaths(cache, repo.repo);
  if (reference.revision !== repo.commit) await writeRef(paths.ref(reference.revision), repo.commit);
  return {
    path: paths.snapshot(repo.commit, model.entry ?? ''),
    repo: repo.repo,
    commit: repo.commit,
    licence: repo.licence,
  };
}

async function bytesHere(cache: string, repo: RepoInfo, file: RepoFile): Promise<number> {
  const whole = await lengthOf(cachePaths(cache, repo.repo).blob(file.hash.hex));
  return whole === file.bytes ? file.bytes : Math.min(file.bytes, await incompleteBytes(cache, repo.repo, file));
}

async function ensureRoom(what: string, cache: string, needed: number, options: PullOptions): Promise<void> {
  if (needed === 0) return;
  const folder = join(cache, repoFolder(what.slice('hf:'.length)));
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new HubError('disk', `The cache ${cache} cannot be written: ${cause}. Set HF_HOME to a folder that can.`, {
      cause,
    });
  }
  const free = await (options.freeBytes ?? freeBytesAt)(folder);
  if (free < needed + spareBytes)
    throw new HubError(
      'disk',
      `${what}: ${gigabytes(needed)} GB are still to come, and ${cache} has ${gigabytes(free)} GB free. Free some space, choose a smaller quantization, or set HF_HOME to another disk.`,
    );
}

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(2);

async function freeBytesAt(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
