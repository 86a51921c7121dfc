// Speed of the native kernels' products alone, of one thread: G multiply-adds/s and GB/s of weights.
//   node bench/products.ts [--variants avx2] [--formats Q4_0,Q4_K,Q6_K,Q8_0,IQ4_XS] [--rows 1,32] [--out 128] [--inner 2048] [--bits 8]
//                          [--seconds 0.5] [--kernels OTHER/src/backends/kernels,src/backends/kernels]
// A product is short, so that the best of many is one that nothing disturbed, however busy the machine is. Kernels of several folders are
// run in turns, and it says whether they gave the same bits. Weights that do not fit the caches (a large --out) show memory's speed.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { instructionFlags } from '../scripts/native-flags.ts';
import { tablesHeader } from '../scripts/tables-header.ts';
import { byteLengthOf, type DType, formats } from '../src/checkpoint/dtype.ts';
import { compile } from './compile.ts';

const { values } = parseArgs({
  options: {
    variants: { type: 'string', default: 'avx2' },
    formats: { type: 'string', default: 'Q4_0,Q4_K,Q6_K,Q8_0,IQ4_XS' },
    rows: { type: 'string', default: '1,32' },
    out: { type: 'string', default: '128' },
    inner: { type: 'string', default: '2048' },
    bits: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '0.5' },
    kernels: { type: 'string', default: fileURLToPath(new URL('../src/backends/kernels/', import.meta.url)) },
  },
});
const native = fileURLToPath(new URL('../src/backends/native/', import.meta.url));
const tables = mkdtempSync(join(tmpdir(), 'maverick-tables-'));
process.once('exit', () => rmSync(tables, { recursive: true, force: true }));
writeFileSync(join(tables, 'formats-tables.h'), await tablesHeader());

/** The program of bench/products.cpp with the kernels of a folder. */
function programOf(folder: string, variant: string): string {
  const flags = instructionFlags[variant];
  if (!flags)
    throw new Error(`Variant ${variant} is not known; known are ${Object.keys(instructionFlags).join(', ')}.`);
  const kernels = readdirSync(folder)
    .filter(name => /^(matmul|pack|quantized|formats-.*)\.cpp$/.test(name))
    .map(name => join(folder, name));
  return compile(
    [fileURLToPath(new URL('products.cpp', import.meta.url)), ...kernels],
    [
      ...flags,
      '-ffp-contract=off',
      '-fno-strict-aliasing',
      '-fno-math-errno',
      '-w',
      `-I${folder}`,
      `-I${native}`,
      `-I${tables}`,
    ],
  );
}

const [out, inner, rounds] = [Number(values.out), Number(values.inner), 5];
const folders = values.kernels.split(',').map(folder => resolve(folder));
console.log(`[${out}, ${inner}], ${values.bits} bits; each of ${folders.join(', ')}: GMAC/s (GB/s)`);
for (const variant of values.variants.split(',')) {
  const programs = folders.map(folder => programOf(folder, variant));
  for (const dtype of values.formats.split(',') as DType[])
    for (const rows of values.rows.split(',').map(Number)) {
      const best = programs.map(() => Infinity);
      const hashes = new Set<string>();
      for (let round = 0; round < rounds; round++)
        programs.forEach((program, i) => {
          const numbers = [formats[dtype].ggmlType, out, inner, rows, values.bits, Number(values.seconds) / rounds];
          const { stdout, stderr, status } = spawnSync(program, numbers.map(String), { encoding: 'utf8' });
          if (status !== 0)
            throw new Error(`${variant} ${dtype} failed: ${stderr || 'is it an instruction set of this processor?'}`);
          const [seconds, hash] = stdout.trim().split(' ') as [string, string];
          best[i] = Math.min(best[i]!, Number(seconds));
          hashes.add(hash);
        });
      const bytes = out * byteLengthOf(dtype, inner);
      const figures = best.map(seconds =>
        `${((1e-9 * out * inner * rows) / seconds).toFixed(1)} (${((1e-9 * bytes) / seconds).toFixed(1)})`.padStart(16),
      );
      const verdict = programs.length > 1 ? (hashes.size === 1 ? '  the same bits' : '  OTHER BITS') : '';
      console.log(`${variant} ${dtype.padEnd(8)}${String(rows).padStart(4)} rows${figures.join('')}${verdict}`);
    }
}
