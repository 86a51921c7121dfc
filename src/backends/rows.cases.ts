// Cases of the operations on rows of activations, and of a backend's life: upload, read, step, memory.
import type { Backend, Tensor } from './backend.ts';
import {
  type BackendCase,
  expectError,
  expectNear,
  expectRelative,
  expectSame,
  gaussians,
  rowAt,
  uploadFloats,
} from './comparison.cases.ts';
import { seededRandom } from './reference/random.ts';

/** float32 with a fast exponential: about 16 roundings. */
const floatError = 2e-6;

/** Uploads each list, computes within one step, and reads the result. */
async function compute(
  k: Backend,
  inputs: readonly (readonly [shape: readonly number[], values: Float32Array])[],
  run: (...tensors: Tensor[]) => Tensor,
): Promise<Float32Array> {
  const tensors = await Promise.all(inputs.map(([shape, values]) => uploadFloats(k, shape, values)));
  return k.step(async () => k.read(run(...tensors)));
}

const silu = (value: number): number => value / (1 + Math.exp(-value));

const normCases: readonly BackendCase[] = [
  {
    name: 'rmsNorm: with a weight, over the last axis',
    run: async k => {
      const random = seededRandom(1);
      for (const [rows, n] of [
        [1, 4],
        [3, 32],
        [7, 64],
        [2, 1024],
        [65, 96],
      ] as const) {
        const x = gaussians(rows * n, random);
        const w = gaussians(n, random);
        const actual = await compute(
          k,
          [
            [[rows, n], x],
            [[n], w],
          ],
          (a, b) => k.rmsNorm(a!, b!, 1e-5),
        );
        for (let t = 0; t < rows; t++) {
          const row = rowAt(x, t, n);
          const mean = row.reduce((sum, value) => sum + value ** 2, 0) / n;
          const expected = Array.from(row, (value, i) => (value / Math.sqrt(mean + 1e-5)) * w[i]!);
          expectRelative(rowAt(actual, t, n), expected, floatError, `row ${t} of [${rows}, ${n}]`);
        }
        const alone = await compute(
          k,
          [
            [[1, n], x.slice(-n)],
            [[n], w],
          ],
          (a, b) => k.rmsNorm(a!, b!, 1e-5),
        );
        expectSame(alone, actual.subarray(-n), `the last row of [${rows}, ${n}] alone`);
      }
    },
  },
  {
    name: 'rmsNorm: without a weight, over each head of three axes; zero, tiny and large rows',
    run: async k => {
      const x = gaussians(3 * 2 * 16, seededRandom(2));
      x.fill(0, 0, 16);
      for (let i = 16; i < 32; i++) x[i]! *= 1e-10;
      for (let i = 32; i < 48; i++) x[i]! *= 1e15;
      const actual = await compute(k, [[[3, 2, 16], x]], a => k.rmsNorm(a!, null, 1e-6));
      for (let t = 0; t < 6; t++) {
        const row = rowAt(x, t, 16);
        const mean = row.reduce((sum, value) => sum + value ** 2, 0) / 16;
        const expected = Array.from(row, value => value / Math.sqrt(mean + 1e-6));
        expectRelative(rowAt(actual, t, 16), expected, floatError, `head ${t}`);
      }
    },
  },
  {
    name: 'rope: adjacent pairs turn by position · frequency, up to position 10,000,000',
    run: async k => {
      const random = seededRandom(3);
      for (const headDim of [4, 16, 64, 128]) {
        const pairs = headDim / 2;
        const positions = Int32Array.of(0, 1, 2, 8191, 8192, 131_071, 10_000_000, 7);
        const [tokens, heads] = [positions.length, 3];
        const x = gaussians(tokens * heads * headDim, random);
        const f = Float32Array.from({ length: pairs }, (_, j) => 500_000 ** (-j / pairs));
        const actual = await compute(
          k,
          [
            [[tokens, heads, headDim], x],
            [[pairs], f],
          ],
          (a, b) => k.rope(a!, b!, positions),
        );
        const expected = new Float64Array(x.length);
        const size = new Float64Array(x.length);
        for (let at = 0; at < x.length; at += 2) {
          const angle = positions[Math.floor(at / (heads * headDim))]! * f[(at % headDim) / 2]!;
          expected[at] = x[at]! * Math.cos(angle) - x[at + 1]! * Math.sin(angle);
          expected[at + 1] = x[at]! * Math.sin(angle) + x[at + 1]! * Math.cos(angle);
          size[at] = size[at + 1] = Math.hypot(x[at]!, x[at + 1]!);
        }
        expectNear(actual, expected, i => 1e-6 * size[i]!, `headDim ${headDim}`);
        expectSame(actual.subarray(0, heads * headDim), x.subarray(0, heads * headDim), 'position 0 turns nothing');
      }
    },
  },
  {
    name: 'rope: the same frequencies at other positions within one step',
    run: async k => {
      const x = gaussians(2 * 8, seededRandom(4));
      const f = Float32Array.of(1, 0.5, 0.25, 0.125);
      const input = await uploadFloats(k, [2, 1, 8], x);
      const frequencies = await uploadFloats(k, [4], f);
      const [first, second] = await k.step(async () => {
        const a = k.rope(input, frequencies, Int32Array.of(3, 4));
        const b = k.rope(a, frequencies, Int32Array.of(5, -4));
        return [await k.read(a), await k.read(b)] as const;
      });
      const turned = await compute(
        k,
        [
          [[2, 1, 8], x],
          [[4], f],
        ],
        (a, b) => k.rope(a!, b!, Int32Array.of(8, 0)),
      );
      expectNear(second, turned, 1e-6 * 4, 'turned by 3 and 5, and by 4 and −4');
      if (first.every((value, i) => value === second[i])) throw new Error('The second turn did nothing.');
    },
  },
];

