// What an observer is told is what a plain computation sees, weight by weight, expert by expert, layer by layer; and it changes nothing.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend } from '../backends/backend.ts';
import { createReferenceBackend } from '../backends/reference/reference.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { type SmallModels, tokensOf, writeSmallModels } from '../engine/small-models.cases.ts';
import { cacheShape, planModel } from './config.ts';
import type { ExpertStore, Llama4 } from './llama4.ts';
import { forward } from './llama4.ts';
import { type Observer, observed } from './observe.ts';
import { plainPass, type Seen } from './plain-llama4.cases.ts';
import { bindWeights, loadWeights } from './weights.ts';

let models: SmallModels;
let plain: Seen;
const tokens = tokensOf(3, 24); // past the chunk of 16
beforeAll(async () => {
  models = await writeSmallModels();
  await using checkpoint = await openCheckpoint(models.llama4);
  plain = await plainPass(checkpoint, tokens);
});
afterAll(() => models[Symbol.dispose]());

/** Computes the tokens in batches of these sizes, all logits read. */
async function run(
  sizes: readonly number[],
  observer: Observer | null,
  change: (model: Llama4, k: Backend) => Llama4 = model => model,
): Promise<number[]> {
  await using checkpoint = await openCheckpoint(models.llama4);
  await using backend = createReferenceBackend();
  const plan = planModel(checkpoint);
  const model = change(await loadWeights(bindWeights(checkpoint, plan), backend), backend);
  const k = observer ? observed(backend, model, observer) : backend;
  using cache = k.createCache(cacheShape(plan, { maxTokens: 64, maxSequences: 1, maxBatch: 64 }));
  const logits: number[] = [];
  let from = 0;
  for (const size of sizes) {
    const rows = Int32Array.from({ length: size }, (_, i) => i);
    const batch = {
      tokens: Int32Array.from(tokens.slice(from, from + size)),
      positions: rows.map(row => from + row),
      sequences: new Int32Array(size),
      logitRows: rows,
    };
    logits.push(...(await k.step(async () => k.read(await forward(k, model, batch, cache)))));
    from += size;
  }
  return logits;
}

/** Experts that come in two waves: the even ones, then the odd ones. */
const inTwoWaves =
  (k: Backend) =>
  (store: ExpertStore): ExpertStore => ({
    async *load(ids, h) {
      const experts = await k.read(ids);
      for await (const wave of store.load(ids, h))
        for (const parity of [0, 1]) {
          const slots = experts.map(expert => (expert % 2 === parity ? expert : -1));
          const bytes = new Uint8Array(Int32Array.from(slots).buffer);
          yield {
            ...wave,
            slots: await k.upload('I32', ids.shape, async (into, at) => into.set(bytes.subarray(at, at + into.length))),
          };
        }
    },
  });

describe.each([
  ['one batch', [24], false],
  ['batches', [1, 16, 7], false],
  ['experts in waves', [10, 14], true],
] as const)('%s', (_, sizes, waves) => {
  test('is told what a plain computation sees', async () => {
    const inputs = new Map<string, { row: number[]; expert: number }[]>();
    const outputs: number[][][] = [];
    await run(
      sizes,
      {
        input(weights, x, columns, experts) {
          for (const weight of weights) {
            const list = inputs.get(weight) ?? [];
            inputs.set(weight, list);
            for (let at = 0; at < x.length; at += columns) {
              const expert = experts ? experts[at / columns]! : -1;
              if (experts && expert < 0) continue;
              list.push({ row: [...x.subarray(at, at + columns)], expert });
            }
          }
        },
        output(layer, h) {
          outputs[layer] ??= [];
          for (let at = 0; at < h.length; at += 64) outputs[layer].push([...h.subarray(at, at + 64)]);
        },
      },
      (model, k) =>
        waves
          ? {
              ...model,
              layers: model.layers.map(layer => ({
                ...layer,
                moe: layer.moe && { ...layer.moe, experts: inTwoWaves(k)(layer.moe.experts) },
              })),
            }
          : model,
    );
    expect([...inputs.keys()].sort()).toEqual([...plain.inputs.keys()].sort());
    const byExpert = (list: readonly { row: readonly number[]; expert: number }[]) =>
      [0, 1, 2, 3, -1].map(expert => list.filter(entry => entry.expert === expert).map(entry => entry.row));
    for (const [weight, wanted] of plain.inputs) close(byExpert(inputs.get(weight)!), byExpert(wanted), weight);
    close(outputs, plain.outputs, 'outputs');
  });

  test('changes no bit', async () => {
    expect(await run(sizes, { input() {}, output() {} })).toEqual(await run(sizes, null));
  });
});

test('a failure of the observer is a failure of the pass', async () => {
  const observer: Observer = {
    output() {
      throw new Error('enough');
    },
  };
  await expect(run([24], observer)).rejects.toThrow('enough');
});

function close(got: unknown, wanted: unknown, what: string): void {
  if (Array.isArray(wanted)) {
    expect((got as unknown[]).length, what).toBe(wanted.length);
    for (const [i, value] of wanted.entries()) close((got as unknown[])[i], value, what);
  } else
    expect(Math.abs((got as number) - (wanted as number)), what).toBeLessThan(2e-4 * (1 + Math.abs(wanted as number)));
}
