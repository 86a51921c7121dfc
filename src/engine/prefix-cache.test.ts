// What is kept of finished requests: it serves any number of later ones, changes no bit of them, stays within its bytes and its
// salt, and survives on disk.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CacheFileError } from './cache-file.ts';
import { openEngine } from './client.ts';
import { openLocalEngine } from './local-engine.ts';
import { seededRandom } from './random.ts';
import { collect, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { Engine, EngineOptions, GenerateOptions } from './types.ts';

const golden = (name: string): string => fileURLToPath(new URL(`../../test/fixtures/golden/${name}`, import.meta.url));
/** Chunks of 64 positions, or so: prompts of 300 tokens go round their rings. */
const longer = golden('maverick-tiny.gguf');
let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

const cachedOf = async (engine: Engine, prompt: readonly number[], options?: GenerateOptions): Promise<number> =>
  (await collect(engine, prompt, { maxTokens: 2, ...options })).end.stats.cachedTokens;

/** What a request leaves is kept or forgotten once the engine's loop has turned. */
const settled = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 2));

describe.each(['reference', 'wasm'] as const)('%s', backend => {
  const open = (path: string, options: EngineOptions = {}): Promise<Engine> =>
    openLocalEngine(path, { backend, threads: 2, ...options });

  test('the law: with or without what is kept, the same bits, over many conversations at once', async () => {
    const random = seededRandom(3);
    const below = (n: number): number => Math.floor(random() * n);
    await using kept = await open(longer, { maxSequences: 3, maxBatch: 40, contextTokens: 512 });
    await using none = await open(longer, { maxSequences: 1, contextTokens: 512, cacheBytes: 0 });
    const systems = [tokensOf(1, 90), tokensOf(2, 30)];
    let conversations = Array.from({ length: 8 }, (_, i) => [...systems[i % 2]!, ...tokensOf(10 + i, 5)]);
    let reused = 0;
    for (let turn = 0; turn < 6; turn++) {
      const options = conversations.map((_, i) => ({
        maxTokens: 1 + below(20),
        temperature: i % 3,
        seed: turn * 10 + i,
        promptLookup: i % 2 === 0,
      }));
      const got = await Promise.all(conversations.map((prompt, i) => collect(kept, prompt, options[i])));
      for (const [i, prompt] of conversations.entries()) {
        const wanted = await collect(none, prompt, options[i]);
        expect(got[i]!.events).toEqual(wanted.events);
        expect(wanted.end.stats.cachedTokens).toBe(0);
        reused += got[i]!.end.stats.cachedTokens;
      }
      // Some go on, some are taken up at an earlier turn, some begin anew.
      conversations = conversations.map((prompt, i) => {
        const whole = [...prompt, ...got[i]!.tokens];
        const way = below(4);
        if (way === 0) return [...whole.slice(0, 10 + below(whole.length - 10)), ...tokensOf(turn * 7 + i, 4)];
        if (way === 1) return [...systems[i % 2]!, ...tokensOf(100 + turn * 8 + i, 6)];
        return [...whole, ...tokensOf(turn * 5 + i, 30)].slice(0, 400);
      });
    }
    expect(reused).toBeGreaterThan(2000);
    expect((await none.stats()).keptSequences).toBe(0);
  });

  test('one system prompt serves many, also while the first that had it still runs', async () => {
    await using engine = await open(models.llama4, { maxSequences: 4 });
    const system = tokensOf(1, 40);
    const first = engine.generate([...system, 9], { maxTokens: 20 });
    await first.next();
    const others = Array.from({ length: 12 }, (_, i) => cachedOf(engine, [...system, 20 + i, 9]));
    expect(await Promise.all(others)).toEqual(others.map(() => 40));
    while (!(await first.next()).done);
    const stats = await engine.stats();
    expect(stats).toMatchObject({ reusedPrompts: 12, reusedTokens: 480, promptTokens: 41 + 12 * 42 });
    // They share it: 13 sequences take far less than 13 times the memory of one.
    await using one = await open(models.llama4, { maxSequences: 4 });
    await cachedOf(one, [...system, 9]);
    if (backend === 'wasm') expect(stats.cacheBytes).toBeLessThan(8 * (await one.stats()).cacheBytes);
  });

  test('another salt never finds it, and cannot tell that it is there', async () => {
    await using engine = await open(models.llama4);
    const prompt = tokensOf(1, 40);
    expect(await cachedOf(engine, prompt, { cacheSalt: 'a' })).toBe(0);
    for (const cacheSalt of ['b', undefined, 'a\0', ''])
      expect(await cachedOf(engine, prompt, { cacheSalt })).toBe(cacheSalt === '' ? 39 : 0);
    expect(await cachedOf(engine, prompt, { cacheSalt: 'a' })).toBe(39);
    for await (const _ of engine.logprobs(tokensOf(2, 40), { rows: [38], cacheSalt: 'c' }));
    expect(await cachedOf(engine, tokensOf(2, 40))).toBe(0);
    expect(await cachedOf(engine, tokensOf(2, 40), { cacheSalt: 'c' })).toBe(39);
  });

  test('what is kept stays within its bytes; the least recently used goes first', async () => {
    await using measure = await open(models.llama4, { maxSequences: 1 });
    await cachedOf(measure, tokensOf(1, 50));
    const { cacheBytes: one } = await measure.stats();
    await using engine = await open(models.llama4, { maxSequences: 1, cacheBytes: 3 * one });
    for (const seed of [1, 2, 3]) await cachedOf(engine, tokensOf(seed, 50));
    expect(await cachedOf(engine, [...tokensOf(1, 50), 9])).toBeGreaterThan(40);
    await settled();
    expect((await engine.stats()).cacheBytes).toBeLessThanOrEqual(3 * one);
    await cachedOf(engine, tokensOf(4, 50));
    await cachedOf(engine, tokensOf(5, 50));
    expect(await cachedOf(engine, tokensOf(2, 50))).toBe(0);
    for (let seed = 10; seed < 90; seed++) {
      await cachedOf(engine, tokensOf(seed, 20 + (seed % 30)));
      await settled();
      const { cacheBytes, keptSequences } = await engine.stats();
      expect(cacheBytes).toBeLessThanOrEqual(3 * one);
      expect(keptSequences).toBeGreaterThan(0);
    }
  });

  test('saved and restored, it answers as before; only so much as there is room for', async () => {
    const path = join(models.folder, `${backend}.kv`);
    const prompts = [1, 2, 3].map(seed => tokensOf(seed, 300));
    const wanted = [];
    {
      await using engine = await open(longer, { contextTokens: 512 });
      for (const [i, prompt] of prompts.entries())
        wanted.push(await collect(engine, prompt, { maxTokens: 5, cacheSalt: `${i}` }));
      const saved = await engine.saveCache(path);
      expect(saved).toMatchObject({ sequences: 3, bytes: statSync(path).size });
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(readFileSync(path).includes('"salt":"0"')).toBe(false);
    }
    await using engine = await open(longer, { contextTokens: 512 });
    expect(await engine.restoreCache(path)).toMatchObject({ sequences: 3, tokens: 3 * 304 });
    expect(await engine.restoreCache(path)).toMatchObject({ sequences: 0 });
    for (const [i, prompt] of prompts.entries()) {
      expect(await cachedOf(engine, prompt)).toBe(0);
      const next = [...prompt, ...wanted[i]!.tokens, 9];
      const got = await collect(engine, next, { maxTokens: 5, cacheSalt: `${i}` });
      expect(got.end.stats.cachedTokens).toBe(304);
      await using fresh = await open(longer, { contextTokens: 512 });
      expect(got.events).toEqual((await collect(fresh, next, { maxTokens: 5 })).events);
    }
    await using small = await open(longer, { contextTokens: 512, cacheBytes: 1000 });
    expect(await small.restoreCache(path)).toMatchObject({ sequences: 0 });
  });
});

