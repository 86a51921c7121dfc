// The plan: laws of the pure model, names without any file, what is kept of measurements, and a real measurement of WebAssembly.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { createReferenceBackend } from '../backends/reference/reference.ts';
import { createWasmBackend } from '../backends/wasm/wasm.ts';
import { CheckpointError, type TensorInfo } from '../checkpoint/checkpoint.ts';
import { namedModels } from '../hub/models.ts';
import { maverickGeometry, tinyGeometry } from '../hub/random-model.ts';
import { planModel } from '../model/config.ts';
import { ExpertStream } from '../model/expert-stream.ts';
import { bindWeights } from '../model/weights.ts';
import { measureDisk } from './disk.ts';
import { checkpointOf, checkpointOfName } from './geometry-checkpoint.ts';
import { hitRate, readTrace } from './hit-rate.ts';
import type { MachineSpeed } from './machine.ts';
import { Measured } from './measured.ts';
import { memoryOf, memoryOrReason, type PlanOptions, planSpeed } from './plan.ts';
import { foundBy, routingFigures } from './routing-figures.ts';
import { formatsOf, workOf } from './work.ts';

const folder = mkdtempSync(join(tmpdir(), 'plan-'));
afterAll(() => rmSync(folder, { recursive: true }));

const speed = { oneRow: 30e9, eightRows: 25e9, manyRows: 300e9 };
const machine: MachineSpeed = {
  formats: Object.fromEntries(
    ['Q4_0', 'Q8_0', 'F32', 'F16'].flatMap(t => [`${t} long`, `${t} short`].map(key => [key, speed])),
  ),
  attentionMacs: 30e9,
  attentionBytes: 10e9,
  productSeconds: 10e-6,
  operationSeconds: 3e-6,
  passSeconds: 0.3e-3,
  samplingSeconds: 4e-9,
  loadBytes: 5e9,
};
const options: PlanOptions = {
  memory: undefined,
  available: 22e9,
  contextTokens: 2048,
  maxSequences: 1,
  promptTokens: 512,
  generateTokens: 64,
  depth: 0,
};
const bound = (checkpoint = checkpointOf('maverick', maverickGeometry, 'Q4_0')) =>
  bindWeights(checkpoint, planModel(checkpoint));

describe('a model that is known by its geometry', () => {
  test.each(namedModels.map(model => [model.name, model] as const))(
    '%s has its parameters in every quantization',
    (name, model) => {
      for (const { name: mix } of model.quantizations) {
        const { parameters, activeParameters } = bound(checkpointOfName(name, mix)!);
        // Llama 4's own count leaves out nothing; llama.cpp's file of SmolLM2 is tied.
        expect(parameters / model.parameters).toBeCloseTo(1, 4);
        expect(activeParameters / model.activeParameters).toBeCloseTo(1, 4);
      }
    },
  );

  test('Maverick: 400.7 B, of which a token reads 3.02 B of experts; nothing can be read from it', async () => {
    const model = bound();
    expect(model.parameters).toBe(400_711_848_960 + 0);
    const expert = workOf(model).layers[1]!.expert!;
    expect(expert.reduce((sum, { weights }) => sum + weights, 0)).toBe(3 * 5120 * 8192);
    await expect(model.checkpoint.read(model.norm, 0, new Uint8Array(4))).rejects.toThrow(CheckpointError);
    expect(checkpointOfName('unknown', 'Q4_0')).toBeNull();
  });
});

