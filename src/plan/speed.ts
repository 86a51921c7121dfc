// From what a pass has to do and how fast a machine is, how long it takes: a pure model, kept simple enough to be explained.
import { type MachineSpeed, speedKey } from './machine.ts';
import type { ModelWork, Product } from './work.ts';

export interface SpeedInput {
  readonly work: ModelWork;
  readonly machine: MachineSpeed;
  /** Bytes a second of the disk; null where nothing is streamed. */
  readonly disk: number | null;
  /** Share of the wanted experts that are in memory when they are wanted: 1 where all are. */
  readonly hitRate: number;
  /** Tokens of one pass at most, and about how long a pass may take, seconds. */
  readonly maxBatch: number;
  readonly passSeconds: number;
}

/** Of one token or one prompt, seconds. */
export interface Time {
  readonly seconds: number;
  readonly computing: number;
  /** Waiting for the disk, beside what is computed meanwhile. */
  readonly waiting: number;
  readonly bytesFromMemory: number;
  readonly bytesFromDisk: number;
}

/** Operations of a layer beside its products: norms, rotations, attention's parts, sums, gates. */
const OTHER_OPERATIONS = 16;

/** Products with `rows` rows each. */
function productSeconds(
  { machine }: SpeedInput,
  { dtype, columns, weights, bytes, count }: Product,
  rows: number,
): number {
  const speed = machine.formats[speedKey(dtype, columns)];
  if (!speed) throw new Error(`The speed of ${speedKey(dtype, columns)} rows was not measured.`);
  const one = bytes / speed.oneRow;
  const eight = bytes / speed.eightRows;
  const many = (rows * weights) / speed.manyRows;
  const reading = rows <= 8 ? one + ((eight - one) * (rows - 1)) / 7 : eight;
  return Math.max(reading, rows > 8 ? many : 0) + count * machine.productSeconds;
}

const sum = (products: readonly Product[], of: (product: Product) => number): number =>
  products.reduce((all, product) => all + of(product), 0);

/**
 * One pass over `rows` tokens of one sequence that holds `depth` before them; logits of the last are wanted.
 */
export function passTime(input: SpeedInput, rows: number, depth: number): Time {
  const { work, machine, disk, hitRate } = input;
  const { heads, kvHeads, headDim, experts } = work;
  // Experts that `rows` tokens want of a layer, if all are alike: a coupon collector's share.
  const distinct = experts > 0 ? experts * (1 - (1 - 1 / experts) ** rows) : 0;
  let computing = machine.passSeconds + productSeconds(input, work.output, 1) + work.vocab * machine.samplingSeconds;
  let waiting = 0;
  let bytesFromMemory = work.output.bytes;
  let bytesFromDisk = 0;
  for (const { products, expert, shared, chunk } of work.layers) {
    computing +=
      sum(products, product => productSeconds(input, product, rows)) + OTHER_OPERATIONS * machine.operationSeconds;
    bytesFromMemory += sum(products, ({ bytes }) => bytes);
    const keys = Math.min(depth + rows / 2, chunk ?? Infinity);
    computing +=
      rows === 1
        ? (4 * keys * kvHeads * headDim) / machine.attentionBytes
        : (2 * rows * keys * heads * headDim) / machine.attentionMacs;
    if (!expert) continue;
    const bytes = sum(expert, product => product.bytes);
    computing += distinct * sum(expert, product => productSeconds(input, product, Math.max(1, rows / distinct)));
    bytesFromMemory += distinct * bytes;
    const missed = distinct * (1 - hitRate);
    if (missed <= 0) continue;
    bytesFromDisk += missed * bytes;
    // Reads start when the router has spoken, and run under the shared expert and under the experts that are there.
    const meanwhile =
      sum(shared, product => productSeconds(input, product, rows)) * Math.min(1, missed) +
      (distinct > 1 ? (distinct - 1) * sum(expert, product => productSeconds(input, product, rows / distinct)) : 0);
    waiting += disk ? Math.max(0, (missed * bytes) / disk - meanwhile) : Infinity;
  }
  return { seconds: computing + waiting, computing, waiting, bytesFromMemory, bytesFromDisk };
}

/** A prompt in as many passes as it takes. */
export function promptTime(input: SpeedInput, tokens: number, depth: number): Time {
  let rows = Math.min(tokens, input.maxBatch);
  for (let i = 0; i < 4 && passTime(input, rows, depth).seconds > input.passSeconds && rows > 1; i++)
    rows = Math.max(1, Math.floor((rows * input.passSeconds) / passTime(input, rows, depth).seconds));
  const total = { seconds: 0, computing: 0, waiting: 0, bytesFromMemory: 0, bytesFromDisk: 0 };
  for (let at = 0; at < tokens; at += rows) {
    const time = passTime(input, Math.min(rows, tokens - at), depth + at);
    for (const key of Object.keys(total) as (keyof Time)[]) total[key] += time[key];
  }
  return total;
}
