// How fast this machine is at what a forward pass is made of: short measurements with the very kernels that will compute.
import type { Backend, Tensor } from '../backends/backend.ts';
import { randomBlocks } from '../backends/reference/quantize.ts';
import { seededRandom } from '../backends/reference/random.ts';
import { byteLengthOf, type DType, formats } from '../checkpoint/dtype.ts';
import { summarize } from '../engine/log-softmax.ts';
import { createSampler, createScratch } from '../engine/sampler.ts';

/** Of weights of one format. Short rows are multiplied more exactly, and slower, than long ones. */
export interface FormatSpeed {
  /** Bytes of weights a second, multiplied with one row. */
  readonly oneRow: number;
  /** Bytes of weights a second, multiplied with eight rows: a prompt's share of one expert. */
  readonly eightRows: number;
  /** Multiply-adds a second with many rows. */
  readonly manyRows: number;
}

export interface MachineSpeed {
  /** By `speedKey`. */
  readonly formats: Readonly<Record<string, FormatSpeed>>;
  /** Multiply-adds a second of attention over a prompt, and bytes of keys and values a second that one token's reads. */
  readonly attentionMacs: number;
  readonly attentionBytes: number;
  /** What a product, and any other operation, takes however small it is, seconds. */
  readonly productSeconds: number;
  readonly operationSeconds: number;
  /** What a pass takes beside its operations, seconds: steps of the host, and reading the result. */
  readonly passSeconds: number;
  /** Drawing a token from its logits on the host, seconds for each token of the vocabulary. */
  readonly samplingSeconds: number;
  /** Bytes of weights a second from the system's cache of files into the backend, packed. */
  readonly loadBytes: number;
}

const LONG_ROW = 2048;
/** Bytes of weights that are measured at once: more than the processor's caches hold. */
const WEIGHT_BYTES = 128e6;
/** Bytes of one matrix: a pass goes from one to the next, and waits for each's last piece. */
const MATRIX_BYTES = 3e6;
const MANY = 64;

/** Under which a format's speed is kept. @param columns length of a row */
export const speedKey = (dtype: DType, columns: number): string => `${dtype} ${columns >= LONG_ROW ? 'long' : 'short'}`;

/** Measures all but the formats' speeds: about a second. */
export async function measureCommon(k: Backend): Promise<Omit<MachineSpeed, 'formats'>> {
  const small = await random(k, 'F32', 64, 64);
  const x = await random(k, 'F32', 1, 64);
  const chain = (count: number, operation: (x: Tensor) => Tensor): Promise<number> =>
    seconds(k, () => {
      let h = x;
      for (let i = 0; i < count; i++) h = operation(h);
      return h;
    });
  const count = 400;
  const empty = await chain(1, h => k.sigmoid(h));
  const operationSeconds = ((await chain(count, h => k.rmsNorm(h, null, 1e-5))) - empty) / count;
  const productSeconds = ((await chain(count, h => k.matmul(h, small))) - empty) / count;
  const steps = await seconds(k, async () => {
    let h = x;
    for (let i = 0; i < 100; i++) h = await k.step(async () => k.sigmoid(h));
    return h;
  });
  const attention = await measureAttention(k);
  return {
    ...attention,
    operationSeconds: Math.max(0, operationSeconds),
    productSeconds: Math.max(0, productSeconds),
    passSeconds: Math.max(empty, steps / 10),
    samplingSeconds: measureSampling(),
    loadBytes: await measureLoading(k),
  };
}

async function measureAttention(k: Backend): Promise<Pick<MachineSpeed, 'attentionMacs' | 'attentionBytes'>> {
  const [heads, kvHeads, headDim, tokens] = [16, 4, 128, 512];
  using cache = k.createCache({
    layers: 1,
    kvHeads,
    headDim,
    chunks: [null],
    maxTokens: tokens + 64,
    maxSequences: 1,
    maxBatch: tokens,
  });
  const q = await random(k, 'F32', tokens, heads * headDim);
  const kv = await random(k, 'F32', tokens, kvHeads * headDim);
  const batchOf = (from: number, length: number) => ({
    tokens: new Int32Array(length),
    positions: Int32Array.from({ length }, (_, i) => from + i),
    sequences: new Int32Array(length),
    logitRows: Int32Array.of(0),
  });
  const shaped = (t: Tensor, rows: number, n: number): Tensor =>
    k.reshape(k.gatherRows(t, range(rows)), [rows, n, headDim]);
  const attend = (from: number, length: number): Promise<number> =>
    seconds(
      k,
      () => {
        const batch = batchOf(from, length);
        const keys = shaped(kv, length, kvHeads);
        cache.append(0, keys, keys, batch);
        return k.attention(shaped(q, length, heads), cache, 0, batch);
      },
      () => void cache.truncate(0, from),
    );
  const many = await attend(0, tokens);
  await k.step(async () => {
    const batch = batchOf(0, tokens);
    const keys = shaped(kv, tokens, kvHeads);
    cache.append(0, keys, keys, batch);
    return k.read(k.attention(shaped(q, tokens, heads), cache, 0, batch));
  });
  const one = await attend(tokens, 1);
  return {
    attentionMacs: (tokens * tokens * heads * headDim) / many,
    attentionBytes: (4 * tokens * kvHeads * headDim) / one,
  };
}