test('a file that is damaged, of another model, or no such file is refused, in the thread too', async () => {
  const path = join(models.folder, 'file.kv');
  await using engine = await openEngine(models.llama4, { backend: 'reference' });
  await collect(engine, tokensOf(1, 40), { maxTokens: 3 });
  expect(await engine.saveCache(path)).toMatchObject({ sequences: 1, tokens: 42 });
  const good = readFileSync(path);
  const refused = async (content: Uint8Array, message: RegExp): Promise<void> => {
    const bad = join(models.folder, 'bad.kv');
    writeFileSync(bad, content);
    await expect(engine.restoreCache(bad)).rejects.toThrow(message);
    await expect(engine.restoreCache(bad)).rejects.toThrow(CacheFileError);
  };
  for (const at of [30, good.length >> 1, good.length - 1]) {
    const flipped = Uint8Array.from(good);
    flipped[at]! ^= 1;
    await refused(flipped, /bad\.kv: the file is damaged.*checksum/);
  }
  await refused(good.subarray(0, good.length - 100), /damaged/);
  await refused(good.subarray(0, 25), /damaged/);
  await refused(new Uint8Array(0), /no file of kept keys/);
  await refused(Buffer.from('this is something else altogether'), /no file of kept keys/);
  await expect(engine.restoreCache(join(models.folder, 'none.kv'))).rejects.toThrow(/ENOENT/);
  await expect(engine.saveCache(join(models.folder, 'none', 'none.kv'))).rejects.toThrow(/ENOENT/);
  await using other = await openLocalEngine(models.poisoned, { backend: 'reference' });
  await expect(other.restoreCache(path)).rejects.toThrow(/of another model .*got ".*wanted "/);
  await using wasm = await openLocalEngine(models.llama4, { backend: 'wasm', threads: 1 });
  await expect(wasm.restoreCache(path)).rejects.toThrow(/of another backend or model: layout/);
  expect((await engine.restoreCache(path)).sequences).toBe(0);
});

