// A tensor put together from parts of others: slices, transposes, joins and reordered rows are strides into files, read by range.
import { CheckpointError, type TensorInfo } from './checkpoint.ts';
import type { DType } from './dtype.ts';
import { fromBf16, fromF8, fromF16, type NumberType, numberBytes, toBf16 } from './numbers.ts';
import type { RawTensor } from './raw-tensors.ts';

/** Three axes, outermost first. Whatever a tensor's shape, its numbers are looked at as a grid of three. */
export type Triple = readonly [number, number, number];

/** Number [a, b, c] is the one at `start + a·strides[0] + b·strides[1] + c·strides[2]` of `raw`, counted in numbers. */
export interface Strided {
  readonly raw: RawTensor;
  readonly start: number;
  readonly strides: Triple;
}

export interface Part extends Strided {
  readonly sizes: Triple;
  /** What the numbers are multiplied by (FP8); by nothing where null. */
  readonly scale: Strided | null;
}

/** A tensor as the engine sees it, and where its numbers come from. */
export interface Arranged {
  readonly info: TensorInfo;
  readonly grid: Triple;
  /** Parts follow one another along this axis, and agree in the two others. */
  readonly axis: 0 | 1 | 2;
  readonly parts: readonly Part[];
}

/** Memory for what is read beside what is wanted. */
const scratchBytes = 4 * 2 ** 20;
/** A gap between two runs of a file is read over when it is no longer than this, or than the run. */
const shortGap = 16 * 2 ** 10;

/** A part that is all of a raw tensor, as it lies: seen as [a, b, c] numbers. */
export const wholePart = (raw: RawTensor, sizes: Triple): Part => ({
  raw,
  start: 0,
  strides: [sizes[1] * sizes[2], sizes[2], 1],
  sizes,
  scale: null,
});

/** Whether the numbers lie one after another in one file just as they are wanted. */
export const isPlain = ({ info, grid, parts }: Arranged): boolean => {
  const [part] = parts;
  return (
    parts.length === 1 &&
    part !== undefined &&
    part.raw.type === info.dtype &&
    part.strides[2] === 1 &&
    (grid[1] === 1 || part.strides[1] === grid[2]) &&
    (grid[0] === 1 || part.strides[0] === grid[1] * grid[2])
  );
};

/**
 * Fills `into` with the tensor's bytes from byte `offset` on. Beside `into` it takes a few MiB, however large the tensor.
 * @throws CheckpointError when the range leaves the tensor, or a file has become shorter than its header says
 */
export async function readArranged(tensor: Arranged, offset: number, into: Uint8Array): Promise<void> {
  const { info, grid } = tensor;
  const path = tensor.parts[0]?.raw.source.path ?? info.name;
  if (!(offset >= 0 && Number.isInteger(offset) && offset + into.length <= info.byteLength))
    throw new CheckpointError(
      path,
      `tensor ${info.name}: bytes ${offset} to ${offset + into.length} were asked for; it has ${info.byteLength}.`,
    );
  if (into.length === 0) return;
  const plain = isPlain(tensor) ? tensor.parts[0]! : null;
  if (plain) return readExactly(plain.raw, plain.start * numberBytes[plain.raw.type] + offset, into);
  const bytes = bytesOf(info.dtype);
  // Whole numbers at their natural place, or else by way of memory that has them so.
  const before = offset % bytes;
  const aligned = before === 0 && into.length % bytes === 0 && into.byteOffset % bytes === 0;
  const first = (offset - before) / bytes;
  const count = Math.ceil((before + into.length) / bytes);
  const numbers = aligned ? into : new Uint8Array(count * bytes);
  const target = targetOf(info.dtype, numbers);
  for (const box of boxesOf(grid, first, first + count)) await fillBox(tensor, box, target, first);
  if (!aligned) into.set(numbers.subarray(before, before + into.length));
}

type Target = { readonly dtype: DType; readonly words: Uint32Array | Uint16Array };

const bytesOf = (dtype: DType): 2 | 4 => (dtype === 'F32' || dtype === 'I32' ? 4 : 2);

function targetOf(dtype: DType, bytes: Uint8Array): Target {
  const { buffer, byteOffset, byteLength } = bytes;
  const wide = bytesOf(dtype) === 4;
  return {
    dtype,
    words: wide
      ? new Uint32Array(buffer, byteOffset, byteLength / 4)
      : new Uint16Array(buffer, byteOffset, byteLength / 2),
  };
}

/** From [from] up to, not including, [to], in all three axes. */
interface Box {
  readonly from: Triple;
  readonly to: Triple;
}

