// One tiny Llama 4 in every form in which models are published: the same numbers, so the same log-probabilities, bit for bit.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createReferenceBackend } from '../../src/backends/reference/reference.ts';
import { openCheckpoint } from '../../src/checkpoint/open.ts';
import {
  makeTiny,
  roundToF8,
  type TinyShape,
  tinyShape,
  tinyTokens,
  writeTinyGguf,
  writeTinyHuggingFace,
} from '../../src/checkpoint/tiny-llama4.cases.ts';
import { compare, load } from './harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'maverick-forms-'));
afterAll(() => rmSync(folder, { recursive: true }));

const shapes: Record<string, TinyShape> = {
  'experts on every second layer, QK-norm': tinyShape,
  'experts everywhere, no QK-norm': { ...tinyShape, moeStep: 1, qkNorm: false },
  dense: { ...tinyShape, experts: 0 },
};

async function logprobs(path: string, slots?: number): Promise<Float32Array> {
  await using runner = await load(path, createReferenceBackend(), slots === undefined ? {} : { slots });
  return await runner.step({ sequence: 0, tokens: tinyTokens(tinyShape) });
}

describe.each(Object.keys(shapes))('%s', name => {
  const shape = shapes[name]!;
  const tiny = makeTiny(shape, 3);
  const at = (form: string): string => join(folder, `${Object.keys(shapes).indexOf(name)}-${form}`);

  test('GGUF F16 = GGUF BF16 = safetensors BF16 = F16 = F32, in one file or in many', async () => {
    const want = await logprobs(await writeTinyGguf(at('f16.gguf'), shape, tiny, 'F16'));
    expect(want.every(Number.isFinite)).toBe(true);
    expect(await logprobs(await writeTinyGguf(at('bf16.gguf'), shape, tiny, 'BF16'))).toEqual(want);
    for (const type of ['BF16', 'F16', 'F32'] as const)
      expect(await logprobs(await writeTinyHuggingFace(at(type), shape, tiny, { type })), type).toEqual(want);
    const sharded = await writeTinyHuggingFace(at('sharded'), shape, tiny, {
      maxBytes: 20_000,
      prefix: 'language_model.',
      config: { model_type: 'llama4_text' },
    });
    expect(await logprobs(sharded), 'sharded').toEqual(want);
    if (shape.experts > 0) expect(await logprobs(sharded, 2), 'streamed').toEqual(want);
  });

  test.skipIf(shape.experts === 0)('FP8, single experts and packed ones, = GGUF of the rounded numbers', async () => {
    const rounded = roundToF8(tiny);
    const want = await logprobs(await writeTinyGguf(at('rounded.gguf'), shape, rounded, 'BF16'));
    for (const fp8 of ['single', 'packed'] as const)
      expect(await logprobs(await writeTinyHuggingFace(at(fp8), shape, rounded, { fp8 })), fp8).toEqual(want);
    // Two places for the experts of a layer: they are read one by one, as they are wanted.
    for (const fp8 of ['single', 'packed']) expect(await logprobs(at(fp8), 2), `${fp8}, streamed`).toEqual(want);
    const exact = await logprobs(await writeTinyGguf(at('exact.gguf'), shape, tiny, 'BF16'));
    const { meanKl, top1 } = compare(want, exact, shape.vocab);
    expect(meanKl, 'what FP8 costs').toBeLessThan(5e-3);
    expect(top1).toBeGreaterThan(0.8);
  });

  test("Ollama's layout", async () => {
    const path = await writeTinyGguf(at('ollama.gguf'), shape, tiny, 'F16', {
      metadata: [
        ['llama4.vision.block_count', 1],
        ['llama4.vision.embedding_length', 16],
        ['tokenizer.ggml.pre', 'default'],
      ],
      tensors: [
        { name: 'v.blk.0.attn_q.weight', dtype: 'F16', shape: [16, 16], data: new Uint8Array(512) },
        { name: 'mm.linear_1.weight', dtype: 'F16', shape: [64, 16], data: new Uint8Array(2048) },
      ],
    });
    expect(await logprobs(path)).toEqual(await logprobs(await writeTinyGguf(at('plain.gguf'), shape, tiny, 'F16')));
    await using checkpoint = await openCheckpoint(path);
    expect(checkpoint.metadata.get('tokenizer.ggml.pre')).toBe('llama4');
  });
});
