// What is learnt about a streamed model and kept across runs: how often each expert is wanted, and checksums of those that were read.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { ExpertStream } from '../model/expert-stream.ts';

/** The file's form: one of another form is not read. */
const form = 1;

interface Stored {
  readonly form: number;
  readonly model: string;
  readonly wanted: readonly number[];
  readonly checksums: Readonly<Record<string, string>>;
}

/** Names the files of a checkpoint as they are now, or null where they cannot be told apart from others. */
const nameOf = (checkpoint: Checkpoint): string | null =>
  checkpoint.version === undefined
    ? null
    : createHash('sha256').update(`${checkpoint.path}\n${checkpoint.version}`).digest('hex');

const isStored = (value: unknown, model: string, experts: number): value is Stored => {
  const stored = value as Stored | null;
  return (
    typeof stored === 'object' &&
    stored?.form === form &&
    stored.model === model &&
    Array.isArray(stored.wanted) &&
    stored.wanted.length === experts &&
    stored.wanted.every(count => Number.isFinite(count) && count >= 0) &&
    typeof stored.checksums === 'object' &&
    Object.entries(stored.checksums).every(
      ([key, sum]) => /^\d+$/.test(key) && typeof sum === 'string' && /^[0-9a-f]{16}$/.test(sum),
    )
  );
};

/**
 * Tells a stream what was learnt of its model before. What is missing, damaged or of other files is as good as nothing.
 * @param folder where records lie
 * @returns whether there was any
 */
export async function recallExperts(folder: string, checkpoint: Checkpoint, stream: ExpertStream): Promise<boolean> {
  const name = nameOf(checkpoint);
  if (!name) return false;
  try {
    const stored: unknown = JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8'));
    if (!isStored(stored, name, stream.use.layers * stream.use.expertsPerLayer)) return false;
    stream.use.restore(stored.wanted);
    for (const [key, sum] of Object.entries(stored.checksums)) stream.checksums.set(Number(key), BigInt(`0x${sum}`));
    return true;
  } catch {
    return false;
  }
}

/** Keeps what a stream learnt. It is written aside and renamed, so that nobody meets half of it. @throws Error of the file system */
export async function keepExperts(folder: string, checkpoint: Checkpoint, stream: ExpertStream): Promise<void> {
  const name = nameOf(checkpoint);
  if (!name || stream.checksums.size === 0) return;
  const path = join(folder, `${name}.json`);
  const checksums = [...stream.checksums].map(([key, sum]) => [key, sum.toString(16).padStart(16, '0')]);
  const wanted = Array.from(stream.use.save(), count => Number(count.toPrecision(6)));
  const stored: Stored = { form, model: name, wanted, checksums: Object.fromEntries(checksums) };
  const temporary = `${path}.${randomUUID()}.tmp`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await writeFile(temporary, JSON.stringify(stored));
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}
