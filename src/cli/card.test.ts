// Model cards: every number is that of the file, licences are obeyed, and texts from a file cannot break out of the card.
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type GgufContent, typed, writeGguf } from '../checkpoint/gguf-writer.ts';
import { maverick } from './fake-terminal.cases.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-card-'));
});
afterAll(() => rm(folder, { recursive: true }));

const tensors: GgufContent['tensors'] = [
  { name: 'token_embd.weight', dtype: 'F16', shape: [10, 32], data: new Uint8Array(640) },
  { name: 'blk.0.attn_q.weight', dtype: 'Q4_0', shape: [32, 32], data: new Uint8Array(576) },
  { name: 'blk.0.ffn_gate_exps.weight', dtype: 'Q4_0', shape: [2, 32, 32], data: new Uint8Array(1152) },
];
const llama4 = {
  'general.architecture': 'llama4',
  'general.name': 'My | `Tune`',
  'general.license': 'llama4',
  'general.base_model.count': 1,
  'general.base_model.0.name': 'Llama 4 Scout 17B 16E Instruct',
  'general.base_model.0.repo_url': 'https://huggingface.co/meta-llama/Llama-4-Scout-17B-16E-Instruct',
  'general.quantized_by': 'a | b\n# c',
  'llama4.expert_count': 2,
  'llama4.expert_used_count': 1,
  'quantize.imatrix.file': '/somewhere/scout.imatrix.gguf',
  'quantize.imatrix.entries_count': 7,
  'quantize.imatrix.chunks_count': 5,
};

test('of a Llama 4: facts of the file, front matter, notice beside it, and a warning about its name', async () => {
  const path = join(folder, 'tuned-Q4_0.gguf');
  await writeGguf(path, { metadata: llama4, tensors });
  const out = join(folder, 'README.md');
  const { code, stderr } = await maverick(['card', path, '--out', out]);
  expect(code).toBe(0);
  expect(stderr).toContain('Llama-tuned-Q4_0.gguf');
  expect(stderr).toContain(`Written: ${out}, ${join(folder, 'Notice')}`);
  const card = await readFile(out, 'utf8');
  expect(card).toMatch(
    /^---\nlicense: other\nlicense_name: llama4\nlicense_link: https:\/\/www\.llama\.com\/llama4\/license\/\nbase_model:\n {2}- "meta-llama\/Llama-4-Scout-17B-16E-Instruct"\n/,
  );
  expect(card).toContain('**Built with Llama**');
  expect(card).toContain('| quantized by | a \\| b # c |');
  const bytes = await readFile(path);
  expect(card).toContain(
    `| \`tuned-Q4_0.gguf\` | ${bytes.length.toLocaleString('en')} | \`${createHash('sha256').update(bytes).digest('hex')}\` |`,
  );
  expect(card).toContain('| routed experts | Q4_0 | 1 | 2.048 K | 1.15 kB |');
  expect(card).toContain('| parameters | 3.392 K, of which a token uses 2.368 K |');
  expect(card).toContain(`| bits a weight | ${((8 * 2368) / 3392).toFixed(3)} |`);
  expect(card).toMatch(/\| file \| scout\.imatrix\.gguf \|\n\| tensors \| 7 \|\n\| chunks \| 5 \|/);
  const notice = await readFile(join(folder, 'Notice'), 'utf8');
  expect(notice).toContain('Llama 4 is licensed under the Llama 4 Community License, Copyright © Meta Platforms, Inc.');
  expect(card).toContain(notice.split('\n')[0]);
});

test('of another model: its own licence, no notice, and it is printed', async () => {
  const path = join(folder, 'other.gguf');
  await writeGguf(path, {
    metadata: { 'general.architecture': 'llama', 'general.name': 'Small', 'general.license': 'apache-2.0' },
    tensors,
  });
  const before = await readdir(folder);
  const { code, stdout, stderr } = await maverick(['card', path, '--no-hash']);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^---\nlicense: "apache-2.0"\nlibrary_name: gguf\n/);
  expect(stdout).toContain('# Small');
  expect(stdout).toContain('not computed');
  expect(stdout).not.toMatch(/Built with|Notice|Importance/);
  expect(await readdir(folder)).toEqual(before);
});

test('all parts of a split model are listed', async () => {
  const [first] = await writeGguf(join(folder, 'Llama-split.gguf'), {
    metadata: llama4,
    tensors,
    split: { maxTensors: 1 },
  });
  const { stdout } = await maverick(['card', first!]);
  expect(stdout.match(/^\| `Llama-split-0000[123]-of-00003\.gguf` \| [\d,]+ \| `[0-9a-f]{64}` \|$/gm)!.length).toBe(3);
});

test('with a comparison and an importance matrix it has their figures; those of another model are refused', async () => {
  const path = join(folder, 'Llama-x.gguf');
  await writeGguf(path, { metadata: llama4, tensors });
  const spread = { mean: 0.0123, error: 0.001, median: 0.004, p99: 0.2, max: 1.5 };
  const model = { path: '/m/F16.gguf', parameters: 1, weightBytes: 2e9, backend: 'native', variant: null, threads: 2 };
  const report = {
    a: model,
    b: { ...model, path: '/m/Llama-x.gguf', weightBytes: 6e8 },
    kl: spread,
    top1: { agreement: 0.975, error: 0.003 },
    perplexity: { a: 8, b: 8.2, ratio: 1.025, ratioError: 0.002 },
    predictions: 2048,
    drift: null,
    tasks: { tools: { asked: 8, a: 7, b: 6 }, json: { asked: 8, a: 8, b: 8 }, changed: [] },
  };
  const file = join(folder, 'report.json');
  await writeFile(file, JSON.stringify(report));
  const imatrix = join(folder, 'x.imatrix.gguf');
  const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  await writeGguf(imatrix, {
    metadata: {
      'general.type': 'imatrix',
      'imatrix.datasets': typed('string', ['t.txt']),
      'imatrix.chunk_count': 3,
      'imatrix.chunk_size': 512,
    },
    tensors: [
      { name: 'blk.1.ffn_down_exps.weight.in_sum2', dtype: 'F32', shape: [2, 1], data: f32(1, 0) },
      { name: 'blk.1.ffn_down_exps.weight.counts', dtype: 'F32', shape: [2, 1], data: f32(4, 0) },
    ],
  });
  const { code, stdout } = await maverick(['card', path, '--compare', file, '--imatrix', imatrix]);
  expect(code).toBe(0);
  expect(stdout).toContain('| KL divergence, mean | 0.012300 ± 0.001000 nats |');
  expect(stdout).toContain('`Llama-x.gguf` (600 MB) against `F16.gguf` (2.00 GB)');
  expect(stdout).toContain('| calls of tools in form | 7 → 6 of 8 |');
  expect(stdout).toContain('| chunks | 3 of 512 tokens |');
  expect(stdout).toContain('| experts that saw no token of it | 1 of 2 in layer 1 |');

  await writeFile(file, JSON.stringify({ ...report, b: model }));
  const other = await maverick(['card', path, '--compare', file]);
  expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('is about F16.gguf')]);
  for (const bad of ['{', '[]', '{"a":1}']) {
    await writeFile(file, bad);
    expect((await maverick(['card', path, '--compare', file])).code).toBe(2);
  }
});