/** Numbers `first` to `end` of a grid as boxes, in order: at most five. */
function* boxesOf([, rows, columns]: Triple, first: number, end: number): Generator<Box> {
  const plane = rows * columns;
  while (first < end) {
    const a = Math.floor(first / plane);
    const b = Math.floor((first % plane) / columns);
    const c = first % columns;
    let box: Box;
    if (c > 0 || end - first < columns) {
      box = { from: [a, b, c], to: [a + 1, b + 1, Math.min(columns, c + end - first)] };
    } else if (b > 0 || end - first < plane) {
      const count = Math.min(rows - b, Math.floor((end - first) / columns));
      box = { from: [a, b, 0], to: [a + 1, b + count, columns] };
    } else box = { from: [a, 0, 0], to: [a + Math.floor((end - first) / plane), rows, columns] };
    yield box;
    first += (box.to[0] - box.from[0]) * (box.to[1] - box.from[1]) * (box.to[2] - box.from[2]);
  }
}

/** Fills the part of `target`, which begins with number `first` of the tensor, that `box` is. */
async function fillBox(tensor: Arranged, box: Box, target: Target, first: number): Promise<void> {
  const { grid, axis, parts } = tensor;
  let start = 0; // of the part, along the axis
  for (const part of parts) {
    const end = start + part.sizes[axis];
    if (box.from[axis] < end && box.to[axis] > start) {
      const from: [number, number, number] = [...box.from];
      const to: [number, number, number] = [...box.to];
      from[axis] = Math.max(box.from[axis], start);
      to[axis] = Math.min(box.to[axis], end);
      for (let a = from[0]; a < to[0]; a++) {
        const [inA, inB, inC] = [
          axis === 0 ? a - start : a,
          from[1] - (axis === 1 ? start : 0),
          from[2] - (axis === 2 ? start : 0),
        ];
        await fillPlane(part, [inA, inB, inC], to[1] - from[1], to[2] - from[2], {
          ...target,
          at: (a * grid[1] + from[1]) * grid[2] + from[2] - first,
          columns: grid[2],
        });
      }
    }
    start = end;
  }
}

/** Where a plane of numbers goes: number [b, c] to word `at + b · columns + c`. */
interface Plane extends Target {
  readonly at: number;
  readonly columns: number;
}

/** Reads [rows, columns] numbers from `place` of a part on. Runs of the file are rows, or where it is transposed columns. */
async function fillPlane(part: Part, place: Triple, rows: number, columns: number, plane: Plane): Promise<void> {
  const { raw, strides } = part;
  const size = numberBytes[raw.type];
  const start = part.start + place[0] * strides[0] + place[1] * strides[1] + place[2] * strides[2];
  const transposed = strides[2] !== 1 && columns > 1;
  const [runs, length, stride] = transposed ? [columns, rows, strides[2]] : [rows, columns, strides[1]];
  const [perRun, perNumber] = transposed ? [1, plane.columns] : [plane.columns, 1];
  const factors = part.scale && (await scalesOf(part.scale, place, rows, columns));
  // The gap between runs is read along where that takes less time than to read each run by itself.
  const gap = (stride - length) * size;
  const joined = gap <= Math.max(shortGap, length * size) && gap >= 0;
  const most = Math.max(1, Math.floor(scratchBytes / ((joined ? stride : length) * size)));
  for (let run = 0; run < runs; run += most) {
    const count = Math.min(most, runs - run);
    const apart = joined ? stride : length;
    const numbers = new Uint8Array(((count - 1) * apart + length) * size);
    if (joined) await readExactly(raw, (start + run * stride) * size, numbers);
    else
      for (let i = 0; i < count; i++)
        await readExactly(
          raw,
          (start + (run + i) * stride) * size,
          numbers.subarray(i * length * size, (i + 1) * length * size),
        );
    const scale = factors && {
      numbers: factors.numbers,
      at: run * (transposed ? factors.perColumn : factors.perRow),
      perRun: transposed ? factors.perColumn : factors.perRow,
      perNumber: transposed ? factors.perRow : factors.perColumn,
    };
    scatter(
      { numbers, type: raw.type, apart, count, length, scale },
      plane,
      plane.at + run * perRun,
      perRun,
      perNumber,
    );
  }
}

interface Scales {
  readonly numbers: Float32Array;
  readonly perRow: number;
  readonly perColumn: number;
}

/** The factors of [rows, columns] numbers from `place` on: that of [b, c] is at `b · perRow + c · perColumn`. */
async function scalesOf(scale: Strided, place: Triple, rows: number, columns: number): Promise<Scales> {
  const [, perRow, perColumn] = scale.strides;
  const start = scale.start + place[0] * scale.strides[0] + place[1] * perRow + place[2] * perColumn;
  const count = (rows - 1) * perRow + (columns - 1) * perColumn + 1;
  const size = numberBytes[scale.raw.type];
  const bytes = new Uint8Array(count * size);
  await readExactly(scale.raw, start * size, bytes);
  const decode = decoders[scale.raw.type];
  const numbers = Float32Array.from(wordsOf(scale.raw.type, bytes), word => decode?.(word) ?? Number.NaN);
  const wrong = numbers.findIndex(factor => !Number.isFinite(factor));
  if (wrong >= 0)
    throw new CheckpointError(
      scale.raw.source.path,
      `tensor ${scale.raw.name}[${start + wrong}] is ${numbers[wrong]}; a scale must be a finite number. Fetch the file again.`,
    );
  return { numbers, perRow, perColumn };
}

