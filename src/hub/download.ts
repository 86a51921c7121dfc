// One file into the cache: resumed by range, checked by hash, and never under its final name before that.
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileUrl, type RepoFile, type RepoInfo } from './api.ts';
import { cachePaths, lengthOf, linkToBlob } from './cache.ts';
import { HubError } from './errors.ts';
import { fetchPieces } from './fetch-pieces.ts';
import { get, type HttpOptions, retrying } from './http.ts';
import { acquireLock, type Lock } from './lock.ts';
import { hasLog, logPath, PieceFile, presentBytes, removePieces } from './piece-file.ts';
import { writeAll } from './write-all.ts';

export interface DownloadOptions extends HttpOptions {
  /** Bytes of the file that are here; `checking` while what an earlier download left is hashed. */
  readonly onProgress?: (bytes: number, phase: 'checking' | 'downloading') => void;
  /** Another process is downloading the same file. */
  readonly onWait?: () => void;
}

/** Bytes of a file that is not whole which are here: left by a broken download, or fetched because a model was run. */
export const incompleteBytes = (cache: string, repo: string, file: RepoFile): Promise<number> =>
  presentBytes(incompletePath(cachePaths(cache, repo).blob(file.hash.hex)), file.bytes);

/** Other tools append to `<hash>.incomplete` under locks we cannot take; a name of our own keeps both safe. */
export const incompletePath = (blob: string): string => `${blob}.maverick.incomplete`;

/**
 * Puts a file of a commit into the cache and returns its path under snapshots/. Does nothing when it is there already.
 * @throws HubError: `integrity` when the bytes are wrong twice; the kinds of `retrying` and `get`.
 */
export async function download(repo: RepoInfo, file: RepoFile, options: DownloadOptions): Promise<string> {
  const blob = await downloadBlob(repo, file, options);
  options.onProgress?.(file.bytes, 'downloading');
  const snapshot = cachePaths(options.settings.cache, repo.repo).snapshot(repo.commit, file.path);
  if ((await lengthOf(snapshot)) !== file.bytes) await linkToBlob(blob, snapshot);
  return snapshot;
}

/** The same without a place under snapshots/, where it would be a part of a model: for files that are looked at first. */
export async function downloadBlob(repo: RepoInfo, file: RepoFile, options: DownloadOptions): Promise<string> {
  const paths = cachePaths(options.settings.cache, repo.repo);
  const blob = paths.blob(file.hash.hex);
  if ((await lengthOf(blob)) !== file.bytes) {
    await using lock = await acquireLock(paths.lock(file.hash.hex), options);
    // Another process may have finished it while this one waited.
    if ((await lengthOf(blob)) !== file.bytes) await fetchBlob(repo, file, blob, lock, options);
  }
  return blob;
}

async function fetchBlob(
  repo: RepoInfo,
  file: RepoFile,
  blob: string,
  lock: Lock,
  options: DownloadOptions,
): Promise<void> {
  const incomplete = incompletePath(blob);
  const what = `hf:${repo.repo}:${file.path}`;
  await mkdir(dirname(blob), { recursive: true });
  for (let spoiled = 0; ; spoiled++) {
    const fetch = (await hasLog(incomplete)) ? fetchMissing : fetchAll;
    const digest = await fetch(what, repo, file, incomplete, options);
    if (digest === file.hash.hex) break;
    await removePieces(incomplete);
    if (spoiled === 1)
      throw new HubError(
        'integrity',
        `${what}: twice the bytes that came are not those the hub promised (${file.hash.kind} ${digest}, promised ${file.hash.hex}). They were deleted; something on the way (a proxy, a mirror) changes files.`,
      );
    options.onRetry?.({ reason: 'wrong bytes came', waitMs: 0, attempt: 1, attempts: 2 });
  }
  if (!(await lock.held()))
    throw new HubError(
      'disk',
      `${what}: another process took this download over while this one slept. Run the command again.`,
    );
  await rm(logPath(incomplete), { force: true });
  await rename(incomplete, blob);
}

