// Whole models through quantize: right bytes, parts, resumed after any end, never a bad file under the final name, clear refusals.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { appendFile, copyFile, mkdir, mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dequantize } from '../backends/reference/dequantize.ts';
import { randomBlocks } from '../backends/reference/quantize.ts';
import { seededRandom } from '../backends/reference/random.ts';
import { byteLengthOf } from '../checkpoint/dtype.ts';
import { layoutGguf, type SizedTensor, type WritableValue, writeGguf } from '../checkpoint/gguf-writer.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { isFolderVision } from '../checkpoint/vision-names.ts';
import { maverick } from '../cli/fake-terminal.cases.ts';
import { tinyGeometry, writeRandomModel, writeSparseModel } from '../hub/random-model.ts';
import type { MixName } from './mixes.ts';
import { metadataOfModel, tensorsOfModel } from './model-shapes.cases.ts';
import { type PlanOptions, planQuantization } from './plan.ts';
import { journalPath, partialPath, type QuantizeOptions, quantize } from './quantize.ts';
import { type EncodableDType, encodeRows } from './reference/encode.ts';

const long = Boolean(process.env.LONG);
const kills = long ? 200 : 5;

let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-quantize-'));
  model = join(folder, 'model.gguf');
  await writeRandomModel(model, { ...tinyGeometry, vocab: 4096 }, { dtype: 'BF16', seed: 3 });
});
afterAll(() => rm(folder, { recursive: true }));

async function run(from: string, to: string, plan: PlanOptions, options: QuantizeOptions = {}) {
  await using source = await openCheckpoint(from);
  return await quantize(source, planQuantization(source, to, plan), { threads: 2, ...options });
}

async function tensorOf(path: string, name: string) {
  await using file = await openCheckpoint(path);
  const info = file.tensors.get(name)!;
  const bytes = new Uint8Array(info.byteLength);
  await file.read(info, 0, bytes);
  return { ...info, bytes };
}

const leftOver = (path: string): string[] => globSync(`${path.replace(/\.gguf$/, '')}*{partial,journal}`);

/** A run that stops by itself when so many bytes are made, and what it left. */
async function stopped(out: string, share: number, plan: PlanOptions = { type: 'Q6_K' }, from = model): Promise<void> {
  const controller = new AbortController();
  const onProgress = (done: number, total: number) => done > share * total && controller.abort(new Error('stop'));
  await expect(run(from, out, plan, { signal: controller.signal, onProgress })).rejects.toThrow('stop');
  expect(existsSync(out)).toBe(false);
  expect(leftOver(out).length).toBeGreaterThan(1);
}

