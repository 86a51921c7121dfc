// Writes GGUF v3, streamed to disk: tensors of any size pass through piece by piece, and a file appears only when it is whole.
// `layoutGguf` tells what the files will be without writing them.
// Source: ggml-org/ggml docs/gguf.md; the split keys as in llama.cpp tools/gguf-split.
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { CheckpointError } from './checkpoint.ts';
import { byteLengthOf, type DType, formats } from './dtype.ts';
import { alignUp, defaultAlignment, ggufMagic, ggufVersion, parsePartPath, partPath } from './gguf-format.ts';
import { MetadataEncoder, type WritableValue } from './gguf-metadata-encoder.ts';

export { type TypedValue, typed, type WritableValue } from './gguf-metadata-encoder.ts';

/** A tensor whose place is asked for. */
export interface SizedTensor {
  readonly name: string;
  readonly dtype: DType;
  /** Outermost dimension first, each at least 1; the innermost is a multiple of the format's block. */
  readonly shape: readonly number[];
}

/** A tensor to be written. */
export interface WritableTensor extends SizedTensor {
  /**
   * The tensor's bytes in its file form: whole, or in pieces of any size. A piece is on its way to the disk before the next is
   * asked for, so that a generator may yield the same buffer again and again.
   */
  readonly data: Uint8Array | (() => Iterable<Uint8Array> | AsyncIterable<Uint8Array>);
}

export interface GgufContent<T extends SizedTensor = WritableTensor> {
  /** In this order. `general.alignment` belongs in `alignment`, the `split.*` keys are the writer's own. */
  readonly metadata: Readonly<Record<string, WritableValue>> | ReadonlyMap<string, WritableValue>;
  /** In this order. Names are unique. */
  readonly tensors: readonly T[];
  /** Alignment of each tensor's data in bytes, a power of two; 32 where absent. */
  readonly alignment?: number;
  /**
   * Writes `stem-00001-of-0000N.gguf` … in place of `stem.gguf`: each part holds at most so many tensors and bytes of tensors,
   * yet at least one tensor. The metadata are in the first part.
   */
  readonly split?: { readonly maxTensors?: number; readonly maxBytes?: number };
}

/**
 * Writes a GGUF file, or the parts of one, and returns the paths written. Each is written under a temporary name in the same
 * directory and renamed when all are whole; nothing is left behind when writing fails.
 *
 * @throws CheckpointError when metadata or a tensor cannot be written as it is (it is named), or its bytes are too few or too many.
 */
export async function writeGguf(path: string, content: GgufContent): Promise<string[]> {
  const parts = layoutGguf(path, content);
  const written: string[] = [];
  try {
    for (const part of parts) {
      const temporary = `${part.path}.${randomUUID()}.incomplete`;
      written.push(temporary);
      await writePart(path, temporary, part);
    }
    for (const [index, temporary] of written.entries()) await rename(temporary, parts[index]!.path);
  } catch (error) {
    for (const temporary of written) await rm(temporary, { force: true });
    throw error;
  }
  return parts.map(part => part.path);
}

/** A tensor and the bytes from the file's start where its own are. */
export type Placed<T> = T & { readonly byteLength: number; readonly offset: number };

/** What one file of a GGUF will be: its header, tensors from `offset` on, zeros between them. */
export interface GgufPart<T extends SizedTensor> {
  readonly path: string;
  readonly header: Uint8Array;
  readonly tensors: readonly Placed<T>[];
  readonly byteLength: number;
}

/**
 * The files that `writeGguf` writes.
 * @throws CheckpointError when metadata or a tensor cannot be written as it is (it is named).
 */
export function layoutGguf<T extends SizedTensor>(path: string, content: GgufContent<T>): GgufPart<T>[] {
  const alignment = content.alignment ?? defaultAlignment;
  if (!Number.isInteger(Math.log2(alignment)) || alignment < 1 || alignment > 2 ** 30)
    throw new CheckpointError(path, `alignment ${alignment} must be a power of two from 1 to 2^30.`);
  const tensors = checkTensors(path, content.tensors);
  const parts = content.split ? partition(path, tensors, content.split) : [tensors];
  const paths = content.split ? partPaths(path, parts.length) : [path];
  return parts.map((part, index) => {
    const split = content.split ? { index, count: parts.length, tensors: tensors.length } : null;
    const header = encodeHeader(path, index === 0 ? content.metadata : {}, part, alignment, split);
    let end = alignUp(header.length, alignment);
    const placed = part.map(tensor => {
      const offset = end;
      end = alignUp(offset + tensor.byteLength, alignment);
      return { ...tensor, offset };
    });
    return { path: paths[index]!, header, tensors: placed, byteLength: end };
  });
}

type Sized<T> = T & { readonly byteLength: number };

