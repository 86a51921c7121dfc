// What a decoded token takes: no memory of the backend's but keys and values, bounded garbage, and nothing that stays.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadNative } from '../src/backends/native/load.ts';
import { tinyGeometry, writeRandomModel } from '../src/hub/random-model.ts';

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-allocation-'));
  model = await writeRandomModel(join(folder, 'tiny.gguf'), { ...tinyGeometry, layers: 8 }, { dtype: 'Q4_0' });
});
afterAll(() => rm(folder, { recursive: true }));

interface Taken {
  readonly backendBytes: number;
  readonly garbageBytes: number;
  readonly keptBytes: number;
}

/** In a process of its own, whose young generation is so large that nothing is collected before it is asked for: bytes a token. */
async function taken(backend: string): Promise<Taken> {
  const engine = fileURLToPath(new URL('../src/engine/local-engine.ts', import.meta.url));
  const program = `
    const { openLocalEngine } = await import(${JSON.stringify(engine)});
    await using engine = await openLocalEngine(${JSON.stringify(model)}, { backend: '${backend}', threads: 2, context: 4096, maxSequences: 1 });
    const decode = async count => {
      for await (const _ of engine.generate([5, 6, 7], { maxTokens: count, sampling: { temperature: 0 } }));
    };
    const backendBytes = async () => {
      const { memoryBytes, cacheBytes } = await engine.stats();
      return memoryBytes - cacheBytes;
    };
    const collected = async () => {
      for (let i = 0; i < 3; i++) { gc(); await new Promise(resolve => setTimeout(resolve, 20)); }
      return process.memoryUsage().heapUsed;
    };
    await decode(1000); // until all of it is compiled
    const tokens = 1000;
    const [bytes, before] = [await backendBytes(), await collected()];
    await decode(tokens);
    const used = process.memoryUsage().heapUsed - before;
    const kept = (await collected()) - before;
    console.log(JSON.stringify({
      backendBytes: ((await backendBytes()) - bytes) / tokens,
      garbageBytes: used / tokens,
      keptBytes: kept / tokens,
    }));`;
  const flags = [
    '--expose-gc',
    '--min-semi-space-size=1024',
    '--max-semi-space-size=1024',
    '--input-type=module',
    '-e',
  ];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, program]);
  return JSON.parse(stdout) as Taken;
}

const native = loadNative();
test.skipIf('missing' in native).for(['native'])('a token on %s', { timeout: 60_000 }, holds);
test.for(['wasm'])('a token on %s', { timeout: 60_000 }, holds);

async function holds(backend: string): Promise<void> {
  const { backendBytes, garbageBytes, keptBytes } = await taken(backend);
  expect(backendBytes).toBe(0);
  expect(garbageBytes).toBeLessThan(8 * 48 * 1024); // commands of 8 layers: short-lived objects, 35 KiB a layer
  expect(keptBytes).toBeLessThan(256); // the tokens of kept sequences, and what engines like to keep
}