/** Fetches the pieces that are missing, or that are no longer what they were, and returns the hash of all of the file. */
async function fetchMissing(
  what: string,
  repo: RepoInfo,
  file: RepoFile,
  incomplete: string,
  options: DownloadOptions,
): Promise<string> {
  await using pieces = await PieceFile.open(what, incomplete, file.bytes);
  const hash = newHash(file);
  let bytes = 0;
  const add = (piece: Uint8Array, phase: 'checking' | 'downloading'): void => {
    hash.update(piece);
    bytes += piece.length;
    options.onProgress?.(bytes, phase);
  };
  for (let index = 0; index < pieces.count; ) {
    options.signal?.throwIfAborted();
    const piece = new Uint8Array(pieces.lengthOf(index));
    if (await pieces.read(index, 0, piece)) {
      add(piece, 'checking');
      index++;
      continue;
    }
    let end = index + 1;
    while (end < pieces.count && !pieces.has(end)) end++;
    await fetchPieces(repo, file, pieces, index, end, options, (_, fetched) => add(fetched, 'downloading'));
    index = end;
  }
  await pieces.sync();
  return hash.digest('hex');
}

/** Fetches what is missing of the file and returns the hash of all of it. */
async function fetchAll(
  what: string,
  repo: RepoInfo,
  file: RepoFile,
  incomplete: string,
  options: DownloadOptions,
): Promise<string> {
  await using out = await open(incomplete, 'a+').then(async handle => {
    await handle.close();
    return open(incomplete, 'r+'); // unlike 'a+', writes where it is told
  });
  let { hash, bytes } = await hashKept(out, file, options);
  await retrying(what, options, async (watch, progress) => {
    if (bytes === file.bytes) return;
    const range: Record<string, string> = bytes > 0 ? { range: `bytes=${bytes}-` } : {};
    const url = fileUrl(options.settings.endpoint, repo, file.path);
    const response = await get(what, url, options, watch, range);
    const start = rangeStart(response);
    if (start !== bytes) {
      if (start !== 0)
        throw new HubError(
          'refused',
          `${what}: the hub sent bytes from ${start} on where ${bytes} was asked for. Check HF_ENDPOINT.`,
        );
      await out.truncate(0); // the server knows no ranges
      bytes = 0;
      hash = newHash(file);
    }
    for await (const chunk of response.body ?? []) {
      watch.alive();
      if (bytes + chunk.length > file.bytes) {
        // Whatever follows the promised length is not the file.
        await response.body?.cancel().catch(() => undefined);
        await out.truncate(0);
        bytes = 0;
        hash = newHash(file);
        throw new HubError(
          'integrity',
          `${what}: the hub sent more than the ${file.bytes} bytes it promised. Check HF_ENDPOINT.`,
        );
      }
      await writeAll(out, chunk, bytes, what);
      hash.update(chunk);
      bytes += chunk.length;
      progress();
      options.onProgress?.(bytes, 'downloading');
    }
    if (bytes < file.bytes) throw new TypeError('terminated: the connection ended early');
  });
  await out.sync();
  return hash.digest('hex');
}

function newHash(file: RepoFile): Hash {
  if (file.hash.kind === 'sha256') return createHash('sha256');
  return createHash('sha1').update(`blob ${file.bytes}\0`); // how git names a file's content
}

async function hashKept(
  handle: FileHandle,
  file: RepoFile,
  options: DownloadOptions,
): Promise<{ hash: Hash; bytes: number }> {
  const hash = newHash(file);
  const { size } = await handle.stat();
  if (size > file.bytes) {
    await handle.truncate(0);
    return { hash, bytes: 0 };
  }
  const buffer = new Uint8Array(1 << 20);
  let bytes = 0;
  while (bytes < size) {
    options.signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, bytes);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    bytes += bytesRead;
    options.onProgress?.(bytes, 'checking');
  }
  return { hash, bytes };
}

/** The offset in the file at which the body of the answer begins. */
function rangeStart(response: Response): number {
  if (response.status !== 206) return 0;
  const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
  return start === undefined ? -1 : Number(start);
}
