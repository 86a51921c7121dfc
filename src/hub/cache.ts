// The Hugging Face cache: models--owner--name/{blobs,refs,snapshots/<commit>/file → ../../blobs/<hash>}.
// Source: huggingface_hub, docs "Understand caching". Other tools find here what we pull, and we what they pulled.
import { randomBytes } from 'node:crypto';
import { copyFile, link, mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { repoFolder } from './reference.ts';

export interface CachePaths {
  readonly repo: string;
  blob(hash: string): string;
  lock(hash: string): string;
  snapshot(commit: string, file: string): string;
  ref(revision: string): string;
}

export function cachePaths(cache: string, repo: string): CachePaths {
  const root = join(cache, repoFolder(repo));
  return {
    repo: root,
    blob: hash => join(root, 'blobs', hash),
    lock: hash => join(cache, '.locks', repoFolder(repo), `${hash}.maverick.lock`),
    snapshot: (commit, file) => join(root, 'snapshots', commit, file),
    ref: revision => join(root, 'refs', revision),
  };
}

const besides = (path: string): string => `${path}.${randomBytes(6).toString('hex')}.tmp`;

/** Makes `path` a relative link to a blob, at once and for all: no one sees a moment without it. */
export async function linkToBlob(blob: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = besides(path);
  try {
    try {
      await symlink(relative(dirname(path), blob), temporary);
    } catch {
      // Windows without the right to make links, or a file system without them.
      await link(blob, temporary).catch(() => copyFile(blob, temporary));
    }
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

export async function writeRef(path: string, commit: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = besides(path);
  await writeFile(temporary, commit);
  await rename(temporary, path);
}

/** Length of a file (links followed), or null where there is none. */
export const lengthOf = (path: string): Promise<number | null> =>
  stat(path).then(
    found => (found.isFile() ? found.size : null),
    () => null,
  );
