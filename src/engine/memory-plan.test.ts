// What is in memory under which budget: everything, as many experts as there is room for, or nothing and an error that says why.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Checkpoint, CheckpointError, type TensorInfo } from '../checkpoint/checkpoint.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { writeRandomModel } from '../hub/random-model.ts';
import { cacheShape, planModel } from '../model/config.ts';
import { type BoundModel, bindWeights, routedBytes } from '../model/weights.ts';
import { type MemoryOptions, planMemory } from './memory-plan.ts';
import { geometry, type SmallModels, writeSmallModels } from './small-models.cases.ts';

let models: SmallModels;
let bound: BoundModel;
let dense: BoundModel;
const opened: Checkpoint[] = [];
async function bind(path: string): Promise<BoundModel> {
  const checkpoint = await openCheckpoint(path);
  opened.push(checkpoint);
  return bindWeights(checkpoint, planModel(checkpoint));
}
beforeAll(async () => {
  models = await writeSmallModels();
  bound = await bind(models.llama4);
  dense = await bind(await writeRandomModel(`${models.folder}/dense.gguf`, { ...geometry, experts: 0 }));
});
afterAll(async () => {
  for (const checkpoint of opened) await checkpoint[Symbol.asyncDispose]();
  models[Symbol.dispose]();
});

const plan = (options: Partial<MemoryOptions>, model = bound) =>
  planMemory(model, {
    memory: undefined,
    available: 1e12,
    maxBatch: undefined,
    cacheShape: maxBatch => cacheShape(model.plan, { maxTokens: 64, maxSequences: 2, longSequences: 1, maxBatch }),
    cacheFloats: false,
    ...options,
  });
const needed = (): number => {
  const { residentBytes, cacheBytes, passBytes, runtimeBytes } = plan({ memory: 1e9 });
  return residentBytes + cacheBytes + passBytes + runtimeBytes;
};

describe('the plan of memory', () => {
  test('what fits is resident, with and without a limit', () => {
    expect(plan({})).toMatchObject({ experts: null, memoryBytes: Infinity, maxBatch: 512 });
    expect(plan({ memory: needed() })).toMatchObject({ experts: null });
    expect(plan({ memory: needed(), available: 1 })).toMatchObject({ experts: null }); // who says a number means it
    expect(plan({}, dense)).toMatchObject({ experts: null });
  });

  test('what does not fit keeps as many experts as have room, and never takes more than it may', () => {
    const each = routedBytes(bound) / 8; // two layers of four
    const base = needed() - 8 * each;
    for (const room of [1, 2, 3.5, 7.99]) {
      const memory = base + room * each;
      const { experts, memoryBytes, residentBytes, cacheBytes, passBytes, runtimeBytes } = plan({ memory });
      expect(experts).toMatchObject({ slots: [Math.floor(room)], held: Math.floor(room), all: 8 });
      expect(memoryBytes).toBe(memory);
      expect(residentBytes + cacheBytes + passBytes + runtimeBytes + experts!.heldBytes).toBeLessThanOrEqual(memory);
    }
  });

  test('of free memory a little is left to others', () => {
    const each = routedBytes(bound) / 8;
    const available = (needed() - 4.5 * each) / 0.96;
    expect(plan({ available: Math.ceil(available) }).experts).toBeNull(); // the weights alone fit: as ever
    const weights = bound.weightBytes;
    expect(() => plan({ available: weights })).toThrow(/even with its experts on disk it takes/);
  });

  test('a larger pass where experts are streamed, unless it takes too much or somebody chose', () => {
    const times = 1e5; // the same model with experts so much larger
    const large: BoundModel = {
      ...bound,
      weightBytes: bound.weightBytes + (times - 1) * routedBytes(bound),
      layers: bound.layers.map(layer => {
        if (!layer.moe) return layer;
        const { gate, up, down } = layer.moe.experts;
        const larger = (tensor: TensorInfo): TensorInfo => ({ ...tensor, byteLength: times * tensor.byteLength });
        return { ...layer, moe: { ...layer.moe, experts: { gate: larger(gate), up: larger(up), down: larger(down) } } };
      }),
    };
    const wide = {
      cacheShape: (maxBatch: number) => cacheShape(bound.plan, { maxTokens: 8192, maxSequences: 1, maxBatch }),
    };
    expect(plan({ ...wide, memory: 5e9 }, large).maxBatch).toBe(2048);
    expect(plan({ ...wide, memory: 5e9, maxBatch: 100 }, large).maxBatch).toBe(100);
    expect(plan({ ...wide, memory: needed() - routedBytes(bound) / 2 + 8e6 }).maxBatch).toBe(512);
  });

  test('errors say how much is needed and what to do', () => {
    expect(() => plan({ memory: 1e6 })).toThrow(CheckpointError);
    expect(() => plan({ memory: 1e6 })).toThrow(
      /takes 0\.\d+ GB of memory, and 0\.001 GB are granted \(--memory\).*--context/s,
    );
    expect(() => plan({ memory: 1e6 }, dense)).toThrow(/without experts all of it must be in memory/);
    expect(() => plan({ available: 1e4 }, dense)).toThrow(/its weights take .* are free/);
  });
});
