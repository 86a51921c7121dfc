// Many requests of all kinds at once, some given up on at any moment: who is left gets what it gets alone, and nothing stays behind.
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openEngine } from './client.ts';
import { seededRandom } from './random.ts';
import { tokensOf } from './small-models.cases.ts';
import type { Engine } from './types.ts';

const path = fileURLToPath(new URL('../../test/fixtures/golden/maverick-tiny.gguf', import.meta.url));

interface Job {
  readonly kind: 'generate' | 'score' | 'rows';
  readonly tokens: readonly number[];
  readonly maxTokens: number;
  /** Results after which it is given up. */
  readonly patience: number;
  readonly by: 'abort' | 'return';
}

/** What came before the end, or before it was given up. */
async function run(engine: Engine, { kind, tokens, maxTokens, patience, by }: Job): Promise<unknown[]> {
  const results: unknown[] = [];
  const controller = new AbortController();
  const { signal } = controller;
  try {
    if (kind === 'score') {
      if (patience === 0) setImmediate(() => controller.abort());
      return [await engine.score(tokens, { signal })];
    }
    const stream =
      kind === 'generate'
        ? engine.generate(tokens, { maxTokens, topLogprobs: 2, signal })
        : engine.logprobs(tokens, { rows: [0, tokens.length >> 1], signal });
    if (patience === 0 && by === 'abort') setImmediate(() => controller.abort());
    for await (const result of stream) {
      if (results.length < patience) results.push(result);
      if (results.length < patience) continue;
      if (by === 'return') break;
      controller.abort();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return results;
}

test('100 mixed requests on three threads: exact, whoever runs or leaves beside them', async () => {
  const random = seededRandom(11);
  const below = (n: number): number => Math.floor(random() * n);
  const jobs = Array.from({ length: 100 }, (): Job => {
    const length = 2 + below(random() < 0.2 ? 200 : 30);
    return {
      kind: (['generate', 'generate', 'score', 'rows'] as const)[below(4)]!,
      tokens: [...tokensOf(below(3), length - 1), 8 + below(200)],
      maxTokens: 1 + below(12),
      patience: random() < 0.4 ? below(4) : Infinity,
      by: random() < 0.5 ? 'abort' : 'return',
    };
  });
  await using engine = await openEngine(path, { threads: 3, maxSequences: 3, maxBatch: 24, contextTokens: 256 });
  const together = await Promise.all(jobs.map(job => run(engine, job)));
  const { running, waiting, cacheBytes, memoryBytes } = await engine.stats();
  expect([running, waiting]).toEqual([0, 0]);
  await using alone = await openEngine(path, { threads: 1, maxSequences: 1, contextTokens: 256 });
  let compared = 0;
  for (const [i, job] of jobs.entries()) {
    if (together[i]!.length === 0) continue;
    expect(together[i]).toEqual((await run(alone, { ...job, patience: Infinity })).slice(0, together[i]!.length));
    compared++;
  }
  expect(compared).toBeGreaterThan(60);
  const after = await alone.stats();
  expect(memoryBytes - cacheBytes).toBe(after.memoryBytes - after.cacheBytes);
});
