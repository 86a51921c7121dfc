// Kept keys and values on disk: a header that says what made them, then sequence after sequence, then a checksum of it all.
import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { CacheShape, SavedLayer } from '../backends/backend.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { SavedCache } from './types.ts';

/** A file of kept keys and values that cannot be used. */
export class CacheFileError extends Error {
  override readonly name = 'CacheFileError';
}

/** What must be the same where the file is read. */
export interface CacheIdentity {
  /** SHA-256 of the checkpoint's metadata, tensors and the beginning of each tensor's data. */
  readonly model: string;
  readonly layout: string;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly chunks: readonly (number | null)[];
}

/** A sequence as it is saved. */
export interface SavedSequence {
  readonly salt: string;
  readonly tokens: readonly number[];
  readonly layers: readonly SavedLayer[];
}

const MAGIC = 'open-maverick KV 1\n';
const DIGEST_BYTES = 32;
/** A header larger than this is none. */
const MOST_HEADER_BYTES = 64 * 2 ** 20;
/** Bytes of a tensor that tell a model from its siblings of the same shapes. */
const SAMPLE_BYTES = 4096;

export async function modelDigest(checkpoint: Checkpoint): Promise<string> {
  const hash = createHash('sha256');
  const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value);
  hash.update(JSON.stringify([...checkpoint.metadata], plain));
  for (const tensor of checkpoint.tensors.values()) {
    const sample = new Uint8Array(Math.min(SAMPLE_BYTES, tensor.byteLength));
    await checkpoint.read(tensor, 0, sample);
    hash.update(JSON.stringify([tensor.name, tensor.dtype, tensor.shape])).update(sample);
  }
  return hash.digest('hex');
}

export const identityOf = (model: string, layout: string, { kvHeads, headDim, chunks }: CacheShape): CacheIdentity => ({
  model,
  layout,
  kvHeads,
  headDim,
  chunks,
});

/** Under which length and header a sequence's bytes follow. */
interface SequenceHeader {
  readonly salt: string;
  readonly tokens: readonly number[];
  readonly layers: readonly { readonly start: number; readonly end: number; readonly bytes: number }[];
}

/** What an engine can make use of. */
export interface CacheBounds {
  readonly vocab: number;
  /** Bytes of keys and values, all sequences together. */
  readonly bytes: number;
}

/**
 * Writes sequences as they are handed over, those that matter most first; the file appears under its name when it is whole, and only
 * its owner may read it.
 * @param next the next sequence, or null after the last
 * @param most bytes of keys and values; a sequence that would be more than that together with those before it is left out
 */
export async function writeCacheFile(
  path: string,
  identity: CacheIdentity,
  next: () => Promise<SavedSequence | null>,
  most = Number.POSITIVE_INFINITY,
): Promise<SavedCache> {
  await removeLeftOver(path);
  const partial = partialOf(path, process.pid);
  await rm(partial, { force: true });
  let written = 0;
  const counts = { sequences: 0, tokens: 0 };
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await using file = await open(partial, 'wx', 0o600);
    const write = async (data: Uint8Array): Promise<void> => {
      hash.update(data);
      bytes += data.byteLength;
      await file.writeFile(data);
    };
    const writeJson = async (value: unknown): Promise<void> => {
      const json = Buffer.from(JSON.stringify(value));
      const length = Buffer.alloc(4);
      length.writeUInt32LE(json.length);
      await write(Buffer.concat([length, json]));
    };
    await write(Buffer.from(MAGIC));
    await writeJson(identity);
    for (let sequence = await next(); sequence; sequence = await next()) {
      const { salt, tokens, layers } = sequence;
      const size = bytesOf(layers);
      if (written + size > most) continue;
      written += size;
      const sizes = layers.map(({ start, end, bytes: { byteLength } }) => ({ start, end, bytes: byteLength }));
      await writeJson({ salt, tokens, layers: sizes } satisfies SequenceHeader);
      for (const layer of layers) await write(layer.bytes);
      counts.sequences++;
      counts.tokens += tokens.length;
    }
    await writeJson(null);
    await file.writeFile(hash.digest());
    await file.sync();
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await rename(partial, path);
  return { ...counts, bytes: bytes + DIGEST_BYTES };
}

/** Bytes of keys and values. */
export const bytesOf = (layers: readonly SavedLayer[]): number =>
  layers.reduce((sum, layer) => sum + layer.bytes.byteLength, 0);

const partialOf = (path: string, pid: number | string): string => `${path}.${pid}.partial`;

