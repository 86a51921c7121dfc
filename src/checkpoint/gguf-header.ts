// Reads a GGUF header: metadata, and where each tensor lies. Everything is checked against the file's size before it is believed.
// Source: ggml-org/ggml docs/gguf.md (versions 2 and 3, which share one layout).
import { CheckpointError, type MetadataValue, type TensorInfo } from './checkpoint.ts';
import { byteLengthOf, dtypeOfGgml, formats } from './dtype.ts';
import { lookOf } from './file-kind.ts';
import {
  alignUp,
  defaultAlignment,
  ggmlTypeName,
  ggufMagic,
  type ValueType,
  valueBytes,
  valueTypes,
} from './gguf-format.ts';
import { HeaderCursor } from './header-cursor.ts';
import type { Source } from './sources.ts';

/** Limits far above what any model needs, so that a hostile file cannot make us allocate what it does not hold. */
const maxEntries = 2 ** 16;
const maxTensors = 2 ** 17;
const maxNameBytes = 2 ** 16 - 1;
const maxTextBytes = 2 ** 24;
const maxElements = 2 ** 22; // of all arrays together
const maxDepth = 4;
const nestedArrayCost = 1024; // elements: no known model nests arrays, and an empty one takes 12 bytes in a file and far more here
const maxAlignment = 2 ** 30;
const maxDimensions = 4;

const tensorBytes = 8 + 1 + 4 + 8 + 4 + 8; // the least a tensor takes in a header: name, dimensions, type, offset
const entryBytes = 8 + 1 + 4 + 1; // the least a metadata entry takes: key, type, value

/** A tensor, and its place in the file. */
export interface PlacedTensor extends TensorInfo {
  /** Bytes from the start of the file. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  readonly types: ReadonlyMap<string, ValueType>;
  /** The types of arrays' elements. */
  readonly elementTypes: ReadonlyMap<string, ValueType>;
  readonly tensors: ReadonlyMap<string, PlacedTensor>;
}

/** @throws CheckpointError naming the field that is wrong, what it is, and what it must be. */
export async function readGgufHeader(source: Source): Promise<GgufHeader> {
  const cursor = new HeaderCursor(source);
  await readMagic(cursor, source);
  cursor.field = 'header';
  await cursor.need(16);
  const tensorCount = cursor.count('the tensor count', tensorBytes, maxTensors);
  const entryCount = cursor.count('the metadata count', entryBytes, maxEntries);
  const { metadata, types, elementTypes } = await readMetadata(cursor, entryCount);
  const tensors = await readTensors(cursor, tensorCount);
  const alignment = integerOf(source.path, { metadata, types }, 'general.alignment', 1, maxAlignment, defaultAlignment);
  if (!Number.isInteger(Math.log2(alignment)))
    throw new CheckpointError(source.path, `metadata general.alignment is ${alignment}; it must be a power of two.`);
  return {
    metadata,
    types,
    elementTypes,
    tensors: placeTensors(source, tensors, alignUp(cursor.position, alignment), alignment),
  };
}

/** A whole number among the metadata, or `fallback` where the key is absent. */
export function integerOf(
  path: string,
  header: Pick<GgufHeader, 'metadata' | 'types'>,
  key: string,
  least: number,
  most: number,
  fallback: number,
): number {
  const value = header.metadata.get(key);
  if (value === undefined) return fallback;
  const type = header.types.get(key)!;
  if (!/^[ui]\d+$/.test(type))
    throw new CheckpointError(path, `metadata ${key} is of type ${type}; it must be a whole number.`);
  if (typeof value !== 'number' || value < least || value > most)
    throw new CheckpointError(path, `metadata ${key} is ${value}; it must be from ${least} to ${most}.`);
  return value;
}

async function readMagic(cursor: HeaderCursor, source: Source): Promise<void> {
  cursor.field = 'magic';
  await cursor.need(Math.min(4, source.size));
  if (cursor.available < 4 || cursor.u32() !== ggufMagic) {
    const head = new Uint8Array(Math.min(16, source.size));
    await source.read(0, head);
    cursor.fail(`this is no GGUF file: ${lookOf(head, source.size)}.`);
  }
  cursor.field = 'version';
  await cursor.need(4);
  const version = cursor.u32();
  if (version === 2 || version === 3) return;
  if (version !== 0 && version % 2 ** 16 === 0)
    cursor.fail('this is a big-endian GGUF file; convert it to little-endian (gguf-py: gguf-convert-endian).');
  cursor.fail(`GGUF version ${version} is not supported, 2 and 3 are; make the file again with a current converter.`);
}

async function readMetadata(cursor: HeaderCursor, count: number): Promise<Omit<GgufHeader, 'tensors'>> {
  const metadata = new Map<string, MetadataValue>();
  const types = new Map<string, ValueType>();
  const elementTypes = new Map<string, ValueType>();
  const budget = { elements: maxElements };
  for (let i = 0; i < count; i++) {
    cursor.field = `metadata key ${i + 1} of ${count}`;
    const key = await readName(cursor);
    cursor.field = `metadata ${shown(key)}`;
    if (metadata.has(key)) cursor.fail('the key is given twice; the file is damaged.');
    const type = await readType(cursor);
    metadata.set(key, await readValue(cursor, type, budget, 0, element => elementTypes.set(key, element)));
    types.set(key, type);
  }
  return { metadata, types, elementTypes };
}

async function readName(cursor: HeaderCursor): Promise<string> {
  await cursor.need(8);
  const length = cursor.count('the length of its name', 1, maxNameBytes);
  if (length === 0) cursor.fail('its name is empty; the file is damaged.');
  await cursor.need(length);
  return cursor.text(length);
}

