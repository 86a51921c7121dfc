// Experts on disk give the same bits as experts in memory, however few there is room for: on every backend, as one pass, token by
// token, and as two sequences in one batch.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { loadNative } from '../../src/backends/native/load.ts';
import { createNativeBackend } from '../../src/backends/native/native.ts';
import { createReferenceBackend } from '../../src/backends/reference/reference.ts';
import { createWasmBackend } from '../../src/backends/wasm/wasm.ts';
import { type TypedValue, typed, type WritableValue, writeGguf } from '../../src/checkpoint/gguf-writer.ts';
import { openCheckpoint } from '../../src/checkpoint/open.ts';
import { golden, load, manifest } from './harness.ts';

const native = loadNative();
const backends: { name: string; create: () => Backend | Promise<Backend>; skip?: boolean }[] = [
  { name: 'reference', create: () => createReferenceBackend() },
  { name: 'wasm', create: () => createWasmBackend({ threads: 2 }) },
  // Banks so small that places for experts lie in several.
  { name: 'wasm, small banks', create: () => createWasmBackend({ threads: 2, bankBytes: 4 * 2 ** 20 }) },
  {
    name: 'missing' in native ? `native: skipped, ${native.missing}` : 'native',
    create: () => createNativeBackend({ threads: 2 }),
    skip: 'missing' in native,
  },
];
const { tokens } = manifest().find(entry => entry.model === 'maverick-tiny.gguf')!;
const path = golden('maverick-tiny.gguf');
const [first, second] = [tokens.slice(0, 20), tokens.slice(20, 32)];

/** The same model in many files: five tensors in each. */
async function inParts(folder: string): Promise<string> {
  await using whole = await openCheckpoint(path);
  const metadata = new Map<string, WritableValue>();
  for (const [key, value] of whole.metadata) {
    const type = whole.metadataTypes?.get(key);
    const content = value as TypedValue['value'];
    metadata.set(key, type && type !== 'array' ? typed(type, content) : content);
  }
  const paths = await writeGguf(join(folder, 'parts.gguf'), {
    metadata,
    tensors: [...whole.tensors.values()].map(tensor => ({
      ...tensor,
      async *data() {
        const bytes = new Uint8Array(tensor.byteLength);
        await whole.read(tensor, 0, bytes);
        yield bytes;
      },
    })),
    split: { maxTensors: 5 },
  });
  expect(paths.length).toBeGreaterThan(3);
  return paths[0]!;
}

test.skipIf('missing' in native)('read directly from a model in many files', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'parts-'));
  try {
    await using whole = await load(path, await createNativeBackend({ threads: 2 }), { slots: 2 });
    await using parts = await load(await inParts(folder), await createNativeBackend({ threads: 2 }), { slots: 2 });
    expect(await parts.step({ sequence: 0, tokens })).toEqual(await whole.step({ sequence: 0, tokens }));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

for (const { name, create, skip = false } of backends)
  describe.skipIf(skip)(`streamed experts, ${name}`, () => {
    test('bit for bit as resident, with 1, 2, 9 and all places', async () => {
      await using resident = await load(path, await create());
      const whole = await resident.step({ sequence: 0, tokens });
      const both = await resident.step({ sequence: 1, tokens: first }, { sequence: 2, tokens: second });
      for (const slots of [1, 2, 9, 1000]) {
        await using runner = await load(path, await create(), { slots });
        expect(await runner.step({ sequence: 0, tokens }), `${slots} places`).toEqual(whole);
        const single: number[] = [];
        for (const token of tokens) single.push(...(await runner.step({ sequence: 3, tokens: [token] })));
        expect(Float32Array.from(single), `${slots} places, token by token`).toEqual(whole);
        expect(
          await runner.step({ sequence: 1, tokens: first }, { sequence: 2, tokens: second }),
          `${slots} places, two sequences`,
        ).toEqual(both);
        const { stats } = runner.stream!;
        expect(stats.held).toBeLessThanOrEqual(stats.slots);
        expect(stats.wanted).toBeGreaterThan(stats.hits);
        const read = (stats.bytesRead / stats.heldBytes) * stats.held;
        if (stats.foreseen === 0) expect(read).toBe(stats.wanted - stats.hits);
        else expect(read).toBeGreaterThanOrEqual(stats.wanted - stats.hits);
      }
    });

    test('requests that run together read an expert once for all of them', async () => {
      const bytesOf = async (sequences: number[]): Promise<number> => {
        await using runner = await load(path, await create(), { slots: 2 });
        await runner.step(...sequences.map(sequence => ({ sequence, tokens: first })));
        return runner.stream!.stats.bytesRead;
      };
      expect(await bytesOf([0, 1, 2])).toBe(await bytesOf([0]));
    });
  });
