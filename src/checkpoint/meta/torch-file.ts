// The tensors of a file that torch.save wrote: the archive's directory and its pickle are read, numbers are not.
import { CheckpointError } from '../checkpoint.ts';
import { lookOf } from '../file-kind.ts';
import { shown } from '../gguf-header.ts';
import { type NumberType, numberBytes } from '../numbers.ts';
import { elementsOf, type RawTensor } from '../raw-tensors.ts';
import type { Source } from '../sources.ts';
import { PickleError, readTensorPickle } from './pickle.ts';
import { readZip } from './zip.ts';

const maxPickleBytes = 16 * 2 ** 20;

const types: Readonly<Record<string, NumberType>> = {
  FloatStorage: 'F32',
  DoubleStorage: 'F64',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
};

/** @throws CheckpointError when it is no such file, or names what Python would have to run */
export async function readTorchFile(source: Source): Promise<Map<string, RawTensor>> {
  const { path, size } = source;
  const fail = (message: string): never => {
    throw new CheckpointError(path, message);
  };
  const head = new Uint8Array(Math.min(16, size));
  await source.read(0, head);
  if (head[0] !== 0x50 || head[1] !== 0x4b) fail(`this is no file of torch.save: ${lookOf(head, size)}.`);
  const entries = await readZip(source);
  const pickle = [...entries.values()].find(entry => /^[^/]+\/data\.pkl$/.test(entry.name));
  if (!pickle)
    return fail(
      'the archive has no data.pkl: torch.save did not write it, or in a form of before 2020. Get the model as safetensors.',
    );
  if (pickle.size > maxPickleBytes) fail(`data.pkl has ${pickle.size} bytes; at most ${maxPickleBytes} are read.`);
  const folder = pickle.name.slice(0, pickle.name.indexOf('/'));
  const order = entries.get(`${folder}/byteorder`);
  const bytes = new Uint8Array(pickle.size);
  if ((await source.read(pickle.offset, bytes)) < bytes.length) fail('data.pkl: the file has become shorter.');
  if (order && order.size === 3) fail('its numbers are big-endian; save it again on, or for, a little-endian machine.');
  let pickled: ReturnType<typeof readTensorPickle>;
  try {
    pickled = readTensorPickle(bytes);
  } catch (error) {
    if (!(error instanceof PickleError)) throw error;
    throw new CheckpointError(path, `data.pkl: ${error.message}. Get the model as safetensors.`, { cause: error });
  }
  const tensors = new Map<string, RawTensor>();
  for (const [name, { storage, key, start, shape, strides }] of pickled) {
    const wrong = (message: string): never => fail(`tensor ${shown(name)}: ${message}`);
    const type =
      types[storage] ?? wrong(`its storage is ${shown(storage)}; known are ${Object.keys(types).join(', ')}.`);
    const entry =
      entries.get(`${folder}/data/${key}`) ?? wrong(`the archive has no entry ${shown(`data/${key}`)}; it is damaged.`);
    const byteLength = elementsOf(shape) * numberBytes[type];
    const offset = start * numberBytes[type];
    if (!Number.isSafeInteger(offset + byteLength) || offset + byteLength > entry.size)
      wrong(
        `[${shape.join(', ')}] from number ${start} on takes more than the ${entry.size} bytes of entry ${shown(`data/${key}`)}.`,
      );
    let dense = 1;
    for (let i = shape.length - 1; i >= 0; i--) {
      if (shape[i]! > 1 && strides[i] !== dense)
        wrong(
          `its strides are [${strides.join(', ')}] for [${shape.join(', ')}]; only tensors whose rows lie one after another are read.`,
        );
      dense *= shape[i]!;
    }
    tensors.set(name, { name, type, shape, source, offset: entry.offset + offset, byteLength });
  }
  return tensors;
}
