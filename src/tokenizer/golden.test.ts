// Every golden id with Meta's own tokenizer.model, which may not be copied here: read from beside the project where present.
import { existsSync, readFileSync } from 'node:fs';
import { Tiktoken } from 'tiktoken';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ByteLevelTokenizer } from './byte-level.ts';
import { byteText } from './byte-unicode.ts';
import { tokenizerFromGguf } from './from-gguf.ts';
import { tokenizerFromTiktoken } from './from-tiktoken.ts';
import { llama4Format } from './llama4-format.ts';
import { processorTime } from './processor-time.cases.ts';

const root = new URL('../../', import.meta.url);
const modelFile = new URL('../shared/llama4/tokenizer.model', root);
const formatFile = new URL('../shared/llama4/prompt_format.md', root);
const golden = JSON.parse(readFileSync(new URL('test/fixtures/golden/tokenizer.json', root), 'utf8')) as {
  text: string;
  tokens: number[];
}[];
const present = existsSync(modelFile) && existsSync(formatFile);
if (!present)
  process.stderr.write(
    "Every golden id with Meta's tokenizer: skipped, ../shared/llama4 with tokenizer.model and prompt_format.md is not there.\n",
  );

describe.skipIf(!present)("Meta's tokenizer.model", () => {
  let tokenizer: ByteLevelTokenizer;
  let file: Buffer;
  beforeAll(() => {
    file = readFileSync(modelFile);
    tokenizer = tokenizerFromTiktoken(file);
  });

  test('loads quickly', () => {
    // 60 to 90 ms where nothing else runs.
    const times = [0, 1, 2].map(() => {
      const time = processorTime();
      tokenizerFromTiktoken(file);
      return time();
    });
    expect(Math.min(...times)).toBeLessThan(300);
    expect(tokenizer.vocabSize).toBe(202_048);
  });

  test('every golden id', () => {
    expect(golden.length).toBeGreaterThan(40);
    for (const { text, tokens } of golden) {
      expect(tokenizer.encode(text)).toEqual(tokens);
      expect(tokenizer.decode(tokens)).toBe(text);
    }
  });

  test('special tokens have the ids of the release', () => {
    const ids = (...names: string[]) => names.map(name => tokenizer.specialTokens.get(`<|${name}|>`));
    expect(ids('begin_of_text', 'end_of_text', 'header_start', 'header_end', 'eom', 'eot')).toEqual([
      200000, 200001, 200005, 200006, 200007, 200008,
    ]);
    expect(ids('python_start', 'finetune_right_pad', 'image_start', 'tile_x_separator', 'image', 'patch')).toEqual([
      200016, 200018, 200080, 200084, 200090, 200092,
    ]);
    expect(ids('reasoning_thinking_start', 'reserved_special_token_0', 'reserved_special_token_903')).toEqual([
      201142, 201144, 202047,
    ]);
    expect(tokenizer.bos).toBe(200000);
    expect([...tokenizer.stopTokens].sort()).toEqual([200001, 200007, 200008]);
  });

  test('prompt_format.md as tiktoken encodes it, and its first example as the chat format writes it', () => {
    const text = readFileSync(formatFile, 'utf8');
    const pattern = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
    const oracle = new Tiktoken(file.toString('latin1'), {}, pattern);
    // The patches stand in one run of more than 25,000 characters, which Meta's code cuts and tiktoken alone does not.
    const runs = text.split(/(?<=\s)(?=\S)/);
    for (const run of runs.filter(r => r.length < 25_000).concat(text.slice(0, 8000)))
      expect(tokenizer.encode(run)).toEqual([...oracle.encode_ordinary(run)]);
    oracle.free();
    const [, example] = /##### Input Prompt Format\n```\n(.*?)\n\n\n```/s.exec(text)!;
    const written = llama4Format(tokenizer).encode([
      { role: 'system', content: 'You are a helpful assistant' },
      { role: 'user', content: 'Answer who are you in the form of jeopardy?' },
    ]);
    expect(written).toEqual(tokenizer.encode(`${example}\n\n`, { special: 'parse' }));
  });

  test('its first 30,000 ranks as a GGUF, with the merges a converter would make: the same ids', () => {
    const lines = file.toString('latin1').split('\n', 30_000).join('\n');
    const ranked = tokenizerFromTiktoken(Buffer.from(lines));
    const texts = Array.from({ length: 30_000 }, (_, id) => byteText(ranked.bytes(id)));
    const ids = new Map(texts.map((text, id) => [text, id]));
    const merges: string[] = [];
    for (const text of texts) {
      // Of all ways to cut a token into two, in the order of their parts, as Hugging Face's converter lists them.
      const pairs: [number, number][] = [];
      for (let i = 1; i < text.length; i++) {
        const left = ids.get(text.slice(0, i));
        const right = ids.get(text.slice(i));
        if (left !== undefined && right !== undefined) pairs.push([left, right]);
      }
      for (const [left, right] of pairs.sort((a, b) => a[0] - b[0] || a[1] - b[1]))
        merges.push(`${texts[left]} ${texts[right]}`);
    }
    const fromGguf = tokenizerFromGguf(
      new Map<string, unknown>([
        ['tokenizer.ggml.model', 'gpt2'],
        ['tokenizer.ggml.pre', 'llama4'],
        ['tokenizer.ggml.tokens', [...texts, ...ranked.specialTokens.keys()]],
        ['tokenizer.ggml.token_type', [...texts.map(() => 1), ...[...ranked.specialTokens].map(() => 3)]],
        ['tokenizer.ggml.merges', merges],
        ['tokenizer.ggml.bos_token_id', 30_000],
        ['tokenizer.ggml.eos_token_id', 30_008],
      ]),
    );
    expect(merges.length).toBeGreaterThan(40_000);
    expect(fromGguf.specialTokens).toEqual(ranked.specialTokens);
    expect(fromGguf.stopTokens).toEqual(ranked.stopTokens);
    for (const { text } of golden) expect(fromGguf.encode(text)).toEqual(ranked.encode(text));
    const text = readFileSync(formatFile, 'utf8');
    expect(`${fromGguf.encode(text)}` === `${ranked.encode(text)}`).toBe(true);
  });
});
