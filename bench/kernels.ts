// Speed of the products alone: GB/s of weights and G multiply-adds/s per format, rows and threads, weights read from memory.
//
//   node bench/kernels.ts [--formats Q4_0,Q8_0] [--rows 1,4,64,512] [--threads 1,2] [--inner 2048] [--megabytes 320]
//                         [--repeat 5] [--form 0|1] [--kernels a.wasm,b.wasm] [--csv]
// Several kernels are run in turns, so that a change can be compared with what was before on a busy machine.
import { once } from 'node:events';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { kernelsUrl, RawKernels } from '../src/backends/kernels/raw.ts';
import { byteLengthOf, type DType, formats } from '../src/checkpoint/dtype.ts';

interface Job {
  format: number;
  w: number;
  out: number;
  inner: number;
  x: number;
  rows: number;
  y: number;
}

interface Setup {
  memory: WebAssembly.Memory;
  thread: number;
  threads: number;
  wasm: string;
  form: number;
  /** [start signal, finished threads] */
  signals: Int32Array;
}

const multiply = (kernels: RawKernels, { format, w, out, inner, x, rows, y }: Job): void =>
  kernels.exports.matmul(format, BigInt(w), out, inner, BigInt(x), 8, rows, BigInt(y), kernels.team);

if (isMainThread) await main();
else work(workerData as Setup);

/** Waits for the signal, does its share of the job, says so. */
function work({ memory, thread, threads, wasm, form, signals }: Setup): void {
  const kernels = new RawKernels(memory, thread, threads, new URL(wasm));
  kernels.exports.choose_dot(form);
  parentPort!.once('message', (job: Job) => {
    for (let round = 1; ; round++) {
      while (Atomics.load(signals, 0) < round) Atomics.wait(signals, 0, round - 1, 100);
      if (Atomics.load(signals, 0) >= 1 << 30) break;
      multiply(kernels, job);
      Atomics.add(signals, 1, 1);
    }
    process.exit();
  });
  parentPort!.postMessage('ready');
}

interface Contender {
  run: () => number;
  stop: () => void;
  times: number[];
}

async function contender(
  wasm: URL,
  form: number,
  dtype: DType,
  rows: number,
  threads: number,
  inner: number,
  bytes: number,
): Promise<Contender> {
  const rowBytes = byteLengthOf(dtype, inner);
  const out = Math.max(16, Math.floor(bytes / rowBytes / 16) * 16);
  const memory = RawKernels.memory(out * rowBytes + rows * (inner * 6 + out * 4) + (8 << 20));
  const kernels = new RawKernels(memory, 0, threads, wasm);
  kernels.exports.choose_dot(form);
  const w = kernels.allocate(out * rowBytes);
  fillWeights(dtype, kernels.bytes(w, out * rowBytes));
  const x = kernels.activations(
    dtype,
    Float32Array.from({ length: rows * inner }, () => Math.random() - 0.5),
    rows,
    inner,
  );
  const job: Job = { format: formats[dtype].ggmlType, w, out, inner, x, rows, y: kernels.allocate(4 * rows * out) };
  const signals = new Int32Array(new SharedArrayBuffer(64));
  const workers = await Promise.all(
    Array.from({ length: threads - 1 }, async (_, i) => {
      const setup: Setup = { memory, thread: i + 1, threads, wasm: wasm.href, form, signals };
      const worker = new Worker(new URL(import.meta.url), { workerData: setup });
      await once(worker, 'message');
      worker.postMessage(job);
      return worker;
    }),
  );
  let round = 0;
  const run = (): number => {
    new Int32Array(memory.buffer, kernels.ticketAddress, 1)[0] = 0;
    Atomics.store(signals, 1, 0);
    const start = performance.now();
    Atomics.store(signals, 0, ++round);
    Atomics.notify(signals, 0);
    multiply(kernels, job);
    while (Atomics.load(signals, 1) < workers.length);
    return (performance.now() - start) / 1000 / (out * rowBytes); // seconds per byte of weights
  };
  const stop = (): void => {
    Atomics.store(signals, 0, 1 << 30);
    Atomics.notify(signals, 0);
  };
  return { run, stop, times: [] };
}

/** Random bytes, with scales that are neither denormal nor infinite, as a model's are. */
function fillWeights(dtype: DType, bytes: Uint8Array): void {
  const { blockBytes } = formats[dtype];
  const pattern = Buffer.alloc(Math.min(bytes.length, blockBytes * 4096));
  // The upper byte of any half or float becomes 0x2c … 0x2f: all bytes, since formats keep their scales in different places.
  for (let i = 0; i < pattern.length; i++) pattern[i] = blockBytes < 8 ? 0x2c + (i & 3) : 0x20 + Math.random() * 16;
  for (let at = 0; at < bytes.length; at += pattern.length)
    bytes.set(pattern.subarray(0, Math.min(pattern.length, bytes.length - at)), at);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      formats: {
        type: 'string',
        default: Object.keys(formats)
          .filter(name => name !== 'I32')
          .join(),
      },
      rows: { type: 'string', default: '1,4,64,512' },
      threads: { type: 'string', default: '1,2' },
      inner: { type: 'string', default: '2048' },
      megabytes: { type: 'string', default: '320' },
      repeat: { type: 'string', default: '5' },
      form: { type: 'string', default: '0' },
      kernels: { type: 'string', default: '' },
      csv: { type: 'boolean', default: false },
    },
  });
  const inner = Number(values.inner);
  const wasms = values.kernels ? values.kernels.split(',').map(path => pathToFileURL(path)) : [kernelsUrl];
  const forms = values.form.split(',').map(Number);
  const separator = values.csv ? ',' : '  ';
  const cells = (row: (string | number)[]): string =>
    row.map(cell => String(cell).padStart(values.csv ? 0 : 9)).join(separator);
  console.log(cells(['format', 'rows', 'threads', 'kernels', 'GB/s', 'best', 'GMAC/s', 'best']));
  for (const dtype of values.formats.split(',') as DType[])
    for (const rows of values.rows.split(',').map(Number))
      for (const threads of values.threads.split(',').map(Number)) {
        // Many rows are bound by arithmetic: less memory will do, and a run stays short.
        const megabytes = rows < 16 ? Number(values.megabytes) : Math.max(2, 256 / rows);
        const contenders: Contender[] = [];
        for (const wasm of wasms)
          for (const form of forms)
            contenders.push(await contender(wasm, form, dtype, rows, threads, inner, megabytes * 1e6));
        for (let i = 0; i < Number(values.repeat) + 2; i++)
          for (const one of contenders) {
            const time = one.run();
            if (i >= 2) one.times.push(time); // the first runs are compiled less well
          }
        contenders.forEach((one, i) => {
          one.stop();
          const sorted = one.times.sort((a, b) => a - b);
          const figures = [sorted[sorted.length >> 1]!, sorted[0]!].map(seconds => 1e-9 / seconds);
          const macs = (inner / byteLengthOf(dtype, inner)) * rows;
          const [median, best] = figures as [number, number];
          console.log(
            cells([
              dtype,
              rows,
              threads,
              i,
              median.toFixed(2),
              best.toFixed(2),
              (median * macs).toFixed(1),
              (best * macs).toFixed(1),
            ]),
          );
        });
      }
}
