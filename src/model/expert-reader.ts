// Reads an expert into its slot in the way that works everywhere: through the checkpoint, and `write` of the backend.
import type { Backend, Tensor } from '../backends/backend.ts';
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.ts';
import type { ReadExpert } from './expert-stream.ts';

export const checkpointReader =
  (backend: Backend, checkpoint: Checkpoint): ReadExpert =>
  async (layer, expert, { tensors, index }) => {
    const one = (into: Tensor, from: TensorInfo): Promise<void> => {
      const first = expert * (from.byteLength / from.shape[0]!);
      return backend.write(into, index, (bytes, offset) => checkpoint.read(from, first + offset, bytes));
    };
    // All three end before this does, so that nobody writes into a slot that was given up.
    const ends = await Promise.allSettled([
      one(tensors.gate, layer.gate),
      one(tensors.up, layer.up),
      one(tensors.down, layer.down),
    ]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  };
