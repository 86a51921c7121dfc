// Hostile files: each fails at once with an error that names the field, and none takes memory that it does not hold.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { CheckpointError } from './checkpoint.ts';
import { craft, entry, type HostileCase, hostileCases, text, u32, u64 } from './gguf.hostile.cases.ts';
import { openGguf } from './gguf.ts';
import { openCheckpoint } from './open.ts';
import { memorySource } from './sources.ts';

const directory = mkdtempSync(join(tmpdir(), 'gguf-hostile-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Lays the case's files down, and returns the path to open. */
function layDown({ files, open, size }: HostileCase, index: number): string {
  const folder = join(directory, String(index));
  mkdirSync(folder);
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  const path = join(folder, open ?? Object.keys(files)[0]!);
  if (size !== undefined) truncateSync(path, size);
  return path;
}

/** The error that opening ends with, and how long it took. */
async function refusal(path: string): Promise<{ error: unknown; milliseconds: number }> {
  const start = performance.now();
  try {
    await using checkpoint = await openCheckpoint(path);
    return { error: `opened, with ${checkpoint.tensors.size} tensors`, milliseconds: performance.now() - start };
  } catch (error) {
    return { error, milliseconds: performance.now() - start };
  }
}

test('the file that the cases spoil is good', async () => {
  await using checkpoint = await openGguf('good', async path => memorySource(path, craft()));
  expect([...checkpoint.tensors.values()]).toEqual([
    { name: 'a', dtype: 'F32', shape: [4], byteLength: 16 },
    { name: 'b', dtype: 'Q4_0', shape: [2, 32], byteLength: 36 },
  ]);
});

describe(`${hostileCases.length} hostile files`, () => {
  test('are at least 100, each of its own name', () => {
    expect(new Set(hostileCases.map(({ name }) => name)).size).toBe(hostileCases.length);
    expect(hostileCases.length).toBeGreaterThanOrEqual(100);
  });

  test.each(hostileCases.map((hostile, index) => ({ ...hostile, index })))('$name', async hostile => {
    const path = layDown(hostile, hostile.index);
    const { error } = await refusal(path);
    expect(error).toBeInstanceOf(CheckpointError);
    expect(String(error)).toMatch(hostile.error);
    expect(String(error)).toContain(join(directory, String(hostile.index)));
    // The fastest of three: a machine that is busy elsewhere is not the file's fault.
    const again = [await refusal(path), await refusal(path), await refusal(path)];
    expect(Math.min(...again.map(({ milliseconds }) => milliseconds))).toBeLessThan(100);
  });

  test('take no more than 64 MiB together, in a process whose peak is theirs', () => {
    const paths = hostileCases.map((hostile, index) => layDown(hostile, hostileCases.length + index));
    const script = `
      import { openGguf } from ${JSON.stringify(new URL('./gguf.ts', import.meta.url))};
      const paths = JSON.parse(process.argv[1]);
      const before = process.resourceUsage().maxRSS;
      let refused = 0;
      for (const path of paths) await openGguf(path).catch(() => refused++);
      process.stdout.write(JSON.stringify({ refused, mebibytes: (process.resourceUsage().maxRSS - before) / 1024 }));`;
    const run = execFileSync(process.execPath, ['--input-type=module', '-e', script, JSON.stringify(paths)]);
    const { refused, mebibytes } = JSON.parse(String(run));
    expect(refused).toBe(hostileCases.length);
    expect(mebibytes).toBeGreaterThan(0);
    expect(mebibytes).toBeLessThan(64);
  });
});

describe.skipIf(process.platform === 'win32')('paths that are no files', () => {
  const path = (name: string) => join(directory, name);
  test.each([
    ['nothing there', 'nothing.gguf', /does not exist/, () => {}],
    ['a file as a directory', 'plain/x.gguf', /does not exist/, () => writeFileSync(path('plain'), '')],
    [
      'a directory',
      'folder.gguf',
      /the folder holds no model: wanted a GGUF file, or config\.json and/,
      () => mkdirSync(path('folder.gguf')),
    ],
    ['a link to itself', 'loop.gguf', /cannot be read: ELOOP/, () => symlinkSync(path('loop.gguf'), path('loop.gguf'))],
    ['a path with a zero', 'a\0b', /cannot be read/, () => {}],
    [
      'a pipe without a writer',
      'pipe.gguf',
      /is a pipe or a device/,
      () => execFileSync('mkfifo', [path('pipe.gguf')]),
    ],
  ])('%s', async (_name, file, message, prepare) => {
    prepare();
    const { error, milliseconds } = await refusal(path(file));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(String(error)).toMatch(message);
    expect(milliseconds).toBeLessThan(1000);
  });

  test('devices', async () => {
    for (const device of ['/dev/null', '/dev/zero']) {
      const { error } = await refusal(device);
      expect(error).toBeInstanceOf(CheckpointError);
      expect(String(error)).toMatch(/is a pipe or a device/);
    }
  });

  test('a socket', async () => {
    const server = createServer();
    await new Promise<void>(listening => server.listen(path('socket'), listening));
    const { error } = await refusal(path('socket'));
    server.close();
    expect(String(error)).toMatch(/is a pipe or a device/);
  });
});

describe('files that change', () => {
  const good = craft();

  test('one that shrinks after it was opened is named with the tensor', async () => {
    const path = join(directory, 'shrinks.gguf');
    writeFileSync(path, good);
    await using checkpoint = await openCheckpoint(path);
    truncateSync(path, good.length - 40);
    const tensor = checkpoint.tensors.get('b')!;
    await expect(checkpoint.read(tensor, 0, new Uint8Array(36))).rejects.toThrow(/shrinks.gguf: tensor b: .*now ends/);
  });

  test('one that shrinks while its header is read', async () => {
    const shrinking = async (path: string) => ({ ...memorySource(path, good.subarray(0, 40)), size: good.length });
    await expect(openGguf('f', shrinking)).rejects.toThrow(
      /magic: the file was \d+ bytes when opened and now ends at 40/,
    );
  });

  test('a failing disk is an error of the checkpoint and closes the file', async () => {
    let closed = 0;
    const failing = async (path: string) => ({
      ...memorySource(path, good),
      read: async (): Promise<number> => {
        throw new CheckpointError(path, 'cannot be read: EIO');
      },
      [Symbol.asyncDispose]: async () => {
        closed++;
      },
    });
    await expect(openGguf('f', failing)).rejects.toThrow(CheckpointError);
    expect(closed).toBe(1);
  });

  test('reads outside of a tensor, of another tensor, and after closing', async () => {
    const path = join(directory, 'closed.gguf');
    writeFileSync(path, good);
    const checkpoint = await openCheckpoint(path);
    const tensor = checkpoint.tensors.get('a')!;
    for (const offset of [-1, 1, 17, 2 ** 53, Number.NaN, 0.5, Number.POSITIVE_INFINITY])
      await expect(checkpoint.read(tensor, offset, new Uint8Array(16))).rejects.toThrow(/tensor a: bytes .* it has 16/);
    await expect(checkpoint.read({ ...tensor, name: 'c' }, 0, new Uint8Array(1))).rejects.toThrow(
      /tensor c: there is none/,
    );
    await checkpoint[Symbol.asyncDispose]();
    await expect(checkpoint.read(tensor, 0, new Uint8Array(16))).rejects.toThrow(/was closed/);
  });
});

test('evil content is content: NaN, infinities and zero scales open and read as they are', async () => {
  const path = join(directory, 'content.gguf');
  const file = craft({
    entries: [
      entry('nan', 6, u32(0x7fc00000)),
      entry('infinity', 6, u32(0xff800000)),
      entry('huge', 10, u64(2n ** 64n - 1n)),
      entry('nothing', 8, text('')),
      entry('\u0000zero', 8, text('a\u0000b\ufffd\ufeff')),
      entry('__proto__', 8, text('own')),
      entry('llama4.attention.head_count', 8, text('forty')),
    ],
  });
  file.fill(0xff, file.length - 68);
  writeFileSync(path, file);
  await using checkpoint = await openCheckpoint(path);
  expect([...checkpoint.metadata.values()]).toEqual([
    Number.NaN,
    Number.NEGATIVE_INFINITY,
    2n ** 64n - 1n,
    '',
    'a\u0000b\ufffd\ufeff',
    'own',
    'forty',
  ]);
  const bytes = new Uint8Array(36);
  await checkpoint.read(checkpoint.tensors.get('b')!, 0, bytes);
  expect(bytes).toEqual(new Uint8Array(36).fill(0xff));
});

test('a good file with bytes changed and its end cut off opens or is refused, at once', async () => {
  const good = craft({
    entries: [
      entry('general.alignment', 4, u32(32)),
      entry('list', 9, u32(8), u64(2), text('one'), text('zwö')),
      entry('numbers', 9, u32(5), u64(3), u32(1), u32(2), u32(3)),
    ],
  });
  let opened = 0;
  let refused = 0;
  const change = fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }));
  const property = fc.asyncProperty(
    fc.array(change, { maxLength: 4 }),
    fc.oneof({ weight: 3, arbitrary: fc.constant(good.length) }, fc.nat(good.length)),
    async (changes, length) => {
      const file = good.slice(0, length);
      for (const [at, value] of changes) if (at < length) file[at] = value;
      try {
        await using checkpoint = await openGguf('f', async path => memorySource(path, file));
        for (const tensor of checkpoint.tensors.values())
          await checkpoint.read(tensor, 0, new Uint8Array(tensor.byteLength));
        opened++;
      } catch (error) {
        expect(error).toBeInstanceOf(CheckpointError);
        refused++;
      }
    },
  );
  const start = performance.now();
  await fc.assert(property, { numRuns: 3000 });
  expect((performance.now() - start) / 3000).toBeLessThan(10);
  expect(opened).toBeGreaterThan(100); // it is the changes that are refused, not everything
  expect(refused).toBeGreaterThan(100);
});
