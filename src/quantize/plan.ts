// What a run will do: each tensor's format and place in the files to be, and the ranges in which it is done.
import { createHash } from 'node:crypto';
import type { Checkpoint, TensorInfo } from '../checkpoint/checkpoint.ts';
import { byteLengthOf, type DType, formats } from '../checkpoint/dtype.ts';
import { type GgufPart, layoutGguf, type Placed, type WritableValue } from '../checkpoint/gguf-writer.ts';
import { isFolderVision } from '../checkpoint/vision-names.ts';
import { QuantizeError } from './errors.ts';
import { metadataFor, ruledModel } from './metadata.ts';
import { chooseFormats, fitting, inRuledOrder, type MixName, mayBeQuantized, mixes, wantsImportance } from './mixes.ts';
import type { Recipe } from './recipe.ts';

/** Means of squares of a tensor's inputs, [matrices, columns]; null where there are none. */
export type ImportanceOf = (name: string) => Float32Array | null;

export interface PlanOptions {
  readonly type: MixName | Recipe;
  /** Importance, and what the file shall say of where it is from. */
  readonly importance?: {
    readonly of: ImportanceOf;
    readonly file: string;
    readonly dataset?: string;
    readonly entries: number;
    readonly chunks: number;
  };
  /** Tensors that are quantized already may be quantized again, which loses more. */
  readonly requantize?: boolean;
  readonly splitMaxBytes?: number;
  /** Keys added to the metadata. */
  readonly metadata?: ReadonlyMap<string, WritableValue>;
}

/** A tensor to be made. */
export interface PlannedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly from: TensorInfo;
  /** The format that was wanted, where its blocks do not fill the rows. */
  readonly insteadOf?: DType;
  readonly importance: Float32Array | null;
}

export interface Plan {
  readonly path: string;
  readonly parts: readonly GgufPart<PlannedTensor>[];
  readonly tensors: readonly PlannedTensor[];
  /** Of all tensors. */
  readonly sourceBytes: number;
  readonly parameters: number;
  readonly byteLength: number;
  /** Tells this run from any other: what is read, what becomes of it, and where it lies. */
  readonly identity: string;
}

/** Rows of one tensor that are read, encoded and written at once. */
export interface Range {
  readonly index: number;
  readonly part: number;
  readonly tensor: Placed<PlannedTensor>;
  /** The first row, and how many of how many values. Numbers that are not blocks are one row, however the tensor's rows lie. */
  readonly firstRow: number;
  readonly rows: number;
  readonly columns: number;
  /** In the source tensor. */
  readonly fromOffset: number;
  readonly fromBytes: number;
  /** In the file made. */
  readonly offset: number;
  readonly bytes: number;
  /** Which of the tensor's matrices the rows are of. */
  readonly matrix: number;
}

/** Memory of the rows of a range, widened to float32. */
const rangeBytes = 8 * 2 ** 20;
/** Longer rows than any model has would take more memory than a range may. */
const mostColumns = 2 ** 21;

/**
 * Decides what every tensor becomes. Nothing but headers has been read.
 * @throws QuantizeError where a tensor cannot become what it shall, or importance is missing
 */
export function planQuantization(source: Checkpoint, path: string, options: PlanOptions): Plan {
  const { type, importance } = options;
  const recipe = typeof type === 'string' ? null : type;
  // A folder's encoder of images has no names in a GGUF of the text model, and llama.cpp refuses files with tensors it does not know.
  const tensors = inRuledOrder([...source.tensors.values()].filter(({ name }) => !isFolderVision(name)));
  if (tensors.length === 0) throw new QuantizeError(`${source.path} holds no tensors.`);
  const model = ruledModel(source, importance !== undefined);
  const byMix = new Map<MixName, ReturnType<typeof chooseFormats>>();
  const chosenBy = (mix: MixName, name: string) => {
    const chosen = byMix.get(mix) ?? chooseFormats(mix, tensors, model);
    byMix.set(mix, chosen);
    return chosen.get(name)!;
  };
  const planned = tensors.map((from): PlannedTensor => {
    const { name, shape } = from;
    const keep = (dtype: DType): PlannedTensor => ({ name, shape, from, dtype, importance: null });
    if (!mayBeQuantized(from)) return keep(keptFormat(from));
    const line = recipe?.find(({ matches }) => matches(name));
    if (recipe && !line)
      throw new QuantizeError(`The recipe says nothing of tensor ${name}; end it with a line for all others: * Q4_K_M`);
    const mix = line ? ('mix' in line.becomes ? line.becomes.mix : undefined) : (type as MixName);
    const { dtype, insteadOf } =
      line && 'dtype' in line.becomes ? fitting(line.becomes.dtype, shape.at(-1)!) : chosenBy(mix!, name);
    if (dtype === from.dtype) return keep(dtype);
    if (!isFloat(from.dtype) && !options.requantize)
      throw new QuantizeError(
        `Tensor ${name} is ${from.dtype} already; quantizing it again to ${dtype} loses more than quantizing the original. Take a BF16 or F16 file, or say --requantize.`,
      );
    if (!isFloat(dtype) && shape.at(-1)! > mostColumns)
      throw new QuantizeError(
        `Tensor ${name}: rows of ${shape.at(-1)} values are longer than the ${mostColumns} that can be quantized.`,
      );
    const weights = isFloat(dtype) ? null : importanceFor(from, importance?.of(name) ?? null);
    if (!weights && wantsImportance(name, dtype, mix))
      throw new QuantizeError(
        `Tensor ${name} becomes ${dtype}, which is worth little without importance; ${importance ? `${importance.file} has none for it` : 'give --imatrix FILE (maverick calibrate makes one)'}.`,
      );
    return { name, shape, from, dtype, ...(insteadOf && { insteadOf }), importance: weights };
  });
  const parts = layoutGguf(path, {
    metadata: metadataFor(source, made(options)),
    tensors: planned,
    ...(options.splitMaxBytes && { split: { maxBytes: options.splitMaxBytes } }),
  });
  return {
    path,
    parts,
    tensors: planned,
    sourceBytes: tensors.reduce((sum, { byteLength }) => sum + byteLength, 0),
    parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    byteLength: parts.reduce((sum, { byteLength }) => sum + byteLength, 0),
    identity: identityOf(source, parts),
  };
}

