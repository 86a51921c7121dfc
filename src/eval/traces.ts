// What one model says about a text, kept on disk until another model has read the same text.
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Rows of float32, all of one length, by number. */
export interface Rows {
  write(index: number, row: Float32Array): void;
  /** Fills `into`. @throws Error where the row was not written, or is of another length */
  read(index: number, into: Float32Array): void;
}

/** A folder that is gone at the end, with what was written there. */
export interface Scratch extends AsyncDisposable {
  rows(name: string): Rows;
}

export async function openScratch(): Promise<Scratch> {
  const folder = await mkdtemp(join(tmpdir(), 'maverick-compare-'));
  const files: number[] = [];
  return {
    rows(name) {
      const path = join(folder, name);
      const file = openSync(path, 'wx+', 0o600);
      files.push(file);
      return rowsOf(path, file);
    },
    async [Symbol.asyncDispose]() {
      for (const file of files) closeSync(file);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function rowsOf(path: string, file: number): Rows {
  const bytesOf = (row: Float32Array): Uint8Array => new Uint8Array(row.buffer, row.byteOffset, row.byteLength);
  return {
    write(index, row) {
      const bytes = bytesOf(row);
      try {
        for (let done = 0; done < bytes.length; )
          done += writeSync(file, bytes, done, bytes.length - done, index * bytes.length + done);
      } catch (cause) {
        if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC')) throw cause;
        throw new Error(
          `${path}: the disk is full. Compare fewer tokens, or set TMPDIR to a folder with more room than a number ` +
            'for every token of the vocabulary takes at every position (4 bytes each).',
          { cause },
        );
      }
    },
    read(index, into) {
      const bytes = bytesOf(into);
      for (let done = 0; done < bytes.length; ) {
        const got = readSync(file, bytes, done, bytes.length - done, index * bytes.length + done);
        if (got === 0) throw new Error(`${path}: row ${index} is not there.`);
        done += got;
      }
    },
  };
}