describe('what comes out', () => {
  test.each<MixName>(['Q4_K_M', 'Q8_0', 'IQ4_XS', 'MXFP4_MOE', 'F16', 'F32', 'BF16'])(
    '%s: every tensor is what its encoder makes of it',
    async type => {
      const out = join(folder, `out-${type}.gguf`);
      const { paths, byteLength } = await run(model, out, { type });
      expect(paths).toEqual([out]);
      expect((await stat(out)).size).toBe(byteLength);
      expect(leftOver(out)).toEqual([]);
      await using made = await openCheckpoint(out);
      await using source = await openCheckpoint(model);
      expect([...made.tensors.keys()].sort()).toEqual([...source.tensors.keys()].sort());
      for (const { name, dtype, shape } of made.tensors.values()) {
        const [from, to] = [await tensorOf(model, name), await tensorOf(out, name)];
        const columns = shape.at(-1)!;
        const rows = shape.reduce((a, b) => a * b, 1) / columns;
        // The first, the last and a few rows between: each is by itself.
        for (const row of new Set([0, Math.floor(rows / 3), Math.floor(rows / 2), rows - 1])) {
          const bytesOf = ({ dtype, bytes }: typeof from): Uint8Array => {
            const rowBytes = byteLengthOf(dtype, columns);
            return bytes.subarray(row * rowBytes, (row + 1) * rowBytes);
          };
          const values = dequantize(from.dtype, bytesOf(from), columns);
          const want = encodeRows(dtype as EncodableDType, values, columns);
          expect(Buffer.compare(bytesOf(to), want), `${name} ${dtype} row ${row}`).toBe(0);
        }
      }
      for (const [key, value] of source.metadata)
        if (key !== 'general.file_type') expect(made.metadata.get(key), key).toEqual(value);
      expect(made.metadataTypes?.get('llama4.rope.freq_base')).toBe('f32');
    },
  );

  test('importance is each expert’s own', async () => {
    const name = 'blk.1.ffn_up_exps.weight';
    const random = seededRandom(8);
    const weights = Float32Array.from({ length: 4 * 256 }, () => random() + 0.01);
    const of = (tensor: string) => (tensor === name ? weights : null);
    const out = join(folder, 'weighted.gguf');
    const importance = { of, file: 'i.gguf', dataset: 'text', entries: 1, chunks: 7 };
    await run(model, out, { type: 'Q4_K_S', importance });
    const [from, to] = [await tensorOf(model, name), await tensorOf(out, name)];
    const values = dequantize('BF16', from.bytes, 4 * 256 * 256);
    for (let expert = 0; expert < 4; expert++) {
      const own = weights.subarray(expert * 256, (expert + 1) * 256);
      const want = encodeRows('Q4_K', values.subarray(expert * 65536, expert * 65536 + 8192), 256, own);
      const at = expert * 256 * 144;
      expect(Buffer.compare(to.bytes.subarray(at, at + want.length), want)).toBe(0);
    }
    await using made = await openCheckpoint(out);
    expect(made.metadata.get('quantize.imatrix.chunks_count')).toBe(7);
  });

  test('parts hold no more than asked, and are one model', async () => {
    const out = join(folder, 'split.gguf');
    const whole = join(folder, 'whole.gguf');
    const { paths } = await run(model, out, { type: 'Q4_K_M', splitMaxBytes: 400_000 });
    await run(model, whole, { type: 'Q4_K_M' });
    expect(paths.length).toBeGreaterThan(3);
    expect(paths[0]).toMatch(/split-00001-of-000\d\d\.gguf$/);
    await using parts = await openCheckpoint(paths[1]!);
    await using one = await openCheckpoint(whole);
    for (const name of one.tensors.keys())
      expect(Buffer.compare((await tensorOf(paths[0]!, name)).bytes, (await tensorOf(whole, name)).bytes)).toBe(0);
    expect(parts.tensors.size).toBe(one.tensors.size);
  });

  test.each<MixName>(['Q8_0', 'Q4_K_M', 'F16'])(
    '%s: zeros stay holes, and what lies between them is there',
    async type => {
      const from = join(folder, `holes-${type}.gguf`);
      const out = join(folder, `holes-to-${type}.gguf`);
      await writeSparseModel(from, { ...tinyGeometry, ff: 8192 }, { dtype: 'BF16' });
      const name = 'blk.2.ffn_gate.weight';
      const row = randomBlocks('BF16', 256, seededRandom(5), 1);
      await using source = await openCheckpoint(from);
      await using file = await open(from, 'r+');
      await file.write(row, 0, row.length, source.placeOf!(source.tensors.get(name)!)!.offset + 5000 * row.length);
      await run(from, out, { type });
      const { size, blocks } = await stat(out);
      expect(blocks * 512).toBeLessThan(size / 3);
      await using made = await openCheckpoint(out);
      for (const { dtype, ...tensor } of made.tensors.values()) {
        const { bytes } = await tensorOf(out, tensor.name);
        const want = new Uint8Array(bytes.length);
        if (tensor.name === name)
          want.set(
            encodeRows(dtype as EncodableDType, dequantize('BF16', row, 256), 256),
            5000 * byteLengthOf(dtype, 256),
          );
        expect(Buffer.compare(bytes, want), tensor.name).toBe(0);
      }
      // A run that goes on trusts no hole: what lies there may be another's.
      const again = join(folder, `holes-again-${type}.gguf`);
      await stopped(again, 0.5, { type }, from);
      await writeFile(partialPath(again), Buffer.alloc(size, 255));
      await run(from, again, { type });
      expect(Buffer.compare(await readFile(again), await readFile(out))).toBe(0);
    },
  );

  test('what is quantized already is quantized again only when asked', async () => {
    const [q8, q4] = [join(folder, 'again-q8.gguf'), join(folder, 'again-q4.gguf')];
    await run(model, q8, { type: 'Q8_0' });
    await expect(run(q8, q4, { type: 'Q4_K_S' })).rejects.toThrow(/is Q8_0 already.*--requantize/);
    await run(q8, q4, { type: 'Q4_K_S', requantize: true });
    const [from, to] = [await tensorOf(q8, 'blk.0.attn_q.weight'), await tensorOf(q4, 'blk.0.attn_q.weight')];
    expect(Buffer.compare(to.bytes, encodeRows('Q4_K', dequantize('Q8_0', from.bytes, 65536), 256))).toBe(0);
  });

  test('a Hugging Face folder is converted', async () => {
    const from = fileURLToPath(new URL('../../test/fixtures/huggingface/maverick', import.meta.url));
    const out = join(folder, 'Llama-from-hf.gguf');
    await run(from, out, { type: 'BF16' });
    await using source = await openCheckpoint(from);
    await using made = await openCheckpoint(out);
    // The encoder of images has no names in a GGUF of the text model, which llama.cpp refuses with tensors it does not know.
    const text = [...source.tensors.values()].filter(({ name }) => !isFolderVision(name));
    expect([...made.tensors.keys()].sort()).toEqual(text.map(({ name }) => name).sort());
    for (const { name, shape } of text) {
      const [a, b] = [await tensorOf(from, name), await tensorOf(out, name)];
      expect(b.dtype, name).toBe(shape.length === 1 || name.includes('gate_inp') ? 'F32' : 'BF16');
      const elements = shape.reduce((x, y) => x * y, 1);
      expect(dequantize(b.dtype, b.bytes, elements)).toEqual(dequantize(a.dtype, a.bytes, elements));
    }
    expect(made.metadata.get('general.architecture')).toBe('llama4');
  });
});

