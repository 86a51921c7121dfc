// The reference backend against the table of cases that every backend runs, and what only it promises.
import { describe, expect, test } from 'vitest';
import type { DType } from '../../checkpoint/dtype.ts';
import { runBackendCases } from '../backend.cases.ts';
import type { Backend, Tensor } from '../backend.ts';
import { timesRows } from './matmul.ts';
import { randomBlocks } from './quantize.ts';
import { seededRandom } from './random.ts';
import { createReferenceBackend } from './reference.ts';

runBackendCases('reference', () => createReferenceBackend());

const upload = (k: Backend, dtype: DType, shape: readonly number[], bytes: Uint8Array): Promise<Tensor> =>
  k.upload(dtype, shape, async (into, offset) => into.set(bytes.subarray(offset, offset + into.length)));

describe('reference backend', () => {
  test('products are the same bits whether weights are kept decoded or not', async () => {
    const run = async (decodedBytes: number, dtype: DType): Promise<Float32Array[]> => {
      await using k = createReferenceBackend({ decodedBytes });
      const random = seededRandom(1);
      const [outs, n] = [150, 512]; // more rows than are decoded at once
      const weight = await upload(k, dtype, [outs, n], randomBlocks(dtype, outs * n, random, 0.1));
      const experts = await upload(k, dtype, [3, 50, n], randomBlocks(dtype, outs * n, random, 0.1));
      const slot = randomBlocks(dtype, 50 * n, random, 0.1);
      await k.write(experts, 2, async (into, offset) => into.set(slot.subarray(offset, offset + into.length)));
      const x = await upload(k, 'F32', [5, n], randomBlocks('F32', 5 * n, random, 1));
      const slots = await upload(k, 'I32', [5, 1], new Uint8Array(Int32Array.of(2, 0, -1, 2, 1).buffer));
      return await k.step(async () => [
        await k.read(k.matmul(x, weight)),
        await k.read(k.expertMatmul(x, experts, slots)),
        await k.read(k.embed(weight, Int32Array.of(149, 3))),
        await k.read(weight),
      ]);
    };
    for (const dtype of ['F16', 'Q4_0', 'Q4_K', 'IQ3_S'] as const)
      expect(await run(0, dtype)).toEqual(await run(64 * 2 ** 20, dtype));
  });

  test('weights take their blocks, and decoded ones no more than the budget', async () => {
    const bytes = randomBlocks('Q4_0', 256 * 1024, seededRandom(2), 1);
    await using plain = createReferenceBackend({ decodedBytes: 0 });
    await upload(plain, 'Q4_0', [256, 1024], bytes);
    expect(plain.memoryBytes).toBe(bytes.length);
    await using keen = createReferenceBackend({ decodedBytes: 16 * 2 ** 20 });
    for (let i = 0; i < 30; i++) await upload(keen, 'Q4_0', [256, 1024], bytes);
    expect(keen.memoryBytes).toBe(16 * 2 ** 20 + 14 * bytes.length);
  });

  test('every sum is taken in order, in doubles', () => {
    const random = seededRandom(3);
    const n = 37;
    const list = (rows: number): Float32Array => Float32Array.from({ length: rows * n }, () => random() - 0.5);
    const [x, w] = [list(11), list(9)];
    const y = new Float32Array(11 * 12);
    timesRows(x, 0, 11, w, 0, 9, n, y, 2, 12);
    for (let r = 0; r < 11; r++)
      for (let o = 0; o < 9; o++) {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += x[r * n + i]! * w[o * n + i]!;
        expect(y[2 + r * 12 + o]).toBe(Math.fround(sum));
      }
    expect([y[0], y[1], y[11]]).toEqual([0, 0, 0]);
  });

  test('errors name what is wrong', async () => {
    await using k = createReferenceBackend();
    const floats = (shape: readonly number[]): Promise<Tensor> =>
      upload(k, 'F32', shape, new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)));
    const x = await floats([2, 8]);
    const w = await floats([3, 4]);
    const cube = await floats([2, 3, 8]);
    expect(() => k.matmul(x, w)).toThrow(/\[2,8\].*\[3,4\]/);
    expect(() => k.matmul(x, cube)).toThrow(/\[out, in\]; got \[2,3,8\]/);
    expect(() => k.add(x, w)).toThrow(/\[3,4\] and \[2,8\]/);
    expect(() => k.reshape(x, [3, -1])).toThrow(/16 numbers.*\[3,-1\]/);
    expect(() => k.reshape(x, [-1, -1])).toThrow(/16 numbers/);
    expect(() => k.topK(x, 9)).toThrow(/9 largest of rows of 8/);
    expect(() => k.gatherRows(x, Int32Array.of(2))).toThrow(/Row 2/);
    expect(() => k.scaleRows(x, new Float32Array(3))).toThrow(/2 rows.*got 3/);
    expect(() => k.rope(cube, x, new Int32Array(2))).toThrow(/rope wants/);
    const slots = await upload(k, 'I32', [2, 1], new Uint8Array(Int32Array.of(0, 2).buffer));
    expect(() => k.expertMatmul(x, cube, slots)).toThrow(/Slot 2 of row 1/);
    expect(() => k.expertMatmul(x, cube, x)).toThrow(/I32 \[2, 1\]/);
    await expect(k.write(cube, 2, async () => {})).rejects.toThrow(/Slot 2/);
    await expect(k.upload('Q4_0', [4, 40], async () => {})).rejects.toThrow(/blocks of 32.*40/);
    await expect(k.upload('F32', [2 ** 40, 2 ** 40], async () => {})).rejects.toThrow(/too large/);
    await expect(k.upload('F32', [2 ** 34, 8], async () => {})).rejects.toThrow(/cannot be held/);
    await expect(k.upload('F32', [-1, 8], async () => {})).rejects.toThrow(/\[-1,8\]/);
    const late = await k.step(async () => k.add(x, x));
    await expect(k.read(late)).rejects.toThrow(/freed when its step ended/);
    expect(() => k.createCache({ ...cacheShape, chunks: [null] })).toThrow(/2 layers.*1/);
    expect(() => k.createCache({ ...cacheShape, chunks: [0, null] })).toThrow(/chunk length.*0/);
    expect(() => k.createCache({ ...cacheShape, maxTokens: 0.5 })).toThrow(/maxTokens.*0.5/);
    await using other = createReferenceBackend();
    const foreign = { dtype: 'F32', shape: [2, 8] } as const;
    expect(() => other.add(foreign, foreign)).toThrow(/another backend/);
  });

  test('a disposed backend and its caches hold nothing and say so', async () => {
    const k = createReferenceBackend();
    const x = await upload(k, 'F32', [1, 8], new Uint8Array(32));
    const cache = k.createCache(cacheShape);
    const batch = { tokens: Int32Array.of(0), positions: Int32Array.of(0), sequences: Int32Array.of(0) };
    cache.append(0, x, x, { ...batch, logitRows: Int32Array.of(0) });
    expect(cache.length(0)).toBe(0); // the second layer has nothing yet
    expect(k.memoryBytes).toBe(32 + cache.bytes);
    await k[Symbol.asyncDispose]();
    expect([k.memoryBytes, cache.bytes]).toEqual([0, 0]);
    expect(() => cache.length(0)).toThrow(/disposed/);
    expect(() => k.add(x, x)).toThrow(/disposed/);
    await expect(upload(k, 'F32', [1], new Uint8Array(4))).rejects.toThrow(/disposed/);
  });
});

const cacheShape = {
  layers: 2,
  kvHeads: 1,
  headDim: 8,
  chunks: [null, 4],
  maxTokens: 16,
  maxSequences: 1,
  maxBatch: 4,
};
