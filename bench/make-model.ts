// Makes a random model for measuring: node bench/make-model.ts OUT.gguf [--type Q4_0] [--seed 1] [--layers 16 --experts 16 …]
// Every field of a geometry can be given by its name; the others are those of the benchmark (2.3 B parameters).
import { parseArgs } from 'node:util';
import { type DType, formats } from '../src/checkpoint/dtype.ts';
import { benchmarkGeometry, type Geometry, modelBytes, writeRandomModel } from '../src/hub/random-model.ts';

const fields = Object.entries(benchmarkGeometry).filter(([, value]) => typeof value === 'number');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    type: { type: 'string', default: 'Q4_0' },
    seed: { type: 'string', default: '1' },
    architecture: { type: 'string', default: benchmarkGeometry.architecture },
    ...Object.fromEntries(fields.map(([name, value]) => [name, { type: 'string' as const, default: String(value) }])),
  },
});
const [out] = positionals;
if (!out || !(values.type in formats)) {
  console.error('usage: node bench/make-model.ts OUT.gguf [--type Q4_0] [--seed 1] [--layers N …]');
  process.exit(2);
}
const given = values as Record<string, string>;
const numbers = Object.fromEntries(fields.map(([name]) => [name, Number(given[name])]));
const geometry = { ...benchmarkGeometry, ...numbers, architecture: given.architecture } as Geometry;
const dtype = values.type as DType;
console.log(`${out}: ${(modelBytes(geometry, dtype) / 1e9).toFixed(2)} GB of ${dtype}`);
await writeRandomModel(out, geometry, { dtype, seed: Number(values.seed) });
