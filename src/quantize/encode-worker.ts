// A thread that encodes and hashes ranges. It owns the memory; whoever asks reads files into it and writes files from it.
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { dequantize } from '../backends/reference/dequantize.ts';
import { type DType, formats } from '../checkpoint/dtype.ts';
import { openKernels, type Refusal } from './kernels.ts';

/** What a thread is started with: sizes of the places in which ranges are worked on. */
export interface WorkerSetup {
  readonly places: number;
  readonly inputBytes: number;
  readonly outputBytes: number;
  readonly columns: number;
  /** Bytes for values widened from blocks; 0 where no tensor is quantized already. */
  readonly wideBytes: number;
}

export interface Place {
  readonly input: Uint8Array;
  readonly output: Uint8Array;
  /** Float32, one a column. */
  readonly importance: Uint8Array;
}

/** Said once, when the thread is ready. */
export interface WorkerReady {
  readonly variant: string;
  readonly places: readonly Place[];
}

export interface EncodeRequest {
  readonly place: number;
  readonly from: DType;
  /** Null: what lies at the output is only hashed. */
  readonly to: DType | null;
  readonly rows: number;
  readonly columns: number;
  readonly weighted: boolean;
  readonly bytes: number;
}

export interface EncodeAnswer {
  readonly place: number;
  /** CRC-32 of the bytes made: it tells damage, and takes a third of what SHA-256 takes. */
  readonly hash: string;
  readonly refused: { readonly row: number; readonly why: Refusal } | null;
}

const setup = workerData as WorkerSetup;
const kernels = openKernels();
const wide = setup.wideBytes > 0 ? kernels.allocate(setup.wideBytes) : null;
const places = Array.from({ length: setup.places }, () => ({
  input: kernels.allocate(setup.inputBytes),
  output: kernels.allocate(setup.outputBytes),
  importance: kernels.allocate(4 * setup.columns),
}));

function answer({ place, from, to, rows, columns, weighted, bytes }: EncodeRequest): EncodeAnswer {
  const { input, output, importance } = places[place]!;
  const refused = to ? encode(from, to) : null;
  const made = output.subarray(0, bytes);
  return { place, refused, hash: refused ? '' : crc32(made).toString(16).padStart(8, '0') };

  function encode(source: DType, target: DType): EncodeAnswer['refused'] {
    const common = { to: target, rows, columns, output, importance: weighted ? importance : null };
    if (source === 'F32' || source === 'F16' || source === 'BF16')
      return kernels.encode({ ...common, from: source, input });
    const values = rows * columns;
    const { blockSize, blockBytes } = formats[source];
    const floats = dequantize(source, input.subarray(0, (values / blockSize) * blockBytes), values);
    wide!.set(new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength));
    return kernels.encode({ ...common, from: 'F32', input: wide! });
  }
}

parentPort!.on('message', (request: EncodeRequest) => parentPort!.postMessage(answer(request)));
parentPort!.postMessage({ variant: kernels.variant, places } satisfies WorkerReady);
