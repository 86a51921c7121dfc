// What the hub said of a repository, kept in the cache: so that what is here of a model can be run without asking again.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type RepoFile, type RepoInfo, repoFiles, repoInfo } from './api.ts';
import { HubError } from './errors.ts';
import type { HttpOptions } from './http.ts';
import { assertPlainPath, type HubReference, repoFolder } from './reference.ts';

export interface Listing {
  readonly info: RepoInfo;
  readonly files: readonly RepoFile[];
}

/** Asks the hub; offline, or where it cannot be reached, what it said last is taken. @throws HubError where it never was asked */
export async function repoListing(reference: HubReference, options: HttpOptions): Promise<Listing> {
  const { cache, offline } = options.settings;
  const path = listingPath(cache, reference);
  if (!offline) {
    try {
      const info = await repoInfo(reference.repo, reference.revision, options);
      const listing = { info, files: await repoFiles(info, options) };
      await keep(path, listing);
      return listing;
    } catch (error) {
      const known = error instanceof HubError && error.kind === 'unreachable' ? await kept(path) : null;
      if (known) return known;
      throw error;
    }
  }
  const known = await kept(path);
  if (known) return known;
  throw new HubError(
    'offline',
    `hf:${reference.repo} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it. Unset it and try again.`,
  );
}

const listingPath = (cache: string, { repo, revision }: HubReference): string =>
  join(cache, '.maverick', 'listings', repoFolder(repo), `${revision.replaceAll('/', '--')}.json`);

async function keep(path: string, listing: Listing): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, JSON.stringify(listing));
  await rename(temporary, path);
}

/** As we wrote it: paths are doubted once more, since they become places in the cache. */
async function kept(path: string): Promise<Listing | null> {
  try {
    const listing = JSON.parse(await readFile(path, 'utf8')) as Listing;
    for (const file of listing.files) assertPlainPath(file.path);
    return listing;
  } catch {
    return null;
  }
}
