// Laws that every backend of compiled kernels keeps, beside the table of cases that all backends run.
import { describe, expect, test, vi } from 'vitest';
import type { DType } from '../../checkpoint/dtype.ts';
import { runBackendCases } from '../backend.cases.ts';
import type { Backend, Batch, CacheShape, KVCache, Tensor } from '../backend.ts';
import { gaussians, uploadBytes, uploadFloats, uploadIds } from '../comparison.cases.ts';
import { randomBlocks } from '../reference/quantize.ts';
import { seededRandom } from '../reference/random.ts';
import type { Threads } from './machine.ts';
import type { CompiledOptions } from './options.ts';

const MiB = 2 ** 20;

const dim = 64;
const [heads, kvHeads, headDim] = [4, 2, 16];
const vocab = 50;
const experts = 3;

/** Two layers with everything in them, enough for numbers to go wrong in. */
class Toy {
  readonly k: Backend;
  readonly cache: KVCache;
  private readonly weights = new Map<string, Tensor>();

  private constructor(k: Backend, shape: Partial<CacheShape>) {
    this.k = k;
    this.cache = k.createCache({
      layers: 2,
      kvHeads,
      headDim,
      chunks: [24, null],
      maxTokens: 2000,
      maxSequences: 2,
      maxBatch: 1600,
      ...shape,
    });
  }

  /** @param ballast bytes of weights beside each layer, to fill banks. */
  static async make(k: Backend, ballast = 0, shape: Partial<CacheShape> = {}): Promise<Toy> {
    const toy = new Toy(k, shape);
    const random = seededRandom(7);
    const matrix = async (name: string, dtype: DType, dims: readonly number[]): Promise<void> => {
      const size = dims.reduce((a, b) => a * b, 1);
      toy.weights.set(name, await uploadBytes(k, dtype, dims, randomBlocks(dtype, size, random, 0.1)));
    };
    await matrix('table', 'Q8_0', [vocab, dim]);
    const frequencies = Float32Array.from({ length: headDim / 2 }, (_, j) => 10000 ** (-j / headDim));
    toy.weights.set('frequencies', await uploadFloats(k, [headDim / 2], frequencies));
    for (const layer of [0, 1]) {
      if (ballast > 0) await k.upload('F32', [ballast / 4], async () => {});
      toy.weights.set(`norm ${layer}`, await uploadFloats(k, [dim], gaussians(dim, random)));
      await matrix(`q ${layer}`, 'Q4_0', [heads * headDim, dim]);
      await matrix(`k ${layer}`, 'Q5_0', [kvHeads * headDim, dim]);
      await matrix(`v ${layer}`, 'F16', [kvHeads * headDim, dim]);
      await matrix(`router ${layer}`, 'F32', [experts, dim]);
      await matrix(`experts ${layer}`, 'Q4_1', [experts, 2 * dim, dim]);
      await matrix(`down ${layer}`, 'Q8_0', [dim, 2 * dim]);
    }
    return toy;
  }

  /** [T, vocab]. */
  forward(batch: Batch): Promise<Float32Array> {
    const { k } = this;
    const w = (name: string): Tensor => this.weights.get(name)!;
    return k.step(async () => {
      let h = k.embed(w('table'), batch.tokens);
      for (const layer of [0, 1]) {
        h = await k.step(async () => {
          const x = k.rmsNorm(h, w(`norm ${layer}`), 1e-5);
          const shape = [-1, heads, headDim];
          let q = k.reshape(k.matmul(x, w(`q ${layer}`)), shape);
          let key = k.reshape(k.matmul(x, w(`k ${layer}`)), [-1, kvHeads, headDim]);
          const value = k.reshape(k.matmul(x, w(`v ${layer}`)), [-1, kvHeads, headDim]);
          q = k.rope(q, w('frequencies'), batch.positions);
          key = k.rope(key, w('frequencies'), batch.positions);
          this.cache.append(layer, key, value, batch);
          const out = k.reshape(k.attention(q, this.cache, layer, batch), [-1, dim]);
          const h2 = k.add(h, out, 0.5);
          const route = k.topK(k.matmul(h2, w(`router ${layer}`)), 1);
          const hidden = k.expertMatmul(k.scaleRows(h2, k.sigmoid(route.values)), w(`experts ${layer}`), route.ids);
          return k.add(h2, k.matmul(k.swiglu(hidden, hidden), w(`down ${layer}`)));
        });
      }
      return k.read(k.matmul(h, w('table')));
    });
  }

