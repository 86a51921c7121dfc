// The registry: loading on demand, sharing, switching in order, failures and a dead engine.
import { describe, expect, test } from 'vitest';
import { createFakeChat, type FakeChat } from './fake-chat.cases.ts';
import type { OpenChat } from './library.ts';
import { createModels } from './models.ts';

const library = { list: async () => ['a', 'b', 'c'].map(id => ({ id, path: `${id}.gguf`, bytes: 100 })) };
const tick = () => new Promise(resolve => setTimeout(resolve, 0));

function setUp(open?: OpenChat, maxRequests?: number) {
  const opened: FakeChat[] = [];
  const log: string[] = [];
  const openChat: OpenChat =
    open ??
    (async path => {
      log.push(`open ${path}`);
      await tick();
      const chat = createFakeChat(path);
      opened.push(chat);
      return chat;
    });
  return { models: createModels({ library, openChat, maxRequests }), opened, log };
}

describe('models', () => {
  test('requests that come while a model loads wait for that one load', async () => {
    const { models, log } = setUp();
    const leases = await Promise.all([models.acquire('a'), models.acquire('a'), models.acquire('a')]);
    expect(log).toEqual(['open a.gguf']);
    expect(new Set(leases.map(lease => lease.chat)).size).toBe(1);
    expect((await models.find('a')).status).toBe('ready');
  });

  test('a switch waits for the end of all use, closes the old model, and goes before later users of it', async () => {
    const { models, opened, log } = setUp();
    const first = await models.acquire('a');
    const order: string[] = [];
    const toB = models.acquire('b').then(lease => {
      order.push('b');
      return lease;
    });
    await tick();
    const backToA = models.acquire('a').then(lease => {
      order.push('a');
      return lease;
    });
    await tick();
    expect(order).toEqual([]);
    expect((await models.find('b')).status).toBe('loading');
    first[Symbol.dispose]();
    first[Symbol.dispose](); // once counts
    (await toB)[Symbol.dispose]();
    (await backToA)[Symbol.dispose]();
    expect(order).toEqual(['b', 'a']);
    expect(log).toEqual(['open a.gguf', 'open b.gguf', 'open a.gguf']);
    expect(opened.map(chat => chat.isClosed)).toEqual([true, true, false]);
  });

  test('progress is shown while loading', async () => {
    const ready = Promise.withResolvers<void>();
    const { models } = setUp(async (path, { onProgress }) => {
      onProgress(40, 100);
      await ready.promise;
      return createFakeChat(path);
    });
    await models.preload('a');
    await tick();
    expect(await models.find('a')).toMatchObject({
      status: 'loading',
      progress: { loadedBytes: 40, totalBytes: 100 },
    });
    ready.resolve();
    await tick();
    expect((await models.find('a')).status).toBe('ready');
  });

  test('a failed load is told to all who wait, kept for the listing, and tried again by the next request', async () => {
    let attempts = 0;
    const { models } = setUp(async path => {
      if (++attempts === 1) throw new Error('a.gguf: the header is cut off at byte 17');
      return createFakeChat(path);
    });
    const results = await Promise.allSettled([models.acquire('a'), models.acquire('a')]);
    for (const result of results)
      expect(result).toMatchObject({
        status: 'rejected',
        reason: {
          status: 503,
          code: 'model_load_failed',
          message: "The model 'a' could not be loaded: a.gguf: the header is cut off at byte 17",
        },
      });
    expect(await models.find('a')).toMatchObject({
      status: 'failed',
      error: 'a.gguf: the header is cut off at byte 17',
    });
    expect((await models.acquire('a')).id).toBe('a');
  });

  test('an unknown model is refused with the names there are', async () => {
    const { models } = setUp();
    await expect(models.acquire('z')).rejects.toMatchObject({
      status: 404,
      message: "There is no model 'z' here. There are: 'a', 'b', 'c'.",
    });
  });

  test('who leaves while waiting loses the place', async () => {
    const { models } = setUp();
    const first = await models.acquire('a');
    const controller = new AbortController();
    const waiting = models.acquire('b', controller.signal);
    await tick();
    controller.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    first[Symbol.dispose]();
    await tick();
    expect((await models.find('a')).status).toBe('ready');
  });

  test('a load that nobody wants any more makes way; one that is merely abandoned goes on', async () => {
    const signals: AbortSignal[] = [];
    const { models } = setUp(
      (path, { signal }) =>
        new Promise((resolve, reject) => {
          signals.push(signal);
          signal.addEventListener('abort', () => reject(signal.reason));
          if (path === 'b.gguf') resolve(createFakeChat(path));
        }),
    );
    const controller = new AbortController();
    const abandoned = models.acquire('a', controller.signal).catch(() => 'left');
    await tick();
    controller.abort();
    expect(await abandoned).toBe('left');
    expect(signals[0]!.aborted).toBe(false);
    await models.preload('a');
    await models.preload('b');
    await tick();
    expect(signals[0]!.aborted).toBe(true);
    expect((await models.find('b')).status).toBe('ready');
    expect((await models.find('a')).status).toBe('available');
  });

  test('more requests than allowed are refused at once', async () => {
    const { models } = setUp(undefined, 2);
    const lease = await models.acquire('a');
    await models.acquire('a');
    await expect(models.acquire('a')).rejects.toMatchObject({ status: 429, headers: { 'retry-after': '1' } });
    lease[Symbol.dispose]();
    expect((await models.acquire('a')).id).toBe('a');
  });

  test('a dead engine is forgotten and the model loaded anew; a living one stays', async () => {
    const { models, opened, log } = setUp();
    (await models.acquire('a'))[Symbol.dispose]();
    await models.examine('a');
    expect((await models.find('a')).status).toBe('ready');
    opened[0]!.die(new Error('the worker exited with code 1'));
    await models.examine('a');
    expect(await models.find('a')).toMatchObject({ status: 'failed', error: 'the worker exited with code 1' });
    expect((await models.acquire('a')).chat).not.toBe(opened[0]);
    expect(log).toHaveLength(2);
  });

  test('closing waits for the users, refuses the waiting and closes the model', async () => {
    const { models, opened } = setUp();
    const lease = await models.acquire('a');
    const waiting = models.acquire('b');
    waiting.catch(() => {});
    await tick();
    const closing = models[Symbol.asyncDispose]();
    await expect(waiting).rejects.toMatchObject({ status: 503 });
    expect(opened[0]!.isClosed).toBe(false);
    lease[Symbol.dispose]();
    await closing;
    expect(opened[0]!.isClosed).toBe(true);
    await expect(models.acquire('a')).rejects.toMatchObject({ status: 503 });
  });
});
