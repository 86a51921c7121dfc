// The full Maverick as files of holes: it opens in no time, and what lies far behind 4 GiB is read where it lies.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { planModel } from '../model/config.ts';
import { bindWeights } from '../model/weights.ts';
import { maverickGeometry, writeSparseModel } from './random-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'sparse-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes bytes into a tensor by its place in the file, as the header tells it, and reads them through the checkpoint. */
async function writeAndRead(checkpoint: Checkpoint, name: string, at: number): Promise<number> {
  const tensor = checkpoint.tensors.get(name)!;
  const { path, offset } = checkpoint.placeOf!(tensor)!;
  const mark = Uint8Array.from({ length: 64 }, (_, i) => (i * 37 + at + name.length) % 251);
  {
    await using file = await open(path, 'r+');
    await file.write(mark, 0, mark.length, offset + at);
  }
  const read = new Uint8Array(96);
  await checkpoint.read(tensor, at - 16, read);
  expect([...read]).toEqual([...new Uint8Array(16), ...mark, ...new Uint8Array(16)]);
  return offset + at;
}

test('225 GB in one file: opened within two seconds, every tensor bound, bytes past 2^32 and 2^37 right', async () => {
  const [path] = await writeSparseModel(join(folder, 'maverick.gguf'), maverickGeometry);
  const { size, blocks } = statSync(path!);
  expect(size).toBeGreaterThan(225e9);
  expect(blocks * 512).toBeLessThan(64e6); // of a header with a vocabulary
  const start = performance.now();
  await using checkpoint = await openCheckpoint(path!);
  const { parameters, weightBytes } = bindWeights(checkpoint, planModel(checkpoint));
  expect(performance.now() - start).toBeLessThan(2000);
  expect(parameters).toBe(400_711_848_960);
  expect(weightBytes).toBeGreaterThan(225e9);
  const expert = checkpoint.tensors.get('blk.47.ffn_down_exps.weight')!.byteLength / 128;
  const places = [
    await writeAndRead(checkpoint, 'blk.1.ffn_gate_exps.weight', 64),
    await writeAndRead(checkpoint, 'blk.1.ffn_up_exps.weight', 100 * expert + 4096),
    await writeAndRead(checkpoint, 'blk.31.ffn_up_exps.weight', 127 * expert),
    await writeAndRead(checkpoint, 'blk.47.ffn_down_exps.weight', 127 * expert + 12_345),
    await writeAndRead(checkpoint, 'output.weight', 1_000_000),
  ];
  expect(places.filter(place => place > 2 ** 32).length).toBeGreaterThanOrEqual(4);
  expect(places.filter(place => place > 2 ** 37).length).toBeGreaterThanOrEqual(3);
  // Nothing but the marks is anywhere: a place that was taken modulo 2^32 would have left one of them elsewhere.
  const whole = new Uint8Array(1 << 16);
  for (const low of places.map(place => place % 2 ** 32)) {
    await using file = await open(path!, 'r');
    if (places.includes(low) || low < 1e8) continue;
    await file.read(whole, 0, whole.length, low - 100);
    expect(whole.every(byte => byte === 0)).toBe(true);
  }
});

test('the same in parts of 50 GB: tensors are found in theirs', async () => {
  const paths = await writeSparseModel(join(folder, 'split.gguf'), maverickGeometry, { maxBytes: 50e9 });
  expect(paths.length).toBeGreaterThanOrEqual(5);
  await using checkpoint = await openCheckpoint(paths[0]!);
  expect(bindWeights(checkpoint, planModel(checkpoint)).parameters).toBe(400_711_848_960);
  for (const name of ['blk.13.ffn_up_exps.weight', 'blk.47.ffn_down_exps.weight', 'output.weight'])
    await writeAndRead(checkpoint, name, 500_000_000);
  expect(new Set([...checkpoint.tensors.values()].map(tensor => checkpoint.placeOf!(tensor)!.path)).size).toBe(
    paths.length,
  );
});