const elementCases: readonly BackendCase[] = [
  {
    name: 'swiglu: silu(gate) ⊙ up, also at ±100',
    run: async k => {
      const random = seededRandom(5);
      const edges = Float32Array.of(0, -0, 100, -100, 88, -88, 90, -90, 1e-10, -1e-10, 20, -20);
      const gate = Float32Array.of(...edges, ...gaussians(500, random).map(value => 4 * value));
      const up = gaussians(gate.length, random);
      const shape = [4, gate.length / 4];
      const actual = await compute(
        k,
        [
          [shape, gate],
          [shape, up],
        ],
        (a, b) => k.swiglu(a!, b!),
      );
      const expected = Array.from(gate, (value, i) => silu(value) * up[i]!);
      // Below −87, exp overflows or its inverse is subnormal: what is left is below 1e-35 and may be 0.
      expectNear(actual, expected, i => floatError * Math.abs(expected[i]!) + 1e-35, 'swiglu');
    },
  },
  {
    name: 'sigmoid: also at ±100',
    run: async k => {
      const x = Float32Array.of(0, 100, -100, 88, -88, 1, -1, 17, -17, 1e-8, ...gaussians(55, seededRandom(6)));
      const actual = await compute(k, [[[x.length, 1], x]], a => k.sigmoid(a!));
      const expected = Array.from(x, value => 1 / (1 + Math.exp(-value)));
      expectNear(actual, expected, i => floatError * expected[i]! + 1e-35, 'sigmoid');
    },
  },
  {
    name: 'add: a + b, a + scale · b, and a + a',
    run: async k => {
      const random = seededRandom(7);
      for (const shape of [
        [1, 1],
        [3, 5],
        [2, 64],
        [7, 33],
        [2, 3, 4],
      ]) {
        const count = shape.reduce((size, length) => size * length, 1);
        const [a, b] = [gaussians(count, random), gaussians(count, random)];
        const inputs = [
          [shape, a],
          [shape, b],
        ] as const;
        const plain = await compute(k, inputs, (x, y) => k.add(x!, y!));
        expectSame(
          plain,
          a.map((value, i) => value + b[i]!),
          `[${shape}]`,
        );
        const scaled = await compute(k, inputs, (x, y) => k.add(x!, y!, -0.375));
        const size = (i: number): number => Math.abs(a[i]!) + Math.abs(b[i]!);
        expectNear(
          scaled,
          Array.from(a, (value, i) => value - 0.375 * b[i]!),
          i => 1.2e-7 * size(i),
          `[${shape}] scaled`,
        );
        expectSame(
          await compute(k, inputs, x => k.add(x!, x!)),
          a.map(value => 2 * value),
          `[${shape}] to itself`,
        );
      }
    },
  },
  {
    name: 'scaleRows: factors from the caller and from a tensor',
    run: async k => {
      const random = seededRandom(8);
      for (const shape of [
        [1, 1],
        [3, 7],
        [5, 64],
        [4, 3, 16],
      ]) {
        const rows = shape[0]!;
        const count = shape.reduce((size, length) => size * length, 1);
        const x = gaussians(count, random);
        const factors = gaussians(rows, random);
        const expected = x.map((value, i) => value * factors[Math.floor((i * rows) / count)]!);
        expectSame(await compute(k, [[shape, x]], a => k.scaleRows(a!, factors)), expected, `[${shape}], caller's`);
        const inputs = [
          [shape, x],
          [[rows, 1], factors],
        ] as const;
        expectSame(await compute(k, inputs, (a, b) => k.scaleRows(a!, b!)), expected, `[${shape}], a tensor's`);
      }
    },
  },
  {
    name: "scaleRows: the caller's factors may change once the call is made",
    run: async k => {
      const x = await uploadFloats(k, [2, 4], new Float32Array(8).fill(1));
      const factors = Float32Array.of(2, 3);
      const actual = await k.step(async () => {
        const scaled = k.scaleRows(x, factors);
        factors.fill(9);
        return k.read(scaled);
      });
      expectSame(actual, [2, 2, 2, 2, 3, 3, 3, 3], 'factors at the call');
    },
  },
  {
    name: 'gatherRows: repeated, reordered, none',
    run: async k => {
      for (const n of [1, 5, 64]) {
        const x = gaussians(6 * n, seededRandom(9));
        for (const rows of [[0], [5, 0, 5, 3], [], [0, 1, 2, 3, 4, 5]]) {
          const actual = await compute(k, [[[6, n], x]], a => k.gatherRows(a!, Int32Array.from(rows)));
          expectSame(
            actual,
            rows.flatMap(row => [...rowAt(x, row, n)]),
            `rows ${rows} of [6, ${n}]`,
          );
        }
      }
    },
  },
  {
    name: 'reshape: the same numbers, one dimension may be −1',
    run: async k => {
      const x = gaussians(24, seededRandom(10));
      const input = await uploadFloats(k, [2, 12], x);
      for (const [asked, wanted] of [
        [[-1], [24]],
        [
          [2, -1, 4],
          [2, 3, 4],
        ],
        [
          [6, 4],
          [6, 4],
        ],
        [
          [-1, 3, 2],
          [4, 3, 2],
        ],
      ] as const) {
        await k.step(async () => {
          const y = k.reshape(k.add(input, input), asked);
          expectSame(Float32Array.from(y.shape), wanted, `[${asked}]`);
          expectSame(
            await k.read(y),
            x.map(value => 2 * value),
            `[${asked}]`,
          );
        });
      }
      // The new shape counts for what follows: norms over pairs.
      const pairs = await compute(k, [[[2, 12], x]], a => k.rmsNorm(k.reshape(a!, [12, 2]), null, 0));
      const expected = Array.from(
        x,
        (value, i) => value / Math.sqrt((x[i - (i % 2)]! ** 2 + x[i - (i % 2) + 1]! ** 2) / 2),
      );
      expectRelative(pairs, expected, floatError, 'norms over the new last axis');
    },
  },
  {
    name: 'release: the bytes are free within the step, and what comes after is right',
    run: async k => {
      const x = Float32Array.from({ length: 4096 }, (_, i) => i % 17);
      const input = await uploadFloats(k, [8, 512], x);
      const before = k.memoryBytes;
      await k.step(async () => {
        let y = k.add(input, input);
        const one = k.memoryBytes - before;
        for (let i = 0; i < 20; i++) {
          const last = y;
          y = k.add(last, input);
          k.release(last);
        }
        if (k.memoryBytes - before > one + 1024)
          throw new Error(`20 sums hold ${k.memoryBytes - before} bytes, not ${one}.`);
        expectSame(
          await k.read(y),
          x.map(value => 22 * value),
          'a chain of sums',
        );
      });
    },
  },
  {
    name: 'release and write: an upload of two axes is rewritten by rows, and its bytes come back',
    run: async k => {
      const before = k.memoryBytes;
      const x = Float32Array.from({ length: 12 }, (_, i) => i);
      const input = await uploadFloats(k, [3, 4], x);
      await k.write(input, 1, async into => into.set(new Uint8Array(Float32Array.of(40, 50, 60, 70).buffer)));
      x.set([40, 50, 60, 70], 4);
      expectSame(await k.read(input), x, 'the row written');
      k.release(input);
      if (k.memoryBytes !== before) throw new Error(`${k.memoryBytes - before} bytes are still held.`);
    },
  },
  {
    name: 'reserve: an upload that is written part by part, in any order; settle runs what wants the old bytes',
    run: async k => {
      const before = k.memoryBytes;
      const input = k.reserve('F32', [3, 2, 4]);
      if (k.largestWeight < 96) throw new Error(`largestWeight is ${k.largestWeight}.`);
      const x = Float32Array.from({ length: 24 }, (_, i) => i - 7);
      const part = (index: number): Uint8Array => new Uint8Array(x.buffer, 32 * index, 32);
      for (const index of [2, 0, 1])
        await k.write(input, index, async (into, offset) =>
          into.set(part(index).subarray(offset, offset + into.length)),
        );
      expectSame(await k.read(input), x, 'the parts written');
      const [old, now] = await k.step(async () => {
        const twice = k.add(input, input);
        k.settle();
        await k.write(input, 1, async into => void into.fill(0));
        return [await k.read(twice), await k.read(k.add(input, input))] as const;
      });
      expectSame(
        old,
        x.map(value => 2 * value),
        'what was enqueued before',
      );
      x.fill(0, 8, 16);
      expectSame(
        now,
        x.map(value => 2 * value),
        'what was enqueued after',
      );
      k.release(input);
      if (k.memoryBytes !== before) throw new Error(`${k.memoryBytes - before} bytes are still held.`);
    },
  },
  {
    name: 'integers: numbers of the host, as they were at the call',
    run: async k => {
      const values = Int32Array.of(-1, 0, 7, 2 ** 31 - 1, -(2 ** 24));
      const got = await k.step(async () => {
        const made = k.integers(values, [5, 1]);
        if (made.dtype !== 'I32' || `${made.shape}` !== '5,1') throw new Error(`It is ${made.dtype} [${made.shape}].`);
        values.fill(0);
        return k.read(made);
      });
      expectSame(got, Float32Array.of(-1, 0, 7, 2 ** 31, -(2 ** 24)), 'the numbers');
    },
  },
  {
    name: 'topK: largest first, the first index on ties, negative numbers too',
    run: async k => {
      const rows: readonly (readonly number[])[] = [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [7, 6, 5, 4, 3, 2, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
        [-5, -1, -1, -3, -1, -9, -1, -1],
        [0, 3, 3, 0, 3, 0, 2, 2],
        [-0, 0, -1e30, 1e30, 1e-30, -1e-30, 1e30, 0],
      ];
      const x = Float32Array.from(rows.flat());
      for (const count of [1, 2, 3, 8]) {
        const input = await uploadFloats(k, [rows.length, 8], x);
        const [ids, values] = await k.step(async () => {
          const top = k.topK(input, count);
          return [await k.read(top.ids), await k.read(top.values)] as const;
        });
        rows.forEach((row, t) => {
          const order = row.map((_, i) => i).sort((a, b) => row[b]! - row[a]! || a - b);
          const best = order.slice(0, count);
          expectSame(rowAt(ids, t, count), best, `ids of row ${t}, k = ${count}`);
          expectSame(
            rowAt(values, t, count),
            best.map(id => Math.fround(row[id]!)),
            `values of row ${t}, k = ${count}`,
          );
        });
      }
    },
  },
  {
    name: 'topK: one of 1, 16 and 128, random',
    run: async k => {
      const random = seededRandom(12);
      for (const n of [1, 3, 16, 128]) {
        const x = gaussians(33 * n, random);
        const input = await uploadFloats(k, [33, n], x);
        const ids = await k.step(async () => k.read(k.topK(input, 1).ids));
        const expected = Array.from({ length: 33 }, (_, t) => {
          const row = rowAt(x, t, n);
          return row.indexOf(Math.max(...row));
        });
        expectSame(ids, expected, `n = ${n}`);
      }
    },
  },
];

const lifeCases: readonly BackendCase[] = [
  {
    name: 'upload: asks for ascending pieces that make the whole, and read gives them back',
    run: async k => {
      const x = gaussians(3 * 5 * 32, seededRandom(13));
      const bytes = new Uint8Array(x.buffer);
      let next = 0;
      const tensor = await k.upload('F32', [3, 5, 32], async (into, offset) => {
        if (offset !== next) throw new Error(`Asked for byte ${offset}, expected ${next}.`);
        await Promise.resolve(); // a file is read asynchronously
        into.set(bytes.subarray(offset, offset + into.length));
        next += into.length;
      });
      expectNear(Float32Array.of(next), [bytes.length], 0, 'bytes asked for');
      expectSame(Float32Array.from(tensor.shape), [3, 5, 32], 'shape');
      expectSame(await k.read(tensor), x, 'read');
    },
  },
  {
    name: 'upload: what fill throws reaches the caller, and its memory is free again',
    run: async k => {
      const upload = (): Promise<Tensor> =>
        k.upload('F32', [64, 64], async () => {
          throw new Error('the file is shorter than it says');
        });
      await expectError(upload, /shorter than it says/, 'upload');
      const before = k.memoryBytes;
      for (let i = 0; i < 20; i++) await expectError(upload, /shorter than it says/, 'upload');
      if (k.memoryBytes - before > 19 * 64 * 64 * 4)
        throw new Error(`20 failed uploads hold ${k.memoryBytes - before} bytes.`);
    },
  },
  {
    name: 'read: a copy, in the middle of a step too',
    run: async k => {
      const x = await uploadFloats(k, [2, 2], Float32Array.of(1, 2, 3, 4));
      await k.step(async () => {
        const y = k.add(x, x);
        const first = await k.read(y);
        first.fill(0);
        expectSame(await k.read(y), [2, 4, 6, 8], 'read again');
        expectSame(await k.read(k.add(y, x)), [3, 6, 9, 12], 'computed on');
      });
      expectSame(await k.read(x), [1, 2, 3, 4], 'inputs stay');
    },
  },
  {
    name: 'step: frees its activations, also when it throws',
    run: async k => {
      const x = await uploadFloats(k, [64, 256], gaussians(64 * 256, seededRandom(14)));
      const work = async (fail: boolean): Promise<void> => {
        await k.step(async () => {
          let y = k.add(x, x);
          for (let i = 0; i < 10; i++) y = k.add(y, x, 0.5);
          await k.read(y);
          if (fail) throw new Error('given up');
        });
      };
      await work(false);
      const before = k.memoryBytes;
      for (let i = 0; i < 20; i++) {
        await work(false);
        await expectError(() => work(true), /given up/, 'step');
      }
      expectSame(Float32Array.of(k.memoryBytes - before), [0], 'bytes held after 40 more steps');
    },
  },
  {
    name: 'step: thousands of operations are enqueued without a read',
    run: async k => {
      const x = await uploadFloats(k, [2, 4], Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
      const actual = await k.step(async () => {
        let y = k.add(x, x, 0);
        for (let i = 0; i < 5000; i++) y = k.add(y, x, 1);
        return k.read(y);
      });
      expectSame(actual, [5001, 10002, 15003, 20004, 25005, 30006, 35007, 40008], 'sum of 5,000');
    },
  },
  {
    name: 'memoryBytes: counts weights',
    run: async k => {
      const before = k.memoryBytes;
      await uploadFloats(k, [1024, 256], new Float32Array(1024 * 256));
      const grown = k.memoryBytes - before;
      if (grown < 2 ** 20 || grown > 1.1 * 2 ** 20 + 65536)
        throw new Error(`A weight of ${2 ** 20} bytes made memoryBytes grow by ${grown}.`);
    },
  },
  {
    name: 'embed: a token that the table does not have is an error that names it',
    run: async k => {
      const table = await uploadFloats(k, [4, 8], new Float32Array(32));
      for (const token of [4, -1, 2_000_000_000])
        await expectError(
          () => k.step(async () => k.read(k.embed(table, Int32Array.of(0, token)))),
          new RegExp(`${token}`),
          `token ${token}`,
        );
    },
  },
];

export const rowCases: readonly BackendCase[] = [...normCases, ...elementCases, ...lifeCases];
