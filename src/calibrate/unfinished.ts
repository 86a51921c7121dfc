// A calibration under way, kept beside the file it will become: after any end, kill −9 included, it goes on from there to the same bytes.
import { createHash } from 'node:crypto';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { SavedSums } from './sums.ts';

/** What a calibration is of: only one of the same goes on. */
export interface Purpose {
  readonly model: string;
  readonly tokens: string;
  readonly chunkSize: number;
  readonly chunks: number;
  readonly backend: string;
}

export interface Unfinished {
  readonly purpose: Purpose;
  /** Chunks that are in the sums. */
  readonly done: number;
  readonly sums: SavedSums;
}

const MAGIC = 'maverick calibration 1\n';
const DIGEST = 32;

/** Where a calibration that will be `out` waits. */
export const unfinishedPath = (out: string): string => `${out}.unfinished`;

/** Replaces what was there: at every moment there is the old state or the new one, whole. */
export async function saveUnfinished(out: string, { purpose, done, sums }: Unfinished): Promise<void> {
  const path = unfinishedPath(out);
  const head = Buffer.from(`${MAGIC}${JSON.stringify({ purpose, done, sums: sums.sums })}\n`);
  const body = new Uint8Array(sums.numbers.buffer, sums.numbers.byteOffset, sums.numbers.byteLength);
  const digest = createHash('sha256').update(head).update(body).digest();
  const temporary = `${path}.writing`;
  await using file = await open(temporary, 'w');
  for (const part of [head, body, digest]) await file.writeFile(part);
  await file.close();
  await rename(temporary, path);
}

/** What was saved for this purpose; null where nothing was, or something else, or it is damaged. */
export async function readUnfinished(out: string, purpose: Purpose): Promise<Unfinished | null> {
  const bytes = await readFile(unfinishedPath(out)).catch(() => null);
  if (!bytes || bytes.length < MAGIC.length + DIGEST) return null;
  const whole = bytes.subarray(0, -DIGEST);
  if (!createHash('sha256').update(whole).digest().equals(bytes.subarray(-DIGEST))) return null;
  const end = whole.indexOf('\n', MAGIC.length);
  if (whole.toString('utf8', 0, MAGIC.length) !== MAGIC || end < 0) return null;
  // It is what we wrote, to the last bit.
  const head = JSON.parse(whole.toString('utf8', MAGIC.length, end)) as Omit<Unfinished, 'sums'> & {
    sums: SavedSums['sums'];
  };
  if (JSON.stringify(head.purpose) !== JSON.stringify(purpose)) return null;
  const numbers = new Float64Array((whole.length - end - 1) / Float64Array.BYTES_PER_ELEMENT);
  new Uint8Array(numbers.buffer).set(whole.subarray(end + 1));
  return { purpose: head.purpose, done: head.done, sums: { sums: head.sums, numbers } };
}

/** Removes the state, and what broken runs left of files half written. */
export async function clearUnfinished(out: string): Promise<void> {
  const folder = dirname(out);
  const litter = new RegExp(`^${RegExp.escape(basename(out))}\\.(unfinished(\\.writing)?|[0-9a-f-]{36}\\.incomplete)$`);
  for (const name of await readdir(folder)) if (litter.test(name)) await rm(join(folder, name), { force: true });
}
