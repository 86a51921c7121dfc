// The reference backend gives the golden log-probabilities, in every storage format.
import { describe, expect, test } from 'vitest';
import { createReferenceBackend } from '../../src/backends/reference/reference.ts';
import { compare, expectedRows, golden, load, manifest } from './harness.ts';

describe('golden, reference', () => {
  test.each(manifest().map(entry => [entry.model, entry] as const))('%s', async (_, entry) => {
    await using runner = await load(golden(entry.model), createReferenceBackend());
    const got = await runner.step({ sequence: 0, tokens: entry.tokens });
    const { maxDifference, top1 } = compare(got, expectedRows(entry), entry.shape[1]);
    // The bar is 2e-3; float32 activations over the same decoded weights agree far closer, in quantized formats too.
    expect(maxDifference).toBeLessThanOrEqual(5e-5);
    expect(top1).toBe(1);
  });
});
