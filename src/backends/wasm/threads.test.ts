// Compute threads: what happens when one dies, when nothing is to do, and when all is over.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { programCommands } from '../compiled/bank.ts';
import { commands } from '../compiled/commands.ts';
import { Program } from '../compiled/program.ts';
import { seededRandom } from '../reference/random.ts';
import { loadKernels } from './kernels.ts';
import { createWasmBank, type WasmBank } from './memory.ts';
import { WasmThreads } from './threads.ts';
import { createWasmBackend } from './wasm.ts';

const MiB = 2 ** 20;

/** Threads on one bank, and the workers among them, which nobody else may see. */
async function team(count: number) {
  const module = await loadKernels();
  const bank = createWasmBank(0, module, 8 * MiB, count);
  const threads = await WasmThreads.start(count, module, bank);
  const { workers } = threads as unknown as { workers: { worker: Worker }[] };
  return { module, bank, threads, program: new Program(bank, programCommands), workers: workers.map(w => w.worker) };
}

const sigmoidOf = (x: number, y: number, count: number) =>
  ({
    kind: commands.Sigmoid,
    arguments: [x, count, y],
    reads: [{ start: x, end: x + 4 * count }],
    writes: [{ start: y, end: y + 4 * count }],
  }) as const;

function run(threads: WasmThreads, bank: WasmBank, program: Program): void {
  threads.begin(bank, program);
  threads.finish();
}

test('a chain of dependent commands on three threads waits where it must', async () => {
  const { bank, threads, program } = await team(3);
  const count = 20_000;
  const [a, b] = [bank.allocate(4 * count, 'a'), bank.allocate(4 * count, 'b')];
  bank.floats(a, count).fill(0.25);
  for (let i = 0; i < 400; i++) program.add(i % 2 === 0 ? sigmoidOf(a, b, count) : sigmoidOf(b, a, count));
  run(threads, bank, program);
  let expected = 0.25;
  for (let i = 0; i < 400; i++) expected = 1 / (1 + Math.exp(-expected));
  for (const value of bank.floats(a, count)) if (!(Math.abs(value - expected) < 1e-6)) expect(value).toBe(expected);
  await threads.dispose();
});

test('groups for one thread and commands for all wait for each other, program after program', async () => {
  const { bank, threads, program } = await team(3);
  const count = 3000;
  const [a, b, c] = [bank.allocate(4 * count, 'a'), bank.allocate(4 * count, 'b'), bank.allocate(4 * count, 'c')];
  const random = seededRandom(3);
  for (let round = 0; round < 200; round++) {
    const expected = new Map([a, b, c].map((at, i) => [at, i / 4]));
    for (const [at, value] of expected) bank.floats(at, count).fill(value);
    for (let i = 0; i < 30; i++) {
      const pick = (): number => [a, b, c][Math.floor(random() * 3)]!;
      const [x, y] = [pick(), pick()];
      if (x === y) continue;
      program.add({ ...sigmoidOf(x, y, count), single: random() < 0.5 });
      expected.set(y, 1 / (1 + Math.exp(-expected.get(x)!)));
    }
    run(threads, bank, program);
    for (const [at, value] of expected)
      for (const got of bank.floats(at, count)) if (!(Math.abs(got - value) < 1e-6)) expect(got).toBe(value);
  }
  await threads.dispose();
});

test('a bank that comes later is known to every thread', async () => {
  const { module, bank, threads } = await team(3);
  const second = createWasmBank(1, module, 8 * MiB, 3);
  threads.attach(second);
  const program = new Program(second, programCommands);
  const count = 100_000;
  const [a, b] = [second.allocate(4 * count, 'a'), second.allocate(4 * count, 'b')];
  second.floats(a, count).fill(0);
  program.add(sigmoidOf(a, b, count));
  run(threads, second, program);
  expect(second.floats(b, count).every(value => value === 0.5)).toBe(true);
  expect(bank.index).toBe(0);
  await threads.dispose();
});

test('a command that traps is an error, then and ever after', async () => {
  const { bank, threads, workers, program } = await team(2);
  program.add({ ...sigmoidOf(0, 0, 0), kind: 99 as typeof commands.Sigmoid }); // no such command
  expect(() => run(threads, bank, program)).toThrow(/compute thread was lost: .*unreachable/i);
  expect(() => run(threads, bank, program)).toThrow(/compute thread was lost/);
  await threads.dispose();
  expect(workers.map(worker => worker.threadId)).toEqual([-1]);
});

test('a worker that dies is an error and no hang', async () => {
  const { bank, threads, workers, program } = await team(3);
  const exit = once(workers[0]!, 'exit');
  await workers[0]!.terminate();
  await exit;
  expect(() => run(threads, bank, program)).toThrow(/compute thread was lost: it ended with code 1/);
  await threads.dispose();
  expect(workers.map(worker => worker.threadId)).toEqual([-1, -1]);
});

test('dispose leaves no thread, twice is once, and use after it is an error', async () => {
  const { threads, bank, workers, program } = await team(3);
  await threads.dispose();
  expect(workers.map(worker => worker.threadId)).toEqual([-1, -1]);
  expect(() => run(threads, bank, program)).toThrow(/disposed/);
  const k = await createWasmBackend({ threads: 2 });
  await k[Symbol.asyncDispose]();
  await k[Symbol.asyncDispose]();
  await expect(k.upload('F32', [1], async () => {})).rejects.toThrow(/disposed/);
  expect(() => k.gatherRows({ dtype: 'F32', shape: [1] }, Int32Array.of(0))).toThrow(/disposed/);
  expect(k.memoryBytes).toBe(0);
});

test('threads that have nothing to do take no processor time', async () => {
  await using k = await createWasmBackend({ threads: 4 });
  expect(k.threads).toBe(4);
  await new Promise(resolve => setTimeout(resolve, 100)); // until they sleep
  const before = process.cpuUsage();
  await new Promise(resolve => setTimeout(resolve, 300));
  const { user, system } = process.cpuUsage(before);
  expect(user + system).toBeLessThan(100_000);
});

test('a program that forgets to dispose still ends', () => {
  const script = `
    const { createWasmBackend } = await import(${JSON.stringify(new URL('./wasm.ts', import.meta.url).href)});
    const k = await createWasmBackend({ threads: 3 });
    const x = await k.upload('F32', [2, 50000], async into => { into.fill(0); });
    console.log((await k.read(k.sigmoid(x)))[0]);`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    timeout: 20_000,
    encoding: 'utf8',
  });
  expect(child).toMatchObject({ status: 0, stdout: '0.5\n', stderr: '' });
});
