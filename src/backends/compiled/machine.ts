// What carries the kernels: WebAssembly or the machine itself. All that a compiled backend asks of the one or the other.
import type { FilePart, FileReading } from '../backend.ts';
import type { Bank } from './bank.ts';
import type { Program } from './program.ts';

export interface Machine {
  readonly name: 'wasm' | 'native';
  /** Instruction set that the kernels were compiled for, where there are several. */
  readonly variant?: string;
  /** What makes such a backend, for messages. */
  readonly maker: string;
  /** Compute threads, the caller's among them. */
  readonly threads: number;
  /** See `CompiledOptions`. */
  readonly sixteenBitsBelow: number;
  /** Reads files into banks, where there is such a way. */
  readonly files?: FileReader;
  /** @throws RangeError when the system grants no memory. */
  createBank(index: number): Bank;
  /** Starts the threads beside the caller's, on the first bank. @throws Error when one does not come up. */
  start(bank: Bank): Promise<Threads>;
}

/** A matrix in a file, and the address that it goes to. */
export interface PlacedPart extends Pick<FilePart, 'path' | 'offset' | 'chunkRows'> {
  readonly format: number;
  readonly rows: number;
  readonly n: number;
  readonly rowBytes: number;
  readonly address: number;
}

export interface FileReader {
  /** @throws FileReadError when a file cannot be opened. */
  read(parts: readonly PlacedPart[], urgent: boolean): FileReading;
}

/** The threads that run programs; they sleep while there is none. */
export interface Threads {
  /** Lets every thread know a further bank. */
  attach(bank: Bank): void;
  /**
   * Gives a bank's program to the other threads, if one is not enough, and returns when the bank's next program may be written. The
   * program before must be finished.
   */
  begin(bank: Bank, program: Program): void;
  /** Lends a hand to the program begun last and returns when it is done; at once if there is none. */
  finish(): void;
  /** @throws Error after dispose, and ever after a thread was lost. */
  checkAlive(): void;
  /** Ends every thread; resolves when none is left. */
  dispose(): Promise<void>;
}

/** What every use of a backend says once a thread of it was lost. */
export function lostThread(cause: unknown): Error {
  const message = cause instanceof Error ? cause.message : String(cause ?? 'it did not answer');
  return new Error(`A compute thread was lost: ${message}. Make a new backend; this one can only be disposed.`, {
    cause,
  });
}
