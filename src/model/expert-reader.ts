// Reads an expert into its slot: straight from its file where the backend can, else through the checkpoint and `write`.
import { type Backend, type FilePart, FileReadError, type FileReading, type Tensor } from '../backends/backend.ts';
import { type Checkpoint, CheckpointError, type TensorInfo } from '../checkpoint/checkpoint.ts';
import { Checksum, chunkRowsOf } from './checksum.ts';
import type { Slot } from './expert-slots.ts';
import type { ExpertTensors } from './expert-stream.ts';

/**
 * Reads expert number `expert` of a layer into a slot, beside whatever computes; what nobody waits for yet is not urgent.
 * `done` rejects with CheckpointError, or with FileReadError where it was cancelled.
 */
export type ReadExpert = (layer: ExpertTensors, expert: number, slot: Slot, urgent: boolean) => FileReading;

/**
 * Makes a weight of what a checkpoint holds, straight from its file: fast from a disk, and without leaving a second copy in the system's
 * cache of files. Null where there is no such way, or nothing worth it.
 */
export async function fetchWeight(
  backend: Backend,
  checkpoint: Checkpoint,
  tensor: TensorInfo,
): Promise<Tensor | null> {
  const { shape, byteLength, dtype } = tensor;
  const place = shape.length === 2 && backend.fetch && checkpoint.placeOf?.(tensor);
  if (!place) return null;
  const into = backend.reserve(dtype, shape);
  const chunkRows = chunkRowsOf(byteLength / shape[0]!);
  try {
    await backend.fetch!([{ into, index: 0, ...place, chunkRows }], true).done;
  } catch (error) {
    if (!(error instanceof FileReadError)) throw error;
    throw new CheckpointError(place.path, `${tensor.name}: ${error.message}.`, { cause: error });
  }
  return into;
}

/** The fastest way there is for this backend and this checkpoint. */
export function expertReader(backend: Backend, checkpoint: Checkpoint): ReadExpert {
  const portable = checkpointReader(backend, checkpoint);
  return (layer, expert, slot, urgent) => {
    const parts = backend.fetch && partsOf(checkpoint, layer, expert, slot);
    if (!parts) return portable(layer, expert, slot, urgent);
    const what = `expert ${expert} of ${layer.gate.name}`;
    const failed = (error: unknown): unknown =>
      error instanceof FileReadError && error.reason !== 'cancelled'
        ? new CheckpointError(parts[0]!.path, `${what}: ${error.message}.`, { cause: error })
        : error;
    try {
      const reading = backend.fetch!(parts, urgent);
      return {
        ...reading,
        done: reading.done.catch(error => {
          throw failed(error);
        }),
      };
    } catch (error) {
      return { done: Promise.reject(failed(error)), hurry() {}, cancel() {} };
    }
  };
}

const matrices = ['gate', 'up', 'down'] as const;

/** Where an expert's matrices lie, or null where one is in no file of its own. */
function partsOf(checkpoint: Checkpoint, layer: ExpertTensors, expert: number, slot: Slot): FilePart[] | null {
  const parts: FilePart[] = [];
  for (const name of matrices) {
    const from = layer[name];
    const place = checkpoint.placeOf?.(from);
    if (!place) return null;
    const [experts, rows] = from.shape as readonly [number, number, number];
    parts.push({
      into: slot.tensors[name],
      index: slot.index,
      path: place.path,
      offset: place.offset + expert * (from.byteLength / experts),
      chunkRows: chunkRowsOf(from.byteLength / experts / rows),
    });
  }
  return parts;
}

/** The way that works everywhere. What is not urgent is urgent here, too: no more than that can be said to a file. */
export const checkpointReader =
  (backend: Backend, checkpoint: Checkpoint): ReadExpert =>
  (layer, expert, { tensors, index }) => {
    const sum = new Checksum(
      matrices.map(name => {
        const { byteLength, shape } = layer[name];
        const bytes = byteLength / shape[0]!;
        const rowBytes = bytes / shape[1]!;
        return { bytes, chunkBytes: chunkRowsOf(rowBytes) * rowBytes };
      }),
    );
    const one = (part: number, into: Tensor, from: TensorInfo): Promise<void> => {
      const first = expert * (from.byteLength / from.shape[0]!);
      let before: Promise<void> = Promise.resolve(); // pieces are asked for in order, and may come in any
      return backend.write(into, index, (bytes, offset) => {
        const earlier = before;
        const done = checkpoint.read(from, first + offset, bytes).then(async () => {
          await earlier;
          sum.add(part, bytes);
        });
        before = done.catch(() => {});
        return done;
      });
    };
    const read = async (): Promise<bigint> => {
      // All three end before this does, so that nobody writes into a slot that was given up.
      const ends = await Promise.allSettled(matrices.map((name, part) => one(part, tensors[name], layer[name])));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      await checkpoint.checkUnchanged?.();
      return sum.value;
    };
    return { done: read(), hurry() {}, cancel() {} };
  };
