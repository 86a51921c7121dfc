// Whether a model's weights fit into memory: known before they are read, because a system grants more than it has and kills later.
import { freemem, totalmem } from 'node:os';
import { CheckpointError } from '../checkpoint/checkpoint.ts';

/**
 * Bytes that weights may take at most. More may be counted than a process really gets, never less: files that the system
 * keeps in memory give way, and where it does not count them as free, all memory is.
 */
export function freeMemory(): number {
  const machine = process.platform === 'darwin' ? totalmem() : freemem();
  // Of a container; without one it is 0 or no limit at all.
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(machine, Math.max(0, limit - process.memoryUsage.rss())) : machine;
}

/** @throws CheckpointError when the weights are larger than what is free */
export function checkMemory(path: string, weightBytes: number, freeBytes: number): void {
  if (weightBytes <= freeBytes) return;
  throw new CheckpointError(
    path,
    `its weights take ${gigabytes(weightBytes)} of memory, and ${gigabytes(freeBytes)} are free. Close other programs, or get a ` +
      'smaller quantization or a smaller model.',
  );
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
