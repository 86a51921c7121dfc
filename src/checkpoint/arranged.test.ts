// Any range of any tensor of a folder is that range of the whole; wholes are the numbers the folder was made of; memory stays small.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Checkpoint } from './checkpoint.ts';
import { CheckpointError } from './checkpoint.ts';
import { huggingFaceFiles, memoryFolder, metaFiles, smallest } from './crafted-folders.cases.ts';
import { openHuggingFace } from './huggingface/huggingface.ts';
import { openModelFolder } from './open.ts';
import type { Source } from './sources.ts';
import { encode, makeTiny, roundToF8 } from './tiny-llama4.cases.ts';

const tiny = makeTiny(smallest);
const rounded = roundToF8(tiny);

async function whole(checkpoint: Checkpoint, name: string): Promise<Uint8Array> {
  const tensor = checkpoint.tensors.get(name)!;
  const bytes = new Uint8Array(tensor.byteLength);
  await checkpoint.read(tensor, 0, bytes);
  return bytes;
}

describe.each([
  ['safetensors BF16', huggingFaceFiles(), tiny, 'BF16'],
  ['safetensors F16', huggingFaceFiles({ type: 'F16' }), tiny, 'F16'],
  ['safetensors F32', huggingFaceFiles({ type: 'F32' }), tiny, 'F32'],
  ['FP8, single experts', huggingFaceFiles({ fp8: 'single' }), rounded, 'BF16'],
  ['FP8, packed experts', huggingFaceFiles({ fp8: 'packed' }), rounded, 'BF16'],
  ["Meta's shards", metaFiles(), tiny, 'BF16'],
] as const)('%s', (_, files, numbers, type) => {
  test('every tensor is what it was made of, under the name and in the shape of GGUF', async () => {
    // FP8 folders are made of the numbers that are then rounded, which come out rounded.
    await using checkpoint = await openModelFolder(memoryFolder('folder', files));
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...numbers.keys()].sort());
    for (const [name, { shape, numbers: expected }] of numbers) {
      const tensor = checkpoint.tensors.get(name)!;
      expect([name, tensor.shape]).toEqual([name, shape]);
      expect([name, tensor.dtype]).toEqual([name, shape.length === 1 ? 'F32' : type]);
      expect(await whole(checkpoint, name), name).toEqual(encode(expected, shape.length === 1 ? 'F32' : type));
    }
  });

  test('any range, at any place in memory', async () => {
    await using checkpoint = await openModelFolder(memoryFolder('folder', files));
    const tensors = [...checkpoint.tensors.values()];
    const property = fc.asyncProperty(
      fc.nat(tensors.length - 1),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.nat(200),
      fc.nat(3),
      async (index, place, length, shift) => {
        const tensor = tensors[index]!;
        const offset = Math.floor(place * tensor.byteLength);
        const end = Math.min(tensor.byteLength, offset + length);
        const into = new Uint8Array(new SharedArrayBuffer(shift + end - offset), shift);
        await checkpoint.read(tensor, offset, into);
        expect(into).toEqual((await whole(checkpoint, tensor.name)).subarray(offset, end));
      },
    );
    await fc.assert(property, {
      numRuns: 150,
      examples: [
        [0, 1, 0, 0],
        [21, 1, 0, 1],
      ],
    });
  });

  test('what lies outside is refused, and so is a tensor of another checkpoint', async () => {
    await using checkpoint = await openModelFolder(memoryFolder('folder', files));
    const tensor = checkpoint.tensors.get('output.weight')!;
    for (const [offset, length] of [
      [-1, 1],
      [tensor.byteLength, 1],
      [tensor.byteLength - 1, 2],
      [0.5, 1],
      [Number.NaN, 0],
    ])
      await expect(checkpoint.read(tensor, offset!, new Uint8Array(length!))).rejects.toThrow(CheckpointError);
    await expect(checkpoint.read({ ...tensor, name: 'other' }, 0, new Uint8Array(1))).rejects.toThrow(
      /tensor other: there is no such tensor/,
    );
  });
});

test('a file that becomes shorter while it is read is told, and so is a scale that is no number', async () => {
  const files = huggingFaceFiles({ fp8: 'single' });
  const cut = memoryFolder('folder', files);
  let end = Number.POSITIVE_INFINITY;
  await using checkpoint = await openHuggingFace({
    ...cut,
    async open(name): Promise<Source> {
      const source = await cut.open(name);
      return {
        ...source,
        read: async (offset, into) => Math.max(0, Math.min(await source.read(offset, into), end - offset)),
      };
    },
  });
  end = 3000;
  const tensor = checkpoint.tensors.get('blk.1.ffn_down_exps.weight')!;
  await expect(checkpoint.read(tensor, 0, new Uint8Array(tensor.byteLength))).rejects.toThrow(
    /bytes when opened and now ends at/,
  );
});

test('an expert of 84 MB in BF16 is read in a few MiB beside it, and in long runs', async () => {
  // Maverick's width, two experts: packed [E, 5120, 16384], of a source that has no bytes but says which were asked for.
  const [experts, dim, ff] = [2, 5120, 8192];
  const { openVirtual } = await import('./published-names.cases.ts');
  const asked: { reads: number; bytes: number; longest: number } = { reads: 0, bytes: 0, longest: 0 };
  await using checkpoint = await openVirtual('maverick', { layers: 2, experts }, asked);
  const tensor = checkpoint.tensors.get('blk.1.ffn_gate_exps.weight')!;
  expect(tensor.shape).toEqual([experts, ff, dim]);
  const into = new Uint8Array(dim * ff * 2);
  Object.assign(asked, { reads: 0, bytes: 0, longest: 0 });
  await checkpoint.read(tensor, into.length, into);
  expect(asked.longest).toBeLessThanOrEqual(4 * 2 ** 20);
  expect(asked.bytes).toBeLessThanOrEqual(2 * into.length);
  expect(asked.reads).toBeLessThan(500);
});