const isFloat = (dtype: DType): boolean => formats[dtype].blockSize === 1 && dtype !== 'I32';

/** Norms and routers are float32 whatever they were: they are small, and everything depends on them. */
const keptFormat = ({ name, dtype, shape }: TensorInfo): DType =>
  (dtype === 'F16' || dtype === 'BF16') && (shape.length === 1 || name.includes('ffn_gate_inp.weight')) ? 'F32' : dtype;

function importanceFor(tensor: TensorInfo, values: Float32Array | null): Float32Array | null {
  if (!values) return null;
  const matrices = tensor.shape.slice(0, -2).reduce((a, b) => a * b, 1);
  const wanted = matrices * tensor.shape.at(-1)!;
  if (values.length === wanted) return values;
  if (tensor.name === 'token_embd.weight') return null; // as its rows are looked up, nothing is multiplied with them
  throw new QuantizeError(
    `Tensor ${tensor.name}: the importance matrix has ${values.length} numbers for it, its shape [${tensor.shape.join(', ')}] asks for ${wanted}; it was made from another model.`,
  );
}

/** The version of the formats' rounding that `general.quantization_version` names. */
const quantizationVersion = 2;

function made({ type, importance, metadata }: PlanOptions): Map<string, WritableValue> {
  const last = typeof type === 'string' ? { mix: type } : type.at(-1)!.becomes;
  const mix =
    'mix' in last ? last.mix : (Object.keys(mixes) as MixName[]).find(name => mixes[name].dtype === last.dtype);
  const keys = new Map<string, WritableValue>([['general.quantization_version', quantizationVersion]]);
  if (mix) keys.set('general.file_type', mixes[mix].fileType);
  if (importance) {
    keys.set('quantize.imatrix.file', importance.file);
    if (importance.dataset) keys.set('quantize.imatrix.dataset', importance.dataset);
    keys.set('quantize.imatrix.entries_count', importance.entries);
    if (importance.chunks > 0) keys.set('quantize.imatrix.chunks_count', importance.chunks);
  }
  for (const [key, value] of metadata ?? []) keys.set(key, value);
  return keys;
}

function identityOf(source: Checkpoint, parts: readonly GgufPart<PlannedTensor>[]): string {
  const hash = createHash('sha256').update(JSON.stringify([source.path, rangeBytes]));
  for (const { path, header, tensors } of parts) {
    hash.update(path).update(header);
    for (const { name, from, importance } of tensors) {
      hash.update(JSON.stringify([name, from.dtype, from.shape]));
      if (importance) hash.update(importance);
    }
  }
  return hash.digest('hex');
}

/** All ranges, in the order of the files. None holds rows of two matrices, so that each row meets its own importance. */
export function* rangesOf(plan: Plan): Generator<Range> {
  let index = 0;
  for (const [part, { tensors }] of plan.parts.entries())
    for (const tensor of tensors) {
      const { dtype, from, shape } = tensor;
      const columns = shape.at(-1)!;
      const elements = shape.reduce((a, b) => a * b, 1);
      const range = (first: number, rows: number, width: number, matrix: number): Range => ({
        ...{ index: index++, part, tensor, rows, matrix, columns: width, firstRow: Math.floor(first / columns) },
        ...{ fromOffset: byteLengthOf(from.dtype, first), fromBytes: byteLengthOf(from.dtype, rows * width) },
        ...{ offset: tensor.offset + byteLengthOf(dtype, first), bytes: byteLengthOf(dtype, rows * width) },
      });
      if (dtype === from.dtype || (isFloat(dtype) && isFloat(from.dtype))) {
        const most = rangeBytes / 4; // a multiple of every block
        for (let first = 0; first < elements; first += most) yield range(first, 1, Math.min(most, elements - first), 0);
        continue;
      }
      const rowsOfMatrix = shape.at(-2)!;
      const most = Math.max(1, Math.floor(rangeBytes / (4 * columns)));
      for (let matrix = 0; matrix * rowsOfMatrix * columns < elements; matrix++)
        for (let row = 0; row < rowsOfMatrix; row += most)
          yield range((matrix * rowsOfMatrix + row) * columns, Math.min(most, rowsOfMatrix - row), columns, matrix);
    }
}