describe('a run that was ended', () => {
  /** The command in a process of its own, which is killed after so long: 'done' or 'refused' where it ended before. */
  async function killed(out: string, afterMs: number): Promise<'done' | 'refused' | 'killed'> {
    const main = fileURLToPath(new URL('../../bin/maverick.mjs', import.meta.url));
    const child = spawn(process.execPath, [main, 'quantize', model, out, '--type', 'Q5_K_M', '--threads', '2'], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
    const timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
    const [code] = await ended;
    clearTimeout(timer);
    return code === null ? 'killed' : code === 0 ? 'done' : 'refused';
  }

  test(`killed at ${kills} random moments, it goes on and ends with the same bytes${long ? '' : ' (200 with LONG=1)'}`, {
    timeout: 600_000,
  }, async () => {
    const want = join(folder, 'want.gguf');
    const start = performance.now();
    expect(await killed(want, 60_000)).toBe('done');
    const whole = performance.now() - start;
    const bytes = await readFile(want);
    const random = seededRandom(17);
    const out = join(folder, 'killed.gguf');
    let resumed = 0;
    for (let ended = 0; ended < kills; ) {
      const going = existsSync(journalPath(out));
      const end = await killed(out, random() * whole);
      expect(end).not.toBe('refused');
      if (end === 'killed') ended++;
      else if (going) resumed++;
      // Whatever has the final name is whole.
      if (existsSync(out)) {
        expect(Buffer.compare(await readFile(out), bytes)).toBe(0);
        if (!existsSync(journalPath(out))) await rm(out);
      }
    }
    if (existsSync(out) && !existsSync(journalPath(out))) await rm(out);
    expect(await killed(out, 60_000)).toBe('done');
    expect(Buffer.compare(await readFile(out), bytes)).toBe(0);
    expect(leftOver(out)).toEqual([]);
    if (long) expect(resumed).toBeGreaterThan(5);
  });

  test('two at once make one file after the other', async () => {
    const out = join(folder, 'twice.gguf');
    const ends = await Promise.all([killed(out, 60_000), killed(out, 60_000)]);
    expect(ends.sort()).toEqual(['done', 'refused']); // the second finds it there
    expect(globSync(join(folder, 'twice*'))).toEqual([out]);
    expect((await tensorOf(out, 'blk.0.attn_q.weight')).dtype).toBe('Q5_K');
  });

  test('what was made is not made again, and what is damaged is', async () => {
    const [want, out] = [join(folder, 'q6.gguf'), join(folder, 'stopped.gguf')];
    await run(model, want, { type: 'Q6_K' });
    for (const damage of [
      async () => {},
      async () => {
        const bytes = await readFile(partialPath(out));
        for (let at = 60_000; at < bytes.length; at += 50_000) bytes[at]! ^= 1;
        await writeFile(partialPath(out), bytes);
      },
      () => truncate(partialPath(out), 300_000),
      () => rm(partialPath(out)),
      () => appendFile(journalPath(out), '7 abc'),
      () => truncate(journalPath(out), 150),
      () => truncate(journalPath(out), 3),
      () => writeFile(partialPath(out), Buffer.alloc(5_000_000, 255)),
    ]) {
      await stopped(out, 0.5);
      await damage();
      await run(model, out, { type: 'Q6_K' });
      expect(Buffer.compare(await readFile(out), await readFile(want))).toBe(0);
      expect(leftOver(out)).toEqual([]);
      await rm(out);
    }
    await stopped(out, 0.5);
    const { resumedBytes, byteLength } = await run(model, out, { type: 'Q6_K' });
    expect(resumedBytes).toBeGreaterThan(0.4 * byteLength);
  });

  test('parts, too; even where some have their names', async () => {
    const out = join(folder, 'stopped-split.gguf');
    const plan: PlanOptions = { type: 'Q6_K', splitMaxBytes: 1_000_000 };
    const { paths } = await run(model, join(folder, 'whole-split.gguf'), plan);
    await stopped(out, 0.7, plan);
    const made = await run(model, out, plan);
    for (const [i, path] of made.paths.entries())
      expect(Buffer.compare(await readFile(path), await readFile(paths[i]!))).toBe(0);
  });

  test('another source or other options do not go on with it, unless it is begun anew', async () => {
    const out = join(folder, 'other.gguf');
    await stopped(out, 0.5);
    await expect(run(model, out, { type: 'Q4_0' })).rejects.toThrow(/another run.*--restart/);
    await run(model, out, { type: 'Q4_0' }, { restart: true });
    expect((await tensorOf(out, 'blk.0.attn_q.weight')).dtype).toBe('Q4_0');
  });
});

describe('refusals', () => {
  /** A file of one matrix of 300 rows of 256 values. */
  async function matrix(
    name: string,
    values: (row: number, column: number) => number,
    shape = [300, 256],
  ): Promise<string> {
    const path = join(folder, name);
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i++) data[i] = values(Math.floor(i / 256), i % 256);
    await writeGguf(path, {
      metadata: { 'general.architecture': 'llama', 'llama.block_count': 1 },
      tensors: [{ name: 'blk.0.ffn_up.weight', dtype: 'F32', shape, data: new Uint8Array(data.buffer) }],
    });
    return path;
  }
  const out = (name: string): string => join(folder, name);

  test.each<[string, number, RegExp]>([
    ['NaN', Number.NaN, /ffn_up\.weight, row 217: holds an infinity or no number/],
    ['infinity', Number.NEGATIVE_INFINITY, /ffn_up\.weight, row 217/],
    ['a number too large', 3e38, /row 217: holds values too large for Q4_K/],
  ])('%s: the tensor and the row are named, and nothing is', async (name, wrong, message) => {
    const path = await matrix(`wrong-${name}.gguf`, (row, column) =>
      row === 217 && column === 9 ? wrong : column - 100,
    );
    await expect(run(path, out('wrong.gguf'), { type: 'Q4_K_S' }, { restart: true })).rejects.toThrow(message);
    expect(existsSync(out('wrong.gguf'))).toBe(false);
  });

  test('in packed experts the expert is named, too', async () => {
    const path = await matrix('wrong-expert.gguf', row => (row === 250 ? Number.NaN : 1), [3, 100, 256]);
    await expect(run(path, out('wrong-expert-q.gguf'), { type: 'Q8_0' })).rejects.toThrow(/expert 2, row 50:/);
  });

  test('files that are in the way', async () => {
    await expect(run(model, model, { type: 'Q8_0' })).rejects.toThrow(/is the source itself/);
    await writeFile(out('there.gguf'), 'precious');
    await expect(run(model, out('there.gguf'), { type: 'Q8_0' })).rejects.toThrow(/exists; .*--overwrite/);
    expect(readFileSync(out('there.gguf'), 'utf8')).toBe('precious');
    await run(model, out('there.gguf'), { type: 'Q8_0' }, { overwrite: true });
    expect((await stat(out('there.gguf'))).size).toBeGreaterThan(1e6);
    await mkdir(out('folder.gguf'));
    await expect(run(model, out('folder.gguf'), { type: 'Q8_0' })).rejects.toThrow(/is a directory/);
    await expect(run(model, join(folder, 'no/such.gguf'), { type: 'Q8_0' })).rejects.toThrow(/does not exist/);
  });

  test('a file system that takes no more: said, and gone on with when it does', async () => {
    const main = fileURLToPath(new URL('../../bin/maverick.mjs', import.meta.url));
    const to = out('full.gguf');
    // A limit on the size of files, in blocks of 1,024 bytes, stands for a disk that is full.
    const limited = spawn('bash', [
      '-c',
      `trap '' XFSZ; ulimit -f 1500; "$0" "$@"`,
      process.execPath,
      main,
      'quantize',
      model,
      to,
      '--type',
      'Q8_0',
    ]);
    let said = '';
    limited.stderr.on('data', data => (said += data));
    const [code] = (await once(limited, 'exit')) as [number];
    expect([code, said]).toEqual([
      1,
      expect.stringMatching(/full\.gguf\.partial: is larger than this file system takes/),
    ]);
    expect(existsSync(to)).toBe(false);
    await run(model, to, { type: 'Q8_0' }, { restart: true });
  });

  test('the source is cut short while it is read', async () => {
    const path = join(folder, 'shrinking.gguf');
    await copyFile(model, path);
    await using source = await openCheckpoint(path);
    const plan = planQuantization(source, out('shrunk.gguf'), { type: 'Q8_0' });
    await truncate(path, 500_000);
    await expect(quantize(source, plan)).rejects.toThrow(/shrinking\.gguf.*now ends at/);
    expect(existsSync(out('shrunk.gguf'))).toBe(false);
  });

  test.each<[string[], number, RegExp]>([
    [['--type', 'Q4_K_XL'], 2, /"Q4_K_XL" is unknown; known are .*Q4_K_M/],
    [['--type', './no.recipe'], 2, /no\.recipe/],
    [[], 2, /--type/],
    [['--type', 'Q4_0', '--split-max-size', 'big'], 2, /40G/],
    [['--type', 'Q4_0', '--threads', '0'], 2, /1 to 256/],
    [['--type', 'IQ1_S'], 1, /--imatrix/],
    [['--type', 'Q4_0', '--imatrix', '/no/such'], 1, /no\/such.*does not exist/],
  ])('the command line: %j', async (args, code, message) => {
    const ran = await maverick(['quantize', model, out('cli.gguf'), ...args]);
    expect([ran.code, ran.stderr]).toEqual([code, expect.stringMatching(message)]);
    expect(existsSync(out('cli.gguf'))).toBe(false);
  });

  test('the command line: names, dry run, JSON', async () => {
    expect((await maverick(['quantize', model, out('cli.bin'), '--type', 'Q4_0'])).stderr).toMatch(/ends in \.gguf/);
    const dry = await maverick(['quantize', model, out('cli.gguf'), '--type', 'Q4_K_M', '--dry-run']);
    expect(dry.stdout).toMatch(/blk\.3\.ffn_down_exps\.weight +4 × 256 × 256 +BF16 +Q6_K/);
    const json = await maverick(['quantize', model, out('cli.gguf'), '--type', 'q4_k_m', '--json']);
    expect([json.code, json.stderr]).toEqual([0, '']);
    const told = JSON.parse(json.stdout) as { bytes: number; paths: string[]; variant: string };
    expect(told).toMatchObject({ paths: [out('cli.gguf')], bytes: (await stat(out('cli.gguf'))).size });
  });
});

