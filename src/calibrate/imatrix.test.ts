// Importance matrices on disk: both forms there and back, hostile files, and what an expert without tokens gets.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { writeGguf } from '../checkpoint/gguf-writer.ts';
import { type Imatrix, importanceOf, readImatrix, writeImatrix, writeImatrixDat } from './imatrix.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-imatrix-'));
});
afterAll(() => rm(folder, { recursive: true }));

const example: Imatrix = {
  entries: new Map([
    ['blk.1.ffn_gate_exps.weight', { sums: Float32Array.of(2, 4, 0, 0, 30, 90), counts: Float32Array.of(2, 0, 30) }],
    ['blk.0.attn_q.weight', { sums: Float32Array.of(640, 1280), counts: Float32Array.of(640) }],
  ]),
  datasets: ['text.txt'],
  chunks: 5,
  chunkSize: 128,
};

describe('the GGUF form', () => {
  test('comes back as it was, names sorted, and leaves nothing else behind', async () => {
    const path = join(folder, 'a.imatrix.gguf');
    await writeImatrix(path, example);
    const read = await readImatrix(path);
    expect([...read.entries.keys()]).toEqual(['blk.0.attn_q.weight', 'blk.1.ffn_gate_exps.weight']);
    expect({ ...read, entries: new Map([...read.entries].reverse()) }).toEqual(example);
    expect((await readdir(folder)).filter(name => name.includes('incomplete'))).toEqual([]);
  });

  test('has any shape', async () => {
    const path = join(folder, 'any.imatrix.gguf');
    const float = fc.float({ min: 0, max: 2 ** 100, noNaN: true });
    const entry = fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 9 }))
      .chain(([matrices, columns]) =>
        fc.record({
          sums: fc.array(float, { minLength: matrices * columns, maxLength: matrices * columns }),
          counts: fc.array(fc.integer({ min: 0, max: 1e6 }), { minLength: matrices, maxLength: matrices }),
        }),
      );
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.stringMatching(/^[a-z.]{1,20}$/), entry, { minKeys: 1 }), async all => {
        const entries = new Map(
          Object.entries(all).map(([name, { sums, counts }]) => [
            name,
            { sums: Float32Array.from(sums), counts: Float32Array.from(counts) },
          ]),
        );
        await writeImatrix(path, { ...example, entries });
        const read = await readImatrix(path);
        for (const [name, wanted] of entries) expect(read.entries.get(name)).toEqual(wanted);
        expect(read.entries.size).toBe(entries.size);
      }),
      { numRuns: 30 },
    );
  });

  const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  const good = { 'general.type': 'imatrix', 'imatrix.chunk_count': 1, 'imatrix.chunk_size': 8 };
  test.each<[string, Record<string, string | number>, Parameters<typeof writeGguf>[1]['tensors'], RegExp]>([
    ['a model', { 'general.type': 'model' }, [], /general.type: got "model"/],
    ['no type', {}, [], /general.type: got null/],
    ['no entries', good, [], /no entries/],
    ['no counts', good, [{ name: 'x.in_sum2', dtype: 'F32', shape: [1], data: f32(1) }], /x\.counts is missing/],
    [
      'another format',
      good,
      [{ name: 'x.in_sum2', dtype: 'F16', shape: [2], data: new Uint8Array(4) }],
      /got F16, wanted F32/,
    ],
    [
      'NaN',
      good,
      [
        { name: 'x.in_sum2', dtype: 'F32', shape: [2], data: f32(1, Number.NaN) },
        { name: 'x.counts', dtype: 'F32', shape: [1], data: f32(1) },
      ],
      /x\.in_sum2\[1\]: got NaN/,
    ],
    [
      'a negative count',
      good,
      [
        { name: 'x.in_sum2', dtype: 'F32', shape: [2], data: f32(1, 1) },
        { name: 'x.counts', dtype: 'F32', shape: [1], data: f32(-1) },
      ],
      /x\.counts\[0\]: got -1/,
    ],
    [
      'counts that do not divide',
      good,
      [
        { name: 'x.in_sum2', dtype: 'F32', shape: [3], data: f32(1, 1, 1) },
        { name: 'x.counts', dtype: 'F32', shape: [2, 1], data: f32(1, 1) },
      ],
      /3 sums do not belong to 2 matrices/,
    ],
    [
      'no chunk count',
      { 'general.type': 'imatrix' },
      [
        { name: 'x.in_sum2', dtype: 'F32', shape: [1], data: f32(1) },
        { name: 'x.counts', dtype: 'F32', shape: [1], data: f32(1) },
      ],
      /imatrix.chunk_count/,
    ],
  ])('is refused with %s', async (_, metadata, tensors, expected) => {
    const path = join(folder, 'bad.gguf');
    await writeGguf(path, { metadata, tensors });
    await expect(readImatrix(path)).rejects.toThrow(expected);
    await expect(readImatrix(path)).rejects.toBeInstanceOf(CheckpointError);
  });
});

describe('the .dat form', () => {
  test('says the same means, and the pooled one for an expert without tokens', async () => {
    const path = join(folder, 'a.dat');
    await writeImatrixDat(path, example);
    const read = await readImatrix(path);
    expect([read.datasets, read.chunks]).toEqual([['text.txt'], 5]);
    for (const [name, entry] of example.entries) {
      const wanted = importanceOf(entry)!.values;
      const got = importanceOf(read.entries.get(name)!)!;
      expect(got.pooled).toEqual([]);
      for (const [i, value] of got.values.entries()) expect(value).toBeCloseTo(wanted[i]!, 4);
    }
  });

  test('leaves out what nothing was multiplied with', async () => {
    const path = join(folder, 'none.dat');
    const entries = new Map([...example.entries, ['none', { sums: Float32Array.of(0), counts: Float32Array.of(0) }]]);
    await writeImatrixDat(path, { ...example, entries });
    expect([...(await readImatrix(path)).entries.keys()].sort()).toEqual([...example.entries.keys()].sort());
  });

  test('is refused at every length but those that older programs wrote, and with any byte of its structure changed never crashes', async () => {
    const path = join(folder, 'b.dat');
    await writeImatrixDat(path, example);
    const whole = await readFile(path);
    const tail = 4 + 4 + 'text.txt'.length;
    for (let length = 0; length < whole.length; length++) {
      await writeFile(path, whole.subarray(0, length));
      const read = readImatrix(path);
      if (length < whole.length - tail) await expect(read, `${length}`).rejects.toBeInstanceOf(CheckpointError);
      else await read.catch(error => expect(error).toBeInstanceOf(CheckpointError));
    }
    for (let at = 0; at < whole.length; at++) {
      const spoiled = Buffer.from(whole);
      spoiled[at]! ^= 0x80;
      await writeFile(path, spoiled);
      await readImatrix(path).catch(error => expect(error).toBeInstanceOf(CheckpointError));
    }
  });
});

describe('importance', () => {
  test('is the mean of squares, and for an expert without tokens that of all tokens of its layer', () => {
    const { values, pooled } = importanceOf(example.entries.get('blk.1.ffn_gate_exps.weight')!)!;
    expect([...values]).toEqual([1, 2, 1, 94 / 32, 1, 3].map(Math.fround));
    expect(pooled).toEqual([1]);
  });

  test('is not known where no expert saw a token', () => {
    expect(importanceOf({ sums: new Float32Array(4), counts: new Float32Array(2) })).toBeNull();
  });
});
