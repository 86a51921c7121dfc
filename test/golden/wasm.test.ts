// The WebAssembly backend against the golden numbers. Its products round activations to 8 bits where weights are quantized, as
// llama.cpp's do; on random weights that sends a few tokens to another expert, where two are nearly tied, and then all of the
// row changes. So the arithmetic is judged with the reference's routing, and the routing by how seldom it differs.
import { describe, expect, test } from 'vitest';
import { createReferenceBackend } from '../../src/backends/reference/reference.ts';
import { createWasmBackend } from '../../src/backends/wasm/wasm.ts';
import { compare, expectedRows, type GoldenModel, golden, load, manifest, type Routes } from './harness.ts';

const bar = (entry: GoldenModel): number => Math.max(1.5 * entry.llama_cpp_mean_kl!, 1e-3);

async function run(entry: GoldenModel, backend: 'reference' | 'wasm', follow?: Routes) {
  const record: Routes = [];
  const made = backend === 'wasm' ? await createWasmBackend({ threads: 2 }) : createReferenceBackend();
  await using runner = await load(golden(entry.model), made, {}, { record, follow });
  return { rows: await runner.step({ sequence: 0, tokens: entry.tokens }), record };
}

describe('golden, wasm', () => {
  test.each(manifest().map(entry => [entry.model, entry] as const))('%s', async (_, entry) => {
    const expected = expectedRows(entry);
    const vocab = entry.shape[1];
    const { record: routes } = await run(entry, 'reference');
    const alike = await run(entry, 'wasm', routes);
    const arithmetic = compare(alike.rows, expected, vocab);
    // Measured: 1.0e-4 to 1.7e-4 in every quantized format, which is what rounding to 8 bits costs.
    expect(arithmetic.meanKl).toBeLessThanOrEqual(3e-4);
    expect(arithmetic.top1).toBeGreaterThanOrEqual(0.9);

    const own = await run(entry, 'wasm');
    const changed = own.record.flat().filter((expert, i) => expert !== routes.flat()[i]).length;
    expect(changed / routes.flat().length).toBeLessThanOrEqual(0.04);
    const { meanKl, medianKl, top1 } = compare(own.rows, expected, vocab);
    expect(top1).toBeGreaterThanOrEqual(0.9);
    expect(medianKl).toBeLessThanOrEqual(bar(entry));
    if (changed === 0) expect(meanKl).toBeLessThanOrEqual(bar(entry));
  });
});