describe('the time of a pass', () => {
  const plan = (memory: number | undefined, disk: number | null = 2e9, known = machine) => {
    const model = bound();
    return planSpeed(model, memoryOf(model, { ...options, memory }), { machine: known, disk }, options);
  };

  test('Maverick on 24 GB: what is missed is read, and bounds it; an endless disk leaves computing', () => {
    const { decode, hitRate, loadSeconds } = plan(22e9);
    expect(hitRate).toBeGreaterThan(0.03);
    expect(hitRate).toBeLessThan(0.1);
    // 24 experts of 70.8 MB, those that are missed.
    expect(decode.time.bytesFromDisk).toBeCloseTo((1 - hitRate) * 24 * 70.78e6, -7);
    expect(decode.tokensPerSecond).toBeGreaterThan(0.8);
    expect(decode.tokensPerSecond).toBeLessThan(1.2);
    expect(loadSeconds).toBeCloseTo(8.02e9 / 2e9, 1);
    const endless = plan(22e9, 1e15);
    expect(endless.decode.time.waiting).toBe(0);
    expect(endless.decode.time.computing).toBeCloseTo(decode.time.computing, 10);
  });

  test('a disk of unknown speed: no number is made up', () => {
    const { decode, prefill, loadSeconds } = plan(22e9, null);
    expect([decode.tokensPerSecond, prefill.tokensPerSecond, loadSeconds]).toEqual([null, null, null]);
  });

  test('more memory, a faster disk, faster kernels: never slower', () => {
    const amount = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(amount, amount, amount, amount, amount, (m, more, d, faster, kernels) => {
        const slow = plan(14e9 + m * 100e9, 1e8 + d * 5e9);
        const known = {
          ...machine,
          formats: Object.fromEntries(
            Object.entries(machine.formats).map(([key, s]) => [
              key,
              {
                oneRow: s.oneRow * (1 + kernels),
                eightRows: s.eightRows * (1 + kernels),
                manyRows: s.manyRows * (1 + kernels),
              },
            ]),
          ),
        };
        const fast = plan(14e9 + (m + more) * 100e9, (1e8 + d * 5e9) * (1 + faster));
        const both = plan(14e9 + m * 100e9, 1e8 + d * 5e9, known);
        for (const better of [fast, both]) {
          expect(better.decode.tokensPerSecond! * 1.0001).toBeGreaterThanOrEqual(slow.decode.tokensPerSecond!);
          expect(better.prefill.tokensPerSecond! * 1.0001).toBeGreaterThanOrEqual(slow.prefill.tokensPerSecond!);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('what has no room says how much is needed', () => {
    expect(memoryOrReason(bound(), { ...options, memory: 2e9 })).toMatch(
      /^even with its experts on disk it takes .* GB/,
    );
    const small = bound(checkpointOf('tiny', tinyGeometry, 'Q8_0'));
    expect(memoryOrReason(small, options)).toMatchObject({ experts: null });
    expect(planSpeed(small, memoryOf(small, options), { machine, disk: null }, options)).toMatchObject({ hitRate: 1 });
  });
});

describe('routing', () => {
  const routed = { layers: [1, 3], experts: 4, expertsPerToken: 1 };
  test('counts, entropy, reuse distances, and what a memory of the last used finds', () => {
    const ids = Uint16Array.from([0, 2, 1, 2, 0, 2, 3, 2, 0, 2]); // layer 1: 0 1 0 3 0, layer 3: 2 2 2 2 2
    const [first, third] = routingFigures({ ...routed, ids });
    expect(first).toMatchObject({ layer: 1, counts: [3, 1, 0, 1], used: 3, reuse: [0, 2, 0, 0], first: 3 });
    expect(first!.entropy).toBeCloseTo(-(0.6 * Math.log2(0.6) + 2 * 0.2 * Math.log2(0.2)), 10);
    expect(third).toMatchObject({ layer: 3, counts: [0, 0, 5, 0], used: 1, entropy: 0, reuse: [4, 0, 0, 0], first: 1 });
    expect([foundBy(first!, 1), foundBy(first!, 2), foundBy(third!, 1)]).toEqual([0, 0.4, 0.8]);
  });

  test('a trace finds in memory what a streamed model would, want by want', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 7 }), fc.nat({ max: 3 })), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 16 }),
        async (tokens, slots) => {
          const backend = createReferenceBackend();
          const matrix = (name: string): TensorInfo => ({ name, dtype: 'F32', shape: [8, 1, 1], byteLength: 32 });
          const layers = [1, 3].map(index => ({ index, gate: matrix('g'), up: matrix('u'), down: matrix('d') }));
          const stream = ExpertStream.create({
            backend,
            path: 'x',
            layers,
            slots: [slots],
            read: () => ({ done: Promise.resolve(0n), hurry() {}, cancel() {} }),
          });
          let before = 0;
          for (const _ of [1, 2]) {
            before = stream.stats.hits;
            for (const token of tokens)
              for (const [layer, expert] of token.entries()) {
                const ids = backend.integers(Int32Array.of(expert), [1, 1]);
                for await (const _ of stream.storeOf(layer).load(ids, ids));
              }
          }
          const found = (stream.stats.hits - before) / (2 * tokens.length);
          expect(hitRate({ experts: 8, layers: 2, tokens }, slots / 16)).toBeCloseTo(found, 9);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a trace is checked', () => {
    const good = { experts: 4, layers: [1], tokens: [{ experts: [[3]] }] };
    expect(readTrace(JSON.stringify(good), 'x')).toEqual({ experts: 4, layers: 1, tokens: [[3]] });
    for (const wrong of [
      'nonsense',
      'null',
      '{}',
      JSON.stringify({ ...good, tokens: [] }),
      JSON.stringify({ ...good, tokens: [{ experts: [[4]] }] }),
      JSON.stringify({ ...good, tokens: [{ experts: [] }] }),
      JSON.stringify({ ...good, tokens: [null] }),
    ])
      expect(() => readTrace(wrong, 'x.json')).toThrow(/^x\.json: this is no/);
  });
});

describe('measurements', () => {
  test('are kept, asked for by what computes, and thrown away when the file is damaged', async () => {
    await using backend = await createWasmBackend({ threads: 1 });
    const wanted = formatsOf(workOf(bound(checkpointOf('tiny', tinyGeometry, 'Q4_0'))));
    const computing = { backend: 'wasm', threads: 1 };
    const first = await Measured.open(folder);
    expect(first.speedOf(computing, wanted)).toBeNull();
    const measured = await first.measure(backend, wanted, false);
    for (const value of [measured.attentionMacs, measured.attentionBytes, measured.loadBytes, measured.passSeconds])
      expect(value).toBeGreaterThan(0);
    for (const { oneRow, eightRows, manyRows } of Object.values(measured.formats))
      expect(Math.min(oneRow, eightRows, manyRows)).toBeGreaterThan(1e6);
    const again = await Measured.open(folder);
    const { variant } = backend;
    expect(again.speedOf({ ...computing, ...(variant && { variant }) }, wanted)).toEqual(measured);
    expect(again.speedOf({ backend: 'native', threads: 1 }, wanted)).toBeNull();
    const path = join(folder, '.open-maverick', 'machine.json');
    const old = readFileSync(path, 'utf8').replaceAll(/"at":\d+/g, '"at":1000');
    writeFileSync(path, old);
    expect((await Measured.open(folder)).speedOf(computing, wanted)).toBeNull();
    writeFileSync(path, '{"version":');
    expect((await Measured.open(folder)).speedOf(computing, wanted)).toBeNull();
  });

  test('a disk that cannot be written to is not known; one that can has a speed, and keeps no file', async () => {
    expect(await measureDisk(join(folder, 'missing\0'), null)).toBeNull();
  });
});
