// Reads a safetensors header: eight bytes of length, JSON of names, types, shapes and places, then the numbers. All of it is doubted.
// Source: huggingface/safetensors README ("Format"); its validation is stricter than most readers, and this one as strict.
import { CheckpointError } from './checkpoint.ts';
import { lookOf } from './file-kind.ts';
import { shown } from './gguf-header.ts';
import { Fields, parseJson, shownJson } from './json.ts';
import { isNumberType, numberBytes } from './numbers.ts';
import { elementsOf, type RawTensor } from './raw-tensors.ts';
import type { Source } from './sources.ts';

/** The header of Maverick's 18,900 FP8 tensors, were they all in one file, takes 3 MiB. */
const maxHeaderBytes = 16 * 2 ** 20;
const maxTensors = 2 ** 17;
const maxDimensions = 8;

/** @throws CheckpointError naming the field or the tensor that is wrong, what it is, and what it must be. */
export async function readSafetensorsHeader(source: Source): Promise<Map<string, RawTensor>> {
  const { path, size } = source;
  const fail = (message: string): never => {
    throw new CheckpointError(path, message);
  };
  const head = new Uint8Array(Math.min(16, size));
  await source.read(0, head);
  if (head.length < 10 || head[8] !== 0x7b) fail(`header: this is no safetensors file: ${lookOf(head, size)}.`);
  const length = new DataView(head.buffer).getBigUint64(0, true);
  if (length > maxHeaderBytes)
    fail(`header: its length is ${length} bytes; at most ${maxHeaderBytes} are read. The file is damaged or no model.`);
  const start = 8 + Number(length);
  if (start > size)
    fail(`header: its length is ${length} bytes, but the file ends at ${size}; it is truncated, fetch it again.`);
  const bytes = new Uint8Array(Number(length));
  if ((await source.read(8, bytes)) < bytes.length) fail('header: the file has become shorter; something changes it.');
  const header = new Fields(path, parseJson(path, bytes));
  const names = header.keys().filter(name => name !== '__metadata__');
  if (names.length > maxTensors) fail(`header: ${names.length} tensors, more than the ${maxTensors} supported.`);
  const tensors = new Map(names.map(name => [name, tensorOf(source, header, name, start)]));
  checkPlaces(source, [...tensors.values()], start);
  return tensors;
}

function tensorOf(source: Source, header: Fields, name: string, start: number): RawTensor {
  const fail = (message: string): never => {
    throw new CheckpointError(source.path, `tensor ${shown(name)}: ${message}`);
  };
  if (name === '' || name.length > 1000) fail('its name must have 1 to 1000 characters; the file is damaged.');
  const entry = new Fields(source.path, header.get(name), `tensor ${shown(name)}: `);
  const extra = entry.keys().find(key => key !== 'dtype' && key !== 'shape' && key !== 'data_offsets');
  if (extra !== undefined) fail(`has a field ${shown(extra)}, which safetensors does not; the file is damaged.`);
  const type = entry.get('dtype');
  if (!isNumberType(type))
    return fail(`its dtype is ${shownJson(type)}; known are ${Object.keys(numberBytes).join(', ')}.`);
  const shape = entry.integers('shape', 0, Number.MAX_SAFE_INTEGER) ?? fail('it has no shape; the file is damaged.');
  if (shape.length > maxDimensions) fail(`has ${shape.length} dimensions; at most ${maxDimensions} are supported.`);
  const byteLength = elementsOf(shape) * numberBytes[type];
  if (!Number.isSafeInteger(byteLength)) fail(`shape [${shape.join(', ')}] takes more bytes than a file can hold.`);
  const places = entry.integers('data_offsets', 0, Number.MAX_SAFE_INTEGER);
  if (places?.length !== 2)
    return fail(`its data_offsets are ${shownJson(entry.get('data_offsets'))}, wanted [begin, end].`);
  const [begin, end] = places as [number, number];
  if (end - begin !== byteLength)
    fail(
      `its data_offsets [${begin}, ${end}] hold ${end - begin} bytes, but ${type} [${shape.join(', ')}] takes ${byteLength}.`,
    );
  if (start + end > source.size)
    fail(`its data reach to ${start + end}, but the file ends at ${source.size}; it is truncated, fetch it again.`);
  return { name, type, shape, source, offset: start + begin, byteLength };
}

/** The tensors cover the rest of the file, each alone and without gaps. */
function checkPlaces({ path, size }: Source, tensors: RawTensor[], start: number): void {
  let at = start;
  for (const tensor of tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    if (tensor.offset !== at) {
      const what =
        tensor.offset < at ? 'overlap those of another tensor' : `leave a gap of ${tensor.offset - at} bytes`;
      throw new CheckpointError(
        path,
        `tensor ${shown(tensor.name)}: its data at ${tensor.offset} ${what}; the file is damaged.`,
      );
    }
    at += tensor.byteLength;
  }
  if (at !== size)
    throw new CheckpointError(
      path,
      `its tensors end at ${at}, but the file at ${size}; it is damaged, fetch it again.`,
    );
}
