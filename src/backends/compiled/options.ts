// What may be asked of a compiled backend, whatever carries its kernels.
import { availableParallelism } from 'node:os';

export interface CompiledOptions {
  /** Compute threads, the caller's among them, 1 … 64. Default: `availableThreads()`. */
  readonly threads?: number;
  /**
   * Bytes of one bank of memory, 4 MiB or more. Weights that exceed three quarters of it go on in another one. The default is as
   * large as the machine allows; only what is used takes room.
   */
  readonly bankBytes?: number;
  /**
   * Matrices whose rows are shorter than this multiply activations of 16 bits instead of 8; default 2048. For measuring what
   * rounding does: 0 rounds to 8 bits everywhere.
   */
  readonly sixteenBitsBelow?: number;
}

const mostThreads = 64;
const smallestBank = 4 * 2 ** 20;

/** Processors that this process may use. */
export const availableThreads = (): number => Math.min(mostThreads, availableParallelism());

/** @throws RangeError naming the option, what it got and what it wanted. */
export function checkOptions(threads: number, bankBytes: number, largestBank: number): void {
  if (!Number.isInteger(threads) || threads < 1 || threads > mostThreads)
    throw new RangeError(`threads must be a whole number from 1 to ${mostThreads}; got ${threads}.`);
  if (!Number.isInteger(bankBytes / 65536) || bankBytes < smallestBank || bankBytes > largestBank)
    throw new RangeError(
      `bankBytes must be a multiple of 65536 from ${smallestBank} to ${largestBank}; got ${bankBytes}.`,
    );
}
