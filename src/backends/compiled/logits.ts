// What is told of rows of logits, so that no whole row need be read. Mirrors the commands of kernels/program.cpp.
import { massTokens } from '../backend.ts';
import { commands } from './commands.ts';
import type { Device } from './device.ts';
import type { PlacedTensor } from './tensor.ts';

/** Numbers up to which one thread is sooner done than several that must meet. */
const alone = 8192;

/** The k largest of each row and where they are. @throws RangeError when k is not 1 … a row's length */
export function enqueueTopK(device: Device, x: PlacedTensor, k: number): { ids: PlacedTensor; values: PlacedTensor } {
  const { rows, rowLength: n, storage } = x;
  if (!Number.isInteger(k) || k < 1 || k > n)
    throw new RangeError(`The ${k} largest of rows of ${n} cannot be taken; k must be 1 … ${n}.`);
  const shape = x.shape.with(-1, k);
  const ids = device.activation(storage.bank, 'I32', shape, rows * k);
  const values = device.activation(storage.bank, 'F32', shape, rows * k);
  device.enqueue(storage.bank, {
    kind: commands.TopK,
    arguments: [storage.start, rows, n, k, ids.storage.start, values.storage.start],
    reads: [storage],
    writes: [ids.storage, values.storage],
    single: x.size * k <= alone,
  });
  return { ids, values };
}

/** See `Backend.softmaxSums`. */
export function enqueueSoftmaxSums(device: Device, x: PlacedTensor): PlacedTensor {
  const { rows, rowLength, storage } = x;
  const y = device.activation(storage.bank, 'F32', x.shape.with(-1, 2), rows * 2);
  device.enqueue(storage.bank, {
    kind: commands.SoftmaxSums,
    arguments: [storage.start, rows, rowLength, y.storage.start],
    reads: [storage],
    writes: [y.storage],
    single: x.size <= alone,
  });
  return y;
}

/** See `Backend.softmaxMasses`. */
export function enqueueSoftmaxMasses(device: Device, x: PlacedTensor, temperatures: Float32Array): PlacedTensor {
  const { rows, rowLength, storage } = x;
  const at = device.input(storage.bank, 4 * temperatures.length);
  storage.bank.floats(at, temperatures.length).set(temperatures);
  const masses = Math.ceil(rowLength / massTokens);
  const y = device.activation(storage.bank, 'F32', x.shape.with(-1, masses), rows * masses);
  device.enqueue(storage.bank, {
    kind: commands.SoftmaxMasses,
    arguments: [storage.start, at, rows, rowLength, y.storage.start],
    reads: [storage],
    writes: [y.storage],
    single: x.size <= alone,
  });
  return y;
}
