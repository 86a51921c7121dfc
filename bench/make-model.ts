// Makes a model for measuring: node bench/make-model.ts OUT.gguf [--type Q4_0] [--seed 1] [--layers 16 --experts 16 …] [--maverick] [--sparse [--split 50e9]]
// Every field of a geometry can be given by its name; the others are those of the benchmark (2.3 B parameters), or with --maverick of
// Llama 4 Maverick. Weights are random; with --sparse there are none: a header, and holes that read as zeros and take no room on the disk.
import { parseArgs } from 'node:util';
import { type DType, formats } from '../src/checkpoint/dtype.ts';
import {
  benchmarkGeometry,
  type Geometry,
  maverickGeometry,
  modelBytes,
  writeRandomModel,
  writeSparseModel,
} from '../src/hub/random-model.ts';

const fields = Object.entries(benchmarkGeometry).filter(([, value]) => typeof value === 'number');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    type: { type: 'string', default: 'Q4_0' },
    seed: { type: 'string', default: '1' },
    architecture: { type: 'string', default: benchmarkGeometry.architecture },
    maverick: { type: 'boolean', default: false },
    sparse: { type: 'boolean', default: false },
    split: { type: 'string' },
    ...Object.fromEntries(fields.map(([name]) => [name, { type: 'string' as const }])),
  },
});
const [out] = positionals;
if (!out || !(values.type in formats)) {
  console.error(
    'usage: node bench/make-model.ts OUT.gguf [--type Q4_0] [--seed 1] [--layers N …] [--maverick] [--sparse [--split BYTES]]',
  );
  process.exit(2);
}
const given = values as unknown as Record<string, string | undefined>;
const numbers = Object.fromEntries(
  fields.flatMap(([name]) => (given[name] === undefined ? [] : [[name, Number(given[name])]])),
);
const base = values.maverick ? maverickGeometry : benchmarkGeometry;
const geometry = { ...base, ...numbers, architecture: values.architecture } as Geometry;
const dtype = values.type as DType;
console.log(
  `${out}: ${(modelBytes(geometry, dtype) / 1e9).toFixed(2)} GB of ${dtype}${values.sparse ? ', all of it holes' : ''}`,
);
if (values.sparse) {
  const paths = await writeSparseModel(out, geometry, {
    dtype,
    ...(values.split && { maxBytes: Number(values.split) }),
  });
  console.log(paths.join('\n'));
} else await writeRandomModel(out, geometry, { dtype, seed: Number(values.seed) });
