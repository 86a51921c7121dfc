// Every read of an expert fails once, in every way that reads fail: the pass gives the right bits or an error that says what, never
// wrong numbers; and what comes after is right again.
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import type { NativeFiles } from '../../src/backends/native/files.ts';
import { loadNative } from '../../src/backends/native/load.ts';
import { createNativeBackend } from '../../src/backends/native/native.ts';
import { createWasmBackend } from '../../src/backends/wasm/wasm.ts';
import { type Checkpoint, CheckpointError, type TensorInfo } from '../../src/checkpoint/checkpoint.ts';
import { golden, load, manifest } from './harness.ts';

const { tokens } = manifest().find(entry => entry.model === 'maverick-tiny.gguf')!;
const path = golden('maverick-tiny.gguf');
const prompt = tokens.slice(0, 3);
const slots = 2;

const native = loadNative();
describe.skipIf('missing' in native)(
  `faults of direct reads${'missing' in native ? `: skipped, ${native.missing}` : ''}`,
  () => {
    const filesOf = (backend: Backend): NativeFiles =>
      (backend as unknown as { device: { machine: { files: NativeFiles } } }).device.machine.files;

    test.each([
      ['error', /expert \d+ of blk\.\d+\.ffn_gate_exps\.weight: it cannot be read: EIO/],
      ['end', /expert \d+ of .*: the file ends too soon/],
      ['wrong', /has other bytes than when it was read before/],
      ['short', null],
    ] as const)('%s', async (kind, message) => {
      const backend = await createNativeBackend({ threads: 2 });
      await using runner = await load(path, backend, { slots });
      const expected = await runner.step({ sequence: 0, tokens: prompt }); // checksums are known by now
      let failures = 0;
      for (let n = 0; n < 24; n++) {
        runner.cache.truncate(1, 0);
        filesOf(backend).fail(n, kind);
        const got = await runner.step({ sequence: 1, tokens: prompt }).catch((error: Error) => error);
        if (got instanceof Error) {
          expect(got).toBeInstanceOf(CheckpointError);
          expect(got.message).toContain(path);
          expect(got.message).toMatch(message!);
          failures++;
        } else expect(got, `${kind} at read ${n}`).toEqual(expected);
      }
      filesOf(backend).fail(2 ** 31, kind);
      runner.cache.truncate(1, 0);
      expect(await runner.step({ sequence: 1, tokens: prompt })).toEqual(expected);
      if (message) expect(failures).toBeGreaterThan(3);
      else expect(failures).toBe(0);
    });

    test.each([
      ['error', /blk\.\d+\.\w+\.weight: it cannot be read: EIO/],
      ['end', /blk\.\d+\.\w+\.weight: the file ends too soon/],
      ['short', null],
    ] as const)('while a model is opened: %s', async (kind, message) => {
      for (let n = 2; n < 24; n += 3) {
        const backend = await createNativeBackend({ threads: 2 });
        filesOf(backend).fail(n, kind);
        const opened = await load(path, backend, { slots }).catch((error: Error) => error);
        if (opened instanceof Error) {
          expect(opened).toBeInstanceOf(CheckpointError);
          expect(opened.message).toMatch(message!);
          await backend[Symbol.asyncDispose]();
        } else {
          expect(message, `${kind} at read ${n}`).toBeNull();
          expect((await opened.step({ sequence: 0, tokens: prompt })).length).toBeGreaterThan(0);
          await opened[Symbol.asyncDispose]();
        }
      }
    });
  },
);

test('faults of a checkpoint, wasm', async () => {
  let fail = -1;
  let flip = false;
  const faulty = (checkpoint: Checkpoint): Checkpoint => ({
    path: checkpoint.path,
    metadata: checkpoint.metadata,
    tensors: checkpoint.tensors,
    async read(tensor: TensorInfo, offset: number, into: Uint8Array): Promise<void> {
      await checkpoint.read(tensor, offset, into);
      if (fail-- !== 0) return;
      if (!flip) throw new CheckpointError(path, `tensor ${tensor.name}: cannot be read: EIO.`);
      into[into.length >> 1]! ^= 1;
    },
    [Symbol.asyncDispose]: () => checkpoint[Symbol.asyncDispose](),
  });
  await using runner = await load(path, await createWasmBackend({ threads: 2 }), { slots, around: faulty });
  const expected = await runner.step({ sequence: 0, tokens: prompt });
  let failures = 0;
  for (let n = 0; n < 24; n++) {
    runner.cache.truncate(1, 0);
    flip = n % 2 === 1;
    fail = n >> 1;
    const got = await runner.step({ sequence: 1, tokens: prompt }).catch((error: Error) => error);
    if (got instanceof Error) {
      expect(got).toBeInstanceOf(CheckpointError);
      expect(got.message).toMatch(flip ? /has other bytes/ : /cannot be read: EIO/);
      failures++;
    } else expect(got).toEqual(expected);
  }
  fail = -1;
  runner.cache.truncate(1, 0);
  expect(await runner.step({ sequence: 1, tokens: prompt })).toEqual(expected);
  expect(failures).toBeGreaterThan(6);
});

test('no memory for another expert: those there are take turns; without any it is an error, and not the end', async () => {
  let granted = 3;
  const mayGrow = (): boolean => granted-- > 0;
  await using runner = await load(path, await createWasmBackend({ threads: 2 }), { slots: 50, mayGrow });
  await using plenty = await load(path, await createWasmBackend({ threads: 2 }), { slots: 50 });
  const expected = await plenty.step({ sequence: 0, tokens });
  expect(await runner.step({ sequence: 0, tokens })).toEqual(expected);
  expect(runner.stream!.stats.held).toBe(3);
  granted = 0;
  await using none = await load(path, await createWasmBackend({ threads: 2 }), { slots: 50, mayGrow });
  await expect(none.step({ sequence: 0, tokens })).rejects.toThrow(
    /no memory for an expert of layer \d+: .*less --memory/,
  );
  granted = 1;
  none.cache.truncate(0, 0);
  expect(await none.step({ sequence: 0, tokens })).toEqual(expected);
});