/** A file as the cache's, its parts as JSON behind their lengths and its checksum right: what somebody could write who wants to do harm. */
const forged = (...parts: readonly (object | null | Uint8Array)[]): Buffer => {
  const bytes = parts.map(part => {
    if (part instanceof Uint8Array) return part;
    const json = Buffer.from(JSON.stringify(part));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    return Buffer.concat([length, json]);
  });
  const whole = Buffer.concat([Buffer.from('open-maverick KV 1\n'), ...bytes]);
  return Buffer.concat([whole, createHash('sha256').update(whole).digest()]);
};

test('a file with a right checksum and wrong contents is refused all the same, and the engine goes on', async () => {
  const path = join(models.folder, 'forged.kv');
  const prompt = tokensOf(1, 40);
  await using first = await openLocalEngine(models.llama4, { backend: 'reference' });
  const wanted = await collect(first, prompt, { maxTokens: 3 });
  await first.saveCache(path);
  await using engine = await openEngine(models.llama4, { backend: 'reference' });
  const good = readFileSync(path);
  /** The JSON at a byte, and where it ends. */
  const jsonAt = <T>(at: number): [value: T, end: number] => {
    const end = at + 4 + good.readUInt32LE(at);
    return [JSON.parse(good.subarray(at + 4, end).toString()) as T, end];
  };
  const [identity, after] = jsonAt<object>('open-maverick KV 1\n'.length);
  const [header, start] = jsonAt<{ tokens: number[]; layers: { bytes: number }[] }>(after);
  const data = good.subarray(start, good.length - 32 - 8);
  expect(forged(identity, header, data, null)).toEqual(good);
  const { layers, tokens } = header;
  const layer = (fields: object) => [{ ...layers[0], ...fields }, ...layers.slice(1)];
  const cases: [parts: (object | null | Uint8Array)[], message: RegExp][] = [
    [[null], /of another model \(got nothing/],
    [[{ ...identity, chunks: 7 }], /chunks \(got 7/],
    [[identity], /in the middle of 4 bytes/],
    [[identity, Buffer.from([255, 255, 255, 255])], /a header of 4294967295 bytes/],
    [[identity, Buffer.from([3, 0, 0, 0, 123, 123, 123])], /a header is no JSON/],
    [[identity, { ...header, tokens: tokens.map(() => 1e9) }, data, null], /none of this model's/],
    [[identity, { ...header, tokens: tokens.map(() => -1) }, data, null], /none of this model's/],
    [[identity, { ...header, tokens: tokens.slice(1) }, data, null], /none of this model's/],
    [[identity, { ...header, tokens: 'many' }, data, null], /none of this model's/],
    [[identity, { ...header, salt: 3 }, data, null], /none of this model's/],
    [[identity, { ...header, layers: layer({ bytes: -8 }) }, data, null], /none of this model's/],
    [[identity, { ...header, layers: layer({ bytes: 2 ** 52 }) }, data, null], /in the middle of/],
    [[identity, { ...header, layers: layer({ start: 3 }) }, data, null], /damaged: Layer 0/],
    [[identity, { ...header, layers: layers.slice(1) }, data, null], /damaged: .* layers were saved/],
    [[identity, { ...header, layers: layer({ bytes: layers[0]!.bytes - 4 }) }, data, null], /damaged/],
    [[identity, { ...header, layers: [null] }, data, null], /none of this model's/],
    [[identity, [1, 2, 3] as object], /none of this model's/],
  ];
  for (const [parts, message] of cases) {
    writeFileSync(path, forged(...parts));
    const error = await engine.restoreCache(path).catch(error => error);
    expect([error.name, error.message]).toEqual(['CacheFileError', expect.stringMatching(message)]);
  }
  expect((await collect(engine, prompt, { maxTokens: 3 })).events).toEqual(wanted.events);
});

test('a file has room for the last used only, and so has who reads it; what a process left that ended is removed', async () => {
  const folder = join(models.folder, 'bounded');
  mkdirSync(folder);
  const path = join(folder, 'file.kv');
  const left = join(folder, 'file.kv.999999999.partial');
  const running = join(folder, `file.kv.${process.ppid}.partial`);
  for (const name of [left, running]) writeFileSync(name, 'half');
  const options = { backend: 'wasm', threads: 1, maxSequences: 1, contextTokens: 512 } as const;
  await using engine = await openLocalEngine(longer, options);
  // One beginning that all share is in memory once, and in the file with each.
  const prompts = Array.from({ length: 40 }, (_, i) => [...tokensOf(1, 100), ...tokensOf(2 + i, 20)]);
  for (const prompt of prompts) await cachedOf(engine, prompt);
  await settled();
  const { cacheLimitBytes, keptSequences } = await engine.stats();
  const saved = await engine.saveCache(path);
  expect(readdirSync(folder).sort()).toEqual(['file.kv', basename(running)].sort());
  expect(saved.bytes).toBeLessThan(cacheLimitBytes * 1.1);
  expect(saved.sequences).toBeGreaterThan(2);
  expect(saved.sequences).toBeLessThan(keptSequences);
  await using again = await openLocalEngine(longer, { ...options, cacheBytes: cacheLimitBytes >> 1 });
  const restored = await again.restoreCache(path);
  expect(restored.sequences).toBeGreaterThan(1);
  expect(restored.sequences).toBeLessThan(saved.sequences);
  expect(restored.bytes).toBeLessThanOrEqual(cacheLimitBytes >> 1);
  expect(await cachedOf(again, [...prompts.at(-1)!, 9])).toBeGreaterThan(115);
  expect(await cachedOf(again, [...prompts[0]!, 9])).toBeLessThan(105);
});
