// The engine behind a thread: the same answers, a free event loop, aborts that arrive, and clear words when the thread dies.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { clientOf, openEngine, startWorker } from './client.ts';
import { EngineDraining, EngineFailed, EngineRestarting, QueueFull } from './errors.ts';
import { openLocalEngine } from './local-engine.ts';
import { collect, POISON, type SmallModels, tokensOf, writeSmallModels } from './small-models.cases.ts';
import type { Engine, ModelInfo } from './types.ts';

let models: SmallModels;
let info: ModelInfo;
beforeAll(async () => {
  models = await writeSmallModels();
  await using engine = await openLocalEngine(models.llama4, { backend: 'reference' });
  info = engine.info;
});
afterAll(() => models[Symbol.dispose]());

describe('an engine in a thread', () => {
  test.each(['reference', 'wasm'] as const)('says what a local one says, %s', async backend => {
    const seen: number[] = [];
    await using engine = await openEngine(models.llama4, {
      backend,
      threads: 2,
      maxBatch: 8,
      onProgress: (loaded, total) => seen.push(loaded / total),
    });
    await using local = await openLocalEngine(models.llama4, { backend, threads: 2, maxBatch: 8 });
    expect(seen.at(-1)).toBe(1);
    expect({ ...engine.info, loadMs: 0 }).toEqual({ ...local.info, loadMs: 0 });
    const options = { maxTokens: 9, temperature: 1, seed: 3, topLogprobs: 2, stopTokens: new Set([299]) };
    const prompts = [tokensOf(1, 20), tokensOf(2, 3), tokensOf(3, 30)];
    const remote = await Promise.all(prompts.map(prompt => collect(engine, prompt, options)));
    for (const [i, prompt] of prompts.entries()) {
      const { events, end } = await collect(local, prompt, options);
      expect(remote[i]!.events).toEqual(events);
      expect(remote[i]!.end.reason).toBe(end.reason);
    }
    expect(await engine.score(tokensOf(4, 25))).toEqual(await local.score(tokensOf(4, 25)));
    const rows = async (of: Engine): Promise<unknown[]> =>
      Array.fromAsync(of.logprobs(tokensOf(5, 12), { rows: [0, 7, 11] }));
    expect(await rows(engine)).toEqual(await rows(local));
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0, decodeTokens: 24 });
  });

  test('what a pass gives all sequences is one message', async () => {
    const opened = await startWorker(models.llama4, { backend: 'reference', maxSequences: 8 });
    await using engine = clientOf(opened, { places: 8 });
    let messages = 0;
    opened.worker.on('message', () => messages++);
    const before = (await engine.stats()).passes;
    const asked = [1, 2, 3, 4, 5, 6, 7, 8].map(seed => collect(engine, tokensOf(seed, 4), { maxTokens: 12 }));
    for (const { tokens } of await Promise.all(asked)) expect(tokens.length).toBe(12);
    const passes = (await engine.stats()).passes - before;
    expect(passes).toBeLessThanOrEqual(13);
    expect(messages).toBeLessThanOrEqual(passes + 2); // those of the statistics; not one for each of 96 tokens
  });

  test('the event loop turns while it computes, and an abort is heard within a pass', async () => {
    await using engine = await openEngine(models.llama4, { backend: 'reference', maxBatch: 1, maxSequences: 1 });
    const controller = new AbortController();
    let turns = 0;
    const timer = setInterval(() => {
      if (++turns === 3) controller.abort();
    }, 1);
    const { end } = await collect(engine, tokensOf(1, 60), { signal: controller.signal });
    clearInterval(timer);
    expect(turns).toBeGreaterThanOrEqual(3);
    expect(end.reason).toBe('abort');
    const scoring = new AbortController();
    const scores = engine.score(tokensOf(1, 60), { signal: scoring.signal });
    scoring.abort(new Error('enough'));
    await expect(scores).rejects.toThrow('enough');
    // The place is free again.
    expect((await collect(engine, tokensOf(2, 4), { maxTokens: 2 })).tokens.length).toBe(2);
  });

  test('leaving the loop aborts; an aborted signal never starts', async () => {
    await using engine = await openEngine(models.llama4, { backend: 'reference', maxSequences: 1 });
    for await (const _ of engine.generate(tokensOf(1, 4))) break;
    for await (const _ of engine.logprobs(tokensOf(1, 40))) break;
    const { tokens, end } = await collect(engine, tokensOf(1, 4), { signal: AbortSignal.abort() });
    expect([tokens.length, end.reason]).toEqual([0, 'abort']);
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  test('a slow reader of rows holds the engine back and loses none', async () => {
    const longer = fileURLToPath(new URL('../../test/fixtures/golden/scout-tiny.gguf', import.meta.url));
    await using engine = await openEngine(longer, { backend: 'reference' });
    const rows: number[] = [];
    const reading = engine.logprobs(tokensOf(1, 150));
    await reading.next();
    // More rows than may be on their way are computed by now.
    await new Promise(resolve => setTimeout(resolve, 300));
    for await (const { row } of reading) rows.push(row);
    expect(rows).toEqual(Array.from({ length: 149 }, (_, i) => i + 1));

    const controller = new AbortController();
    const left = engine.logprobs(tokensOf(1, 150), { signal: controller.signal });
    await left.next();
    await new Promise(resolve => setTimeout(resolve, 300));
    controller.abort(new Error('enough'));
    await expect(Array.fromAsync(left)).rejects.toThrow('enough');
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });
});

