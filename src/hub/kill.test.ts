// Downloads that are killed: at random points, by kill −9, pulled and run in turns; and bits that flip on the way. What has its final name is whole.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FakeHub, fakeHub, gitSha1, sha256 } from './fake-hub.cases.ts';
import { pull } from './pull.ts';

const long = Boolean(process.env.LONG);
const noise = (length: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 13) & 255));
const model = noise(600_000, 1);
const shards = ['model-1.safetensors', 'model-2.safetensors', 'model-3.safetensors'];
const folder: Record<string, Buffer> = {
  LICENSE: Buffer.from('Be kind.'),
  'config.json': readFileSync(new URL('../../test/fixtures/huggingface/scout/config.json', import.meta.url)),
  'model.safetensors.index.json': Buffer.from(
    JSON.stringify({ weight_map: { a: shards[0], b: shards[1], c: shards[2] } }),
  ),
  ...Object.fromEntries(shards.map((name, i) => [name, noise(200_000, i + 2)])),
};

let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  hub = await fakeHub({
    'a/M-GGUF': { commit: 'e'.repeat(40), files: { 'M-Q4_0.gguf': model } },
    'a/Folder': { commit: 'f'.repeat(40), files: folder },
  });
  cache = await mkdtemp(join(tmpdir(), 'maverick-kill-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(cache, { recursive: true, force: true });
});

const NAME = 'hf:a/M-GGUF:Q4_0';
const at = (file: string): string => JSON.stringify(fileURLToPath(new URL(file, import.meta.url)));
/** What a child process does: pulls the model, or reads ranges of it as a model that runs. */
const programs = {
  pull: `const { pull } = await import(${at('./pull.ts')}); await pull('${NAME}', options);`,
  pullFolder: `const { pull } = await import(${at('./pull.ts')}); await pull('hf:a/Folder', options);`,
  run: `const { openPartial } = await import(${at('./partial.ts')});
    const { openerOf } = await import(${at('../checkpoint/sources.ts')});
    await using partial = await openPartial('${NAME}', { ...options, pieceBytes: 16384 });
    await using source = await (await openerOf(partial.sources))(partial.path);
    for (let i = 0; i < 12; i++) await source.read(Math.floor(Math.random() * 580_000), new Uint8Array(20_000));`,
};

/** True when it ended by itself, and well. */
function child(program: keyof typeof programs, killMs: number | null): Promise<boolean> {
  const settings = { endpoint: hub.endpoint, cache, token: null, offline: false };
  const code = `const options = { settings: ${JSON.stringify(settings)}, backoffMs: 5 }; ${programs[program]}`;
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' });
    const timer = killMs === null ? undefined : setTimeout(() => running.kill('SIGKILL'), killMs);
    running.on('error', reject);
    running.on('exit', exit => {
      clearTimeout(timer);
      resolve(exit === 0);
    });
  });
}

/** What lies under final names is what they say. */
async function finalNames(repo = 'models--a--M-GGUF'): Promise<string[]> {
  const blobs = join(cache, repo, 'blobs');
  const names = (await readdir(blobs).catch(() => [])).filter(name => /^[0-9a-f]+$/.test(name));
  for (const name of names) {
    const content = await readFile(join(blobs, name));
    expect(name.length === 64 ? sha256(content) : gitSha1(content)).toBe(name);
  }
  return names;
}

const KILLS = long ? 200 : 3;
test(`kill −9 at ${KILLS} random points${long ? '' : ' (200 with LONG=1)'} of pulling and running: it goes on, and the bytes are right in the end`, {
  timeout: 1_800_000,
}, async () => {
  hub.slow = { bytes: 10_000, ms: 4 }; // 0.25 s for all of it
  const began = performance.now();
  expect(await child('pull', null)).toBe(true);
  let whole = performance.now() - began;
  await rm(cache, { recursive: true });
  for (let kills = 0; kills < KILLS; ) {
    for (let done = false; !done; ) {
      const program = Math.random() < 0.5 ? 'pull' : 'run';
      // Also within the start of the process; most of it within the download.
      const ended = await child(program, kills < KILLS ? whole * (0.4 + Math.random() * 0.7) : null);
      if (!ended) kills++;
      whole *= ended ? 0.9 : 1.05; // machines become quicker and slower: about every third ends before its kill
      done = (await finalNames()).length > 0;
      expect(done, 'a pull that ended well leaves the model').toBe(done || (ended && program === 'pull'));
    }
    expect(await finalNames()).toEqual([sha256(model)]);
    expect(await readdir(join(cache, 'models--a--M-GGUF', 'blobs'))).toEqual([sha256(model)]);
    await rm(cache, { recursive: true });
  }
});

test(`… and of pulling a folder of safetensors: ${KILLS}`, { timeout: 1_800_000 }, async () => {
  hub.slow = { bytes: 10_000, ms: 4 };
  const began = performance.now();
  expect(await child('pullFolder', null)).toBe(true);
  let whole = performance.now() - began;
  await rm(cache, { recursive: true });
  for (let kills = 0; kills < KILLS; ) {
    for (let done = false; !done; ) {
      done = await child('pullFolder', kills < KILLS ? whole * (0.4 + Math.random() * 0.7) : null);
      if (!done) kills++;
      whole *= done ? 0.9 : 1.05;
      const here = await finalNames('models--a--Folder');
      if (done) expect(here.length).toBe(Object.keys(folder).length);
    }
    const snapshot = join(cache, 'models--a--Folder', 'snapshots', 'f'.repeat(40));
    for (const [name, content] of Object.entries(folder)) expect(await readFile(join(snapshot, name))).toEqual(content);
    expect(await readdir(join(cache, 'models--a--Folder', 'blobs'))).toHaveLength(Object.keys(folder).length);
    await rm(cache, { recursive: true });
  }
});

const FLIPS = long ? 1000 : 30;
test(`a bit that flips on the way is found wherever it is: ${FLIPS} of ${FLIPS}${long ? '' : ' (1,000 with LONG=1)'}`, {
  timeout: 600_000,
}, async () => {
  const settings = { endpoint: hub.endpoint, cache, token: null, offline: false };
  let found = 0;
  for (let i = 0; i < FLIPS; i++) {
    const byte = i === 0 ? 0 : i === 1 ? model.length - 1 : Math.floor(Math.random() * model.length);
    hub.cdn.push({ flip: byte * 8 + (i % 8) }, { flip: byte * 8 + (i % 8) });
    await expect(pull(NAME, { settings, backoffMs: 2 })).rejects.toMatchObject({ kind: 'integrity' });
    expect(await finalNames()).toEqual([]);
    hub.cdn.length = 0;
    found++;
  }
  expect(found).toBe(FLIPS);
  await pull(NAME, { settings });
  expect(await finalNames()).toEqual([sha256(model)]);
});