/** The command in a process of its own; what it wrote, and the most memory it took, in MB. */
async function measured(
  args: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string; megabytes: number }> {
  const report = "process.on('exit', () => console.error('peak', process.resourceUsage().maxRSS, 'kB'))";
  const main = fileURLToPath(new URL('../../bin/maverick.mjs', import.meta.url));
  const child = spawn(process.execPath, [
    '--import',
    `data:text/javascript,${encodeURIComponent(report)}`,
    main,
    ...args,
  ]);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', data => (stdout += data));
  child.stderr.on('data', data => (stderr += data));
  const [code] = (await once(child, 'close')) as [number];
  const peaks = [...stderr.matchAll(/peak (\d+) kB/g)].map(match => Number(match[1]));
  return { code, stdout, stderr, megabytes: Math.max(...peaks) / 1000 };
}

/** A file of a model's header alone: its tensors are holes, that is zeros. */
async function sparse(
  path: string,
  tensors: readonly SizedTensor[],
  metadata: ReadonlyMap<string, WritableValue>,
): Promise<void> {
  const [part] = layoutGguf(path, { metadata, tensors });
  await writeFile(path, part!.header);
  await truncate(path, part!.byteLength);
}

/** As many tokens and merges as Llama 4 has. */
function vocabularyOfLlama4(): [string, WritableValue][] {
  const tokens = Array.from({ length: 202_048 }, (_, i) => `token${i}`);
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', tokens.map(() => 1)],
    ['tokenizer.ggml.merges', Array.from({ length: 440_000 }, (_, i) => `part${i} rest${i}`)],
  ];
}