describe('errors', () => {
  test('of opening keep their kind and their words', async () => {
    const missing = join(models.folder, 'missing.gguf');
    await expect(openEngine(missing)).rejects.toThrow(CheckpointError);
    await expect(openEngine(missing)).rejects.toMatchObject({ path: missing, name: 'CheckpointError' });
    const garbage = join(models.folder, 'garbage.gguf');
    writeFileSync(garbage, 'this is no model');
    await expect(openEngine(garbage, { backend: 'reference' })).rejects.toThrow(CheckpointError);
    await expect(openEngine(models.llama4, { threads: 0 })).rejects.toThrow(RangeError);
    await expect(openEngine(models.llama4, { contextTokens: 65 })).rejects.toThrow(/contextTokens: got 65/);
    await expect(openEngine(models.llama4, { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
    const controller = new AbortController();
    const opening = openEngine(models.llama4, { signal: controller.signal });
    controller.abort(new Error('changed my mind'));
    await expect(opening).rejects.toThrow('changed my mind');
  });

  test('of a request arrive as they were', async () => {
    await using engine = await openEngine(models.poisoned, { backend: 'reference' });
    await expect(collect(engine, [POISON])).rejects.toThrow(/a logit is NaN/);
    await expect(collect(engine, [POISON])).rejects.toThrow(RangeError);
    await expect(collect(engine, [])).rejects.toThrow(/^prompt: got 0 tokens/);
    await expect(engine.score([1, 300])).rejects.toThrow(/^tokens\[1\]: got 300/);
  });

  test.each([
    ['throws', "throw new Error('out of luck')", /thread ended unasked: out of luck.*open the engine again/],
    ['exits', 'process.exit(3)', /thread ended unasked: exit code 3/],
  ])('a thread that %s: every request under way and after is told', async (_, deed, message) => {
    const source = `require('node:worker_threads').parentPort.on('message', m => { if (m.type === 'stats') { ${deed} } })`;
    await using engine = clientOf({ worker: new Worker(source, { eval: true }), info });
    const under = [collect(engine, [1, 2]), engine.score([1, 2, 3]), engine.stats()];
    for (const result of await Promise.allSettled(under))
      expect(result.status === 'rejected' && String(result.reason)).toMatch(message);
    await expect(collect(engine, [1])).rejects.toThrow(message);
  });

  const dying = (deed: string): Worker =>
    new Worker(`require('node:worker_threads').parentPort.on('message', m => { ${deed} })`, { eval: true });

  test('a thread that dies is replaced: failed, restarting, ready; the error says what to do', async () => {
    const options = { backend: 'reference' } as const;
    await using spare = await openEngine(models.llama4, options);
    const restart = Promise.withResolvers<void>();
    let starts = 0;
    await using engine = clientOf(
      { worker: dying("if (m.type === 'score') process.exit(3)"), info },
      {
        restarts: {
          waitMs: 1,
          async start() {
            await restart.promise;
            if (++starts === 1) throw new Error('not yet');
            return startWorker(models.llama4, options);
          },
        },
      },
    );
    const seen: [string, string | undefined][] = [];
    const ready = new Promise<void>(resolve => {
      engine.onState((state, error) => {
        seen.push([state, error?.message]);
        if (state === 'ready') resolve();
      });
    });
    const under = [collect(engine, [1, 2]), engine.score([1, 2])];
    for (const result of await Promise.allSettled(under)) {
      expect(result.status === 'rejected' && result.reason).toBeInstanceOf(EngineFailed);
      expect(String((result as PromiseRejectedResult).reason)).toMatch(/exit code 3.*send them once more/);
    }
    await new Promise(resolve => setTimeout(resolve, 50));
    expect(engine.state).toBe('restarting');
    const refused = collect(engine, [1]);
    await expect(refused).rejects.toThrow(EngineRestarting);
    await expect(refused).rejects.toMatchObject({ retryAfterMs: expect.any(Number) });
    restart.resolve();
    await ready;
    expect(seen.map(([state]) => state)).toEqual(['failed', 'restarting', 'failed', 'restarting', 'ready']);
    expect(seen[2]![1]).toMatch('not yet');
    expect((await collect(engine, tokensOf(1, 9), { maxTokens: 5 })).events).toEqual(
      (await collect(spare, tokensOf(1, 9), { maxTokens: 5 })).events,
    );
  });

  test('a thread that dies again and again is given up, and closing while it restarts is quick', async () => {
    let starts = 0;
    const start = async () => {
      starts++;
      return { worker: dying('process.exit(3)'), info };
    };
    const engine = clientOf(await start(), { restarts: { start, most: 2, waitMs: 1 } });
    const reached = (wanted: string): Promise<void> =>
      new Promise(resolve => {
        if (engine.state === wanted) resolve();
        else
          engine.onState(state => {
            if (state === wanted) resolve();
          });
      });
    for (let life = 0; life < 3; life++) {
      await reached('ready');
      await expect(engine.score([1, 2])).rejects.toThrow('exit code 3');
    }
    expect([engine.state, starts]).toEqual(['failed', 3]);
    await expect(engine.score([1, 2])).rejects.toThrow(/open the engine again/);
    await engine[Symbol.asyncDispose]();

    const hanging = clientOf(await start(), { restarts: { start: () => new Promise(() => {}) } });
    await expect(hanging.score([1, 2])).rejects.toThrow('exit code 3');
    await hanging[Symbol.asyncDispose]();
    expect(hanging.state).toBe('closed');
    await expect(hanging.score([1, 2])).rejects.toThrow('This engine is closed');
  });

  test('a backend that breaks in the thread is one of these', async () => {
    // The kernels' memory is limited by nothing here, so the engine in the thread is told to break by its own messages.
    const source = `
      const { parentPort } = require('node:worker_threads');
      parentPort.on('message', ({ type, id }) => {
        if (type !== 'score') return;
        const error = { name: 'EngineFailed', message: 'said in the thread' };
        parentPort.postMessage([{ type: 'failed', id, error }]);
        setImmediate(() => parentPort.postMessage([{ type: 'broken', error: { name: 'Error', message: 'out of luck' } }]));
      })`;
    const start = () => startWorker(models.llama4, { backend: 'reference' });
    await using engine = clientOf({ worker: new Worker(source, { eval: true }), info }, { restarts: { start } });
    const ready = new Promise<void>(resolve => {
      engine.onState(state => state === 'ready' && resolve());
    });
    await expect(engine.score([1, 2])).rejects.toThrow(/out of luck.*send them once more/);
    await ready;
    expect((await engine.score([1, 2, 3])).length).toBe(2);
  });

  test('who is too many is refused at once, while a pass is under way', async () => {
    await using engine = await openEngine(models.llama4, { backend: 'reference', maxSequences: 1, maxWaiting: 1 });
    const inside = [1, 2].map(seed => collect(engine, tokensOf(seed, 40), { maxTokens: 10 }));
    const start = performance.now();
    for (let i = 0; i < 100; i++) await expect(collect(engine, tokensOf(3, 9))).rejects.toThrow(QueueFull);
    expect((performance.now() - start) / 100).toBeLessThan(20);
    expect((await Promise.all(inside)).map(({ tokens }) => tokens.length)).toEqual([10, 10]);
    for (let i = 0; i < 3; i++) expect((await collect(engine, tokensOf(3, 9), { maxTokens: 2 })).tokens.length).toBe(2);
  });

  test('draining finishes what is there, refuses what comes, and still tells its statistics', async () => {
    await using engine = await openEngine(models.llama4, { backend: 'reference', maxSequences: 1 });
    const running = [1, 2].map(seed => collect(engine, tokensOf(seed, 8), { maxTokens: 5 }));
    const draining = engine.drain();
    await expect(collect(engine, [1])).rejects.toThrow(EngineDraining);
    expect(await engine.stats()).toMatchObject({ decodeTokens: expect.any(Number) });
    expect((await Promise.all(running)).map(({ tokens }) => tokens.length)).toEqual([5, 5]);
    await draining;
    expect(engine.state).toBe('draining');
  });

  test('closing tells who waits, and may be done twice', async () => {
    const engine = await openEngine(models.llama4, { backend: 'reference', maxBatch: 1 });
    const running = expect(collect(engine, tokensOf(1, 60))).rejects.toThrow('This engine is closed');
    await new Promise(resolve => setImmediate(resolve));
    await engine[Symbol.asyncDispose]();
    await running;
    await engine[Symbol.asyncDispose]();
    await expect(engine.stats()).rejects.toThrow('This engine is closed');
  });
});

test('an engine with nothing to do lets the process end', () => {
  const client = fileURLToPath(new URL('./client.ts', import.meta.url));
  const script = `
    const { openEngine } = await import(${JSON.stringify(client)});
    const engine = await openEngine(${JSON.stringify(models.llama4)}, { threads: 2 });
    for await (const { token } of engine.generate([9, 10, 11], { maxTokens: 3 })) console.log(token);`;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(status).toBe(0);
  expect(stdout.trim().split('\n').length).toBe(3);
});
