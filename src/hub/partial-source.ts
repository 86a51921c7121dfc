// The bytes of a model that is not all here: from its pieces in the cache, else from the hub, which are pieces in the cache from then on.
// The engine's thread imports this by its address (`SourceModule`) and is told by `RemoteFiles` what lies where.
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { type OpenSource, openFile, type Source } from '../checkpoint/sources.ts';
import type { RepoFile } from './api.ts';
import { cachePaths, lengthOf } from './cache.ts';
import { incompletePath } from './download.ts';
import { HubError } from './errors.ts';
import { fetchPieces } from './fetch-pieces.ts';
import type { HttpOptions } from './http.ts';
import { PieceFile } from './piece-file.ts';

/** What can cross threads. */
export interface RemoteFiles {
  readonly repo: string;
  readonly commit: string;
  /** By the path at which each would lie if it were whole. */
  readonly files: Readonly<Record<string, RepoFile>>;
  readonly http: Pick<HttpOptions, 'settings' | 'attempts' | 'backoffMs' | 'stallMs'>;
  readonly pieceBytes?: number;
}

/** Pieces of one request, at most: what breaks is asked for again from there. */
const RUN = 16;

/** Opens a file of the model by pieces, and any other path as a file. */
export const openSource =
  (remote: RemoteFiles): OpenSource =>
  async path => {
    const file = remote.files[path];
    if (!file || (await lengthOf(path)) === file.bytes) return openFile(path);
    const { blob } = cachePaths(remote.http.settings.cache, remote.repo);
    const what = `hf:${remote.repo}:${file.path}`;
    const at = incompletePath(blob(file.hash.hex));
    return partialSource(path, file, remote, await PieceFile.open(what, at, file.bytes, remote.pieceBytes));
  };

function partialSource(path: string, file: RepoFile, remote: RemoteFiles, pieces: PieceFile): Source {
  const underWay = new Map<number, Promise<void>>();
  const closing = new AbortController();

  /** Pieces that are missing from `index` on, one after the other, and that nobody fetches yet. */
  const runFrom = (index: number, last: number): number => {
    let end = index + 1;
    while (end <= last && end - index < RUN && !pieces.has(end) && !underWay.has(end)) end++;
    return end;
  };
  const fetchFrom = (index: number, last: number): Promise<void> => {
    const end = runFrom(index, last);
    const run = fetchPieces(remote, file, pieces, index, end, { ...remote.http, signal: closing.signal }).finally(
      () => {
        for (let i = index; i < end; i++) underWay.delete(i);
      },
    );
    for (let i = index; i < end; i++) underWay.set(i, run);
    return run;
  };

  return {
    path,
    size: file.bytes,
    async read(offset, into) {
      const wanted = Math.max(0, Math.min(into.length, file.bytes - offset));
      const { pieceBytes } = pieces;
      const last = Math.floor((offset + wanted - 1) / pieceBytes);
      try {
        for (let done = 0; done < wanted; ) {
          const index = Math.floor((offset + done) / pieceBytes);
          const from = offset + done - index * pieceBytes;
          const length = Math.min(wanted - done, pieces.lengthOf(index) - from);
          const part = into.subarray(done, done + length);
          if (await pieces.read(index, from, part)) done += length;
          else await (underWay.get(index) ?? fetchFrom(index, last));
        }
      } catch (error) {
        throw error instanceof HubError ? missing(path, offset, wanted, error) : error;
      }
      return wanted;
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new CheckpointError(path, 'was closed; open the checkpoint again.'));
      await Promise.allSettled(underWay.values());
      await pieces[Symbol.asyncDispose]();
    },
  };
}

function missing(path: string, offset: number, length: number, error: HubError): CheckpointError {
  const why =
    error.kind === 'offline'
      ? 'HF_HUB_OFFLINE forbids to fetch them. Unset it, or get all of the model with maverick pull first.'
      : error.message;
  return new CheckpointError(path, `bytes ${offset} to ${offset + length} are not on this machine yet: ${why}`, {
    cause: error,
  });
}
