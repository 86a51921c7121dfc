// Malformed vocabularies: every error names the field, what it holds, and what it should hold.
import { describe, expect, test } from 'vitest';
import { templateFromGguf, tokenizerFromGguf } from './from-gguf.ts';
import { tokenizerFromJson } from './from-json.ts';
import { tokenizerFromTiktoken } from './from-tiktoken.ts';
import { patterns } from './patterns.ts';
import { asGguf, asJson, asTiktoken, makeVocabulary } from './synthetic-vocabulary.cases.ts';
import { TokenizerError } from './tokenizer-error.ts';

const synthetic = makeVocabulary(300);
const written = patterns.llama4.replaceAll('\\p{White_Space}', '\\s').replaceAll('\\P{White_Space}', '\\S');

describe('GGUF', () => {
  const changed = (key: string, value: unknown): Map<string, unknown> => {
    const metadata = asGguf(synthetic, 'llama4');
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
    return metadata;
  };
  const tokens = asGguf(synthetic, 'llama4').get('tokenizer.ggml.tokens') as string[];
  test.each<[string, unknown, RegExp]>([
    ['tokenizer.ggml.model', undefined, /tokenizer\.ggml\.model is missing: this file has no tokenizer/],
    ['tokenizer.ggml.model', 7, /tokenizer\.ggml\.model is 7, expected a string/],
    ['tokenizer.ggml.model', 'llama', /tokenizer\.ggml\.model is "llama", expected "gpt2".*SentencePiece/],
    [
      'tokenizer.ggml.pre',
      'klingon',
      /tokenizer\.ggml\.pre is "klingon", which is not known; known are llama4, .*smollm/,
    ],
    ['tokenizer.ggml.tokens', undefined, /tokenizer\.ggml\.tokens is missing/],
    ['tokenizer.ggml.tokens', [], /tokenizer\.ggml\.tokens is missing or empty/],
    ['tokenizer.ggml.tokens', 'abc', /tokenizer\.ggml\.tokens is "abc", expected an array/],
    [
      'tokenizer.ggml.tokens',
      tokens.map((t, i) => (i === 9 ? 9 : t)),
      /tokenizer\.ggml\.tokens\[9\] is 9, expected a string/,
    ],
    ['tokenizer.ggml.token_type', [1, 1], /token_type has 2 entries for 308 tokens/],
    ['tokenizer.ggml.token_type', tokens.map(() => 77), /token_type\[0\] is 77, expected 0 … 6/],
    ['tokenizer.ggml.token_type', tokens.map(() => Number.NaN), /token_type\[0\] is NaN/],
    ['tokenizer.ggml.merges', undefined, /merges is missing/],
    ['tokenizer.ggml.merges', [5], /merges\[0\] is 5, expected a string/],
    ['tokenizer.ggml.merges', ['ab'], /merges\[0\] is "ab", expected "left right"/],
    ['tokenizer.ggml.merges', ['a '], /merges\[0\] is "a ", expected "left right"/],
    ['tokenizer.ggml.merges', ['a 你'], /merges\[0\] is "a 你", expected "left right"/],
    ['tokenizer.ggml.merges', ['qx z'], /merges\[0\] is "qx z", whose left is not in tokenizer\.ggml\.tokens/],
    ['tokenizer.ggml.merges', ['q z'], /merges\[0\] is "q z", whose result is not/],
    ['tokenizer.ggml.bos_token_id', 308, /bos_token_id is 308, expected a token id, 0 … 307/],
    ['tokenizer.ggml.eos_token_id', 'x', /eos_token_id is "x", expected a token id/],
    ['tokenizer.ggml.eot_token_id', -1, /eot_token_id is -1/],
    ['tokenizer.ggml.add_bos_token', 'yes', /add_bos_token is "yes", expected true or false/],
  ])('%s = %j', (key, value, message) => {
    const metadata = changed(key, value);
    expect(() => tokenizerFromGguf(metadata)).toThrow(TokenizerError);
    expect(() => tokenizerFromGguf(metadata)).toThrow(message);
  });

  test('a template that is no string', () => {
    expect(() => templateFromGguf(changed('tokenizer.chat_template', 3))).toThrow(
      /chat_template is 3, expected a string/,
    );
  });

  test('ids may be bigints, "none" is 2³² − 1, and BOS follows add_bos_token or the kind of tokenizer', () => {
    expect(tokenizerFromGguf(changed('tokenizer.ggml.bos_token_id', 300n)).bos).toBe(300);
    expect(tokenizerFromGguf(changed('tokenizer.ggml.bos_token_id', 0xffffffff)).bos).toBe(null);
    expect(tokenizerFromGguf(changed('tokenizer.ggml.add_bos_token', false)).bos).toBe(null);
    expect(tokenizerFromGguf(changed('tokenizer.ggml.add_bos_token', undefined)).bos).toBe(300);
    const smol = asGguf(synthetic, 'smollm');
    smol.delete('tokenizer.ggml.add_bos_token');
    expect(tokenizerFromGguf(smol).bos).toBe(null);
  });
});