async function readType(cursor: HeaderCursor): Promise<ValueType> {
  await cursor.need(4);
  const id = cursor.u32();
  return valueTypes[id] ?? cursor.fail(`value type ${id} is unknown; 0 to ${valueTypes.length - 1} are defined.`);
}

async function readValue(
  cursor: HeaderCursor,
  type: ValueType,
  budget: { elements: number },
  depth: number,
  onArray: (elements: ValueType) => void,
): Promise<MetadataValue> {
  await cursor.need(valueBytes[type]);
  if (type === 'array') return readArray(cursor, budget, depth + 1, onArray);
  if (type !== 'string') return cursor.scalar(type);
  const length = cursor.count('the length of its text', 1, maxTextBytes);
  await cursor.need(length);
  return cursor.text(length);
}

async function readArray(
  cursor: HeaderCursor,
  budget: { elements: number },
  depth: number,
  onArray: (elements: ValueType) => void = () => {},
): Promise<MetadataValue> {
  if (depth > maxDepth) cursor.fail(`arrays lie more than ${maxDepth} deep in each other; the file is damaged.`);
  const type = await readType(cursor);
  onArray(type);
  await cursor.need(8);
  const bytes = valueBytes[type];
  const cost = type === 'array' ? nestedArrayCost : 1;
  const count = cursor.count('the length of its array', bytes, Math.floor(budget.elements / cost));
  budget.elements -= count * cost;
  if (type === 'string') return cursor.texts(count, maxTextBytes);
  const values = new Array<MetadataValue>(count);
  for (let i = 0; i < count; i++) {
    if (cursor.available < bytes) await cursor.need(bytes); // to await each would take longer than to read
    values[i] = type === 'array' ? await readArray(cursor, budget, depth + 1) : cursor.scalar(type);
  }
  return values;
}

async function readTensors(cursor: HeaderCursor, count: number): Promise<Map<string, PlacedTensor>> {
  const tensors = new Map<string, PlacedTensor>();
  for (let i = 0; i < count; i++) {
    cursor.field = `tensor ${i + 1} of ${count}`;
    const name = await readName(cursor);
    cursor.field = `tensor ${shown(name)}`;
    if (tensors.has(name)) cursor.fail('the name is given twice; the file is damaged.');
    await cursor.need(4);
    const dimensions = cursor.u32();
    if (dimensions < 1 || dimensions > maxDimensions)
      cursor.fail(`has ${dimensions} dimensions; it must have 1 to ${maxDimensions}.`);
    await cursor.need(8 * dimensions + 4 + 8);
    const shape: (number | bigint)[] = [];
    for (let d = 0; d < dimensions; d++) shape.unshift(cursor.u64()); // a file names the innermost first
    tensors.set(name, sizeTensor(cursor, name, shape));
  }
  return tensors;
}

/** `offset` is still what the file says: bytes from the start of the data. */
function sizeTensor(cursor: HeaderCursor, name: string, shape: readonly (number | bigint)[]): PlacedTensor {
  const ggmlType = cursor.u32();
  const offset = cursor.u64();
  const dtype = dtypeOfGgml(ggmlType);
  if (!dtype)
    return cursor.fail(
      `its type is ${ggmlTypeName(ggmlType) ?? 'unknown'} (ggml id ${ggmlType}), which is not supported yet; use a file with ${Object.keys(formats).join(', ')}.`,
    );
  let elements = 1;
  for (const size of shape) {
    elements *= Number(size);
    if (typeof size === 'bigint' || size === 0 || !Number.isSafeInteger(elements * 4))
      return cursor.fail(
        `shape [${shape.join(', ')}] must be of numbers above 0 whose product is a size a file can have.`,
      );
  }
  const sizes = shape as readonly number[];
  const { blockSize } = formats[dtype];
  if (sizes.at(-1)! % blockSize !== 0)
    cursor.fail(
      `its innermost dimension ${sizes.at(-1)} must be a multiple of ${blockSize}, the block of ${dtype}; the file is damaged.`,
    );
  if (typeof offset === 'bigint') return cursor.fail(`its offset ${offset} lies beyond any file.`);
  return { name, dtype, shape: sizes, byteLength: byteLengthOf(dtype, elements), offset };
}

/** Puts the tensors into the file, and checks that each lies in it, alone. */
function placeTensors(
  source: Source,
  tensors: ReadonlyMap<string, PlacedTensor>,
  dataStart: number,
  alignment: number,
): Map<string, PlacedTensor> {
  const fail = (name: string, message: string): never => {
    throw new CheckpointError(source.path, `tensor ${shown(name)}: ${message}`);
  };
  const placed = new Map<string, PlacedTensor>();
  for (const [name, tensor] of tensors) {
    if (tensor.offset % alignment !== 0)
      fail(name, `its offset ${tensor.offset} is not a multiple of the alignment ${alignment}; the file is damaged.`);
    const offset = dataStart + tensor.offset;
    const end = offset + tensor.byteLength;
    if (end > source.size)
      fail(
        name,
        `its data reach from offset ${offset} to ${end}, but the file ends at ${source.size}; it is truncated or damaged, fetch it again.`,
      );
    placed.set(name, { ...tensor, offset });
  }
  let last: PlacedTensor | undefined;
  for (const tensor of [...placed.values()].sort((a, b) => a.offset - b.offset)) {
    if (last && tensor.offset < last.offset + last.byteLength)
      fail(
        tensor.name,
        `its data at offset ${tensor.offset} overlap those of ${shown(last.name)}; the file is damaged.`,
      );
    last = tensor;
  }
  return placed;
}

/** A name as a message may carry it: short, and without control characters. */
export const shown = (name: string): string =>
  /^[\w./:-]{1,100}$/.test(name) ? name : JSON.stringify(name.length > 100 ? `${name.slice(0, 99)}…` : name);
