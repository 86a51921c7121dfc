// The addon's threads: they sleep until a program is there, run their share of it, and sleep again.
import { type Bank, programCommands } from '../compiled/bank.ts';
import { lostThread, type Threads } from '../compiled/machine.ts';
import { type Program, programAddresses } from '../compiled/program.ts';
import type { Addon, Pool } from './load.ts';

export class NativeThreads implements Threads {
  private readonly addon: Addon;
  private readonly pool: Pool;
  private readonly count: number;
  /** What `finish` takes to its end. */
  private begun: { readonly bank: number; readonly turn: number; readonly count: number } | undefined;
  private disposed = false;
  private failure: Error | undefined;

  /** Starts `count` − 1 threads on the first bank. @throws Error when one does not come up. */
  constructor(addon: Addon, pool: Pool, count: number, bank: Bank) {
    this.addon = addon;
    this.pool = pool;
    this.count = count;
    this.attach(bank);
    try {
      addon.start(pool);
    } catch (error) {
      addon.dispose(pool);
      throw error;
    }
  }

  attach(bank: Bank): void {
    this.checkAlive();
    this.addon.attach(this.pool, bank.index, bank.control, ...programAddresses(bank.program, programCommands));
  }

  begin(bank: Bank, program: Program): void {
    this.checkAlive();
    const { turn, single } = program;
    const count = single ? 1 : this.count;
    program.open();
    program.next();
    this.begun = { bank: bank.index, turn, count };
    if (this.addon.begin(this.pool, bank.index, turn, count) !== 0) throw this.fail(undefined);
  }

  finish(): void {
    const { begun } = this;
    if (!begun) return;
    this.begun = undefined;
    if (this.addon.finish(this.pool, begun.bank, begun.turn, begun.count) !== 0) throw this.fail(undefined);
  }

  checkAlive(): void {
    if (this.disposed) throw new Error('This backend was disposed; make another with createNativeBackend.');
    if (this.failure) throw this.failure;
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    this.addon.dispose(this.pool);
  }

  private fail(cause: unknown): Error {
    this.failure ??= lostThread(cause);
    return this.failure;
  }
}