describe('tokenizer.model', () => {
  const lines = asTiktoken(synthetic).split('\n');
  const read = (text: string) => tokenizerFromTiktoken(new TextEncoder().encode(text), 't.model');
  test.each<[string, string, RegExp]>([
    ['empty', '', /t\.model: 0 lines; a byte-level vocabulary has at least 256/],
    ['SentencePiece', '\n\u000f\n\u0005<unk>', /t\.model: this is a SentencePiece model/],
    ['no base64', lines.with(3, 'Ä!? 3').join('\n'), /t\.model: line 4 is not "base64 rank"/],
    ['no rank', lines.with(5, 'YQ==').join('\n'), /t\.model: line 6 is not "base64 rank"/],
    ['a gap', lines.toSpliced(7, 1).join('\n'), /t\.model: line 8 has rank 8, expected 7/],
    ['a byte missing', lines.with(0x61, 'YWFh 97').join('\n'), /t\.model: no token for the byte 0x61/],
    ['cut off', lines.join('\n').slice(0, -8), /t\.model: line 300 is not/],
    ['a huge rank', lines.with(2, `Ag== ${'9'.repeat(400)}`).join('\n'), /t\.model: line 3 is not/],
    ["Llama 3's", 'YQ== 0\n'.repeat(128_000), /t\.model: 128000 ranks are Llama 3's vocabulary/],
  ])('%s', (_, text, message) => {
    expect(() => read(text)).toThrow(TokenizerError);
    expect(() => read(text)).toThrow(message);
  });

  test('line ends may be CRLF, and the last may be missing', () => {
    expect(read(lines.join('\r\n').trimEnd()).encode('the')).toEqual(read(lines.join('\n')).encode('the'));
  });
});

describe('tokenizer.json', () => {
  type Json = Record<string, Record<string, unknown>>;
  const read = (change: (json: Json) => void) => {
    const json = asJson(synthetic, written, 'pairs', true) as Json;
    change(json);
    return () => tokenizerFromJson(JSON.stringify(json), 't.json');
  };
  test.each<[string, (json: Json) => void, RegExp]>([
    ['another model', j => (j.model!.type = 'Unigram'), /t\.json: model\.type is "Unigram", expected "BPE"/],
    ['byte fallback', j => (j.model!.byte_fallback = true), /model\.byte_fallback is true \(SentencePiece\)/],
    ['a prefix', j => (j.model!.continuing_subword_prefix = '##'), /continuing_subword_prefix/],
    ['a normalizer', j => (j.normalizer = { type: 'NFC' }), /normalizer is "NFC", expected null/],
    ['no vocabulary', j => delete j.model!.vocab, /model\.vocab is missing/],
    ['no merges', j => delete j.model!.merges, /model\.merges is missing/],
    ['an id that is none', j => (j.model!.vocab = { a: -1 }), /model\.vocab\["a"\] has id -1/],
    ['a huge id', j => (j.model!.vocab = { a: 1e12 }), /model\.vocab\["a"\] has id 1000000000000/],
    ['an id twice', j => (j.model!.vocab = { a: 1, b: 1 }), /model\.vocab\["b"\] has id 1, which another token has/],
    ['merges of three', j => (j.model!.merges = ['a b c']), /model\.merges\[0\] is "a b c", expected/],
    [
      'merges of unknown tokens',
      j => (j.model!.merges = [['q', 'z']]),
      /model\.merges\[0\] is \["q","z"\], whose result/,
    ],
    [
      'added tokens without text',
      j => (j.added_tokens = [{ id: 3 }] as never),
      /added_tokens\[0\]\.content is missing/,
    ],
    ['no ByteLevel', j => (j.pre_tokenizer = { type: 'Digits' }), /pre_tokenizer has no ByteLevel step/],
    [
      'another pre-tokenizer',
      j => (j.pre_tokenizer = { type: 'Metaspace' }),
      /pre_tokenizer type "Metaspace" is not supported/,
    ],
    [
      'a bad pattern',
      j =>
        (j.pre_tokenizer = {
          type: 'Sequence',
          pretokenizers: [{ type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' }, { type: 'ByteLevel' }],
        }),
      /pre_tokenizer pattern cannot be used/,
    ],
  ])('%s', (_, change, message) => {
    expect(read(change)).toThrow(TokenizerError);
    expect(read(change)).toThrow(message);
  });

  test('text that is no JSON, or no object', () => {
    expect(() => tokenizerFromJson('{', 't.json')).toThrow(/t\.json: no JSON/);
    expect(() => tokenizerFromJson('[]', 't.json')).toThrow(/t\.json: expected an object/);
  });
});