/** Removes what processes left that ended while they wrote this file. */
async function removeLeftOver(path: string): Promise<void> {
  const names = await readdir(dirname(path)).catch(() => []);
  const [before, after] = partialOf(basename(path), '\0').split('\0') as [string, string];
  for (const name of names) {
    if (!name.startsWith(before) || !name.endsWith(after)) continue;
    const pid = Number(name.slice(before.length, -after.length));
    if (Number.isSafeInteger(pid) && pid > 0 && !isRunning(pid)) await rm(join(dirname(path), name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Hands over every sequence of a file that the bounds have room for, in order, once the whole file has proved undamaged.
 * @throws CacheFileError when the file is damaged, or was made by another model or backend
 */
export async function readCacheFile(
  path: string,
  identity: CacheIdentity,
  bounds: CacheBounds,
  take: (sequence: SavedSequence) => Promise<void>,
): Promise<void> {
  await using file = await open(path);
  const size = (await file.stat()).size;
  await checkDigest(file, path, size);
  let at = 0;
  const end = size - DIGEST_BYTES;
  const read = async (length: number): Promise<Buffer> => {
    if (length > end - at) throw damaged(path, `it ends at byte ${size} in the middle of ${length} bytes`);
    const data = Buffer.alloc(length);
    await readAt(file, data, at);
    at += length;
    return data;
  };
  const readJson = async (): Promise<unknown> => {
    const length = (await read(4)).readUInt32LE();
    if (length > MOST_HEADER_BYTES) throw damaged(path, `a header of ${length} bytes`);
    const json = (await read(length)).toString();
    try {
      return JSON.parse(json);
    } catch (error) {
      throw damaged(path, `a header is no JSON: ${(error as Error).message}`);
    }
  };
  await read(MAGIC.length);
  const made = (await readJson()) as Partial<CacheIdentity> | null;
  for (const key of ['model', 'layout', 'kvHeads', 'headDim', 'chunks'] as const) {
    const [got = 'nothing', wanted] = [JSON.stringify(made?.[key])?.slice(0, 80), JSON.stringify(identity[key])];
    if (JSON.stringify(made?.[key]) !== wanted)
      throw new CacheFileError(
        `${path}: its keys and values are of another ${key === 'model' ? 'model' : `backend or model: ${key}`} (got ${got}, wanted ${wanted.slice(0, 80)}). Save anew with this one.`,
      );
  }
  let room = bounds.bytes;
  for (let json = await readJson(); json !== null; json = await readJson()) {
    const header = headerOf(json, bounds.vocab);
    if (!header) throw damaged(path, `a sequence before byte ${at} is none of this model's`);
    const length = header.layers.reduce((sum, { bytes }) => sum + bytes, 0);
    if (length > end - at) throw damaged(path, `it ends at byte ${size} in the middle of ${length} bytes`);
    if (length > room) {
      at += length; // stepped over, not read: a file may hold more than this engine keeps
      continue;
    }
    const layers: SavedLayer[] = [];
    for (const { start, end, bytes } of header.layers) layers.push({ start, end, bytes: await read(bytes) });
    try {
      await take({ salt: header.salt, tokens: header.tokens, layers });
    } catch (error) {
      if (error instanceof RangeError) throw damaged(path, error.message); // no layers of such a cache
      throw error;
    }
    room -= length;
  }
}

/** A sequence's header, or null where something of it cannot be: whoever can write a checksum can write anything. */
function headerOf(json: unknown, vocab: number): SequenceHeader | null {
  const { salt, tokens, layers } = Object(json) as Partial<SequenceHeader>;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (typeof salt !== 'string' || !Array.isArray(tokens) || !Array.isArray(layers)) return null;
  if (!tokens.every(token => isCount(token) && token < vocab)) return null;
  if (!layers.every(layer => isCount(layer?.start) && isCount(layer.end) && isCount(layer.bytes))) return null;
  return layers.every(({ end }) => end === tokens.length) ? { salt, tokens, layers } : null;
}

async function checkDigest(file: FileHandle, path: string, size: number): Promise<void> {
  const magic = Buffer.alloc(Math.min(MAGIC.length, size));
  await readAt(file, magic, 0);
  if (magic.toString() !== MAGIC)
    throw new CacheFileError(`${path}: no file of kept keys and values, as saveCache writes.`);
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(2 ** 20);
  const end = size - DIGEST_BYTES;
  for (let at = 0; at < end; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, end - at));
    await readAt(file, piece, at);
    hash.update(piece);
  }
  const digest = Buffer.alloc(Math.min(DIGEST_BYTES, size));
  await readAt(file, digest, size - digest.length);
  if (!hash.digest().equals(digest)) throw damaged(path, 'its checksum is not that of its bytes');
}

async function readAt(file: FileHandle, into: Buffer, at: number): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) throw new CacheFileError(`the file ends at byte ${at + done}, though it was longer`);
    done += bytesRead;
  }
}

const damaged = (path: string, what: string): CacheFileError =>
  new CacheFileError(`${path}: the file is damaged: ${what}. Delete it; saveCache makes another.`);
