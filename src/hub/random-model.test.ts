// A model of random weights in quantized formats: what was written is read back, and is as large as it should be.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dequantize } from '../backends/reference/dequantize.ts';
import { openGguf } from '../checkpoint/gguf.ts';
import { modelBytes, tinyGeometry, writeRandomModel } from './random-model.ts';

/** All matrices have rows of one length, so that one piece of noise serves them all. */
const geometry = { ...tinyGeometry, ff: tinyGeometry.dim };
const { vocab, dim } = geometry;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'random-model-'));
});
afterAll(() => rm(folder, { recursive: true }));

// One of each way to hold a scale; randomBlocks has a test of every format.
const dtypes = ['F16', 'Q4_0', 'Q4_K', 'IQ2_XS', 'IQ1_M', 'MXFP4', 'NVFP4', 'TQ2_0', 'Q1_0'] as const;

test.each(dtypes)('%s', async dtype => {
  const path = await writeRandomModel(join(folder, `${dtype}.gguf`), geometry, { dtype });
  await using file = await openGguf(path);
  const tensors = [...file.tensors.values()];
  expect(tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0)).toBe(modelBytes(geometry, dtype));
  const embedding = file.tensors.get('token_embd.weight')!;
  expect(embedding).toMatchObject({ dtype, shape: [vocab, dim] });
  const bytes = new Uint8Array(embedding.byteLength);
  await file.read(embedding, 0, bytes);
  const values = dequantize(dtype, bytes, vocab * dim);
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
  expect(deviation * Math.sqrt(dim)).toBeGreaterThan(0.9);
  expect(deviation * Math.sqrt(dim)).toBeLessThan(1.1);
});