describe('memory, at the size of Maverick', () => {
  const metadata = () => new Map([...metadataOfModel('maverick'), ...vocabularyOfLlama4()]);

  test('a plan of all of it: 400 billion weights, from the header alone', async () => {
    const path = join(folder, 'maverick.gguf');
    await sparse(path, tensorsOfModel('maverick'), metadata());
    const { code, stdout, megabytes } = await measured([
      'quantize',
      path,
      join(folder, 'Llama-x.gguf'),
      '--type',
      'Q4_K_M',
      '--dry-run',
    ]);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/parameters +400\.7 B[\s\S]*formats +Q4_K/)]);
    expect(megabytes).toBeLessThan(1500);
  });

  test.skipIf(!long)(
    'tensors of its shapes (3.5 billion weights, LONG=1): within 1.5 GB',
    { timeout: 600_000 },
    async () => {
      const path = join(folder, 'maverick-shapes.gguf');
      const shapes = tensorsOfModel('maverick').filter(({ name }) => /^(output|token_embd|blk\.[01]\.)/.test(name));
      const few = shapes.map(tensor =>
        tensor.shape.length === 3 ? { ...tensor, shape: [12, ...tensor.shape.slice(1)] } : tensor,
      );
      await sparse(path, few, metadata());
      const out = join(folder, 'Llama-shapes.gguf');
      const { code, stdout, stderr, megabytes } = await measured([
        'quantize',
        path,
        out,
        '--type',
        'Q2_K',
        '--threads',
        '2',
      ]);
      expect([code, stdout], stderr).toEqual([0, expect.stringMatching(/verified/)]);
      expect(megabytes).toBeLessThan(1500);
      await rm(out);
    },
  );
});
