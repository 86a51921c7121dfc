// Kept keys and values on disk: a header that says what made them, then sequence after sequence, then a checksum of it all.
import { createHash } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
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

/**
 * Writes sequences as they are handed over; the file appears under its name when it is whole, and only its owner may read it.
 * @param next the next sequence, or null after the last
 */
export async function writeCacheFile(
  path: string,
  identity: CacheIdentity,
  next: () => Promise<SavedSequence | null>,
): Promise<SavedCache> {
  const partial = `${path}.${process.pid}.partial`;
  const counts = { sequences: 0, tokens: 0 };
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await using file = await open(partial, 'w', 0o600);
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
      const sizes = layers.map(({ start, end, bytes: data }) => ({ start, end, bytes: data.byteLength }));
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

/**
 * Hands over every sequence of a file, in order, once the whole file has proved undamaged.
 * @throws CacheFileError when the file is damaged, or was made by another model or backend
 */
export async function readCacheFile(
  path: string,
  identity: CacheIdentity,
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
    return JSON.parse((await read(length)).toString());
  };
  await read(MAGIC.length);
  const made = (await readJson()) as CacheIdentity;
  for (const key of ['model', 'layout', 'kvHeads', 'headDim', 'chunks'] as const)
    if (JSON.stringify(made[key]) !== JSON.stringify(identity[key]))
      throw new CacheFileError(
        `${path}: its keys and values are of another ${key === 'model' ? 'model' : `backend or model: ${key}`} (got ${JSON.stringify(made[key])?.slice(0, 80)}, wanted ${JSON.stringify(identity[key]).slice(0, 80)}). Save anew with this one.`,
      );
  for (let header = (await readJson()) as SequenceHeader | null; header; header = (await readJson()) as typeof header) {
    const layers: SavedLayer[] = [];
    for (const { start, end, bytes } of header.layers) layers.push({ start, end, bytes: await read(bytes) });
    await take({ salt: header.salt, tokens: header.tokens, layers });
  }
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
    if (bytesRead === 0) throw new Error(`the file ends at byte ${at + done}`);
    done += bytesRead;
  }
}

const damaged = (path: string, what: string): CacheFileError =>
  new CacheFileError(`${path}: the file is damaged: ${what}. Delete it; saveCache makes another.`);
