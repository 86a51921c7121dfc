// The kernels, in machine code and in WebAssembly, give the twin's bytes for every format, and name the row they refuse.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadAddon, variants } from '../backends/native/load.ts';
import { gaussian, seededRandom } from '../backends/reference/random.ts';
import { byteLengthOf } from '../checkpoint/dtype.ts';
import { type Kernels, openKernels } from './kernels.ts';
import { type EncodableDType, encodableDTypes, encodeRows, needsImportance } from './reference/encode.ts';

const columns = 512;
const random = seededRandom(21);
/** Rows that differ in kind: size, sign, outliers, steps, subnormal numbers, constants, zeros. */
const kinds: ((i: number) => number)[] = [
  () => 0.02 * gaussian(random),
  () => (random() < 0.03 ? 20 : 0.1) * gaussian(random),
  () => Math.abs(gaussian(random)),
  () => -1e-4 - Math.abs(gaussian(random)),
  i => 2 ** (((i >> 5) % 24) - 12) * gaussian(random),
  i => 2 ** (-126 - ((i >> 5) % 20)) * gaussian(random),
  i => (i & 96 ? 1e4 * gaussian(random) : 0),
  () => Math.round(3 * gaussian(random)) / 4,
  i => ((i / 96) & 1 ? 0.25 : -3),
  i => 1.9999998 * 2 ** ((i >> 5) - 9),
  i => (i % 37 === 5 ? -0.7 : 0),
];

const values = Float32Array.from({ length: kinds.length * columns }, (_, i) =>
  kinds[Math.floor(i / columns)]!(i % columns),
);
const weights = Float32Array.from({ length: columns }, (_, i) => (i % 11 === 3 ? 0 : gaussian(random) ** 2));

/** The twin's bytes, made once for all variants. */
const twins = new Map<string, Uint8Array>();
function twinOf(dtype: EncodableDType, weighted: boolean): Uint8Array {
  const key = `${dtype} ${weighted}`;
  const made = twins.get(key) ?? encodeRows(dtype, values, columns, weighted ? weights : undefined);
  twins.set(key, made);
  return made;
}

interface Variant {
  readonly name: string;
  readonly missing?: string;
}
const known = [...(variants[process.arch] ?? []), 'off'];
const found: Variant[] = known.map(name => {
  if (name === 'off') return { name };
  process.env.MAVERICK_NATIVE = name;
  const native = loadAddon<{ supported(): boolean }>('quantize');
  delete process.env.MAVERICK_NATIVE;
  return 'missing' in native ? { name, missing: native.missing } : { name };
});

describe.each(found)('kernels, MAVERICK_NATIVE=$name', ({ name, missing }) => {
  let kernels: Kernels;
  beforeAll(() => {
    if (missing) return;
    process.env.MAVERICK_NATIVE = name;
    kernels = openKernels();
  });
  afterAll(() => {
    delete process.env.MAVERICK_NATIVE;
  });

  const floats = (bytes: Uint8Array): Float32Array =>
    new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / 4);

  test.skipIf(missing)('is what was asked for', () => expect(kernels.variant).toBe(name === 'off' ? 'wasm' : name));

  test.skipIf(missing).each(encodableDTypes)('%s: the bytes of the twin', dtype => {
    const input = kernels.allocate(4 * values.length);
    floats(input).set(values);
    const importance = kernels.allocate(4 * columns);
    floats(importance).set(weights);
    const rowBytes = byteLengthOf(dtype, columns);
    for (const weighted of [false, true]) {
      if (!weighted && needsImportance.has(dtype)) continue;
      const output = kernels.allocate(kinds.length * rowBytes);
      const common = { from: 'F32', to: dtype, rows: kinds.length, columns, input, output } as const;
      expect(kernels.encode({ ...common, importance: weighted ? importance : null })).toBeNull();
      const want = twinOf(dtype, weighted);
      for (let row = 0; row < kinds.length; row++)
        expect(Uint8Array.from(output.subarray(row * rowBytes, (row + 1) * rowBytes)), `row ${row}`).toEqual(
          want.subarray(row * rowBytes, (row + 1) * rowBytes),
        );
    }
  });

  test.skipIf(missing)('halves of both kinds are widened exactly, and rows of any length', () => {
    for (const from of ['F16', 'BF16'] as const)
      for (const width of [1, 3, 32, 37, 256]) {
        const values = Float32Array.from({ length: 2 * width }, () => gaussian(random));
        const halves = encodeRows(from, values, width);
        const input = kernels.allocate(halves.length);
        input.set(halves);
        const output = kernels.allocate(8 * width);
        expect(
          kernels.encode({ from, to: 'F32', rows: 2, columns: width, input, output, importance: null }),
        ).toBeNull();
        const again = Uint8Array.from(encodeRows(from, Float32Array.from(floats(output)), width));
        expect(again).toEqual(halves);
      }
  });

  test.skipIf(missing)('the row that holds no number, or one too large, is named', () => {
    const rows = 5;
    const input = kernels.allocate(4 * rows * 256);
    const output = kernels.allocate(4 * rows * 256);
    const encode = (to: 'Q4_K' | 'F16' | 'Q8_0' | 'IQ1_M' | 'F32' | 'BF16') =>
      kernels.encode({ from: 'F32', to, rows, columns: 256, input, output, importance: null });
    for (let i = 0; i < rows * 256; i++) floats(input)[i] = gaussian(random);
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      floats(input)[3 * 256 + 255] = wrong;
      for (const to of ['Q4_K', 'F16', 'F32', 'BF16'] as const)
        expect(encode(to)).toEqual({ row: 3, why: 'not finite' });
    }
    floats(input)[3 * 256 + 255] = 1e30;
    for (const to of ['Q4_K', 'F16', 'Q8_0', 'IQ1_M'] as const)
      expect(encode(to)).toEqual({ row: 3, why: 'too large' });
    expect(encode('BF16')).toBeNull();
  });

  test.skipIf(missing)('a row’s bytes depend on that row alone', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), (blocks, rows) => {
        const width = 256 * blocks;
        const input = kernels.allocate(4 * rows * width);
        for (let i = 0; i < rows * width; i++) floats(input)[i] = gaussian(random);
        const rowBytes = byteLengthOf('Q4_K', width);
        const [all, one] = [kernels.allocate(rows * rowBytes), kernels.allocate(rowBytes)];
        const common = { from: 'F32', to: 'Q4_K', columns: width, importance: null } as const;
        kernels.encode({ ...common, rows, input, output: all });
        for (let row = 0; row < rows; row++) {
          kernels.encode({ ...common, rows: 1, input: input.subarray(4 * row * width), output: one });
          expect(Buffer.compare(one, all.subarray(row * rowBytes, (row + 1) * rowBytes))).toBe(0);
        }
      }),
      { numRuns: 12 },
    );
  });
});

test('formats with no kernels are named', () => {
  const kernels = openKernels();
  const [input, output] = [kernels.allocate(1024), kernels.allocate(1024)];
  expect(() =>
    kernels.encode({ from: 'F32', to: 'I32', rows: 1, columns: 256, input, output, importance: null }),
  ).toThrow(/I32.*npm run build/);
});
