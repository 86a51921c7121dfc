// Metadata to plan: the defaults of each architecture, and a clear error for everything missing or absurd.
import { describe, expect, test } from 'vitest';
import { CheckpointError, type MetadataValue } from '../checkpoint/checkpoint.ts';
import { cacheShape, planModel } from './config.ts';
import { fakeCheckpoint, llama4Metadata, llamaMetadata, tensorShapes, tiny } from './fake-checkpoint.cases.ts';

type Changes = Record<string, MetadataValue | undefined>;
const llama4 = (changes: Changes = {}) =>
  planModel(fakeCheckpoint({ ...llama4Metadata(), ...changes }, tensorShapes()));
const llama = (changes: Changes = {}) =>
  planModel(fakeCheckpoint({ ...llamaMetadata(), ...changes }, tensorShapes(false)));

describe('llama4', () => {
  test('every fourth layer has no position and sees everything; experts on every second', () => {
    const { config, layers, ropeTheta } = llama4();
    expect(config).toEqual({
      architecture: 'llama4',
      layers: 4,
      dim: 32,
      heads: 4,
      kvHeads: 2,
      headDim: 8,
      vocab: 10,
      normEps: 1e-5,
      contextLength: 100_000,
      experts: 3,
      expertsPerToken: 1,
      floorScale: 8192,
      attnScale: 0.1,
    });
    expect(layers.map(l => l.rope)).toEqual([true, true, true, false]);
    expect(layers.map(l => l.chunk)).toEqual([8192, 8192, 8192, null]);
    expect(layers.map(l => l.qkNorm)).toEqual([true, true, true, false]);
    expect(layers.map(l => l.moe)).toEqual([false, true, false, true]);
    expect(layers.map(l => l.ff)).toEqual([tiny.ff, tiny.expertFf, tiny.ff, tiny.expertFf]);
    expect(ropeTheta).toBe(500_000);
  });

  test('QK-norm: as stated, else on but for 128 experts', () => {
    const normed = (changes: Changes) => llama4(changes).layers[0]!.qkNorm;
    expect(normed({ 'llama4.expert_count': 128 })).toBe(false);
    expect(normed({ 'llama4.expert_count': 16 })).toBe(true);
    expect(normed({ 'llama4.expert_count': 128, 'llama4.use_qk_norm': true })).toBe(true);
    expect(normed({ 'llama4.use_qk_norm': false })).toBe(false);
  });

  test('chunk: as stated; a window of 0 means none, and RoPE everywhere', () => {
    expect(llama4({ 'llama4.attention.chunk_size': 8 }).layers.map(l => l.chunk)).toEqual([8, 8, 8, null]);
    const open = llama4({ 'llama4.attention.sliding_window': 0 }).layers;
    expect(open.map(l => l.chunk)).toEqual([null, null, null, null]);
    expect(open.every(l => l.rope && l.qkNorm)).toBe(true);
  });

  test('no experts: dense, needing no key about experts', () => {
    const { config, layers } = llama4({
      'llama4.expert_count': 0,
      'llama4.expert_used_count': undefined,
      'llama4.interleave_moe_layer_step': undefined,
      'llama4.expert_feed_forward_length': undefined,
    });
    expect(config.expertsPerToken).toBe(0);
    expect(layers.every(l => !l.moe && l.ff === tiny.ff)).toBe(true);
  });

  test('the cache is told the chunk of every layer', () => {
    const shape = cacheShape(llama4(), { maxTokens: 9, maxSequences: 2, maxBatch: 3 });
    expect(shape).toEqual({
      layers: 4,
      kvHeads: 2,
      headDim: 8,
      chunks: [8192, 8192, 8192, null],
      maxTokens: 9,
      maxSequences: 2,
      maxBatch: 3,
    });
  });
});

describe('llama', () => {
  test('RoPE and the whole context on every layer; head size, base and key-value heads by default', () => {
    const { config, layers, ropeTheta } = llama({ 'llama.attention.head_count_kv': undefined });
    expect([config.headDim, config.kvHeads, config.attnScale]).toEqual([8, 4, 0]);
    expect(layers.every(l => l.rope && l.chunk === null && !l.qkNorm && !l.moe)).toBe(true);
    expect(ropeTheta).toBe(10_000);
  });

  test('linear scaling; a sliding window bounds the context', () => {
    const scaled = llama({ 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 });
    expect(scaled.ropeLinearFactor).toBe(4);
    expect(llama({ 'llama.attention.sliding_window': 512 }).config.contextLength).toBe(512);
  });

  test('experts are refused', () => {
    expect(() => llama({ 'llama.expert_count': 8 })).toThrow(/tiny\.gguf: llama\.expert_count: got 8.*Mixtral/);
  });
});

describe('what is wrong is named', () => {
  const absurd: [string, MetadataValue | undefined][] = [
    ['general.architecture', 'gemma3'],
    ['general.architecture', undefined],
    ['general.architecture', 4],
    ...['block_count', 'context_length', 'embedding_length', 'attention.head_count'].flatMap(key =>
      [undefined, 0, -1, 1.5, NaN, 'many', 2 ** 40, 2n ** 63n, [4, 4, 4, 4]].map(
        (value): [string, MetadataValue | undefined] => [`llama4.${key}`, value],
      ),
    ),
    ['llama4.attention.head_count_kv', 3],
    ['llama4.attention.head_count_kv', 0],
    ['llama4.attention.key_length', 7],
    ['llama4.attention.value_length', 16],
    ['llama4.rope.dimension_count', 4],
    ['llama4.attention.layer_norm_rms_epsilon', NaN],
    ['llama4.attention.layer_norm_rms_epsilon', 0],
    ['llama4.attention.layer_norm_rms_epsilon', undefined],
    ['llama4.rope.freq_base', undefined],
    ['llama4.rope.freq_base', Infinity],
    ['llama4.rope.freq_base', -5],
    ['llama4.rope.scaling.type', 'yarn'],
    ['llama4.expert_count', -1],
    ['llama4.expert_used_count', 2],
    ['llama4.expert_used_count', undefined],
    ['llama4.interleave_moe_layer_step', undefined],
    ['llama4.feed_forward_length', 0],
    ['llama4.expert_feed_forward_length', undefined],
    ['llama4.attention.sliding_window', -1],
    ['llama4.attention.chunk_size', 0],
    ['llama4.use_qk_norm', 1],
    ['llama4.attention.temperature_scale', Infinity],
  ];
  test.each(absurd)('%s = %s', (key, value) => {
    const read = () => llama4({ [key]: value });
    expect(read).toThrow(CheckpointError);
    expect(read).toThrow(new RegExp(`${key.replaceAll('.', '\\.')}.*got .*wanted `));
  });

  test('a linear scaling without factor, and heads that do not divide', () => {
    expect(() => llama({ 'llama.rope.scaling.type': 'linear' })).toThrow(/rope\.scaling\.factor: got nothing/);
    expect(() => llama({ 'llama.attention.head_count': 5, 'llama.attention.head_count_kv': 5 })).toThrow(
      /attention\.head_count: got 5, wanted a divisor of embedding_length \(32\)/,
    );
  });

  test('no table of embeddings', () => {
    const shapes = { ...tensorShapes(), 'token_embd.weight': undefined };
    expect(() => planModel(fakeCheckpoint(llama4Metadata(), shapes))).toThrow(/token_embd\.weight: got no such tensor/);
  });
});
