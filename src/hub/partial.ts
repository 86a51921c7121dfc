// Runs a model before it is all here: which files it is, where their pieces lie, and nobody else who changes them meanwhile.
import type { SourceModule } from '../checkpoint/sources.ts';
import type { RepoFile } from './api.ts';
import { cachePaths, lengthOf, linkToBlob } from './cache.ts';
import { chooseFiles } from './choose.ts';
import { incompleteBytes } from './download.ts';
import { HubError } from './errors.ts';
import type { HttpOptions } from './http.ts';
import { type Listing, repoListing } from './listing.ts';
import { acquireLock } from './lock.ts';
import { isFolder } from './model-files.ts';
import type { RemoteFiles } from './partial-source.ts';
import { parseReference } from './reference.ts';

export interface PartialModel extends AsyncDisposable {
  /** Where the model's first file will lie: what an engine opens with `sources`. */
  readonly path: string;
  readonly sources: SourceModule;
  readonly bytes: number;
  /** Of these, already here. */
  readonly presentBytes: number;
}

export interface PartialOptions extends HttpOptions {
  /** Known before the first byte of the model is fetched; throwing here stops it. */
  readonly onListing?: (listing: Listing) => void | Promise<void>;
  readonly pieceBytes?: number;
}

/**
 * Gets hold of `hf:owner/repo[@revision][:file]` as far as it is here; the rest is fetched when it is read. While it is open, `pull`
 * of the same files waits; afterwards `pull` completes them.
 * @throws HubError: `refused` where another process runs or pulls it
 */
export async function openPartial(name: string, options: PartialOptions): Promise<PartialModel> {
  const reference = parseReference(name);
  const { settings } = options;
  const listing = await repoListing(reference, options);
  const { info, files } = listing;
  const all = files.map(file => file.path);
  if (isFolder(all, reference.file))
    throw new HubError(
      'missing',
      `${name} is a folder of safetensors, which runs when all of it is here. Get it with: maverick pull ${name}`,
    );
  const chosen = chooseFiles(`hf:${info.repo}`, all, reference.file);
  await options.onListing?.(listing);
  const paths = cachePaths(settings.cache, info.repo);
  const parts = chosen.parts.map(path => files.find(file => file.path === path)!);
  await using locks = new AsyncDisposableStack();
  const places: Record<string, RepoFile> = {};
  let presentBytes = 0;
  for (const file of parts) {
    const snapshot = paths.snapshot(info.commit, file.path);
    places[snapshot] = file;
    const blob = paths.blob(file.hash.hex);
    if ((await lengthOf(blob)) === file.bytes) {
      if ((await lengthOf(snapshot)) !== file.bytes) await linkToBlob(blob, snapshot);
      presentBytes += file.bytes;
      continue;
    }
    const busy = new AbortController();
    const onWait = () =>
      busy.abort(
        new HubError(
          'refused',
          `${name}: another process pulls this model, or runs it before it is all here. Wait until it has ended.`,
        ),
      );
    const signal = options.signal ? AbortSignal.any([options.signal, busy.signal]) : busy.signal;
    locks.use(
      await acquireLock(paths.lock(file.hash.hex), { signal, onWait }).catch(error => {
        throw busy.signal.aborted ? busy.signal.reason : error;
      }),
    );
    presentBytes += await incompleteBytes(settings.cache, info.repo, file);
  }
  const { attempts, backoffMs, stallMs, pieceBytes } = options;
  const data: RemoteFiles = {
    repo: info.repo,
    commit: info.commit,
    files: places,
    http: {
      settings,
      ...(attempts !== undefined && { attempts }),
      ...(backoffMs !== undefined && { backoffMs }),
      ...(stallMs !== undefined && { stallMs }),
    },
    ...(pieceBytes !== undefined && { pieceBytes }),
  };
  const held = locks.move();
  return {
    path: paths.snapshot(info.commit, chosen.path),
    sources: { module: moduleUrl, data },
    bytes: parts.reduce((sum, file) => sum + file.bytes, 0),
    presentBytes,
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}

/** From sources Node runs `.ts`; a build has `.js`. */
const moduleUrl = new URL(
  import.meta.url.endsWith('.ts') ? './partial-source.ts' : './partial-source.js',
  import.meta.url,
).href;
