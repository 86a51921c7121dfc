// The addon's threads: they sleep until a program is there, run their share of it, and sleep again.
import { type Bank, programCommands } from '../compiled/bank.ts';
import { lostThread, type Threads } from '../compiled/machine.ts';
import { type Program, programAddresses } from '../compiled/program.ts';
import type { Addon, Pool } from './load.ts';

export class NativeThreads implements Threads {
  private readonly addon: Addon;
  private readonly pool: Pool;
  private readonly count: number;
  private readonly wordsBelow: number;
  private disposed = false;
  private failure: Error | undefined;

  /** Starts `count` − 1 threads on the first bank. @throws Error when one does not come up. */
  constructor(addon: Addon, pool: Pool, count: number, wordsBelow: number, bank: Bank) {
    this.addon = addon;
    this.pool = pool;
    this.count = count;
    this.wordsBelow = wordsBelow;
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

  run(bank: Bank, program: Program): void {
    this.checkAlive();
    const { turn, single } = program;
    program.open();
    program.next();
    if (this.addon.run(this.pool, bank.index, turn, single ? 1 : this.count, this.wordsBelow) !== 0)
      throw this.fail(undefined);
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
