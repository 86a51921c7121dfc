// Maverick, Maverick FP8, Scout and Llama Guard 4 as published: every name finds its place, and the counts are Meta's.
import { describe, expect, test } from 'vitest';
import { openVirtual, published } from '../checkpoint/published-names.cases.ts';
import { planModel } from './config.ts';
import { bindWeights, frequencies } from './weights.ts';

const VISION = 4 + 3 + 34 * 16 + 3;

describe('published tensors', () => {
  test.each([
    // As llama-bench counts Maverick; the others as their configurations multiply out. FP8 is counted as the BF16 it becomes.
    { name: 'maverick', all: 400_711_848_960, active: 17_184_691_200, experts: 128, moe: 24, gb: 801.4 },
    { name: 'maverick-fp8', all: 400_711_848_960, active: 17_184_691_200, experts: 128, moe: 24, gb: 801.4 },
    { name: 'scout', all: 107_769_861_120, active: 17_172_894_720, experts: 16, moe: 48, gb: 215.5 },
    { name: 'guard', all: 11_129_164_800, active: 11_129_164_800, experts: 0, moe: 0, gb: 22.3 },
  ] as const)('$name binds completely', async ({ name, all, active, experts, moe, gb }) => {
    const { tensors } = published(name);
    const start = performance.now();
    await using checkpoint = await openVirtual(name);
    const plan = planModel(checkpoint);
    const bound = bindWeights(checkpoint, plan);
    expect(performance.now() - start).toBeLessThan(2000);
    expect([plan.config.experts, plan.layers.filter(layer => layer.moe).length]).toEqual([experts, moe]);
    expect(bound.parameters).toBe(all);
    expect(bound.activeParameters).toBe(active);
    expect(bound.weightBytes / 1e9).toBeCloseTo(gb, 1);
    expect(bound.unused.length).toBe(tensors.filter(([tensor]) => /^(vision_model|multi_modal)/.test(tensor)).length);
    expect(bound.unused.length).toBe(VISION);
    const nope = plan.layers.filter(layer => !layer.rope).map(layer => layer.index);
    expect(nope).toEqual(name === 'guard' ? [] : [3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47]);
    expect(new Set(plan.layers.map(layer => layer.chunk))).toEqual(new Set(name === 'guard' ? [null] : [8192, null]));
    expect(plan.layers[0]!.qkNorm).toBe(name === 'scout' || name === 'guard');
    // 4, as the first configs had it, is on; constants as released.
    expect([plan.config.floorScale, plan.config.attnScale]).toEqual([8192, 0.1]);
    const angles = await frequencies(bound);
    const slowest = 500_000 ** (-126 / 128);
    expect(angles[63]).toBeCloseTo(name === 'scout' ? slowest / 16 : slowest, 12);
    expect(angles[0]).toBe(1);
  });
});
