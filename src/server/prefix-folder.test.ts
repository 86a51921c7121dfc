// Prefix caches on disk, over a scripted model: when files are written, and that no failure of theirs keeps a model from opening or closing.
import { expect, test } from 'vitest';
import type { Engine, EngineStats, SavedCache } from '../engine/types.ts';
import { createFakeChat } from './fake-chat.cases.ts';
import { keepingPrefixes, type PrefixNews, prefixFile } from './prefix-folder.ts';

const some: SavedCache = { sequences: 2, tokens: 90, bytes: 1000 };

async function open(engine: Partial<Engine>) {
  const fake = createFakeChat('models/tiny.gguf');
  const told: PrefixNews[] = [];
  const calls: string[] = [];
  const noting = (name: 'saveCache' | 'restoreCache') => async (file: string) => {
    calls.push(`${name} ${file}`);
    return await (engine[name] ?? (async () => some))(file);
  };
  const chat = await keepingPrefixes(
    async () => ({
      ...fake,
      engine: {
        ...fake.engine,
        stats: async () => ({ promptTokens: 5, keptSequences: 0 }) as EngineStats,
        ...engine,
        saveCache: noting('saveCache'),
        restoreCache: noting('restoreCache'),
      },
      [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
    }),
    'prefixes',
    news => told.push(news),
  )('models/tiny.gguf', { onProgress: () => {}, signal: new AbortController().signal, room: 1 });
  return { chat, fake, told, calls };
}

const file = prefixFile('prefixes', 'models/tiny.gguf');

test('files are named after models, and models of one name in two folders have two', () => {
  expect(file).toMatch(/^prefixes\/tiny-[0-9a-f]{12}\.kv$/);
  expect(prefixFile('prefixes', 'other/tiny.gguf')).not.toBe(file);
  expect(prefixFile('prefixes', 'a/\u{1f40b} b.gguf')).toMatch(/^prefixes\/[\w.-]+\.kv$/);
  expect(prefixFile('prefixes', `a/${'x'.repeat(300)}.gguf`).length).toBeLessThan(120);
});

test('restored when opened, saved once when closed, however often that is asked for', async () => {
  const { chat, fake, told, calls } = await open({});
  expect(calls).toEqual([`restoreCache ${file}`]);
  await Promise.all([chat[Symbol.asyncDispose](), chat[Symbol.asyncDispose]()]);
  expect(calls).toEqual([`restoreCache ${file}`, `saveCache ${file}`]);
  expect(told).toEqual([
    { action: 'restored', file, ...some },
    { action: 'saved', file, ...some },
  ]);
  expect(fake.isClosed).toBe(true);
});

test('where nothing was asked nothing is written', async () => {
  const { chat, fake, calls } = await open({ stats: async () => ({ promptTokens: 0 }) as EngineStats });
  await chat[Symbol.asyncDispose]();
  expect([calls.length, fake.isClosed]).toEqual([1, true]);
});

test('a first time is no failure; failures are told, and the model opens and closes all the same', async () => {
  const missing = async () => Promise.reject(new Error('ENOENT: no such file'));
  const first = await open({ restoreCache: missing, saveCache: missing });
  await first.chat[Symbol.asyncDispose]();
  expect(first.told).toMatchObject([{ action: 'saved', sequences: 0, error: { message: 'ENOENT: no such file' } }]);
  const dead = async () => Promise.reject(new Error('damaged'));
  for (const failing of [
    { restoreCache: dead, stats: dead },
    { restoreCache: dead, saveCache: dead },
  ]) {
    const { chat, fake, told } = await open(failing);
    await chat[Symbol.asyncDispose]();
    expect(told.map(({ action, error }) => [action, error?.message])).toEqual([
      ['restored', 'damaged'],
      ['saved', 'damaged'],
    ]);
    expect(fake.isClosed).toBe(true);
  }
});
