// The threads beside the caller's: they sleep until a program is there, run their share of it, and sleep again.
import { once } from 'node:events';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { programCommands } from '../compiled/bank.ts';
import { control, packTask, task } from '../compiled/commands.ts';
import { lostThread, type Threads } from '../compiled/machine.ts';
import { type Program, programAddresses } from '../compiled/program.ts';
import type { WasmBank } from './memory.ts';

/** What a worker needs to know of a bank. */
export interface SharedBank {
  readonly memory: WebAssembly.Memory;
  readonly control: number;
  /** Addresses of its programs. */
  readonly programs: readonly number[];
  readonly stackEnd: number;
}

export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly thread: number;
  readonly threads: number;
  readonly bank: SharedBank;
  /** Banks come in here, and a failure goes out. */
  readonly port: MessagePort;
}

/** How long attaching a bank and leaving may take, milliseconds. */
const patience = 30_000;
const workerUrl = new URL(`./thread-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);

export class WasmThreads implements Threads {
  readonly count: number;
  private readonly banks: WasmBank[] = [];
  private readonly workers: { worker: Worker; port: MessagePort; exited: Promise<unknown> }[] = [];
  private leaving = false;
  private tasks = 0;
  /** What `finish` takes to its end. */
  private begun: { readonly bank: WasmBank; readonly address: number; readonly count: number } | undefined;
  private failure: Error | undefined;

  private constructor(count: number) {
    this.count = count;
  }

  /** Starts `count` − 1 workers on the first bank. @throws Error when a worker does not come up. */
  static async start(count: number, module: WebAssembly.Module, bank: WasmBank): Promise<WasmThreads> {
    const threads = new WasmThreads(count);
    threads.banks.push(bank);
    try {
      await Promise.all(Array.from({ length: count - 1 }, (_, i) => threads.startWorker(i + 1, module, bank)));
    } catch (error) {
      await threads.dispose();
      throw error;
    }
    return threads;
  }

  /** Lets every worker know a further bank. */
  attach(bank: WasmBank): void {
    this.checkAlive();
    this.banks.push(bank);
    if (this.workers.length === 0) return;
    const first = this.banks[0]!;
    const words = first.integers(first.control, control.bytes / 4);
    Atomics.store(words, control.attached, 0);
    for (const [i, { port }] of this.workers.entries()) port.postMessage(shared(bank, i + 1));
    this.wake(task.Attach);
    const deadline = performance.now() + patience;
    for (let done = 0; done < this.workers.length; done = Atomics.load(words, control.attached)) {
      if (Atomics.load(words, control.failed) !== 0 || performance.now() > deadline) throw this.fail(undefined);
      Atomics.wait(words, control.attached, done, 100);
    }
  }

  begin(bank: WasmBank, program: Program): void {
    this.checkAlive();
    const count = program.single ? 1 : this.count;
    const { address, turn } = program;
    program.open();
    program.next();
    this.begun = { bank, address, count };
    if (count > 1) this.wake(task.Run, bank.index, turn);
    this.call(() => bank.kernels.await_program(BigInt(bank.control), BigInt(program.address)));
  }

  finish(): void {
    if (!this.begun) return;
    const { bank, address, count } = this.begun;
    this.begun = undefined;
    this.call(() => bank.kernels.run(BigInt(bank.control), BigInt(address), 0, count));
  }

  /** Ends every worker; resolves when none is left. */
  async dispose(): Promise<void> {
    this.leaving = true;
    if (this.workers.length > 0 && !this.failure) this.wake(task.Leave);
    await Promise.all(
      this.workers.map(async ({ worker, port, exited }) => {
        const timer = setTimeout(() => worker.terminate(), this.failure ? 0 : patience);
        await exited;
        clearTimeout(timer);
        port.close();
      }),
    );
    this.workers.length = 0;
  }

  private async startWorker(thread: number, module: WebAssembly.Module, bank: WasmBank): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    const workerData: WorkerStart = { module, thread, threads: this.count, bank: shared(bank, thread), port: port2 };
    const worker = new Worker(workerUrl, { workerData, transferList: [port2], execArgv: [], name: 'maverick-compute' });
    const exited = new Promise(resolve => worker.once('exit', resolve));
    this.workers.push({ worker, port: port1, exited });
    port1.unref();
    await once(worker, 'message'); // rejects when the worker fails first
    worker.on('error', error => this.lost(error));
    worker.once('exit', code => this.lost(new Error(`it ended with code ${code}`)));
    worker.unref();
  }

  private wake(what: number, bank = 0, program = 0): void {
    const first = this.banks[0]!;
    this.tasks++;
    first.kernels.begin_task(BigInt(first.control), packTask(this.tasks, what, bank, program));
  }

  private call(kernel: () => number): void {
    let status: number;
    try {
      status = kernel();
    } catch (error) {
      throw this.fail(trapped(error));
    }
    if (status !== 0) throw this.fail(undefined);
  }

  /** @throws Error after dispose, and ever after a thread was lost. */
  checkAlive(): void {
    if (this.leaving) throw new Error('This backend was disposed; make another with createWasmBackend.');
    if (this.failure) throw this.failure;
  }

  private lost(cause: unknown): void {
    if (!this.leaving) this.fail(cause);
  }

  /** Marks the threads as lost, lets those that wait go, and says why. */
  private fail(cause: unknown): Error {
    if (this.failure) return this.failure;
    let reason = cause;
    for (const { port } of this.workers) reason ??= receiveMessageOnPort(port)?.message;
    this.failure = lostThread(reason);
    for (const bank of this.banks) abandon(bank.memory.memory, bank.control);
    return this.failure;
  }
}

/** What a kernel's failure means. */
export function trapped(cause: unknown): Error {
  const words = cause instanceof Error ? cause.message : String(cause);
  return new Error(
    `a kernel failed (${words}); if the kernels are older or newer than the program, build them with: npm run build`,
    { cause },
  );
}

/** Tells everybody at this bank to leave; who sleeps at a gate sees it within a second. */
export function abandon(memory: WebAssembly.Memory, address: number): void {
  const words = new Int32Array(memory.buffer, address, control.bytes / 4);
  Atomics.store(words, control.failed, 1);
  Atomics.notify(words, control.attached);
}

const shared = (bank: WasmBank, thread: number): SharedBank => ({
  memory: bank.memory.memory,
  control: bank.control,
  programs: programAddresses(bank.program, programCommands),
  stackEnd: bank.memory.stacks[thread]!,
});
