// Memory and time of quantizing all of Maverick: 801 GB of BF16 that are a file of holes, but for some rows far behind, whose bytes are
// checked in the result, which is holes, too.
// Usage: node bench/quantize-maverick.ts FOLDER [--type Q8_0] [--threads 2] [--layers 48]
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dequantize } from '../src/backends/reference/dequantize.ts';
import { randomBlocks } from '../src/backends/reference/quantize.ts';
import { seededRandom } from '../src/backends/reference/random.ts';
import { byteLengthOf } from '../src/checkpoint/dtype.ts';
import { openCheckpoint } from '../src/checkpoint/open.ts';
import { maverickGeometry, writeSparseModel } from '../src/hub/random-model.ts';
import { planModel } from '../src/model/config.ts';
import { bindWeights } from '../src/model/weights.ts';
import { mixNamed } from '../src/quantize/mixes.ts';
import { planQuantization } from '../src/quantize/plan.ts';
import { quantize } from '../src/quantize/quantize.ts';
import { type EncodableDType, encodeRows } from '../src/quantize/reference/encode.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    type: { type: 'string', default: 'Q8_0' },
    threads: { type: 'string', default: '2' },
    layers: { type: 'string', default: '48' },
  },
});
const layers = Number(values.layers);
const folder = join(positionals[0]!, `maverick-${process.pid}`);
const from = join(folder, 'from.gguf');
const to = join(folder, 'Llama-to.gguf');

/** Rows that are no zeros: a tensor, and which row of all its matrices' rows. */
const marks = [
  ['blk.1.ffn_up_exps.weight', 100 * 8192 + 77],
  [`blk.${layers - 1}.ffn_down_exps.weight`, 128 * 5120 - 1],
  [`blk.${layers - 1}.ffn_down.weight`, 5119],
  ['output.weight', 202_047],
] as const;
const random = seededRandom(9);
const rows = new Map<string, Uint8Array>();

async function mark(): Promise<void> {
  await using checkpoint = await openCheckpoint(from);
  for (const [name, row] of marks) {
    const tensor = checkpoint.tensors.get(name);
    if (!tensor) continue; // a layer with experts has another way down
    const columns = tensor.shape.at(-1)!;
    const bytes = randomBlocks('BF16', columns, random, 0.02);
    const { path, offset } = checkpoint.placeOf!(tensor)!;
    await using file = await open(path, 'r+');
    await file.write(bytes, 0, bytes.length, offset + row * bytes.length);
    rows.set(name, bytes);
  }
}

/** What the encoder's scalar form makes of the marked rows must lie where they belong, between zeros. */
async function check(): Promise<void> {
  await using made = await openCheckpoint(to);
  const { parameters, weightBytes } = bindWeights(made, planModel(made));
  console.log(`opens and binds: ${(parameters / 1e9).toFixed(1)} B parameters, ${(weightBytes / 1e9).toFixed(2)} GB`);
  for (const [name, row] of marks) {
    const bytes = rows.get(name);
    if (!bytes) continue;
    const tensor = made.tensors.get(name)!;
    const columns = tensor.shape.at(-1)!;
    const want = encodeRows(tensor.dtype as EncodableDType, dequantize('BF16', bytes, columns), columns);
    const rowBytes = byteLengthOf(tensor.dtype, columns);
    const got = new Uint8Array(2 * rowBytes);
    await made.read(tensor, (row - 1) * rowBytes, got);
    const zero = got.subarray(0, rowBytes).every(byte => byte === 0);
    if (!zero || Buffer.compare(got.subarray(rowBytes), want) !== 0)
      throw new Error(`${name}, row ${row}: wrong bytes`);
    console.log(`${name}, row ${row}: ${tensor.dtype}, right`);
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
await mkdir(folder);
try {
  await writeSparseModel(from, { ...maverickGeometry, layers }, { dtype: 'BF16' });
  await mark();
  await using source = await openCheckpoint(from);
  const plan = planQuantization(source, to, { type: mixNamed(values.type)! });
  console.log(
    `${(plan.sourceBytes / 1e9).toFixed(1)} GB to ${(plan.byteLength / 1e9).toFixed(1)} GB of ${values.type}; resident memory every 20 s:`,
  );
  let told = performance.now();
  let state = '';
  const start = told;
  const made = await quantize(source, plan, {
    threads: Number(values.threads),
    freeBytes: async () => Number.POSITIVE_INFINITY,
    onProgress: (done, total, phase) => {
      const now = performance.now();
      if (now - told < 20_000 && phase === state) return;
      [told, state] = [now, phase];
      const share = ((100 * done) / total).toFixed(1);
      console.log(
        `${((now - start) / 1000).toFixed(0)} s  ${phase} ${share} %  ${megabytes(process.memoryUsage.rss())} MB`,
      );
    },
  });
  const peak = process.resourceUsage().maxRSS * 1024;
  const { blocks, size } = await stat(to);
  console.log(
    `${(made.quantizeMs / 1000).toFixed(0)} s (${(plan.sourceBytes / made.quantizeMs / 1e6).toFixed(2)} GB/s read), verified after ${(made.ms / 1000).toFixed(0)} s, ${made.variant}; peak ${megabytes(peak)} MB; ${size} bytes, ${megabytes(blocks * 512)} MB of them on the disk`,
  );
  await check();
} finally {
  await rm(folder, { recursive: true, force: true });
}
