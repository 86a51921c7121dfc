// A GGUF file, or all parts of a split one, as a checkpoint: its header is read when it is opened, its tensors when asked for.
import { type Checkpoint, CheckpointError, type MetadataValue, type TensorInfo } from './checkpoint.ts';
import { parsePartPath, partPath, type ValueType } from './gguf-format.ts';
import { type GgufHeader, integerOf, type PlacedTensor, readGgufHeader, shown } from './gguf-header.ts';
import { withoutOllama } from './ollama.ts';
import { type OpenSource, openFile, type Source } from './sources.ts';

/**
 * Opens a GGUF file of version 2 or 3. Any part of a split file opens all parts, which must lie beside it. Nothing but headers is
 * read, and nothing is kept open when opening fails.
 *
 * @param open How to get at a path's bytes; a file on disk where absent.
 * @throws CheckpointError naming the file and the field that is wrong.
 */
export async function openGguf(path: string, open: OpenSource = openFile): Promise<Checkpoint> {
  const sources: Source[] = [];
  const openPart = async (partPath: string): Promise<Part> => {
    const source = await open(partPath);
    sources.push(source);
    return { source, header: await readGgufHeader(source) };
  };
  try {
    const named = await openPart(path);
    const parts = await openParts(named, openPart);
    return new GgufCheckpoint(parts);
  } catch (error) {
    await Promise.all(sources.map(source => source[Symbol.asyncDispose]()));
    throw error;
  }
}

interface Part {
  readonly source: Source;
  readonly header: GgufHeader;
}

/** All parts of the file that `named` is a part of, in order. */
async function openParts(named: Part, openPart: (path: string) => Promise<Part>): Promise<Part[]> {
  const { path } = named.source;
  const count = integerOf(path, named.header, 'split.count', 1, 65535, 1);
  const name = parsePartPath(path);
  if (count === 1 && (name?.parts ?? 1) === 1) return [named];
  if (!name)
    throw new CheckpointError(
      path,
      `metadata split.count is ${count}: it is one part of a split file, and must keep its name, …-00001-of-${String(count).padStart(5, '0')}.gguf.`,
    );
  if (name.parts !== count)
    throw new CheckpointError(
      path,
      `metadata split.count is ${named.header.metadata.has('split.count') ? count : 'missing'}, but its name says ${name.parts} parts; give it the name it was made with.`,
    );
  if (name.part < 1 || name.part > count)
    throw new CheckpointError(path, `its name says part ${name.part} of ${count}; give it the name it was made with.`);
  checkNumber(named, name.part);
  const parts: Part[] = [];
  for (let number = 1; number <= count; number++)
    parts.push(
      number === name.part ? named : await openSibling(named, partPath(name.stem, number, count), number, openPart),
    );
  return parts;
}

async function openSibling(
  named: Part,
  path: string,
  number: number,
  openPart: (path: string) => Promise<Part>,
): Promise<Part> {
  let part: Part;
  try {
    part = await openPart(path);
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new CheckpointError(
      path,
      `part ${number} of the file that ${named.source.path} is a part of: ${error.message.slice(error.path.length + 2)}`,
      {
        cause: error,
      },
    );
  }
  const { path: namedPath } = named.source;
  for (const key of ['split.count', 'split.tensors.count']) {
    const here = integerOf(path, part.header, key, 0, 2 ** 31 - 1, -1);
    const there = integerOf(namedPath, named.header, key, 0, 2 ** 31 - 1, -1);
    if (here !== there)
      throw new CheckpointError(
        path,
        `metadata ${key} is ${orMissing(here)}, but ${orMissing(there)} in ${namedPath}; they are parts of two files.`,
      );
  }
  checkNumber(part, number);
  return part;
}

function checkNumber({ source, header }: Part, number: number): void {
  const got = integerOf(source.path, header, 'split.no', 0, 65534, -1);
  if (got !== number - 1)
    throw new CheckpointError(
      source.path,
      `metadata split.no is ${orMissing(got)}, but part ${number} by its name has ${number - 1}; give it the name it was made with.`,
    );
}

const orMissing = (value: number): number | string => (value === -1 ? 'missing' : value);

class GgufCheckpoint implements Checkpoint {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly metadataTypes: ReadonlyMap<string, ValueType>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly #places = new Map<string, { readonly source: Source; readonly tensor: PlacedTensor }>();
  readonly #sources: readonly Source[];

  constructor(parts: readonly Part[]) {
    const first = parts[0]!;
    this.path = first.source.path;
    this.metadata = withoutOllama(first.header.metadata);
    this.metadataTypes = new Map([...first.header.types, ...first.header.elementTypes]);
    this.#sources = parts.map(({ source }) => source);
    const tensors = new Map<string, TensorInfo>();
    for (const { source, header } of parts)
      for (const [name, tensor] of header.tensors) {
        const other = this.#places.get(name);
        if (other)
          throw new CheckpointError(
            source.path,
            `tensor ${shown(name)}: ${other.source.path} has it too; one part is wrong.`,
          );
        this.#places.set(name, { source, tensor });
        const { dtype, shape, byteLength } = tensor;
        tensors.set(name, { name, dtype, shape, byteLength });
      }
    this.tensors = tensors;
    const wanted = integerOf(this.path, first.header, 'split.tensors.count', 0, 2 ** 31 - 1, tensors.size);
    if (wanted !== tensors.size)
      throw new CheckpointError(
        this.path,
        `metadata split.tensors.count is ${wanted}, but ${parts.length} parts hold ${tensors.size} tensors; a part is wrong.`,
      );
  }

  async read(tensor: TensorInfo, offset: number, into: Uint8Array): Promise<void> {
    const place = this.#places.get(tensor.name);
    if (!place) throw new CheckpointError(this.path, `tensor ${shown(tensor.name)}: there is none of this name.`);
    const { source, tensor: placed } = place;
    const fail = (message: string): never => {
      throw new CheckpointError(source.path, `tensor ${shown(tensor.name)}: ${message}`);
    };
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + into.length > placed.byteLength)
      fail(`bytes ${offset} to ${offset + into.length} were asked for; it has ${placed.byteLength}.`);
    const got = await source.read(placed.offset + offset, into).catch((error: unknown) => {
      if (!(error instanceof CheckpointError)) throw error;
      throw new CheckpointError(
        source.path,
        `tensor ${shown(tensor.name)}: ${error.message.slice(error.path.length + 2)}`,
        { cause: error },
      );
    });
    if (got < into.length)
      fail(
        `the file was ${source.size} bytes when opened and now ends at ${placed.offset + offset + got}; fetch it again.`,
      );
  }

  placeOf(tensor: TensorInfo): { path: string; offset: number } | null {
    const place = this.#places.get(tensor.name);
    return place?.source.checkUnchanged ? { path: place.source.path, offset: place.tensor.offset } : null;
  }

  get version(): string | undefined {
    const versions = this.#sources.map(source => source.version);
    return versions.includes(undefined) ? undefined : versions.join(', ');
  }

  async checkUnchanged(): Promise<void> {
    for (const source of this.#sources) await source.checkUnchanged?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sources.map(source => source[Symbol.asyncDispose]()));
  }
}
