// GGUF read and written: what goes in comes out, by small reads, from files of any size, into memory of any kind.
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type DType, formats } from './dtype.ts';
import { craft, u32 } from './gguf.hostile.cases.ts';
import { openGguf } from './gguf.ts';
import { typed, type WritableTensor, type WritableValue, writeGguf } from './gguf-writer.ts';
import { openCheckpoint } from './open.ts';
import { memorySource, openFile, type Source } from './sources.ts';

const directory = mkdtempSync(join(tmpdir(), 'gguf-'));
afterAll(() => rmSync(directory, { recursive: true }));
const path = (name: string) => join(directory, name);

/** A file that counts what is read of it. */
function counting(counter: { bytes: number; furthest: number }): (path: string) => Promise<Source> {
  return async path => {
    const file = await openFile(path);
    return {
      path,
      size: file.size,
      read: async (offset, into) => {
        const got = await file.read(offset, into);
        counter.bytes += got;
        counter.furthest = Math.max(counter.furthest, offset + got);
        return got;
      },
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    };
  };
}

describe('what is written is read', () => {
  test('every metadata type, exact', async () => {
    const metadata: Record<string, WritableValue> = {
      'general.architecture': 'llama4',
      u8: typed('u8', 255),
      i8: typed('i8', -128),
      u16: typed('u16', 65535),
      i16: typed('i16', -32768),
      u32: typed('u32', 2 ** 32 - 1),
      i32: typed('i32', -(2 ** 31)),
      u64: typed('u64', 2n ** 64n - 1n),
      i64: typed('i64', -(2n ** 63n)),
      safe: typed('u64', Number.MAX_SAFE_INTEGER),
      unsafe: typed('u64', 2n ** 53n),
      negative: typed('i64', -1),
      f32: typed('f32', 0.5),
      f64: typed('f64', 0.1),
      yes: true,
      no: false,
      empty: '',
      text: 'naïve 漢字 😀 \u0000 \ufffd \ufeff',
      none: typed('string', []),
      bools: [true, false],
      texts: ['', 'Ġa', '漢', '😀'.repeat(20000), '\ufeff', 'z'],
      integers: typed('i32', [1, -2, 3]),
      floats: typed('f32', [1, 0.5, Number.POSITIVE_INFINITY]),
      longs: typed('u64', [1, 2n ** 60n]),
    };
    await writeGguf(path('types.gguf'), { metadata, tensors: [] });
    await using checkpoint = await openCheckpoint(path('types.gguf'));
    const value = (x: WritableValue) => (typeof x === 'object' && 'type' in x ? x.value : x);
    expect([...checkpoint.metadata.keys()]).toEqual(Object.keys(metadata));
    for (const [key, wanted] of Object.entries(metadata)) expect(checkpoint.metadata.get(key)).toEqual(value(wanted));
    expect(checkpoint.path).toBe(path('types.gguf'));
  });

  test('inferred types are those that programs expect', async () => {
    const inferred = {
      a: 1,
      b: -1,
      c: 2 ** 40,
      d: 0.5,
      e: 7n,
      f: [1, 2],
      g: [2 ** 31],
      h: [1, 2.5],
      i: true,
      j: 'x',
      k: -7n,
    };
    await writeGguf(path('inferred.gguf'), { metadata: inferred, tensors: [] });
    const source = await openFile(path('inferred.gguf'));
    const { readGgufHeader } = await import('./gguf-header.ts');
    const { types, metadata } = await readGgufHeader(source);
    await source[Symbol.asyncDispose]();
    expect([...types.values()].join(' ')).toBe('u32 i32 u64 f32 u64 array array array bool string i64');
    expect([...metadata.values()]).toEqual([1, -1, 2 ** 40, 0.5, 7, [1, 2], [2 ** 31], [1, 2.5], true, 'x', -7]);
  });

  test('any texts, packed together or cut at any read', async () => {
    const texts = fc.array(fc.string({ unit: 'binary', maxLength: 20 }), { maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(texts, async list => {
        const wellFormed = list.map(text => text.toWellFormed());
        await writeGguf(path('texts.gguf'), { metadata: { list: typed('string', wellFormed) }, tensors: [] });
        await using checkpoint = await openGguf(path('texts.gguf'));
        expect(checkpoint.metadata.get('list')).toEqual(wellFormed);
      }),
      { numRuns: 30 },
    );
  });

  test('tensors of every format, whole and in part, at their alignment', async () => {
    for (const alignment of [1, 32, 4096]) {
      const tensors = (Object.keys(formats) as DType[]).map((dtype, i): WritableTensor => {
        const { blockSize, blockBytes } = formats[dtype];
        return { name: dtype, dtype, shape: [3, blockSize * 2], data: new Uint8Array(6 * blockBytes).fill(i + 1) };
      });
      await writeGguf(path('formats.gguf'), { metadata: {}, tensors, alignment });
      await using checkpoint = await openGguf(path('formats.gguf'));
      expect([...checkpoint.tensors.keys()]).toEqual(Object.keys(formats));
      for (const { name, dtype, shape, data } of tensors) {
        const info = checkpoint.tensors.get(name)!;
        expect(info).toEqual({ name, dtype, shape, byteLength: (data as Uint8Array).length });
        const whole = new Uint8Array(info.byteLength);
        await checkpoint.read(info, 0, whole);
        expect(whole).toEqual(data);
        const part = new Uint8Array(5);
        await checkpoint.read(info, info.byteLength - 5, part);
        expect(part).toEqual(whole.slice(-5));
        await checkpoint.read(info, info.byteLength, new Uint8Array(0));
      }
    }
  });

  test('shapes of one to four dimensions, outermost first', async () => {
    const shapes = [[7], [5, 3], [2, 3, 5], [2, 1, 3, 1]];
    const tensors = shapes.map((shape, i): WritableTensor => {
      const bytes = shape.reduce((a, b) => a * b) * 4;
      return { name: `t${i}`, dtype: 'F32', shape, data: new Uint8Array(bytes) };
    });
    await writeGguf(path('shapes.gguf'), { metadata: {}, tensors });
    await using checkpoint = await openGguf(path('shapes.gguf'));
    expect([...checkpoint.tensors.values()].map(({ shape }) => shape)).toEqual(shapes);
  });

  test('tensors that arrive in pieces, from one buffer used again', async () => {
    const piece = new Uint8Array(1000);
    const data = async function* () {
      for (let i = 0; i < 4; i++) yield piece.fill(i);
    };
    await writeGguf(path('pieces.gguf'), { metadata: {}, tensors: [{ name: 'x', dtype: 'F32', shape: [1000], data }] });
    await using checkpoint = await openGguf(path('pieces.gguf'));
    const bytes = new Uint8Array(4000);
    await checkpoint.read(checkpoint.tensors.get('x')!, 0, bytes);
    expect(bytes).toEqual(Uint8Array.from({ length: 4000 }, (_, i) => Math.floor(i / 1000)));
  });

  test('version 2', async () => {
    await using checkpoint = await openGguf('f', async path => memorySource(path, craft({ version: u32(2) })));
    expect([...checkpoint.tensors.keys()]).toEqual(['a', 'b']);
  });
});

describe('split files', () => {
  const tensors = [1, 2, 3, 4, 5].map(
    (i): WritableTensor => ({ name: `t${i}`, dtype: 'F32', shape: [i], data: new Uint8Array(i * 4).fill(i) }),
  );

  test.each([
    ['by tensors', { maxTensors: 2 }, 3],
    ['by bytes', { maxBytes: 16 }, 4],
    ['into one', {}, 1],
  ])('%s: any part opens all, and each tensor is read from its own', async (name, split, parts) => {
    const paths = await writeGguf(path(`${name}.gguf`), { metadata: { a: 'b' }, tensors, split });
    expect(paths).toEqual(Array.from({ length: parts }, (_, i) => path(`${name}-0000${i + 1}-of-0000${parts}.gguf`)));
    for (const part of paths) {
      await using checkpoint = await openCheckpoint(part);
      expect(checkpoint.path).toBe(paths[0]);
      expect(checkpoint.metadata.get('a')).toBe('b');
      expect([...checkpoint.tensors.keys()]).toEqual(['t1', 't2', 't3', 't4', 't5']);
      for (const { name, data } of tensors) {
        const bytes = new Uint8Array((data as Uint8Array).length);
        await checkpoint.read(checkpoint.tensors.get(name)!, 0, bytes);
        expect(bytes).toEqual(data);
      }
    }
  });

  test('their number in a name is no split by itself', async () => {
    await writeGguf(path('single-00001-of-00001.gguf'), { metadata: {}, tensors });
    await using checkpoint = await openGguf(path('single-00001-of-00001.gguf'));
    expect(checkpoint.tensors.size).toBe(5);
  });
});

describe('what is read, and where to', () => {
  test('opening reads little more than the header, whatever follows', async () => {
    const tensor: WritableTensor = { name: 'x', dtype: 'F32', shape: [2 ** 20], data: new Uint8Array(2 ** 22) };
    for (const words of [10, 1000, 100_000]) {
      const list = Array.from({ length: words }, (_, i) => `word ${i}`);
      await writeGguf(path('count.gguf'), { metadata: { list }, tensors: [tensor] });
      const counter = { bytes: 0, furthest: 0 };
      await using checkpoint = await openGguf(path('count.gguf'), counting(counter));
      const header = statSync(path('count.gguf')).size - 2 ** 22;
      expect(counter.furthest).toBeLessThanOrEqual(header * 1.25 + 16384);
      expect(counter.bytes).toBe(counter.furthest); // nothing is read twice
      await checkpoint.read(checkpoint.tensors.get('x')!, 100, new Uint8Array(1000));
      expect(counter.bytes - 1000).toBeLessThanOrEqual(header * 1.25 + 16384);
    }
  });

  test('a file of 225 GB opens at once, and its far end is read', async () => {
    const rows = 7_000_000;
    const sizes = [rows * 4096 * 2, rows * 4096 * 2, rows * 4096 * 2, 64]; // 57 GB each
    const names = ['a', 'b', 'c', 'last'];
    const header: number[] = [];
    const u64 = (value: number) => header.push(...new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
    const text = (value: string) => {
      u64(value.length);
      header.push(...new TextEncoder().encode(value));
    };
    header.push(...new TextEncoder().encode('GGUF'), ...u32(3));
    u64(4);
    u64(0);
    let offset = 0;
    for (const [i, name] of names.entries()) {
      text(name);
      const dims = name === 'last' ? [16] : [4096, rows];
      header.push(...u32(dims.length));
      for (const size of dims) u64(size);
      header.push(...u32(name === 'last' ? 0 : 1));
      u64(offset);
      offset += sizes[i]!;
    }
    const start = Math.ceil(header.length / 32) * 32;
    writeFileSync(path('huge.gguf'), Uint8Array.from(header));
    truncateSync(path('huge.gguf'), start + offset - 64);
    writeFileSync(path('huge.gguf'), new Uint8Array(64).fill(9), { flag: 'a' });
    const began = performance.now();
    await using checkpoint = await openCheckpoint(path('huge.gguf'));
    const bytes = new Uint8Array(64);
    await checkpoint.read(checkpoint.tensors.get('last')!, 0, bytes);
    expect(performance.now() - began).toBeLessThan(500);
    expect(bytes).toEqual(new Uint8Array(64).fill(9));
    expect(checkpoint.tensors.get('c')).toEqual({ name: 'c', dtype: 'F16', shape: [rows, 4096], byteLength: sizes[2] });
    await checkpoint.read(checkpoint.tensors.get('c')!, sizes[2]! - 32, bytes.subarray(0, 32));
    expect(bytes.subarray(0, 32)).toEqual(new Uint8Array(32));
  });

  test('into shared memory, and beyond 4 GiB of a WebAssembly memory', async () => {
    const data = Uint8Array.from({ length: 400 }, (_, i) => i);
    await writeGguf(path('into.gguf'), { metadata: {}, tensors: [{ name: 'x', dtype: 'F32', shape: [100], data }] });
    await using checkpoint = await openGguf(path('into.gguf'));
    const tensor = checkpoint.tensors.get('x')!;
    const pages = 65536n + 16n; // 4 GiB and 1 MiB, of which the system gives what is touched
    const descriptor = { initial: pages, maximum: pages, shared: true, address: 'i64' };
    const memory = new WebAssembly.Memory(descriptor as unknown as WebAssembly.MemoryDescriptor);
    for (const [buffer, at] of [[new SharedArrayBuffer(500), 7] as const, [memory.buffer, 2 ** 32 + 12345] as const]) {
      const into = new Uint8Array(buffer, at, 400);
      await checkpoint.read(tensor, 0, into);
      expect(Uint8Array.from(into)).toEqual(data);
    }
  });

  test('a vocabulary of 200,000 tokens and 400,000 merges opens in well under a second', async () => {
    const tokens = Array.from({ length: 200_000 }, (_, i) => `Ġtoken${i}`);
    const merges = Array.from({ length: 400_000 }, (_, i) => `Ġa${i} bé${i}`);
    await writeGguf(path('vocabulary.gguf'), { metadata: { tokens, merges }, tensors: [] });
    const began = performance.now();
    await using checkpoint = await openGguf(path('vocabulary.gguf'));
    expect(performance.now() - began).toBeLessThan(1000); // a third of that or less on a machine that is not busy
    expect(checkpoint.metadata.get('tokens')).toEqual(tokens);
    expect(checkpoint.metadata.get('merges')).toEqual(merges);
  });

  test('reads at the same time do not disturb each other', async () => {
    const data = Uint8Array.from({ length: 4096 }, (_, i) => i % 251);
    await writeGguf(path('same.gguf'), { metadata: {}, tensors: [{ name: 'x', dtype: 'F32', shape: [1024], data }] });
    await using checkpoint = await openGguf(path('same.gguf'));
    const tensor = checkpoint.tensors.get('x')!;
    const into = new Uint8Array(4096);
    const pieces = Array.from({ length: 64 }, (_, i) =>
      checkpoint.read(tensor, i * 64, into.subarray(i * 64, i * 64 + 64)),
    );
    await Promise.all(pieces);
    expect(into).toEqual(data);
  });
});

describe('what cannot be written is refused, by name, and leaves nothing behind', () => {
  const good: WritableTensor = { name: 'x', dtype: 'F32', shape: [2], data: new Uint8Array(8) };
  const failing = () => {
    throw new Error('the source broke');
  };
  test.each<[string, Record<string, WritableValue>, WritableTensor[], RegExp]>([
    ['an empty array', { a: [] }, [], /metadata a: an empty array/],
    ['a mixed array', { a: [1, 'x'] as unknown as string[] }, [], /metadata a: an array of mixed/],
    ['too large a u8', { a: typed('u8', 256) }, [], /metadata a: number 256 is no u8/],
    ['a fraction as integer', { a: typed('i32', 0.5) }, [], /metadata a: number 0.5 is no i32/],
    ['a text as number', { a: typed('f32', '1') }, [], /metadata a: string 1 is no f32/],
    ['a number beyond 64 bits', { a: 2n ** 64n }, [], /metadata a: a number beyond 64 bits/],
    ['an empty key', { '': 1 }, [], /key is empty/],
    ['the alignment as metadata', { 'general.alignment': 64 }, [], /general.alignment is set by the writer/],
    ['two tensors of one name', {}, [good, good], /tensor x: its name/],
    ['no dimensions', {}, [{ ...good, shape: [] }], /tensor x: shape \[\]/],
    ['a dimension of 0', {}, [{ ...good, shape: [0] }], /tensor x: shape \[0\]/],
    [
      'half a block',
      {},
      [{ ...good, dtype: 'Q8_0', shape: [48] }],
      /tensor x: .*48 must be a multiple of Q8_0's block of 32/,
    ],
    ['too few bytes', {}, [{ ...good, shape: [3] }], /tensor x: its data are 8 bytes, .* take 12/],
    ['too many bytes', {}, [{ ...good, shape: [1] }], /tensor x: its data are more than 4 bytes, .* take 4/],
    ['a source that breaks', {}, [good, { ...good, name: 'y', data: failing }], /the source broke/],
  ])('%s', async (_name, metadata, tensors, message) => {
    const before = readdirSync(directory);
    await expect(writeGguf(path('refused.gguf'), { metadata, tensors })).rejects.toThrow(message);
    expect(readdirSync(directory)).toEqual(before);
  });

  test('an alignment that is no power of two', async () => {
    await expect(writeGguf(path('refused.gguf'), { metadata: {}, tensors: [], alignment: 48 })).rejects.toThrow(
      /alignment 48/,
    );
  });
});
