// Tokenizer files of folders: as metadata they tokenize like the files themselves, and what ends a text is found.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { tokenizerFromGguf } from '../../tokenizer/from-gguf.ts';
import { tokenizerFromJson } from '../../tokenizer/from-json.ts';
import { tokenizerFromTiktoken } from '../../tokenizer/from-tiktoken.ts';
import { patterns } from '../../tokenizer/patterns.ts';
import { asJson, asTiktoken, makeVocabulary, specials, texts } from '../../tokenizer/synthetic-vocabulary.cases.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { type Files, memoryFolder } from '../crafted-folders.cases.ts';
import { Fields } from '../json.ts';
import { readTokenizerModel } from '../meta/tokenizer-model.ts';
import { readTokenizer } from './tokenizer.ts';

const synthetic = makeVocabulary(420);
const asWritten = (pattern: string): string =>
  pattern.replaceAll('\\p{White_Space}', '\\s').replaceAll('\\P{White_Space}', '\\S');
const read = (files: Files, config = {}, vocab = 500) =>
  readTokenizer(memoryFolder('folder', files), new Fields('config.json', config), vocab);

function same(a: Tokenizer, b: Tokenizer): void {
  for (const text of texts) {
    expect(a.encode(text)).toEqual(b.encode(text));
    expect(a.encode(text, { special: 'parse' })).toEqual(b.encode(text, { special: 'parse' }));
  }
  expect(a.bos).toBe(b.bos);
}

describe('tokenizer.json', () => {
  test.each([
    ['llama4', patterns.llama4, 'llama4'],
    ['llama3', patterns.llama3, 'llama-bpe'],
    ['qwen2', patterns.qwen2, 'qwen2'],
    ['one without a name', String.raw`\p{L}+|\p{N}|[^\p{L}\p{N}]`, undefined],
  ])('%s', async (_, pattern, pre) => {
    for (const form of ['pairs', 'strings'] as const) {
      const json = JSON.stringify(asJson(synthetic, asWritten(pattern), form, pre === 'llama4' || pre === 'llama-bpe'));
      const metadata = await read({ 'tokenizer.json': json });
      expect(metadata.get('tokenizer.ggml.pre')).toBe(pre);
      const tokenizer = tokenizerFromGguf(metadata);
      same(tokenizer, tokenizerFromJson(json));
      expect(tokenizer.vocabSize).toBe(500); // filled up to the table of embeddings, as llama.cpp's converter does
    }
  });

  test('ends, template and sampling: generation_config.json goes before config.json, newer files before older ones', async () => {
    const json = JSON.stringify(asJson(synthetic, asWritten(patterns.llama4), 'pairs', true));
    const first = synthetic.tokens.length;
    const metadata = await read(
      {
        'tokenizer.json': json,
        'generation_config.json': JSON.stringify({
          do_sample: true,
          temperature: 0.6,
          top_p: 0.9,
          eos_token_id: [first + 1, first + 4, first + 5],
        }),
        'tokenizer_config.json': JSON.stringify({
          bos_token: { content: specials[0] },
          eos_token: '<|eot|>',
          chat_template: 'old',
        }),
        'chat_template.jinja': '{{ new }}',
      },
      { eos_token_id: 3, pad_token_id: 7 },
    );
    const values = [
      'tokenizer.ggml.eos_token_id',
      'tokenizer.ggml.eos_token_ids',
      'tokenizer.ggml.bos_token_id',
      'tokenizer.ggml.padding_token_id',
      'tokenizer.chat_template',
      'general.sampling.temp',
      'general.sampling.top_p',
    ];
    expect(values.map(key => metadata.get(key))).toEqual([
      first + 5,
      [first + 1, first + 4, first + 5],
      first,
      7,
      '{{ new }}',
      0.6,
      0.9,
    ]);
    // <|im_end|> ends texts by its name.
    expect([...tokenizerFromGguf(metadata).stopTokens].sort()).toEqual([first + 1, first + 4, first + 5, first + 7]);
  });

  test('templates in lists, and in a file of JSON', async () => {
    const list = {
      chat_template: [
        { name: 'tool_use', template: 'tools' },
        { name: 'default', template: 'plain' },
      ],
    };
    expect((await read({ 'tokenizer_config.json': JSON.stringify(list) })).get('tokenizer.chat_template')).toBe(
      'plain',
    );
    expect((await read({ 'chat_template.json': '{"chat_template": "x"}' })).get('tokenizer.chat_template')).toBe('x');
    expect((await read({})).size).toBe(0);
  });
});

describe('tokenizer.model', () => {
  test('as metadata, with merges, it tokenizes as it does by ranks', () => {
    const file = new TextEncoder().encode(asTiktoken(synthetic));
    const tokenizer = tokenizerFromGguf(readTokenizerModel('tokenizer.model', file));
    same(tokenizer, tokenizerFromTiktoken(file));
    expect(tokenizer.stopTokens).toEqual(tokenizerFromTiktoken(file).stopTokens);
  });

  const real = new URL('../../../../shared/llama4/tokenizer.model', import.meta.url);
  if (!existsSync(real))
    process.stderr.write("Meta's tokenizer.model: skipped, it is under Meta's licence and not beside this checkout.\n");
  test.skipIf(!existsSync(real))("Meta's own", () => {
    const file = readFileSync(real);
    const metadata = readTokenizerModel('tokenizer.model', file);
    expect((metadata.get('tokenizer.ggml.tokens') as string[]).length).toBe(202_048);
    same(tokenizerFromGguf(metadata), tokenizerFromTiktoken(file));
  });
});