/** Runs of numbers as they were read: number i of run r is at `r · apart + i`. */
interface Runs {
  readonly numbers: Uint8Array;
  readonly type: NumberType;
  readonly apart: number;
  readonly count: number;
  readonly length: number;
  readonly scale: (Pick<Scales, 'numbers'> & { at: number; perRun: number; perNumber: number }) | null;
}

/** Puts runs where they belong, decoded to the type that is wanted. In tiles, so that neither side is far away in a transpose. */
function scatter(runs: Runs, { dtype, words }: Plane, at: number, perRun: number, perNumber: number): void {
  const { type, apart, count, length, scale } = runs;
  const source = wordsOf(type, runs.numbers);
  if (type === dtype && perNumber === 1) {
    for (let r = 0; r < count; r++) words.set(source.subarray(r * apart, r * apart + length), at + r * perRun);
    return;
  }
  if (type === dtype && perRun === 1) {
    transpose(source, runs, words, at, perNumber);
    return;
  }
  const decode = type === dtype ? null : decoders[type];
  const encode = dtype === 'BF16' ? toBf16 : floatBits;
  if (type === 'F8_E4M3' && decode && scale?.perNumber === 0) {
    // One factor a run: 256 products are all there are.
    const products = new Uint32Array(256);
    for (let r = 0; r < count; r++) {
      const factor = scale.numbers[scale.at + r * scale.perRun]!;
      for (let byte = 0; byte < 256; byte++) products[byte] = encode(decode(byte) * factor);
      const [from, to] = [r * apart, at + r * perRun];
      for (let i = 0; i < length; i++) words[to + i * perNumber] = products[source[from + i]!]!;
    }
    return;
  }
  const tile = 64;
  for (let r0 = 0; r0 < count; r0 += tile)
    for (let i0 = 0; i0 < length; i0 += tile) {
      const [r1, i1] = [Math.min(r0 + tile, count), Math.min(i0 + tile, length)];
      for (let r = r0; r < r1; r++) {
        const [from, to] = [r * apart, at + r * perRun];
        if (!decode) for (let i = i0; i < i1; i++) words[to + i * perNumber] = source[from + i]!;
        else if (!scale) for (let i = i0; i < i1; i++) words[to + i * perNumber] = encode(decode(source[from + i]!));
        else {
          const factor = scale.at + r * scale.perRun;
          for (let i = i0; i < i1; i++)
            words[to + i * perNumber] = encode(
              decode(source[from + i]!) * scale.numbers[factor + i * scale.perNumber]!,
            );
        }
      }
    }
}

/** Runs become columns. By tiles through memory of their own: lines of cache a power of two apart push each other out. */
function transpose(source: Words, { apart, count, length }: Runs, words: Words, at: number, columns: number): void {
  const side = 64;
  const tile = words instanceof Uint32Array ? new Uint32Array(side * side) : new Uint16Array(side * side);
  for (let r0 = 0; r0 < count; r0 += side)
    for (let i0 = 0; i0 < length; i0 += side) {
      const height = Math.min(side, count - r0);
      const width = Math.min(side, length - i0);
      for (let r = 0; r < height; r++) {
        const from = (r0 + r) * apart + i0;
        for (let i = 0; i < width; i++) tile[i * side + r] = source[from + i]!;
      }
      for (let i = 0; i < width; i++) {
        const to = at + (i0 + i) * columns + r0;
        for (let r = 0; r < height; r++) words[to + r] = tile[i * side + r]!;
      }
    }
}

type Words = Uint8Array | Uint16Array | Uint32Array;

function wordsOf(type: NumberType, bytes: Uint8Array): Words {
  switch (numberBytes[type]) {
    case 4:
      return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    case 2:
      return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    default:
      return bytes;
  }
}

const f8 = Float32Array.from({ length: 256 }, (_, byte) => fromF8(byte));
const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

const floatBits = (value: number): number => {
  float[0] = value;
  return bits[0]!;
};

/** A number of each type that is computed with, from its bits. */
const decoders: Partial<Record<NumberType, (word: number) => number>> = {
  F8_E4M3: byte => f8[byte]!,
  BF16: fromBf16,
  F16: fromF16,
  F32(word) {
    bits[0] = word;
    return float[0]!;
  },
};

async function readExactly(raw: RawTensor, offset: number, into: Uint8Array): Promise<void> {
  const got = await raw.source.read(raw.offset + offset, into);
  if (got < into.length)
    throw new CheckpointError(
      raw.source.path,
      `tensor ${raw.name}: the file was ${raw.source.size} bytes when opened and now ends at ${raw.offset + offset + got}; something changes it.`,
    );
}
