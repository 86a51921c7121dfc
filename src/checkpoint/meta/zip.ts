// Where the entries of a zip archive lie: its directory is read, also in the 64-bit form; entries are stored as they are or refused.
// Source: PKWARE APPNOTE.TXT 4.3. PyTorch writes archives without compression, and aligns entries with padding in local headers.
import { CheckpointError } from '../checkpoint.ts';
import { shown } from '../gguf-header.ts';
import type { Source } from '../sources.ts';

export interface ZipEntry {
  readonly name: string;
  /** Of the entry's bytes, from the start of the archive. */
  readonly offset: number;
  readonly size: number;
}

const maxDirectoryBytes = 16 * 2 ** 20;
const maxEntries = 2 ** 16;
const endBytes = 22;
const signatures = {
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
  directory: 0x02014b50,
  local: 0x04034b50,
};
const in64 = 0xffffffff;

/** @throws CheckpointError when it is no zip archive, or one whose directory and entries do not agree */
export async function readZip(source: Source): Promise<Map<string, ZipEntry>> {
  const { path, size } = source;
  const fail = (message: string): never => {
    throw new CheckpointError(path, `zip archive: ${message}; the file is damaged or truncated, fetch it again.`);
  };
  const read = async (offset: number, length: number, what: string): Promise<DataView> => {
    if (!(offset >= 0 && length >= 0 && offset + length <= size))
      fail(`${what} is said to be at ${offset} to ${offset + length}, but the file ends at ${size}`);
    const bytes = new Uint8Array(length);
    if ((await source.read(offset, bytes)) < length) fail('it has become shorter');
    return new DataView(bytes.buffer);
  };
  const { start, length, count } = await findDirectory(source, read, fail);
  if (length > maxDirectoryBytes || count > maxEntries) fail(`its directory has ${count} entries in ${length} bytes`);
  const directory = await read(start, length, 'its directory');
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > length || directory.getUint32(at, true) !== signatures.directory)
      fail(`entry ${i + 1} of ${count} is none`);
    const method = directory.getUint16(at + 10, true);
    const nameLength = directory.getUint16(at + 28, true);
    const extraLength = directory.getUint16(at + 30, true);
    const next = at + 46 + nameLength + extraLength + directory.getUint16(at + 32, true);
    if (next > length) fail(`entry ${i + 1} of ${count} reaches beyond its directory`);
    const name = new TextDecoder('latin1').decode(new Uint8Array(directory.buffer, at + 46, nameLength));
    const wide = wideSizes(directory, at, at + 46 + nameLength, extraLength);
    if (!wide) return fail(`entry ${shown(name)} lacks its 64-bit sizes`);
    if (method !== 0 || wide.packed !== wide.size)
      throw new CheckpointError(
        path,
        `zip entry ${shown(name)} is compressed; wanted one stored as it is, as torch.save writes.`,
      );
    if (entries.has(name)) fail(`entry ${shown(name)} is there twice`);
    const local = await read(wide.offset, 30, `entry ${shown(name)}`);
    if (local.getUint32(0, true) !== signatures.local) fail(`entry ${shown(name)} has no header at ${wide.offset}`);
    const offset = wide.offset + 30 + local.getUint16(26, true) + local.getUint16(28, true);
    if (offset + wide.size > start)
      fail(`entry ${shown(name)} reaches to ${offset + wide.size}, into the directory at ${start}`);
    entries.set(name, { name, offset, size: wide.size });
    at = next;
  }
  return entries;
}

/** Sizes and place of a directory's entry: 32 bits each, or where those are all ones 64 in an extra field, in this order. */
function wideSizes(
  view: DataView,
  at: number,
  extra: number,
  extraLength: number,
): { packed: number; size: number; offset: number } | null {
  const narrow = {
    size: view.getUint32(at + 24, true),
    packed: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
  };
  let field = extra;
  const end = extra + extraLength;
  while (field + 4 <= end && view.getUint16(field, true) !== 1) field += 4 + view.getUint16(field + 2, true);
  let value = field + 4;
  const fieldEnd = field + 4 <= end ? Math.min(end, value + view.getUint16(field + 2, true)) : 0;
  const wide = { ...narrow };
  for (const key of ['size', 'packed', 'offset'] as const) {
    if (narrow[key] !== in64) continue;
    if (value + 8 > fieldEnd) return null;
    wide[key] = Number(view.getBigUint64(value, true));
    value += 8;
  }
  return wide;
}

type Read = (offset: number, length: number, what: string) => Promise<DataView>;
type Fail = (message: string) => never;

/** The end of the archive says where its directory is. Behind it a comment of 64 KiB may stand. */
async function findDirectory({ size }: Source, read: Read, fail: Fail) {
  const tailBytes = Math.min(size, endBytes + 65_535);
  const tail = await read(size - tailBytes, tailBytes, 'its end');
  let end = tailBytes - endBytes;
  while (end >= 0 && tail.getUint32(end, true) !== signatures.end) end--;
  if (end < 0) return fail('it has no end');
  const directory = {
    count: tail.getUint16(end + 10, true),
    length: tail.getUint32(end + 12, true),
    start: tail.getUint32(end + 16, true),
  };
  const locator = end - 20;
  if (locator < 0 || tail.getUint32(locator, true) !== signatures.locator64) return directory;
  const wide = await read(Number(tail.getBigUint64(locator + 8, true)), 56, 'its 64-bit end');
  if (wide.getUint32(0, true) !== signatures.end64) return fail('its 64-bit end is none');
  return {
    count: Number(wide.getBigUint64(32, true)),
    length: Number(wide.getBigUint64(40, true)),
    start: Number(wide.getBigUint64(48, true)),
  };
}
