// A checkpoint of which nothing is there but its header: of a model that is known by its geometry, before any download.
import { type Checkpoint, CheckpointError, type MetadataValue, type TensorInfo } from '../checkpoint/checkpoint.ts';
import { byteLengthOf, type DType } from '../checkpoint/dtype.ts';
import { type Geometry, maverickGeometry, metadataOf, scoutGeometry, tensorsOf } from '../hub/random-model.ts';

const smollm2Geometry: Geometry = {
  architecture: 'llama',
  layers: 30,
  dim: 576,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  ff: 1536,
  experts: 0,
  expertFf: 0,
  moeStep: 0,
  vocab: 49152,
  contextLength: 8192,
  tied: true,
};

/** Of the models in `hub/models.ts`, by name. Sources: their config.json; FACTS of Llama 4's release (48 layers, width 5120). */
const geometries: Readonly<Record<string, Geometry>> = {
  smollm2: smollm2Geometry,
  'llama4-scout': scoutGeometry,
  'llama4-maverick': maverickGeometry,
};

/** The format that most weights of a mix have; where rows are no whole blocks of it, what llama.cpp's converter takes instead. */
export function mainFormat(mix: string, geometry: Geometry): DType {
  const base = (/^(Q\d_K|IQ\d_\w+|Q\d_\d|BF16|F16|F32)/.exec(mix)?.[1] ?? mix) as DType;
  if (geometry.dim % 256 === 0 || !/_K/.test(base)) return base;
  return (
    ({ Q2_K: 'Q4_0', Q3_K: 'Q4_0', Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' } as Record<string, DType>)[base] ?? base
  );
}

/** The header of a named model in one of its quantizations, or null where nobody knows its geometry. */
export function checkpointOfName(name: string, mix: string): Checkpoint | null {
  const geometry = geometries[name];
  return geometry ? checkpointOf(`${name}:${mix}`, geometry, mainFormat(mix, geometry)) : null;
}

/** Reading from it fails: there is nothing to read. */
export function checkpointOf(path: string, geometry: Geometry, dtype: DType): Checkpoint {
  const metadata = new Map(
    [...metadataOf(geometry)].map(([key, value]): [string, MetadataValue] => [
      key,
      (typeof value === 'object' && 'type' in value ? value.value : value) as MetadataValue,
    ]),
  );
  const tensors = tensorsOf(geometry, dtype).map(({ name, dtype, shape }): [string, TensorInfo] => {
    const elements = shape.reduce((a, b) => a * b, 1);
    return [name, { name, dtype, shape, byteLength: byteLengthOf(dtype, elements) }];
  });
  return {
    path,
    metadata,
    tensors: new Map(tensors),
    async read() {
      throw new CheckpointError(path, 'is not on this machine; only its geometry is known.');
    },
    async [Symbol.asyncDispose]() {},
  };
}
