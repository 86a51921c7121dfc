// The registry: loading on demand, sharing, switching in order, failures and a dead engine.
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../backends/reference/random.ts';
import { createFakeChat, type FakeChat } from './fake-chat.cases.ts';
import type { OpenChat, Room } from './library.ts';
import { createModels } from './models.ts';

const library = { list: async () => ['a', 'b', 'c'].map(id => ({ id, path: `${id}.gguf`, bytes: 100 })) };
const tick = () => new Promise(resolve => setTimeout(resolve, 0));

function setUp(open?: OpenChat, maxRequests?: number, room?: Room) {
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
  return { models: createModels({ library, openChat, maxRequests, ...(room && { room }) }), opened, log };
}

describe('several at once', () => {
  /** Room for two of the three. */
  const two: Room = loaded => 250 - loaded.reduce((sum, { bytes }) => sum + bytes, 0);

  test('as many as there is room for; the longest unused one is unloaded, not the longest loaded', async () => {
    const { models, log, opened } = setUp(undefined, undefined, two);
    for (const id of ['a', 'b', 'a', 'c', 'a', 'c', 'b']) (await models.acquire(id))[Symbol.dispose]();
    expect(log).toEqual(['open a.gguf', 'open b.gguf', 'open c.gguf', 'open b.gguf']);
    expect(opened.map(chat => chat.isClosed)).toEqual([true, true, false, false]); // a, b, c, and b again
    expect((await models.list()).map(({ id, status }) => [id, status])).toEqual([
      ['a', 'available'],
      ['b', 'ready'],
      ['c', 'ready'],
    ]);
  });

  test('one that is not used makes room at once; while others load, the loaded ones answer', async () => {
    const gate = Promise.withResolvers<void>();
    const opened: string[] = [];
    const { models } = setUp(
      async path => {
        opened.push(path);
        if (path === 'c.gguf') await gate.promise;
        return createFakeChat(path);
      },
      undefined,
      two,
    );
    const a = await models.acquire('a');
    (await models.acquire('b'))[Symbol.dispose]();
    const toC = models.acquire('c');
    await tick();
    expect((await models.list()).map(({ status }) => status)).toEqual(['ready', 'available', 'loading']);
    (await models.acquire('a'))[Symbol.dispose]();
    gate.resolve();
    (await toC)[Symbol.dispose]();
    a[Symbol.dispose]();
    expect(opened).toEqual(['a.gguf', 'b.gguf', 'c.gguf']);
  });

  test('where all are used, the one unused longest has to end; the others go on, and it stays if nobody wants its room', async () => {
    const { models, log } = setUp(undefined, undefined, two);
    const a = await models.acquire('a');
    const b = await models.acquire('b');
    const controller = new AbortController();
    const toC = models.acquire('c', controller.signal);
    await tick();
    const againA = models.acquire('a');
    (await models.acquire('b'))[Symbol.dispose]();
    let granted = false;
    void againA.then(() => {
      granted = true;
    });
    await tick();
    expect(granted).toBe(false);
    controller.abort(new Error('left'));
    await expect(toC).rejects.toThrow('left');
    (await againA)[Symbol.dispose]();
    for (const lease of [a, b]) lease[Symbol.dispose]();
    expect(log).toEqual(['open a.gguf', 'open b.gguf']);
  });

  test('a model that needs more than its bytes: another is unloaded and it is tried again; alone it is told', async () => {
    const rooms: number[] = [];
    const { models } = setUp(
      async (path, { room }) => {
        rooms.push(room);
        if (path !== 'a.gguf' && room < (path === 'b.gguf' ? 200 : 1000))
          throw Object.assign(new Error(`${path}: takes more`), { name: 'NotEnoughMemory' });
        return createFakeChat(path);
      },
      undefined,
      two,
    );
    (await models.acquire('a'))[Symbol.dispose]();
    (await models.acquire('b'))[Symbol.dispose]();
    expect(rooms).toEqual([250, 150, 250]);
    expect((await models.find('a')).status).toBe('available');
    await expect(models.acquire('c')).rejects.toMatchObject({
      status: 503,
      message: expect.stringContaining('takes more'),
    });
    expect((await models.acquire('b')).id).toBe('b');
  });

  test('whatever comes and goes: nothing is loaded twice, no room is taken that is not there, and all are answered', async () => {
    const living = new Map<string, number>();
    let most = 0;
    const { models } = setUp(
      async path => {
        living.set(path, (living.get(path) ?? 0) + 1);
        most = Math.max(most, living.size);
        expect(living.get(path)).toBe(1);
        await tick();
        const chat = createFakeChat(path);
        return Object.assign(chat, {
          async [Symbol.asyncDispose]() {
            await tick();
            living.delete(path);
          },
        });
      },
      10_000,
      two,
    );
    const random = seededRandom(5);
    let answered = 0;
    let left = 0;
    await Promise.all(
      Array.from({ length: 600 }, async () => {
        for (let pause = Math.floor(random() * 40); pause > 0; pause--) await tick();
        const controller = new AbortController();
        if (random() < 0.2) setTimeout(() => controller.abort(), random() * 3);
        try {
          using _lease = await models.acquire('abc'[Math.floor(random() * 3)]!, controller.signal);
          answered++;
          if (random() < 0.5) await tick();
        } catch {
          left++;
        }
      }),
    );
    expect(answered + left).toBe(600);
    expect(answered).toBeGreaterThan(450);
    expect(most).toBe(2);
    await models[Symbol.asyncDispose]();
    expect(living.size).toBe(0);
  });
});

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
