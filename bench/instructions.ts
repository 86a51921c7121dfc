// Instructions that the two main kernels take for a thousand multiply-adds, beside the least that the arithmetic asks for.
//   node bench/instructions.ts [--variants avx512vnni,avxvnni] [--formats Q4_0,Q4_K,Q6_K,Q8_0,IQ4_XS]
// Counted by running a product one instruction at a time (bench/instructions.cpp), so no counter of the processor's is needed and any
// instruction set can be counted. Linux on x86-64.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { instructionFlags } from '../scripts/native-flags.ts';
import { tablesHeader } from '../scripts/tables-header.ts';
import { type DType, formats } from '../src/checkpoint/dtype.ts';
import { compile } from './compile.ts';

/**
 * The least a vector of rows and 32 numbers of each can do with, operands from memory being free. `unpack`: words and scales to
 * bytes and floats, once whatever the number of activations. `spans`: groups with a scale of their own; each starts from −offset · Σx,
 * is made float, scaled, and added. `minimums`: one more multiply-add.
 */
const least: Partial<Record<DType, { unpack: number; spans: number; minimums: number }>> = {
  Q4_0: { unpack: 4 + 4 + 4 + 4 + 1, spans: 1, minimums: 0 }, // load, mask, shift, mask; a half
  Q8_0: { unpack: 8 + 1, spans: 1, minimums: 0 }, // the sign's bit turned; a half
  Q4_K: { unpack: (8 + 16) / 2 + 2 * 4, spans: 1, minimums: 1 }, // mask, or shift and mask; six bits to a float, twice
  Q6_K: { unpack: (8 * 3 + 8 * 4) / 2 + 2 * 3, spans: 2, minimums: 0 }, // shift, mask, join; a byte to a float, twice
  IQ4_XS: { unpack: 4 + 4 + 4 + 4 + 8 + 9, spans: 1, minimums: 0 }, // nibbles, looked up; six bits from two words
};
const dots = 8;

const { values } = parseArgs({
  options: {
    variants: { type: 'string', default: 'avx512vnni,avxvnni' },
    formats: { type: 'string', default: Object.keys(least).join(',') },
  },
});
const kernels = fileURLToPath(new URL('../src/backends/kernels/', import.meta.url));
const tables = mkdtempSync(join(tmpdir(), 'maverick-tables-'));
process.once('exit', () => rmSync(tables, { recursive: true, force: true }));
writeFileSync(join(tables, 'formats-tables.h'), await tablesHeader());
const sources = readdirSync(kernels)
  .filter(name => /^(matmul|pack|quantized|formats-.*)\.cpp$/.test(name))
  .map(name => join(kernels, name));

const [out, inner, many] = [32, 2048, 64];
console.log(`instructions for 1,000 multiply-adds of [${out}, ${inner}] weights`);
console.log(['variant', 'format', 'one row', 'least', `${many} rows`, 'least'].map(cell => cell.padStart(10)).join(''));
for (const variant of values.variants.split(',')) {
  const flags = instructionFlags[variant];
  if (!flags)
    throw new Error(`Variant ${variant} is not known; known are ${Object.keys(instructionFlags).join(', ')}.`);
  const lanes = variant.startsWith('avx512') ? 16 : variant.startsWith('avx') ? 8 : 4;
  const program = compile(
    [fileURLToPath(new URL('instructions.cpp', import.meta.url)), ...sources],
    [...flags, '-ffp-contract=off', '-fno-strict-aliasing', '-fno-math-errno', '-w', `-I${kernels}`, `-I${tables}`],
  );
  const count = (dtype: DType, rows: number): number => {
    const words = [formats[dtype].ggmlType, out, inner, rows].map(String);
    const { stdout, stderr, status } = spawnSync(program, words, { encoding: 'utf8' });
    if (status !== 0)
      throw new Error(
        `Counting ${variant} ${dtype} failed: ${stderr || 'is it an instruction set of this processor?'}`,
      );
    return (1000 * Number(stdout)) / (out * inner * rows);
  };
  for (const dtype of values.formats.split(',') as DType[]) {
    const format = least[dtype];
    if (!format) throw new Error(`The least of ${dtype} is not known; known are ${Object.keys(least).join(', ')}.`);
    const each = dots + 4 * format.spans + format.minimums * format.spans;
    const theory = [format.unpack + each, format.unpack / many + each + 2]; // many: sums come from memory and go there
    const [one, of] = theory.map(number => ((1000 * number) / (32 * lanes)).toFixed(1));
    const cells = [variant, dtype, count(dtype, 1).toFixed(1), one!, count(dtype, many).toFixed(1), of!];
    console.log(cells.map(cell => cell.padStart(10)).join(''));
  }
}
