// Cases of what is asked of logits besides products: the sums of which a softmax is made.
import { massTokens } from './backend.ts';
import { type BackendCase, expectRelative, expectSame, gaussians, rowAt, uploadFloats } from './comparison.cases.ts';
import { seededRandom } from './reference/random.ts';

/** Relative. An exponential in float32 is off by 3e-7 at most; lanes add in an order of their own (eight lanes, 1,111 numbers: 6.2e-7). */
const sumError = 1e-6;
/** The exponent itself is rounded: by 2⁻²⁴ of up to 25. */
const massError = 4e-6;

export const logitCases: readonly BackendCase[] = [
  {
    name: 'softmaxSums: the largest of each row and the sum beside it, of any length, alone or among others',
    run: async k => {
      const random = seededRandom(21);
      for (const [rows, n] of [
        [1, 1],
        [3, 7],
        [5, 300],
        [2, 4096],
        [17, 1111],
        [2, 49_152],
        [1, 202_048],
      ] as const) {
        const x = gaussians(rows * n, random).map(value => 4 * value + 3);
        const input = await uploadFloats(k, [rows, n], x);
        const actual = await k.step(async () => k.read(k.softmaxSums(input)));
        for (let t = 0; t < rows; t++) {
          const row = rowAt(x, t, n);
          const max = row.reduce((a, b) => Math.max(a, b), -Infinity);
          const sum = row.reduce((total, value) => total + Math.exp(value - max), 0);
          expectSame(actual.subarray(2 * t, 2 * t + 1), [max], `largest of row ${t} of [${rows}, ${n}]`);
          expectRelative(actual.subarray(2 * t + 1, 2 * t + 2), [sum], sumError, `sum of row ${t} of [${rows}, ${n}]`);
        }
        const last = await uploadFloats(k, [1, n], x.slice(-n));
        const alone = await k.step(async () => k.read(k.softmaxSums(last)));
        expectSame(alone, actual.subarray(-2), `the last row of [${rows}, ${n}] alone`);
        for (const tensor of [input, last]) k.release(tensor);
      }
    },
  },
  {
    name: 'softmaxMasses: the mass of every 512 numbers at each row’s temperature, alone or among others',
    run: async k => {
      const random = seededRandom(22);
      for (const [rows, n] of [
        [1, 1],
        [3, 512],
        [5, 513],
        [7, 1111],
        [2, 49_152],
      ] as const) {
        const x = gaussians(rows * n, random).map((value, i) => (i % 97 === 5 ? -Infinity : 4 * value + 3));
        const temperatures = Float32Array.from({ length: rows }, (_, t) => [1, 0.6, 0.05, 2][t % 4]!);
        const input = await uploadFloats(k, [rows, n], x);
        const actual = await k.step(async () => k.read(k.softmaxMasses(input, temperatures)));
        const masses = Math.ceil(n / massTokens);
        for (let t = 0; t < rows; t++) {
          const row = rowAt(x, t, n);
          const max = row.reduce((a, b) => Math.max(a, b), -Infinity);
          const wanted = Array.from({ length: masses }, (_, i) =>
            row
              .slice(i * massTokens, (i + 1) * massTokens)
              .reduce((sum, value) => sum + Math.exp((value - max) / temperatures[t]!), 0),
          );
          // What is far below the largest is of no account, and off by its distance.
          const got = actual.subarray(t * masses, (t + 1) * masses);
          for (const [i, mass] of wanted.entries())
            if (!(Math.abs(got[i]! - mass) <= massError * mass + 1e-12))
              throw new Error(`mass ${i} of row ${t} of [${rows}, ${n}]: ${got[i]}, wanted ${mass}`);
        }
        const last = await uploadFloats(k, [1, n], x.slice(-n));
        const alone = await k.step(async () => k.read(k.softmaxMasses(last, temperatures.slice(-1))));
        expectSame(alone, actual.subarray(-masses), `the last row of [${rows}, ${n}] alone`);
        for (const tensor of [input, last]) k.release(tensor);
      }
    },
  },
  {
    name: 'softmaxSums: impossible tokens count nothing; what is no distribution shows as a sum that is no number',
    run: async k => {
      const { NaN: nan } = Number;
      const inf = Infinity;
      const rows: readonly (readonly [row: readonly number[], max: number, sum: number])[] = [
        [[0, 0, 0, 0, 0], 0, 5],
        [[-inf, 2, -inf, 2, -200], 2, 2],
        [[-1e30, -1e30, -1e30, -1e30, -inf], -1e30, 4],
        [[5, -90, -95, -inf, -88], 5, 1],
        [[1, nan, 2, 3, 4], 4, nan],
        [[nan, nan, nan, nan, nan], -inf, nan],
        [[1, inf, 2, 3, 4], inf, nan],
        [[-inf, -inf, -inf, -inf, -inf], -inf, nan],
      ];
      const input = await uploadFloats(k, [rows.length, 5], Float32Array.from(rows.flatMap(([row]) => row)));
      const actual = await k.step(async () => k.read(k.softmaxSums(input)));
      for (const [t, [, max, sum]] of rows.entries()) {
        if (actual[2 * t] !== Math.fround(max)) throw new Error(`largest of row ${t}: ${actual[2 * t]}`);
        if (Number.isNaN(sum) !== Number.isNaN(actual[2 * t + 1]))
          throw new Error(`sum of row ${t}: ${actual[2 * t + 1]}`);
        if (!Number.isNaN(sum))
          expectRelative(actual.subarray(2 * t + 1, 2 * t + 2), [sum], sumError, `sum of row ${t}`);
      }
    },
  },
];