  /** Logits of positions [0, to) of one sequence, computed in batches of these sizes in turn. */
  async run(to: number, sizes: readonly number[], sequence = 0): Promise<Float32Array> {
    const logits = new Float32Array(to * vocab);
    for (let from = 0, i = 0; from < to; i++) {
      const size = Math.min(to - from, sizes[i % sizes.length]!);
      logits.set(await this.forward(batchOf([[sequence, from, from + size]])), from * vocab);
      from += size;
    }
    return logits;
  }
}

type Part = readonly [sequence: number, from: number, to: number];

function batchOf(parts: readonly Part[]): Batch {
  const rows = parts.flatMap(([sequence, from, to]) =>
    Array.from({ length: to - from }, (_, i) => ({ sequence, position: from + i })),
  );
  return {
    tokens: Int32Array.from(rows, ({ sequence, position }) => (position * 7 + sequence * 13 + (position >> 3)) % vocab),
    positions: Int32Array.from(rows, row => row.position),
    sequences: Int32Array.from(rows, row => row.sequence),
    logitRows: Int32Array.from(rows.keys()),
  };
}

const bits = (x: Float32Array): Int32Array => new Int32Array(x.buffer, x.byteOffset, x.length);

/** @param threads prototype of the threads that such a backend runs its programs on. */
export function runCompiledCases(
  name: string,
  create: (options?: CompiledOptions) => Promise<Backend>,
  threads: Threads,
): void {
  // The cases' rows are short, and would nearly all take activations of 16 bits.
  runBackendCases(`${name}, 2 threads`, () => create({ threads: 2 }), { precision: { activations: 'q16' } });
  runBackendCases(`${name}, 8 bits`, () => create({ threads: 2, sixteenBitsBelow: 0 }), {
    precision: { activations: 'q8' },
  });

  describe(`laws of ${name}`, () => {
    test('one, two and three threads give the same numbers, bit for bit, in prefill and at depth', async () => {
      const results: Float32Array[] = [];
      for (const threads of [1, 2, 3]) {
        await using k = await create({ threads });
        expect(k.threads).toBe(threads);
        results.push(await (await Toy.make(k)).run(1104, [1100, 1, 1, 2]));
      }
      expect(results[0]!.every(Number.isFinite)).toBe(true);
      expect(bits(results[1]!)).toEqual(bits(results[0]!));
      expect(bits(results[2]!)).toEqual(bits(results[0]!));
    });

    test('full, in pieces, one by one and beside another sequence: the same numbers, bit for bit', async () => {
      await using k = await create({ threads: 2 });
      const full = await (await Toy.make(k)).run(90, [90]);
      expect(bits(await (await Toy.make(k)).run(90, [7, 31, 2]))).toEqual(bits(full));
      expect(bits(await (await Toy.make(k)).run(90, [1]))).toEqual(bits(full));
      const toy = await Toy.make(k);
      const other = await toy.run(40, [40], 1);
      toy.cache.truncate(1, 0);
      const first = await toy.forward(batchOf([[0, 0, 50]]));
      const both = await toy.forward(
        batchOf([
          [1, 0, 40],
          [0, 50, 90],
        ]),
      );
      expect(bits(first)).toEqual(bits(full).slice(0, 50 * vocab));
      expect(bits(both.slice(0, 40 * vocab))).toEqual(bits(other));
      expect(bits(both.slice(40 * vocab))).toEqual(bits(full).slice(50 * vocab));
    });

    test('weights spread over several memories give the same numbers as in one', async () => {
      await using one = await create({ threads: 2 });
      await using several = await create({ threads: 2, bankBytes: 8 * MiB });
      const expected = await (await Toy.make(one)).run(80, [50, 1, 29]);
      const toy = await Toy.make(several, 4 * MiB, { maxTokens: 128, maxBatch: 64 });
      expect(several.memoryBytes).toBeGreaterThan(8 * MiB);
      expect(bits(await toy.run(80, [50, 1, 29]))).toEqual(bits(expected));
      expect(several.counters).toEqual(one.counters);
    });

    test('weights past 4 GiB', async () => {
      await using k = await create({ threads: 2 });
      const before = process.memoryUsage().rss;
      let asked = 0;
      await k.upload('F32', [1152, 2 ** 20], async into => {
        asked += into.length; // leaves the pages untouched, so that they take no room
      });
      expect(asked).toBe(4.5 * 2 ** 30);
      const x = await uploadFloats(
        k,
        [1, 64],
        Float32Array.from({ length: 64 }, (_, i) => i),
      );
      const w = await uploadFloats(
        k,
        [3, 64],
        Float32Array.from({ length: 192 }, (_, i) => (i % 64 === i >> 6 ? 2 : 0)),
      );
      expect(await k.step(() => k.read(k.matmul(x, w)))).toEqual(Float32Array.of(0, 2, 4));
      expect(k.memoryBytes).toBeGreaterThan(4.5 * 2 ** 30);
      // Native memory is made ready ahead of what is expected, as far as its thread has come by now.
      if (k.name === 'wasm') expect(process.memoryUsage().rss - before).toBeLessThan(100 * MiB);
    });

    test('exponentials are right to a millionth, from e⁻⁸⁰ to e⁸⁰', async () => {
      await using k = await create({ threads: 1 });
      const x = Float32Array.from({ length: 32001 }, (_, i) => (i - 16000) / 200);
      const input = await uploadFloats(k, [x.length], x);
      const got = await k.step(() => k.read(k.sigmoid(input)));
      let worst = 0;
      x.forEach((value, i) => {
        const expected = 1 / (1 + Math.exp(-value));
        worst = Math.max(worst, Math.abs(got[i]! - expected) / expected);
      });
      expect(worst).toBeLessThan(1e-6);
      expect(got[16000]).toBe(0.5);
    });

    test('a weight larger than a memory, and a memory that is full, are errors that say so', async () => {
      await using k = await create({ threads: 1, bankBytes: 8 * MiB });
      await expect(k.upload('F32', [2048, 1024], async () => {})).rejects.toThrow(/F32 \[2048,1024\].* larger than/);
      const x = await uploadFloats(k, [1, 1024], new Float32Array(1024));
      await expect(k.step(async () => k.gatherRows(x, new Int32Array(4096)))).rejects.toThrow(
        /16777216 bytes does not fit/,
      );
      // … and it goes on.
      expect(await k.step(() => k.read(k.gatherRows(x, new Int32Array(2))))).toEqual(new Float32Array(2048));
    });

    test('200 steps do not grow memory', async () => {
      await using k = await create({ threads: 2, bankBytes: 16 * MiB });
      const toy = await Toy.make(k, 0, { chunks: [24, 24] });
      await toy.run(100, [50, 1, 1, 1]);
      const before = k.memoryBytes;
      for (let i = 0; i < 200; i++) {
        toy.cache.truncate(0, toy.cache.truncate(0, 90));
        await toy.forward(batchOf([[0, toy.cache.length(0), 100]]));
      }
      expect(k.memoryBytes).toBe(before);
      toy.cache[Symbol.dispose]();
      expect(toy.cache.bytes).toBe(0);
    });

    test('uploads are written and released again and again: the numbers follow, memory does not grow', async () => {
      await using k = await create({ threads: 2 });
      const random = seededRandom(9);
      const x = gaussians(3 * 256, random);
      const matrices = randomBlocks('Q4_0', 4 * 256 * 256, random, 0.1);
      const weight = await uploadBytes(k, 'Q4_0', [4, 256, 256], matrices);
      const product = async (input: Float32Array, ids: readonly number[]): Promise<Float32Array> => {
        await using fresh = await create({ threads: 1 });
        const [a, w, s] = [
          await uploadFloats(fresh, [3, 256], input),
          await uploadBytes(fresh, 'Q4_0', [4, 256, 256], matrices),
          await uploadIds(fresh, ids),
        ];
        return fresh.step(() => fresh.read(fresh.expertMatmul(a, w, s)));
      };
      const input = await uploadFloats(k, [3, 256], x);
      const kept = await uploadIds(k, [0, 0, 0]);
      const put = (of: Float32Array | Int32Array) => async (into: Uint8Array, offset: number) =>
        into.set(new Uint8Array(of.buffer, of.byteOffset + offset, into.length));
      let before = 0;
      for (let round = 0; round < 6; round++) {
        const ids = [round % 4, (round + 1) % 4, -1];
        x[0] = round;
        await k.write(input, 0, put(x.subarray(0, 256)));
        await k.write(kept, 1, put(Int32Array.of(ids[1]!)));
        const slots = await uploadIds(k, ids);
        const [all, one] = await k.step(async () => {
          const y = k.expertMatmul(input, weight, slots);
          k.release(slots); // while the product is still to run
          const z = k.expertMatmul(input, weight, kept);
          return [await k.read(y), await k.read(z)];
        });
        expect(bits(all!)).toEqual(bits(await product(x, ids)));
        expect(bits(one!)).toEqual(bits(await product(x, [0, ids[1]!, 0])));
        await expect(k.read(slots)).rejects.toThrow(/I32 \[3,1\] tensor was freed/);
        if (round === 0) before = k.memoryBytes;
      }
      expect(k.memoryBytes).toBe(before);
      await expect(k.write(kept, 3, put(Int32Array.of(0)))).rejects.toThrow(/Slot 3 cannot be written: .*\[3,1\]/);
      await k.step(async () => {
        await expect(k.write(k.sigmoid(input), 0, put(x))).rejects.toThrow(/an activation \[3,256\]/);
      });
    });

    test.each(['begin', 'finish'] as const)(
      'when a thread is lost (%s) nothing is computed or read any more, and everything can still be freed',
      async moment => {
        await using k = await create({ threads: 2 });
        const toy = await Toy.make(k);
        await toy.run(40, [40]);
        const x = await uploadFloats(k, [2], Float32Array.of(1, 2));
        const lost = vi.spyOn(threads, moment).mockImplementation(function (this: Threads) {
          throw (this as unknown as { fail(cause: Error): Error }).fail(new Error('for a test'));
        });
        await expect(toy.forward(batchOf([[0, 40, 50]]))).rejects.toThrow(/compute thread was lost: for a test/);
        lost.mockRestore();
        await expect(toy.forward(batchOf([[0, 40, 50]]))).rejects.toThrow(/compute thread was lost/);
        await expect(k.read(x)).rejects.toThrow(/compute thread was lost/);
        expect(toy.cache.truncate(0, 0)).toBe(0);
        toy.cache[Symbol.dispose]();
        expect(toy.cache.bytes).toBe(0);
      },
    );

    test('a step within a step keeps what it returns and frees the rest', async () => {
      await using k = await create({ threads: 2 });
      const x = await uploadFloats(k, [4, 4096], gaussians(4 * 4096, seededRandom(1)));
      const before = k.memoryBytes;
      await k.step(async () => {
        let h = k.add(x, x);
        const one = k.memoryBytes;
        for (let i = 0; i < 10; i++) h = await k.step(async () => k.add(k.add(k.sigmoid(h), x), h));
        expect(k.memoryBytes - one).toBeLessThanOrEqual(10 * 4 * 4 * 4096);
        const expected = (await k.read(x)).map(value => {
          let y = value + value;
          for (let i = 0; i < 10; i++) y += 1 / (1 + Math.exp(-y)) + value;
          return y;
        });
        const got = await k.read(h);
        expect(Math.max(...got.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-4);
      });
      expect(k.memoryBytes).toBe(before);
    });

    test('two backends live side by side and do not take each other’s tensors', async () => {
      await using a = await create({ threads: 2 });
      await using b = await create({ threads: 2 });
      const [x, y] = [
        await uploadFloats(a, [2], Float32Array.of(1, 2)),
        await uploadFloats(b, [2], Float32Array.of(3, 4)),
      ];
      expect(await a.read(x)).toEqual(Float32Array.of(1, 2));
      expect(await b.read(y)).toEqual(Float32Array.of(3, 4));
      await expect(a.read(y)).rejects.toThrow(/another backend/);
      expect(() => b.add(y, x)).toThrow(/another backend/);
    });

    test('options are checked', async () => {
      await expect(create({ threads: 0 })).rejects.toThrow(/threads .* got 0/);
      await expect(create({ threads: 1.5 })).rejects.toThrow(/threads .* got 1.5/);
      await expect(create({ bankBytes: 1000 })).rejects.toThrow(/bankBytes .* got 1000/);
      await expect(create({ bankBytes: 2 ** 50 })).rejects.toThrow(/bankBytes/);
    });
  });
}
