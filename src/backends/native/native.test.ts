// The native backend runs the tables that every backend, and every one of compiled kernels, runs; how it is found, how it ends.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { runCompiledCases } from '../compiled/compiled.cases.ts';
import { loadNative, prebuiltPackage, variants } from './load.ts';
import { createNativeBackend } from './native.ts';
import { NativeThreads } from './threads.ts';

const native = loadNative();
const missing = 'missing' in native ? native.missing : undefined;
const nativeUrl = JSON.stringify(new URL('./native.ts', import.meta.url).href);

if (missing === undefined) runCompiledCases('native', createNativeBackend, NativeThreads.prototype);

describe.skipIf(missing !== undefined)(`native${missing ? `: skipped, ${missing}` : ''}`, () => {
  test('every variant that this processor runs gives right numbers', async () => {
    const ran: string[] = [];
    for (const variant of variants[process.arch]!) {
      vi.stubEnv('MAVERICK_NATIVE', variant);
      if ('missing' in loadNative()) continue;
      ran.push(variant);
      await using k = await createNativeBackend({ threads: 2 });
      expect(k.variant).toBe(variant);
      const fill = async (into: Uint8Array) => {
        new Float32Array(into.buffer, into.byteOffset, into.length / 4).set(
          Array.from({ length: 320 }, (_, i) => i % 7).slice(0, into.length / 4),
        );
      };
      const x = await k.upload('F32', [3, 64], fill);
      const w = await k.upload('F32', [5, 64], fill);
      const expected = Array.from({ length: 15 }, (_, i) => {
        let sum = 0;
        for (let j = 0; j < 64; j++) sum += ((Math.floor(i / 5) * 64 + j) % 7) * (((i % 5) * 64 + j) % 7);
        return sum;
      });
      expect([...(await k.step(() => k.read(k.matmul(x, w))))]).toEqual(expected);
    }
    vi.unstubAllEnvs();
    expect(ran).toContain('plain');
  });

  test('threads that have nothing to do take no processor time', async () => {
    await using k = await createNativeBackend({ threads: 4 });
    expect(k.threads).toBe(4);
    await new Promise(resolve => setTimeout(resolve, 100)); // until they sleep
    const before = process.cpuUsage();
    await new Promise(resolve => setTimeout(resolve, 300));
    const { user, system } = process.cpuUsage(before);
    expect(user + system).toBeLessThan(100_000);
  });

  test('dispose leaves no thread and no memory, twice is once, and use after it is an error', async () => {
    const threads = () => Number(/Threads:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
    const resident = () => Number(/VmRSS:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
    const linux = process.platform === 'linux';
    const before = linux ? threads() : 0;
    const k = await createNativeBackend({ threads: 5 });
    if (linux) expect(threads()).toBe(before + 4);
    const bytes = 256 * 2 ** 20;
    const full = linux ? resident() : 0;
    const x = await k.upload('F32', [bytes / 4], async into => {
      into.fill(1);
    });
    if (linux) expect(resident() - full).toBeGreaterThan(0.9 * bytes);
    k.release(x);
    if (linux) expect(resident() - full).toBeLessThan(0.2 * bytes); // given back while the backend lives on
    await k[Symbol.asyncDispose]();
    await k[Symbol.asyncDispose]();
    if (linux) expect(threads()).toBe(before);
    await expect(k.upload('F32', [1], async () => {})).rejects.toThrow(/disposed.*createNativeBackend/);
    expect(k.memoryBytes).toBe(0);
  });

  test('a program that forgets to dispose still ends', () => {
    const script = `
      const { createNativeBackend } = await import(${nativeUrl});
      const k = await createNativeBackend({ threads: 3 });
      const x = await k.upload('F32', [2, 50000], async into => { into.fill(0); });
      console.log((await k.read(k.sigmoid(x)))[0]);`;
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      timeout: 20_000,
      encoding: 'utf8',
    });
    expect(child).toMatchObject({ status: 0, stdout: '0.5\n', stderr: '' });
  });

  test('Node threads that end while they compute take their threads along', async () => {
    const source = `
      import { parentPort } from 'node:worker_threads';
      const { createNativeBackend } = await import(${nativeUrl});
      const k = await createNativeBackend({ threads: 3 });
      const x = await k.upload('F32', [64, 50000], async into => { into.fill(0); });
      for (let i = 0; ; i++) {
        await k.step(async () => k.read(k.sigmoid(x)));
        if (i === 3) parentPort.postMessage('under way');
      }`;
    const count = (): number =>
      process.platform === 'linux' ? Number(/Threads:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) : 0;
    await using beside = await createNativeBackend({ threads: 2 });
    const before = count();
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), { execArgv: [] });
      expect(await once(worker, 'message')).toEqual(['under way']);
      await worker.terminate();
    }
    expect(count()).toBeLessThanOrEqual(before);
    const x = await beside.upload('F32', [2, 50_000], async into => {
      into.fill(0);
    });
    expect((await beside.read(beside.sigmoid(x)))[0]).toBe(0.5);
  });

  test('a limit on the address space is an error that names it', () => {
    if (process.platform !== 'linux') return;
    const script = `
      const { createNativeBackend } = await import(${nativeUrl});
      await createNativeBackend({ threads: 1, bankBytes: 2 ** 44 }).catch(error => console.log(error.name, error.message));`;
    const child = spawnSync(
      'sh',
      ['-c', 'ulimit -v 60000000 && exec "$0" --input-type=module -e "$1"', process.execPath, script],
      { timeout: 20_000, encoding: 'utf8' },
    );
    expect(child.stdout).toMatch(/^RangeError The system grants no 17592186044416 bytes of addresses .*ulimit -v/);
  });
});

describe('finding native kernels', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'maverick-load-'));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });

  test('a folder that is missing, empty or holds a broken file is said, and nothing is thrown', () => {
    vi.stubEnv('MAVERICK_NATIVE', '');
    expect(loadNative([join(folder, 'nowhere'), folder])).toEqual({ missing: 'they are not built' });
    const path = join(folder, `maverick-${variants[process.arch]?.at(-1)}.node`);
    writeFileSync(path, 'no machine code');
    expect(loadNative([folder])).toEqual({ missing: expect.stringContaining(`${path} cannot be loaded: `) });
  });

  test('MAVERICK_NATIVE turns them off, names one, and is doubted', async () => {
    vi.stubEnv('MAVERICK_NATIVE', 'off');
    expect(loadNative()).toEqual({ missing: 'MAVERICK_NATIVE is off' });
    await expect(createNativeBackend()).rejects.toThrow(/no native kernels \(MAVERICK_NATIVE is off\).*npm run build/);
    vi.stubEnv('MAVERICK_NATIVE', 'avx9000');
    expect(loadNative()).toEqual({ missing: expect.stringMatching(/is avx9000, known here are .*plain, off/) });
    vi.stubEnv('MAVERICK_NATIVE', 'plain');
    expect(loadNative([folder])).toEqual({ missing: 'maverick-plain.node is not built' });
  });

  test('the prebuilt package is named by platform and architecture', () => {
    expect(prebuiltPackage('darwin', 'arm64')).toBe('open-maverick-darwin-arm64');
  });
});
