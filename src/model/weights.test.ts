// Tensors to fields: all found, of the right shape, all accounted for, uploaded with progress.
import { describe, expect, test } from 'vitest';
import { createReferenceBackend } from '../backends/reference/reference.ts';
import { CheckpointError, type MetadataValue } from '../checkpoint/checkpoint.ts';
import type { DType } from '../checkpoint/dtype.ts';
import { planModel } from './config.ts';
import { fakeCheckpoint, llama4Metadata, llamaMetadata, tensorShapes, tiny } from './fake-checkpoint.cases.ts';
import { bindWeights, frequencies, loadWeights } from './weights.ts';

type Shapes = Record<string, [number[], DType?] | undefined>;
function bind(changes: Shapes = {}, metadata: Record<string, MetadataValue> = {}, contents = {}) {
  const checkpoint = fakeCheckpoint({ ...llama4Metadata(), ...metadata }, { ...tensorShapes(), ...changes }, contents);
  return bindWeights(checkpoint, planModel(checkpoint));
}

describe('binding', () => {
  test('parameters, in all and of one token', () => {
    const bound = bind();
    const { dim, ff, expertFf, experts, vocab } = tiny;
    const attention = 4 * (2 * dim * 32 + 2 * dim * 16 + 2 * dim);
    const dense = 2 * 3 * ff * dim;
    const expert = 3 * expertFf * dim;
    const rest = 2 * vocab * dim + dim;
    expect(bound.parameters).toBe(attention + dense + 2 * (experts * dim + (experts + 1) * expert) + rest);
    expect(bound.activeParameters).toBe(attention + dense + 2 * (experts * dim + 2 * expert) + rest);
    expect(bound.unused).toEqual([]);
    expect(bound.ropeFactors).toBeNull();
  });

  test('a tied output is the table of embeddings, counted once', () => {
    const bound = bind({ 'output.weight': undefined });
    expect(bound.output).toBe(bound.tokEmbeddings);
    expect(bind().parameters - bound.parameters).toBe(tiny.vocab * tiny.dim);
  });

  test('tensors without a use are listed', () => {
    const bound = bind({
      'v.patch_embd.weight': [[4, 4]],
      'mm.model.fc.weight': [[2, 2]],
      'blk.0.rope_freqs.weight': [[4]],
    });
    expect(bound.unused.map(t => t.name)).toEqual([
      'v.patch_embd.weight',
      'mm.model.fc.weight',
      'blk.0.rope_freqs.weight',
    ]);
  });

  const missing = Object.keys(tensorShapes()).filter(name => name !== 'output.weight' && name !== 'token_embd.weight');
  test.each(missing)('%s missing, or of another shape', name => {
    const [shape] = tensorShapes()[name]!;
    const named = name.replaceAll('.', '\\.');
    expect(() => bind({ [name]: undefined })).toThrow(CheckpointError);
    expect(() => bind({ [name]: undefined })).toThrow(new RegExp(`${named}: got no such tensor, wanted one of shape`));
    expect(() => bind({ [name]: [shape.with(-1, shape.at(-1)! + 32)] })).toThrow(new RegExp(`${named}: got shape \\[`));
    expect(() => bind({ [name]: [[...shape, 1]] })).toThrow(new RegExp(`${named}: got shape \\[`));
  });

  test.each([
    'blk.0.attn_q.bias',
    'blk.3.attn_q_norm.weight',
    'blk.2.ffn_gate_inp.weight',
    'blk.9.attn_norm.weight',
    'output.bias',
    'rope_factors_long.weight',
  ])('%s would change the results', name => {
    expect(() => bind({ [name]: [[8]] })).toThrow(new RegExp(`tensor ${name.replaceAll('.', '\\.')}.*not supported`));
  });

  test('formats that no operation takes', () => {
    expect(() => bind({ 'blk.1.attn_norm.weight': [[32], 'F16'] })).toThrow(
      /attn_norm\.weight: got format F16, wanted F32/,
    );
    expect(() => bind({ 'blk.1.attn_q.weight': [[32, 32], 'I32'] })).toThrow(/attn_q\.weight: got I32/);
  });
});

describe('frequencies', () => {
  test('theta^(-2j/d), divided by the factors of the file', async () => {
    const plain = await frequencies(bind());
    expect([...plain]).toEqual([0, 1, 2, 3].map(j => Math.fround(500_000 ** (-j / 4))));
    const factors = Float32Array.of(1, 2, 4, 16);
    const scaled = await frequencies(bind({ 'rope_freqs.weight': [[4]] }, {}, { 'rope_freqs.weight': factors }));
    for (const [j, frequency] of scaled.entries()) expect(frequency).toBeCloseTo(plain[j]! / factors[j]!, 6);
  });

  test('linear scaling divides all', async () => {
    const metadata = { 'llama4.rope.scaling.type': 'linear', 'llama4.rope.scaling.factor': 8 };
    const [first] = await frequencies(bind({}, metadata));
    expect(first).toBe(1 / 8);
  });

  test.each([0, -1, NaN, Infinity])('a factor of %s', async factor => {
    const contents = { 'rope_freqs.weight': Float32Array.of(1, factor, 1, 1) };
    await expect(frequencies(bind({ 'rope_freqs.weight': [[4]] }, {}, contents))).rejects.toThrow(
      /rope_freqs\.weight\[1\]: got .*, wanted a positive number/,
    );
  });
});

describe('loading', () => {
  test('progress goes up to all bytes; every layer has its parts', async () => {
    await using backend = createReferenceBackend();
    const bound = bind({ 'rope_freqs.weight': [[4]] }, {}, { 'rope_freqs.weight': Float32Array.of(1, 1, 1, 1) });
    const seen: number[] = [];
    const model = await loadWeights(bound, backend, {
      onProgress(loaded, total) {
        expect(total).toBe(bound.weightBytes);
        seen.push(loaded);
      },
    });
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBe(bound.weightBytes);
    expect(model.layers.map(l => l.moe !== null)).toEqual([false, true, false, true]);
    expect(model.layers.map(l => l.rope === null)).toEqual([false, false, false, true]);
    expect(model.output.weight.shape).toEqual([tiny.vocab, tiny.dim]);
  });

  test('a tied model is uploaded once', async () => {
    await using backend = createReferenceBackend();
    const checkpoint = fakeCheckpoint(llamaMetadata(), { ...tensorShapes(false), 'output.weight': undefined });
    const model = await loadWeights(bindWeights(checkpoint, planModel(checkpoint)), backend);
    expect(model.output.weight).toBe(model.tokEmbeddings);
  });

  test('stops when told to', async () => {
    await using backend = createReferenceBackend();
    const controller = new AbortController();
    const loading = loadWeights(bind(), backend, {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    });
    await expect(loading).rejects.toThrow('enough');
  });
});
