// Pieces of a file: what is read is what was written, wherever a process ended and whatever a disk does to it.
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { logPath, PieceFile, presentBytes } from './piece-file.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-pieces-'));
  path = join(folder, 'blobs', 'data');
});
afterEach(() => rm(folder, { recursive: true }));

const BYTES = 1000;
const PIECE = 64;
const content = Uint8Array.from({ length: BYTES }, (_, i) => (i * 31 + (i >> 5)) & 255);
const pieceOf = (index: number): Uint8Array => content.slice(index * PIECE, (index + 1) * PIECE);
const open = (): Promise<PieceFile> => PieceFile.open('hf:a/b:c', path, BYTES, PIECE);

async function written(...indices: number[]): Promise<void> {
  await using pieces = await open();
  for (const index of indices) await pieces.write(index, pieceOf(index));
}

/** Every piece that is here, read whole; all of them must be right. */
async function right(): Promise<number[]> {
  await using pieces = await open();
  const found: number[] = [];
  for (let index = 0; index < pieces.count; index++) {
    const into = new Uint8Array(pieces.lengthOf(index));
    if (!(await pieces.read(index, 0, into))) continue;
    expect(into).toEqual(pieceOf(index));
    found.push(index);
  }
  return found;
}

test('what was written is here, in any order, in the next process too, and part by part', async () => {
  await written(15, 3, 4);
  expect(await right()).toEqual([3, 4, 15]);
  expect(await presentBytes(path, BYTES)).toBe(2 * PIECE + (BYTES % PIECE));
  await using pieces = await open();
  const part = new Uint8Array(10);
  for (const from of [0, 20, 54]) {
    expect(await pieces.read(3, from, part)).toBe(true);
    expect(part).toEqual(pieceOf(3).slice(from, from + 10));
  }
  expect(await pieces.read(5, 0, part)).toBe(false);
  expect([pieces.count, pieces.lengthOf(15), pieces.has(4), pieces.has(5)]).toEqual([16, BYTES % PIECE, true, false]);
});

test('a bit that flips anywhere on the disk is found at the first read, and only that piece is lost', async () => {
  await written(0, 7, 15);
  const whole = await readFile(path);
  for (const index of [0, 7, 15])
    for (let at = index * PIECE; at < Math.min(BYTES, (index + 1) * PIECE); at += 5) {
      const spoiled = Buffer.from(whole);
      spoiled[at]! ^= 1 << (at % 8);
      await writeFile(path, spoiled);
      expect(await right()).toEqual([0, 7, 15].filter(other => other !== index));
      // The log knows it now, also when the bytes come back.
      await writeFile(path, whole);
      expect(await right()).toEqual([0, 7, 15].filter(other => other !== index));
      await written(index);
    }
});

test('a log that ends anywhere is right as far as it goes, and can be written on', async () => {
  await written(1, 2, 9);
  const log = await readFile(logPath(path));
  for (let length = 0; length <= log.length; length++) {
    await writeFile(logPath(path), log.subarray(0, length));
    await written(5);
    const found = await right();
    expect(found).toContain(5);
    expect([1, 2, 5, 9]).toEqual(expect.arrayContaining(found));
    await rm(path);
    await rm(logPath(path));
    await written(1, 2, 9);
  }
});

test('any byte of the log changed never makes a wrong byte right', async () => {
  await written(1, 9);
  const log = await readFile(logPath(path));
  const data = await readFile(path);
  for (let at = 0; at < log.length; at += 2) {
    const spoiled = Buffer.from(log);
    spoiled[at]! ^= 1 << (at % 8);
    await writeFile(logPath(path), spoiled);
    await writeFile(path, data);
    expect([1, 9]).toEqual(expect.arrayContaining(await right()));
  }
});

describe('what an ordinary download left', () => {
  test('is taken over: whole pieces from the beginning, noted when they are first read', async () => {
    await written();
    await rm(logPath(path));
    await writeFile(path, content.subarray(0, 3 * PIECE + 10));
    expect(await presentBytes(path, BYTES)).toBe(3 * PIECE + 10);
    expect(await right()).toEqual([0, 1, 2]);
    expect(await presentBytes(path, BYTES)).toBe(3 * PIECE);
    // From then on a flipped bit is found.
    const whole = await readFile(path);
    whole[70]! ^= 4;
    await writeFile(path, whole);
    expect(await right()).toEqual([0, 2]);
  });

  test('longer than the file counts for nothing', async () => {
    await written();
    await rm(logPath(path));
    await writeFile(path, new Uint8Array(BYTES + 1));
    expect(await right()).toEqual([]);
  });
});

test('bytes under a log of another file, or of another program, count for nothing', async () => {
  for (const log of [
    'maverick pieces 2 of 64 bytes, file of 1000\n',
    'maverick pieces 1 of 64 bytes, file of 999\n',
    '',
  ]) {
    await written(1);
    await writeFile(logPath(path), `${log}\n0 ?\n`);
    expect(await presentBytes(path, BYTES)).toBe(0);
    expect(await right()).toEqual([]);
  }
});

test('a log without its bytes counts for nothing', async () => {
  await written(1, 4);
  await truncate(path, 100);
  expect(await right()).toEqual([]);
  expect((await stat(path)).size).toBe(100);
});
