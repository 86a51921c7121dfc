// The older form of an importance matrix: a count of entries, then of each its name, its calls, and the mean of squares times the calls.
// Source: ggml-org/llama.cpp tools/imatrix/imatrix.cpp (load_imatrix_legacy).
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import type { Imatrix, ImatrixEntry } from './imatrix.ts';

/** What llama.cpp takes a call to have been where the file does not say: tokens of a chunk. */
const CHUNK_SIZE = 512;

/** @throws CheckpointError naming the entry that is wrong; nothing is allocated for counts that the file cannot hold. */
export function parseDat(path: string, bytes: Uint8Array): Imatrix {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const fail = (what: string, message: string): never => {
    throw new CheckpointError(
      path,
      `${what}: ${message}. It is no importance matrix, or it is damaged; make one with: maverick calibrate`,
    );
  };
  const integer = (what: string, least: number, most: number): number => {
    if (at + 4 > bytes.length) fail(what, `the file ends at byte ${bytes.length}`);
    const value = view.getInt32(at, true);
    at += 4;
    return value >= least && value <= most ? value : fail(what, `got ${value}, wanted ${least} to ${most}`);
  };
  const text = (what: string, length: number): string => {
    const end = at + length;
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(at, end));
    } catch {
      return fail(what, 'is no text');
    } finally {
      at = end;
    }
  };
  const rest = (): number => bytes.length - at;
  // An entry takes at least 13 bytes.
  const count = integer('the number of entries', 1, Math.floor(Math.max(13, bytes.length) / 13));
  const entries = new Map<string, ImatrixEntry>();
  for (let i = 0; i < count; i++) {
    const what = `entry ${i + 1} of ${count}`;
    const name = text(`${what}, its name`, integer(`${what}, the length of its name`, 1, Math.min(4096, rest() - 4)));
    const calls = integer(`${name}, its calls`, 1, 2 ** 30);
    const size = integer(`${name}, its number of values`, 1, Math.floor(rest() / 4) - 1);
    const sums = new Float32Array(size);
    for (let j = 0; j < size; j++, at += 4) {
      const value = view.getFloat32(at, true);
      if (!(value >= 0 && value < Infinity)) fail(`${name}[${j}]`, `got ${value}, wanted a number from 0 on`);
      sums[j] = value * CHUNK_SIZE;
    }
    if (entries.has(name)) fail(name, 'is there twice');
    entries.set(name, { sums, counts: Float32Array.of(calls * CHUNK_SIZE) });
  }
  // The oldest files end here.
  const chunks = rest() >= 4 ? integer('the number of chunks', 0, 2 ** 31 - 1) : 0;
  const length = rest() >= 4 ? integer("the length of the text's name", 0, rest() - 4) : 0;
  return { entries, datasets: length > 0 ? [text("the text's name", length)] : [], chunks, chunkSize: CHUNK_SIZE };
}
