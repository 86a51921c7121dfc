// Calibration against a plain computation, with experts on disk, broken off anywhere; and what is said of experts without tokens.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../checkpoint/open.ts';
import { maverick } from '../cli/fake-terminal.cases.ts';
import { openLocalEngine } from '../engine/local-engine.ts';
import { geometry, tokensOf } from '../engine/small-models.cases.ts';
import { writeRandomModel } from '../hub/random-model.ts';
import { plainPass } from '../model/plain-llama4.cases.ts';
import { calibrate, chunksOf } from './calibrate.ts';
import { readImatrix } from './imatrix.ts';
import { clearUnfinished, readUnfinished, saveUnfinished, unfinishedPath } from './unfinished.ts';

const long = Boolean(process.env.LONG);
let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-calibrate-'));
  model = await writeRandomModel(join(folder, 'model.gguf'), geometry, { dtype: 'F16', seed: 5 });
});
afterAll(() => rm(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);
const reference = { backend: 'reference' } as const;

test('chunks are those of llama-imatrix', () => {
  expect(chunksOf([1, 2, 3, 4, 5, 6, 7], 3, 9)).toEqual([
    [9, 1, 2],
    [9, 4, 5],
  ]);
  expect(chunksOf([1, 2, 3, 4, 5, 6, 7], 3, null)).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expect(chunksOf([1, 2], 8, 9)).toEqual([[9, 1, 2]]);
});

describe('the sums', () => {
  const tokens = tokensOf(4, 40);

  test('are those of a plain computation of every chunk, expert by expert', async () => {
    const { imatrix, experts } = await calibrate(model, tokens, 1, at('a.gguf'), { engine: reference, chunkSize: 20 });
    const wanted = new Map<string, { sums: number[]; counts: number[] }>();
    await using checkpoint = await openCheckpoint(model);
    for (const chunk of chunksOf(tokens, 20, 1))
      for (const [name, rows] of (await plainPass(checkpoint, chunk)).inputs)
        for (const { row, expert } of rows) {
          const matrices = expert < 0 ? 1 : geometry.experts;
          const entry = wanted.get(name) ?? {
            sums: Array<number>(matrices * row.length).fill(0),
            counts: Array<number>(matrices).fill(0),
          };
          wanted.set(name, entry);
          const matrix = Math.max(0, expert);
          entry.counts[matrix]!++;
          for (const [i, x] of row.entries()) entry.sums[matrix * row.length + i]! += x * x;
        }
    expect([...imatrix.entries.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [name, { sums, counts }] of wanted) {
      const got = imatrix.entries.get(name)!;
      expect([...got.counts], name).toEqual(counts);
      expect(got.sums.length, name).toBe(sums.length);
      const scale = Math.max(...sums);
      for (const [i, sum] of sums.entries()) expect(Math.abs(got.sums[i]! - sum) / scale, name).toBeLessThan(1e-5);
    }
    expect(experts.map(({ layer }) => layer)).toEqual([1, 3]);
    for (const { layer, counts, unseen } of experts) {
      expect(counts).toEqual(wanted.get(`blk.${layer}.ffn_down_exps.weight`)!.counts);
      expect(unseen).toEqual(counts.flatMap((count, expert) => (count === 0 ? [expert] : [])));
      expect(counts.reduce((a, b) => a + b)).toBe(40);
    }
    expect((await readImatrix(at('a.gguf'))).entries.size).toBe(wanted.size);
  });

  test('are the same bits with experts read from disk', async () => {
    const engine = { backend: 'reference' } as const;
    const open = (memory: number) =>
      openLocalEngine(model, { ...engine, memory, maxSequences: 1, cacheBytes: 0 }).then(
        async opened => {
          await opened[Symbol.asyncDispose]();
          return opened.info.streaming ? 0 : 1;
        },
        () => -1,
      );
    // The budget in which some of the experts have room: between too small and enough.
    let [low, high] = [0, 2e9];
    let memory = 1e9;
    for (let side = await open(memory); side !== 0; side = await open(memory)) {
      if (side < 0) low = memory;
      else high = memory;
      memory = Math.round((low + high) / 2);
    }
    await calibrate(model, tokens, 1, at('held.gguf'), { engine, chunkSize: 40 });
    await calibrate(model, tokens, 1, at('streamed.gguf'), { engine: { ...engine, memory }, chunkSize: 40 });
    expect((await readFile(at('streamed.gguf'))).equals(await readFile(at('held.gguf')))).toBe(true);
  });

  test('nothing is seen where a text is shorter than two tokens, or a chunk longer than the context', async () => {
    await expect(calibrate(model, [], null, at('no.gguf'), { engine: reference })).rejects.toThrow(/at least 2/);
    await expect(
      calibrate(model, tokensOf(1, 99), null, at('no.gguf'), { engine: reference, chunkSize: 65 }),
    ).rejects.toThrow(/chunkSize: got 65, wanted at most 64/);
    expect(existsSync(at('no.gguf'))).toBe(false);
  });
});

describe('a calibration that is broken off', () => {
  const tokens = tokensOf(2, 200);
  const options = { engine: reference, chunkSize: 20, saveMs: 0 };

  test('goes on where it last saved, to the same bytes, and clears up', async () => {
    await calibrate(model, tokens, 1, at('straight.gguf'), options);
    const abort = new AbortController();
    const run = calibrate(model, tokens, 1, at('broken.gguf'), {
      ...options,
      signal: abort.signal,
      onProgress: (phase, done) => phase === 'computing' && done === 6 && abort.abort(new Error('stop')),
    });
    await expect(run).rejects.toThrow('stop');
    expect(existsSync(at('broken.gguf'))).toBe(false);
    await writeFile(`${unfinishedPath(at('broken.gguf'))}.writing`, 'half');
    await writeFile(`${at('broken.gguf')}.01234567-89ab-cdef-0123-456789abcdef.incomplete`, 'half');
    let resumed = 0;
    await calibrate(model, tokens, 1, at('broken.gguf'), {
      ...options,
      onResume: done => {
        resumed = done;
      },
    });
    expect(resumed).toBe(6);
    expect((await readFile(at('broken.gguf'))).equals(await readFile(at('straight.gguf')))).toBe(true);
    expect((await readdir(folder)).filter(name => name.startsWith('broken.gguf'))).toEqual(['broken.gguf']);
  });

  test('with another text, model or chunk, or a state of which any byte has changed, begins anew', async () => {
    const purpose = { model: 'm', tokens: 't', chunkSize: 2, chunks: 3, backend: 'b' };
    const out = at('state.gguf');
    const sums = { sums: [{ weights: ['a', 'b'], columns: 2, matrices: 1 }], numbers: Float64Array.of(1, 1 / 3, 5) };
    await saveUnfinished(out, { purpose, done: 2, sums });
    expect(await readUnfinished(out, purpose)).toEqual({ purpose, done: 2, sums });
    for (const key of ['model', 'tokens', 'chunkSize', 'chunks', 'backend'])
      expect(await readUnfinished(out, { ...purpose, [key]: 'else' })).toBeNull();
    const whole = await readFile(unfinishedPath(out));
    for (let i = 0; i < whole.length; i += 3) {
      const spoiled = Buffer.from(whole);
      spoiled[i]! ^= 1 << (i % 8);
      await writeFile(unfinishedPath(out), spoiled);
      expect(await readUnfinished(out, purpose), `byte ${i}`).toBeNull();
      await writeFile(unfinishedPath(out), whole.subarray(0, i));
      expect(await readUnfinished(out, purpose), `${i} bytes`).toBeNull();
    }
    await clearUnfinished(out);
    expect(await readUnfinished(out, purpose)).toBeNull();
  });

  const KILLS = long ? 200 : 3;
  test(`by kill −9 at ${KILLS} random points${long ? '' : ' (200 with LONG=1)'} ends in the same bytes, and never in others under its name`, {
    timeout: 1_200_000,
  }, async () => {
    const program = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
    const text = at('text.txt');
    await writeFile(text, 'hello all, hell has bells and shells. '.repeat(16));
    const run = (out: string, killMs: number | null): Promise<boolean> =>
      new Promise((resolve, reject) => {
        const code = `const { main } = await import(${JSON.stringify(program)}); await main(['', '', 'calibrate', ...process.argv.slice(1)])`;
        const args = [model, text, '--out', out, '--context', '16', '--save-every', '0', '--backend', 'reference'];
        const child = spawn(process.execPath, ['--input-type=module', '-e', code, '--', ...args], { stdio: 'ignore' });
        const timer = killMs === null ? undefined : setTimeout(() => child.kill('SIGKILL'), killMs);
        child.on('error', reject);
        child.on('exit', exit => {
          clearTimeout(timer);
          resolve(exit === 0);
        });
      });
    const began = performance.now();
    expect(await run(at('kept.gguf'), null)).toBe(true);
    let whole = performance.now() - began;
    const wanted = await readFile(at('kept.gguf'));
    let kills = 0;
    for (let round = 0; kills < KILLS; round++) {
      const out = at(`killed-${round}.gguf`);
      for (let done = false; !done; ) {
        // Past the start, where there is nothing yet to break.
        done = await run(out, kills < KILLS ? whole * (0.3 + Math.random() * 0.8) : null);
        if (!done) kills++;
        whole *= done ? 0.9 : 1.05; // machines become quicker and slower: about every third ends before its kill
        if (existsSync(out)) expect(wanted.equals(await readFile(out))).toBe(true);
        else expect(done).toBe(false);
      }
      await rm(out);
      expect((await readdir(folder)).filter(name => name.startsWith(`killed-${round}`))).toEqual([]);
    }
  });
});

describe('maverick calibrate', () => {
  test('says which experts saw nothing and what becomes of them; JSON has every count', async () => {
    const text = at('short.txt');
    await writeFile(text, 'hello');
    const args = ['calibrate', model, text, '--out', at('cli.imatrix.gguf'), '--backend', 'reference'];
    const { code, stdout, stderr } = await maverick(args);
    expect(code).toBe(0);
    expect(stderr).toMatch(/cli\.imatrix\.gguf: 36 weights, 1 chunk of 512 tokens/);
    expect(stdout).toMatch(
      /LAYER {2}UNSEEN .*\n +1 .*\n +3 .*\n\d of 8 experts saw none of the 4 tokens: .* mean of their layer's other experts/,
    );
    const json = JSON.parse((await maverick([...args, '--json'])).stdout);
    expect(json.experts.map(({ counts }: { counts: number[] }) => counts.reduce((a, b) => a + b))).toEqual([4, 4]);
  });

  test('writes the older form where the name says so', async () => {
    const text = at('short.txt');
    await writeFile(text, 'hello all');
    const args = ['calibrate', model, text, '--out', at('cli.dat'), '--backend', 'reference'];
    expect((await maverick(args)).code).toBe(0);
    expect((await readImatrix(at('cli.dat'))).entries.size).toBe(36);
  });
});
