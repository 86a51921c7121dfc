// What is learnt of a streamed model is there in the next run; what is damaged or of another file is as good as nothing.
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StreamStats } from '../model/expert-stats.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, memoryFor, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';

let models: SmallModels;
const folder = mkdtempSync(join(tmpdir(), 'maverick-record-'));
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => {
  models[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

async function run(experts = 3): Promise<{ tokens: number[]; stats: StreamStats }> {
  await using engine = await openLocalEngine(models.llama4, {
    backend: 'wasm',
    threads: 2,
    contextTokens: 64,
    maxSequences: 3,
    memory: await memoryFor(models.llama4, experts, false, 3),
    streamingFolder: folder,
  });
  const { tokens } = await collect(engine, tokensOf(4, 30), { maxTokens: 4 });
  return { tokens, stats: (await engine.stats()).experts! };
}

test('a record is written, used, checked, and doubted', async () => {
  const { tokens } = await run();
  const [name, ...others] = readdirSync(folder);
  expect(others).toEqual([]);
  const path = join(folder, name!);
  const record = JSON.parse(readFileSync(path, 'utf8'));
  expect(record.wanted.reduce((a: number, b: number) => a + b)).toBeGreaterThan(2 * 32);
  expect(Object.keys(record.checksums).length).toBeGreaterThan(3);

  expect((await run()).tokens).toEqual(tokens);

  // A checksum that says something else: the bytes are not trusted.
  for (const key of Object.keys(record.checksums)) record.checksums[key] = '0123456789abcdef';
  writeFileSync(path, JSON.stringify(record));
  await expect(run()).rejects.toThrow(/has other bytes than when it was read before/);

  for (const damaged of [
    '',
    '{',
    '[]',
    '{"form":1}',
    JSON.stringify({ ...record, wanted: [1, 2] }),
    JSON.stringify({ ...record, checksums: { x: 1 } }),
  ]) {
    writeFileSync(path, damaged);
    expect((await run()).tokens).toEqual(tokens);
  }

  // Another file in its place: what was learnt of the first is not used.
  writeFileSync(path, JSON.stringify({ ...record, checksums: { 0: '0123456789abcdef' } }));
  utimesSync(models.llama4, 1_700_000_000, 1_700_000_000);
  expect((await run()).tokens).toEqual(tokens);
  expect(readdirSync(folder).length).toBe(2);
});