function checkTensors<T extends SizedTensor>(path: string, tensors: readonly T[]): Sized<T>[] {
  const names = new Set<string>();
  return tensors.map(tensor => {
    const { name, dtype, shape } = tensor;
    const fail = (message: string): never => {
      throw new CheckpointError(path, `tensor ${name}: ${message}`);
    };
    if (name === '' || names.has(name)) fail('its name must be given, and once only.');
    names.add(name);
    if (shape.length < 1 || shape.length > 4 || shape.some(size => !Number.isSafeInteger(size) || size < 1))
      fail(`shape [${shape.join(', ')}] must be 1 to 4 whole numbers above 0.`);
    const { blockSize } = formats[dtype];
    if (shape.at(-1)! % blockSize !== 0)
      fail(`its innermost dimension ${shape.at(-1)} must be a multiple of ${dtype}'s block of ${blockSize} elements.`);
    const byteLength = byteLengthOf(
      dtype,
      shape.reduce((product, size) => product * size, 1),
    );
    if (!Number.isSafeInteger(byteLength)) fail(`shape [${shape.join(', ')}] takes more bytes than a file can hold.`);
    return { ...tensor, byteLength };
  });
}

function partition<T>(
  path: string,
  tensors: readonly Sized<T>[],
  limits: NonNullable<GgufContent['split']>,
): Sized<T>[][] {
  const { maxTensors = Number.POSITIVE_INFINITY, maxBytes = Number.POSITIVE_INFINITY } = limits;
  const parts: Sized<T>[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const part = parts.at(-1)!;
    if (part.length > 0 && (part.length >= maxTensors || bytes + tensor.byteLength > maxBytes)) {
      parts.push([tensor]);
      bytes = tensor.byteLength;
    } else {
      part.push(tensor);
      bytes += tensor.byteLength;
    }
  }
  if (parts.length > 65535)
    throw new CheckpointError(
      path,
      `${parts.length} parts are more than the 65535 a split can have; raise its limits.`,
    );
  return parts;
}

function partPaths(path: string, count: number): string[] {
  const stem = parsePartPath(path)?.stem ?? path.replace(/\.gguf$/i, '');
  return Array.from({ length: count }, (_, index) => partPath(stem, index + 1, count));
}

function encodeHeader(
  path: string,
  metadata: GgufContent['metadata'],
  tensors: readonly Sized<SizedTensor>[],
  alignment: number,
  split: { index: number; count: number; tensors: number } | null,
): Uint8Array {
  const entries = new Map(metadata instanceof Map ? metadata : Object.entries(metadata));
  for (const key of entries.keys())
    if (key === 'general.alignment' || key.startsWith('split.'))
      throw new CheckpointError(path, `metadata ${key} is set by the writer; use its alignment or split option.`);
  if (alignment !== defaultAlignment) entries.set('general.alignment', { type: 'u32', value: alignment });
  if (split) {
    entries.set('split.no', { type: 'u16', value: split.index });
    entries.set('split.count', { type: 'u16', value: split.count });
    entries.set('split.tensors.count', { type: 'i32', value: split.tensors });
  }
  const encoder = new MetadataEncoder(path);
  encoder.u32(ggufMagic);
  encoder.u32(ggufVersion);
  encoder.u64(tensors.length);
  encoder.u64(entries.size);
  for (const [key, value] of entries) encoder.entry(key, value);
  let offset = 0;
  for (const { name, dtype, shape, byteLength } of tensors) {
    encoder.string(name);
    encoder.u32(shape.length);
    for (const size of shape.toReversed()) encoder.u64(size);
    encoder.u32(formats[dtype].ggmlType);
    encoder.u64(offset);
    offset = alignUp(offset + byteLength, alignment);
  }
  return encoder.bytes();
}

async function writePart(path: string, temporary: string, part: GgufPart<WritableTensor>): Promise<void> {
  const file = await open(temporary, 'wx');
  try {
    let position = await append(file, part.header, 0);
    const fill = async (end: number) => {
      position = await append(file, new Uint8Array(end - position), position);
    };
    for (const { name, data, byteLength, offset } of part.tensors) {
      await fill(offset);
      const end = offset + byteLength;
      const mismatch = (got: string) =>
        new CheckpointError(
          path,
          `tensor ${name}: its data are ${got} bytes, its shape and format take ${byteLength}.`,
        );
      for await (const piece of data instanceof Uint8Array ? [data] : data()) {
        if (position + piece.length > end) throw mismatch(`more than ${byteLength}`);
        position = await append(file, piece, position);
      }
      if (position !== end) throw mismatch(String(position - offset));
    }
    await fill(part.byteLength);
  } finally {
    await file.close();
  }
}

/** Writes all of `bytes` at `position`, and returns the position after them. */
export async function append(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, 2 ** 30); // one write takes less than 2 GiB
    done += (await file.write(bytes, done, length, position + done)).bytesWritten;
  }
  return position + bytes.length;
}
