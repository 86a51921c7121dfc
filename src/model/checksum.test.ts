// The checksum of experts: any split into pieces gives the same, any changed byte another, and kernels compute the same (streamed-faults.test.ts
// and the record of a streamed model rely on it).
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadNative } from '../backends/native/load.ts';
import { createNativeBackend } from '../backends/native/native.ts';
import { Checksum, chunkRowsOf } from './checksum.ts';

const bytesOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 13) & 255);

test('any split gives the same sum, any changed byte another', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 700 }),
      fc.integer({ min: 1, max: 200 }),
      fc.array(fc.integer({ min: 1, max: 150 }), { maxLength: 12 }),
      fc.nat(),
      (length, chunkBytes, cuts, at) => {
        const bytes = bytesOf(length, chunkBytes);
        const whole = new Checksum([{ bytes: length, chunkBytes }]);
        whole.add(0, bytes);
        const pieces = new Checksum([{ bytes: length, chunkBytes }]);
        let from = 0;
        for (const cut of [...cuts, length]) {
          pieces.add(0, bytes.subarray(from, from + cut));
          from = Math.min(length, from + cut);
        }
        expect(pieces.value).toBe(whole.value);
        bytes[at % length]! ^= 1;
        const other = new Checksum([{ bytes: length, chunkBytes }]);
        other.add(0, bytes);
        expect(other.value).not.toBe(whole.value);
      },
    ),
    { numRuns: 200 },
  );
});

test('chunks are whole tiles of at most 2 MiB', () => {
  expect(chunkRowsOf(2880)).toBe(720);
  expect(chunkRowsOf(4 * 2 ** 20)).toBe(16);
  expect(chunkRowsOf(1) % 16).toBe(0);
});

const native = loadNative();
test.skipIf('missing' in native)('what threads of the addon compute is the same', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'maverick-sum-'));
  await using backend = await createNativeBackend({ threads: 1 });
  try {
    const [rows, n] = [100, 192]; // Q4_0: 108 bytes a row
    const matrix = bytesOf(rows * 108, 5);
    writeFileSync(join(folder, 'x'), matrix.subarray(0)); // at byte 0, and once more behind 7 bytes
    writeFileSync(join(folder, 'y'), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, ...matrix));
    const into = backend.reserve('Q4_0', [2, rows, n]);
    const part = (name: string, offset: number, index: number) => {
      return { into, index, path: join(folder, name), offset, chunkRows: 32 };
    };
    const { done } = backend.fetch!([part('x', 0, 0), part('y', 7, 1)], true);
    const size = { bytes: matrix.length, chunkBytes: 32 * 108 };
    const sum = new Checksum([size, size]);
    sum.add(0, matrix);
    sum.add(1, matrix);
    expect(await done).toBe(sum.value);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