function measureSampling(): number {
  const vocab = 32768;
  const next = seededRandom(3);
  const logits = Float32Array.from({ length: vocab }, () => 4 * next());
  const summary = summarize(logits); // the backend's work, in an engine
  const sampler = createSampler({ temperature: 1, seed: 1 }, createScratch(vocab), null);
  const times = Array.from({ length: 24 }, () => {
    const start = performance.now();
    sampler.sample(logits.slice(), [0], summary);
    return performance.now() - start;
  });
  return times.slice(8).sort((a, b) => a - b)[8]! / 1000 / vocab;
}

async function measureLoading(k: Backend): Promise<number> {
  const [rows, columns] = [16384, 4096];
  const noise = randomBlocks('Q4_0', 1 << 20, seededRandom(1), 0.02);
  const start = performance.now();
  const weight = await k.upload('Q4_0', [rows, columns], async (into, at) => {
    for (let i = 0; i < into.length; ) {
      const piece = noise.subarray((at + i) % noise.length).subarray(0, into.length - i);
      into.set(piece, i);
      i += piece.length;
    }
  });
  await k.step(async () => k.read(k.embed(weight, Int32Array.of(0))));
  const bytes = byteLengthOf('Q4_0', rows * columns) / ((performance.now() - start) / 1000);
  k.release(weight);
  return bytes;
}

/** Measures one format at one length of rows: some tenths of a second. */
export async function measureFormat(k: Backend, dtype: DType, isLong: boolean): Promise<FormatSpeed> {
  const columns = isLong ? 4096 : 1024;
  const { blockSize, blockBytes } = formats[dtype];
  const rows = Math.ceil(MATRIX_BYTES / ((columns / blockSize) * blockBytes) / 16) * 16;
  const one = byteLengthOf(dtype, rows * columns);
  const weights: Tensor[] = [];
  for (let made = 0; made < WEIGHT_BYTES; made += one) weights.push(await random(k, dtype, rows, columns));
  const bytes = one * weights.length;
  const time = async (count: number): Promise<number> => {
    const x = await random(k, 'F32', count, columns);
    const taken = await seconds(k, () => {
      let last = x;
      for (const weight of weights) {
        if (last !== x) k.release(last);
        last = k.matmul(x, weight);
      }
      return k.gatherRows(last, Int32Array.of(0));
    });
    k.release(x);
    return taken;
  };
  const speed = {
    oneRow: bytes / (await time(1)),
    eightRows: bytes / (await time(8)),
    manyRows: (MANY * weights.length * rows * columns) / (await time(MANY)),
  };
  for (const weight of weights) k.release(weight);
  return speed;
}

const range = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => i);

async function random(k: Backend, dtype: DType, rows: number, columns: number): Promise<Tensor> {
  const noise = randomBlocks(dtype, Math.min(rows * columns, 1 << 18), seededRandom(7), 0.02);
  return k.upload(dtype, [rows, columns], async (into, at) => {
    for (let i = 0; i < into.length; ) {
      const piece = noise.subarray((at + i) % noise.length).subarray(0, into.length - i);
      into.set(piece, i);
      i += piece.length;
    }
  });
}

/** The median of some runs after one that warms up. */
async function seconds(k: Backend, run: () => Tensor | Promise<Tensor>, after = (): void => {}): Promise<number> {
  const times: number[] = [];
  const begun = performance.now();
  for (let i = 0; i < 24; i++) {
    const start = performance.now();
    await k.step(async () => k.read(await run()));
    if (i > 0) times.push(performance.now() - start);
    after();
    if (times.length >= 3 && performance.now() - begun > 400) break;
  }
  return times.sort((a, b) => a - b)[times.length >> 1]! / 1000;
}
