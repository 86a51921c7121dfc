// Hostile folders: each fails at once with an error that names what is wrong, and none takes memory that it does not hold.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CheckpointError } from './checkpoint.ts';
import { bytesOf, type Files, huggingFaceFiles, memoryFolder, metaFiles } from './crafted-folders.cases.ts';
import { hostileFolders } from './folders.hostile.cases.ts';
import { openModelFolder } from './open.ts';

async function refusal(files: Files): Promise<{ error: unknown; milliseconds: number }> {
  const folder = memoryFolder('folder', files);
  const start = performance.now();
  try {
    await using checkpoint = await openModelFolder(folder);
    return { error: `opened, with ${checkpoint.tensors.size} tensors`, milliseconds: performance.now() - start };
  } catch (error) {
    return { error, milliseconds: performance.now() - start };
  }
}

test.each([
  ['Hugging Face', huggingFaceFiles()],
  ['Hugging Face, FP8', huggingFaceFiles({ fp8: 'single' })],
  ['Meta', metaFiles()],
])('the folder that the cases spoil is good: %s', async (_, files) => {
  await using checkpoint = await openModelFolder(memoryFolder('folder', files));
  expect(checkpoint.tensors.size).toBe(25);
});

describe(`${hostileFolders.length} hostile folders`, () => {
  test('are at least 80, each of its own name', () => {
    expect(new Set(hostileFolders.map(({ name }) => name)).size).toBe(hostileFolders.length);
    expect(hostileFolders.length).toBeGreaterThanOrEqual(80);
  });

  test.each(hostileFolders.map(hostile => [hostile.name, hostile] as const))('%s', async (_, { files, error }) => {
    const first = await refusal(files);
    expect(first.error).toBeInstanceOf(CheckpointError);
    expect(String(first.error)).toMatch(error);
    expect(String(first.error)).toMatch(/^CheckpointError: folder/);
    expect(String(first.error).length).toBeLessThan(700);
    // The fastest of three: a machine that is busy elsewhere is not the file's fault.
    const again = [await refusal(files), await refusal(files), await refusal(files)];
    expect(Math.min(...again.map(({ milliseconds }) => milliseconds))).toBeLessThan(100);
  });

  test('take no more than 64 MiB together', async () => {
    const before = process.memoryUsage();
    for (const { files } of hostileFolders) await refusal(files);
    const { arrayBuffers, heapUsed } = process.memoryUsage();
    expect((arrayBuffers + heapUsed - before.arrayBuffers - before.heapUsed) / 2 ** 20).toBeLessThan(64);
  });
});

test.each([
  ['Hugging Face', huggingFaceFiles()],
  ['Hugging Face, FP8', huggingFaceFiles({ fp8: 'packed' })],
  ['Meta', metaFiles()],
])('%s: bytes changed and ends cut off, it opens or is refused, at once', async (_, good) => {
  const names = Object.keys(good);
  const change = fc.record({
    file: fc.nat(names.length - 1),
    at: fc.double({ min: 0, max: 0.99999, noNaN: true }),
    byte: fc.nat(255),
    early: fc.boolean(),
  });
  const property = fc.asyncProperty(
    fc.array(change, { minLength: 1, maxLength: 4 }),
    fc.option(fc.double({ min: 0, max: 0.99999, noNaN: true })),
    async (changes, cut) => {
      const files: Record<string, Uint8Array> = Object.fromEntries(
        Object.entries(good).map(([name, content]) => [name, bytesOf(content).slice()]),
      );
      for (const { file, at, byte, early } of changes) {
        const bytes = files[names[file]!]!;
        bytes[Math.floor(at * (early ? Math.min(2000, bytes.length) : bytes.length))] = byte; // headers are in front, or at the end
      }
      const last = names.at(-1)!;
      if (cut !== null) files[last] = files[last]!.subarray(0, Math.floor(cut * files[last]!.length));
      try {
        await using checkpoint = await openModelFolder(memoryFolder('folder', files));
        for (const tensor of checkpoint.tensors.values())
          if (tensor.byteLength < 1e6) await checkpoint.read(tensor, 0, new Uint8Array(tensor.byteLength));
      } catch (error) {
        expect(error).toBeInstanceOf(CheckpointError);
      }
    },
  );
  await fc.assert(property, { numRuns: 400 });
});
