// What reading experts out of each published form costs: node bench/checkpoints.ts
// Folders of Maverick's widths whose files are holes, so that the disk costs nothing and what remains is slicing, transposing and scaling.
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { numberBytes } from '../src/checkpoint/numbers.ts';
import { openCheckpoint } from '../src/checkpoint/open.ts';
import { type PublishedName, published } from '../src/checkpoint/published-names.cases.ts';

const size = { layers: 4, experts: 4 };
const work = await mkdtemp(join(tmpdir(), 'maverick-checkpoints-'));

/** A folder of one file with a header and a hole. */
async function holes(name: PublishedName): Promise<string> {
  const folder = join(work, name);
  await mkdir(folder);
  const { config, tensors } = published(name, size);
  const header: Record<string, unknown> = {};
  let at = 0;
  for (const [tensor, dtype, shape] of tensors) {
    const length = shape.reduce((a, b) => a * b, 1) * numberBytes[dtype];
    header[tensor] = { dtype, shape, data_offsets: [at, at + length] };
    at += length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const front = Buffer.alloc(8);
  front.writeBigUInt64LE(BigInt(json.length));
  await using file = await open(join(folder, 'model.safetensors'), 'w');
  await file.write(Buffer.concat([front, json]));
  await file.truncate(8 + json.length + at);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  return folder;
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

try {
  console.log('form,tensor,bytes,ms,GB/s,MiB beside');
  for (const name of ['maverick', 'maverick-fp8'] as const) {
    const folder = await holes(name);
    const start = performance.now();
    await using checkpoint = await openCheckpoint(folder);
    console.log(`${name},opened,,${(performance.now() - start).toFixed(1)},,`);
    for (const tensorName of ['blk.1.ffn_gate_exps.weight', 'blk.1.ffn_down_exps.weight', 'blk.1.attn_q.weight']) {
      const tensor = checkpoint.tensors.get(tensorName)!;
      const bytes = tensor.shape.length === 3 ? tensor.byteLength / tensor.shape[0]! : tensor.byteLength;
      const into = new Uint8Array(bytes).fill(1);
      const times: number[] = [];
      const before = process.memoryUsage().rss;
      let most = 0;
      for (let i = 0; i < 7; i++) {
        const began = performance.now();
        await checkpoint.read(tensor, 0, into);
        times.push(performance.now() - began);
        most = Math.max(most, process.memoryUsage().rss - before);
      }
      const ms = median(times);
      console.log(
        `${name},${tensorName},${bytes},${ms.toFixed(1)},${(bytes / ms / 1e6).toFixed(2)},${Math.round(most / 2 ** 20)}`,
      );
    }
  }
} finally {
  await rm(work, { recursive: true });
}
