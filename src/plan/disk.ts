// How fast the disk gives large pieces of a file, past the system's cache of files: what a load and a missing expert cost.
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Backend } from '../backends/backend.ts';

const PIECE = 16 * 2 ** 20;
/** As many as Node's threads for files do at once. */
const DEPTH = 4;
const MADE_BYTES = 256 * 2 ** 20;
const MOST_MS = 800;

/**
 * Bytes a second of direct reads, several at a time, or null where the disk cannot be read past the cache.
 * @param backend whose way of reading is measured, where it has one of its own; else Node's
 * @param file an existing file to read from, if it is large and has its bytes; else one is made in `folder` and removed
 */
export async function measureDisk(
  folder: string,
  file: string | null,
  backend: Backend | null = null,
): Promise<number | null> {
  const read = (path: string, size: number): Promise<number | null> =>
    backend?.fetch ? readAsExperts(backend, path, size) : readDirectly(path, size);
  const found = file === null ? null : await stat(file).catch(() => null);
  // Holes cost nothing to read, and say nothing about the disk.
  if (file !== null && found && found.size >= MADE_BYTES && found.blocks * 512 > found.size * 0.9)
    return read(file, found.size);
  const path = join(folder, `.disk-${randomUUID()}`);
  try {
    await mkdir(folder, { recursive: true });
    await using made = await open(path, 'wx');
    const piece = Buffer.alloc(PIECE);
    for (let at = 0; at < MADE_BYTES; at += PIECE) {
      crypto.getRandomValues(piece.subarray(0, 65536)); // a disk that leaves out zeros should not
      for (let i = 65536; i < PIECE; i += 65536) piece.copyWithin(i, 0, 65536);
      await made.write(piece, 0, PIECE, at);
    }
    await made.sync();
    return await read(path, MADE_BYTES);
  } catch {
    return null; // full, read-only, or a system without direct reads: the plan says that it does not know
  } finally {
    await rm(path, { force: true }).catch(() => {});
  }
}

/** As experts are read: pieces of some megabytes on their way at once, straight into the backend's memory. */
async function readAsExperts(k: Backend, path: string, size: number): Promise<number | null> {
  const [lanes, rows, columns] = [8, 1024, 2048];
  const piece = rows * columns * 4;
  const into = k.reserve('F32', [lanes, rows, columns]);
  const pieces = Math.floor(size / piece);
  let next = 0;
  let done = 0;
  const round = async (pieceCount: number, until: number): Promise<void> => {
    const lane = async (index: number): Promise<void> => {
      while (next < pieceCount && performance.now() < until) {
        const offset = (next++ % pieces) * piece;
        await k.fetch!([{ into, index, path, offset, chunkRows: 256 }], true).done;
        done += piece;
      }
    };
    await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));
  };
  try {
    await round(lanes, Infinity); // memory is taken at the first touch, which is no part of reading
    done = 0;
    const start = performance.now();
    await round(Math.max(2 * pieces, 4 * lanes), start + MOST_MS);
    return done / ((performance.now() - start) / 1000);
  } catch {
    return null;
  } finally {
    k.release(into);
  }
}

async function readDirectly(path: string, size: number): Promise<number | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_DIRECT);
  } catch {
    return null;
  }
  await using opened = file;
  // The memory of a WebAssembly instance begins at a page, which direct reads need.
  const memory = new Uint8Array(new WebAssembly.Memory({ initial: (DEPTH * PIECE) / 65536 }).buffer);
  memory.fill(1); // pages are taken at the first touch, which is no part of reading
  const pieces = Math.floor(size / PIECE);
  const stride = Math.max(1, Math.floor(pieces / 512)) | 1;
  let next = 0;
  let done = 0;
  const start = performance.now();
  const reader = async (_: unknown, lane: number): Promise<void> => {
    const into = memory.subarray(lane * PIECE, (lane + 1) * PIECE);
    while (performance.now() - start < MOST_MS && next < 2 * pieces) {
      const at = ((next++ * stride) % pieces) * PIECE;
      done += (await opened.read(into, 0, PIECE, at)).bytesRead;
    }
  };
  try {
    await Promise.all(Array.from({ length: DEPTH }, reader));
  } catch {
    return null;
  }
  return done / ((performance.now() - start) / 1000);
}
