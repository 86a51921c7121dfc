// Every verb on a Hugging Face folder, on Meta's shards and on the GGUF of the same model: without converting, and with one answer.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, metaTensors, torchFile } from '../checkpoint/crafted-folders.cases.ts';
import {
  makeTiny,
  type TinyShape,
  tinyShape,
  writeTinyGguf,
  writeTinyHuggingFace,
} from '../checkpoint/tiny-llama4.cases.ts';
import { openChat } from '../engine/chat.ts';
import { llama4Specials } from '../tokenizer/llama4-specials.ts';
import { patterns } from '../tokenizer/patterns.ts';
import { asJson, asTiktoken, makeVocabulary } from '../tokenizer/synthetic-vocabulary.cases.ts';
import { maverick } from './fake-terminal.cases.ts';

const synthetic = makeVocabulary(300);
const vocab = 300 + llama4Specials.length; // tokenizer.model has no others
const shape: TinyShape = { ...tinyShape, vocab };
const flags = ['--threads', '1', '--backend', 'wasm'];

let work: string;
let paths: { huggingFace: string; meta: string; gguf: string };
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'maverick-folders-'));
  const tiny = makeTiny(shape, 7);
  const huggingFace = await writeTinyHuggingFace(join(work, 'Tiny-Llama-4'), shape, tiny, { maxBytes: 200_000 });
  const pattern = patterns.llama4.replaceAll('\\p{White_Space}', '\\s').replaceAll('\\P{White_Space}', '\\S');
  // The specials where Meta's tokenizer has them, so that all three forms have the same ids.
  const json = asJson(synthetic, pattern, 'pairs', true);
  json.added_tokens = llama4Specials.map((content, i) => ({ id: 300 + i, content, special: true }));
  await writeFile(join(huggingFace, 'tokenizer.json'), JSON.stringify(json));
  const eos_token_id = ['<|end_of_text|>', '<|eom|>', '<|eot|>'].map(text => 300 + llama4Specials.indexOf(text));
  await writeFile(
    join(huggingFace, 'generation_config.json'),
    JSON.stringify({ eos_token_id, temperature: 0.5, top_p: 0.8, top_k: 1.5 }),
  );
  const meta = join(work, 'Tiny-Meta');
  await mkdir(meta);
  const params = {
    dim: shape.dim,
    n_layers: shape.layers,
    n_heads: shape.heads,
    n_kv_heads: shape.kvHeads,
    norm_eps: 1e-5,
    rope_theta: 500000,
    use_qk_norm: shape.qkNorm,
    nope_layer_interval: 4,
    attention_chunk_size: shape.chunk,
    moe_args: { num_experts: shape.experts, interleave_moe_layer_step: shape.moeStep },
  };
  await writeFile(join(meta, 'params.json'), JSON.stringify(params));
  await writeFile(join(meta, 'consolidated.00.pth'), torchFile(metaTensors(shape, tiny)));
  await writeFile(join(meta, 'tokenizer.model'), bytesOf(asTiktoken(synthetic)));
  const gguf = await writeTinyGguf(join(work, 'tiny.gguf'), shape, tiny, 'BF16');
  paths = { huggingFace, meta, gguf };
});
afterAll(() => rm(work, { recursive: true }));

const tokens = '[300, 5, 17, 200, 33, 4, 290, 8, 77, 101, 3, 250, 12, 9, 140, 60, 61, 62, 63, 64]';

async function logprobs(path: string): Promise<Float32Array> {
  const [list, out] = [join(work, 'tokens.json'), join(work, 'rows.f32')];
  await writeFile(list, tokens);
  const ran = await maverick(['logprobs', path, '--tokens', list, '--out', out, ...flags]);
  expect([ran.code, ran.stderr.includes('rror')]).toEqual([0, false]);
  const bytes = await readFile(out);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

describe.each(['huggingFace', 'meta'] as const)('%s', kind => {
  const ok = async (args: string[], input?: string) => {
    const ran = await maverick(args, input === undefined ? {} : { input });
    expect([ran.code, ran.stderr]).toEqual([0, expect.any(String)]);
    return ran;
  };

  test('logprobs are those of the GGUF, bit for bit', async () => {
    expect(await logprobs(paths[kind])).toEqual(await logprobs(paths.gguf));
  });

  test('inspect and tokenize', async () => {
    const { stdout } = await ok(['inspect', paths[kind], '--json', '--tensors']);
    const summary = JSON.parse(stdout);
    expect([summary.architecture, summary.vocab, summary.experts]).toEqual(['llama4', vocab, 4]);
    expect(summary.tensors.length).toBe(47);
    const { stdout: ids } = await ok(['tokenize', paths[kind], 'the land <|eot|>', '--json', '--special']);
    expect(JSON.parse(ids).at(-1)).toBe(300 + llama4Specials.indexOf('<|eot|>'));
    const back = await ok(['tokenize', paths[kind], '--decode', ids.trim(), '--special', '--json']);
    expect(JSON.parse(back.stdout)).toBe('the land <|eot|>');
  });

  test('generate, perplexity and bench', async () => {
    const one = await ok(['generate', paths[kind], 'the land', '-n', '6', '--json', ...flags]);
    const other = await ok(['generate', paths.huggingFace, 'the land', '-n', '6', '--json', ...flags]);
    expect(JSON.parse(one.stdout).tokens).toEqual(JSON.parse(other.stdout).tokens);
    const file = join(work, 'text.txt');
    await writeFile(file, 'the quick brown fox and the lazy dog '.repeat(4));
    const { stdout } = await ok(['perplexity', paths[kind], file, '--json', ...flags]);
    expect(JSON.parse(stdout).perplexity).toBeGreaterThan(1);
    await ok(['bench', paths[kind], '--json', '--prompt', '16', '--generate', '4', '--repeat', '1', ...flags]);
  });

  test('chat draws as the checkpoint suggests', async () => {
    await using model = await openChat(paths[kind], { backend: 'wasm', threads: 1 });
    expect(model.suggested).toEqual(kind === 'meta' ? {} : { temperature: 0.5, topP: 0.8 });
    const { stdout } = await ok(['chat', paths[kind], '-n', '5', ...flags], 'hello\n/quit\n');
    expect(stdout.length).toBeGreaterThan(0);
  });

  test('serve names the model after its folder, and answers', async () => {
    const stop = new AbortController();
    let used: Promise<void> | undefined;
    let written = '';
    const use = async (url: string): Promise<void> => {
      const models = (await (await fetch(`${url}v1/models`)).json()) as { data: { id: string }[] };
      const id = models.data[0]!.id;
      expect(id).toBe(kind === 'meta' ? 'Tiny-Meta' : 'Tiny-Llama-4');
      const body = JSON.stringify({ model: id, messages: [{ role: 'user', content: 'hi' }], max_tokens: 3 });
      const answer = await fetch(`${url}v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      expect(answer.status).toBe(200);
    };
    const ran = maverick(['serve', '--port', '0', paths[kind], ...flags], {
      signal: stop.signal,
      onOutput: text => {
        written += text;
        const url = /http:\/\/\S+/.exec(written)?.[0];
        if (url) used ??= use(url).finally(() => stop.abort());
      },
    });
    expect((await ran).code).toBe(0);
    await used;
    expect(used).toBeDefined();
  });
});

test('a folder with no model says what a model is', async () => {
  const { code, stderr } = await maverick(['inspect', tmpdir()]);
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/is a folder with (no model: no GGUF file, no config\.json|several models)/);
});
