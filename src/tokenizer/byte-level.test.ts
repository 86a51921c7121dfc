// The tokenizer whole: tiktoken as oracle, the three sources against each other, streaming, special tokens, hostile input.
import fc from 'fast-check';
import { Tiktoken } from 'tiktoken';
import { describe, expect, test } from 'vitest';
import type { ByteLevelTokenizer } from './byte-level.ts';
import { tokenizerFromGguf } from './from-gguf.ts';
import { tokenizerFromJson } from './from-json.ts';
import { tokenizerFromTiktoken } from './from-tiktoken.ts';
import { openTokenizer } from './open-tokenizer.ts';
import { processorTime } from './processor-time.cases.ts';
import { asGguf, asJson, asTiktoken, makeVocabulary, texts } from './synthetic-vocabulary.cases.ts';

/** Meta's models/llama4/tokenizer.py, as it stands there. */
const metaPattern = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const llama3Pattern = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const synthetic = makeVocabulary(600);
const encoder = new TextEncoder();
const meta = tokenizerFromTiktoken(encoder.encode(asTiktoken(synthetic)));
const gguf = tokenizerFromGguf(asGguf(synthetic, 'llama4'));
const id = (tokenizer: ByteLevelTokenizer, text: string): number => tokenizer.specialTokens.get(text)!;

const anyText = fc.oneof(
  fc.array(fc.constantFrom(...texts.flatMap(t => t.match(/.{1,6}/gsu) ?? [])), { maxLength: 20 }).map(p => p.join('')),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
);
/** Ranges that hold all characters that came with Unicode 17: the oracle knows 16. */
const recent = [
  [0x88f, 0x88f],
  [0xc5c, 0xc5c],
  [0xcdc, 0xcdc],
  [0x1acf, 0x1aeb],
  [0xa7ce, 0xa7f1],
  [0x10940, 0x10fff],
  [0x11b60, 0x11dff],
  [0x16ea0, 0x1f2ff],
  [0x2b73a, 0x33fff],
] as const;
const oldText = anyText.filter(text =>
  [...text].every(c => !recent.some(([first, last]) => c.codePointAt(0)! >= first && c.codePointAt(0)! <= last)),
);

describe('tiktoken as oracle', () => {
  test.each([
    ['llama4', metaPattern, meta],
    ['llama3', llama3Pattern, tokenizerFromJson(JSON.stringify(asJson(synthetic, llama3Pattern, 'pairs', true)))],
  ])('%s: the same ids for any text', (_, pattern, ours) => {
    const oracle = new Tiktoken(asTiktoken(synthetic), {}, pattern);
    try {
      fc.assert(
        fc.property(oldText, text => {
          expect(ours.encode(text)).toEqual([...oracle.encode_ordinary(text)]);
        }),
        { numRuns: 1500 },
      );
      for (const c of '\u0295\u0085\ufeff\u001c\u017f\u00a0\u180e\u200b'.split(''))
        for (const text of [`a${c}b`, `${c}${c}b`, `x ${c}'s`, `a'${c}`, `1${c} ${c}\n`])
          expect(ours.encode(text)).toEqual([...oracle.encode_ordinary(text)]);
    } finally {
      oracle.free();
    }
  });
});

describe('sources', () => {
  test('GGUF and tokenizer.json give the same ids, merges as pairs or as strings', () => {
    const pairs = tokenizerFromJson(JSON.stringify(asJson(synthetic, metaPattern, 'pairs', true)));
    const strings = tokenizerFromJson(JSON.stringify(asJson(synthetic, metaPattern, 'strings', true)));
    expect(pairs.bos).toBe(gguf.bos);
    expect(pairs.vocabSize).toBe(gguf.vocabSize);
    expect(pairs.specialTokens).toEqual(gguf.specialTokens);
    expect(pairs.stopTokens).toEqual(gguf.stopTokens);
    fc.assert(
      fc.property(anyText, text => {
        const ids = gguf.encode(text);
        expect(pairs.encode(text)).toEqual(ids);
        expect(strings.encode(text)).toEqual(ids);
      }),
      { numRuns: 300 },
    );
  });

  test('a pattern without a scanner works as one with', () => {
    const other = JSON.stringify(asJson(synthetic, `(?:${metaPattern})`, 'pairs', true));
    const generic = tokenizerFromJson(other);
    fc.assert(
      fc.property(anyText, text => {
        expect(generic.encode(text)).toEqual(gguf.encode(text));
      }),
      { numRuns: 300 },
    );
  });

  test('Digits before ByteLevel is SmolLM’s pre-tokenizer', () => {
    const json = asJson(synthetic, '', 'pairs', false);
    json.pre_tokenizer = {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Digits', individual_digits: true },
        { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
      ],
    };
    const smol = tokenizerFromGguf(asGguf(synthetic, 'smollm'));
    const fromJson = tokenizerFromJson(JSON.stringify(json));
    fc.assert(
      fc.property(anyText, text => {
        expect(fromJson.encode(text)).toEqual(smol.encode(text));
      }),
      { numRuns: 300 },
    );
    expect(smol.encode('12')).toHaveLength(2);
  });

  test('openTokenizer tells the files apart', () => {
    const json = encoder.encode(JSON.stringify(asJson(synthetic, metaPattern, 'pairs', true)));
    expect(openTokenizer(json, 'x').vocabSize).toBe(gguf.vocabSize);
    expect(openTokenizer(encoder.encode(asTiktoken(synthetic)), 'x').vocabSize).toBe(600 + 2048);
    expect(() => openTokenizer(encoder.encode('GGUF....'), 'm.gguf')).toThrow(/m\.gguf: this is a GGUF/);
  });

  test("Meta's special tokens follow the ranks in Meta's order", () => {
    expect(meta.vocabSize).toBe(600 + 2048);
    const offset = (text: string): number => id(meta, text) - 600;
    expect(offset('<|begin_of_text|>')).toBe(0);
    expect(offset('<|header_start|>')).toBe(5);
    expect([...meta.stopTokens].map(t => t - 600)).toEqual([1, 7, 8]);
    expect(offset('<|text_post_train_reserved_special_token_5|>')).toBe(15);
    expect(offset('<|python_start|>')).toBe(16);
    expect(offset('<|finetune_right_pad|>')).toBe(18);
    expect(offset('<|text_post_train_reserved_special_token_68|>')).toBe(79);
    expect(offset('<|image_start|>')).toBe(80);
    expect(offset('<|tile_y_separator|>')).toBe(85);
    expect(offset('<|image|>')).toBe(90);
    expect(offset('<|patch|>')).toBe(92);
    expect(offset('<|vision_reserved_special_token_1047|>')).toBe(1133);
    expect(offset('<|reasoning_thinking_start|>')).toBe(1142);
    expect(offset('<|reserved_special_token_0|>')).toBe(1144);
    expect(offset('<|reserved_special_token_903|>')).toBe(2047);
    expect(meta.specialTokens.size).toBe(2048);
  });
});

describe('round trips', () => {
  test('decode undoes encode; lone surrogates become U+FFFD', () => {
    fc.assert(
      fc.property(anyText, text => {
        for (const tokenizer of [meta, gguf])
          expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.toWellFormed());
      }),
      { numRuns: 500 },
    );
    expect(meta.decode(meta.encode('a\ud800b'))).toBe('a\ufffdb');
  });

  test('a stream gives whole characters only and in the end the text, wherever tokens split it', () => {
    // The first 256 tokens are the bytes, so that bytes are a tokenization at every split point.
    for (const text of texts) {
      const bytes = encoder.encode(text);
      for (let split = 0; split <= bytes.length; split++) {
        const stream = gguf.stream();
        let first = '';
        for (const byte of bytes.subarray(0, split)) first += stream.push(byte);
        expect(first.isWellFormed() && text.startsWith(first) && !first.includes('\ufffd')).toBe(true);
        let rest = '';
        for (const byte of bytes.subarray(split)) rest += stream.push(byte);
        expect(first + rest + stream.end()).toBe(text);
        // And cut off there: what is incomplete becomes U+FFFD at the end, as in the whole.
        const cut = bytes.subarray(0, split);
        expect(gguf.decode(cut)).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(cut));
      }
      expect(
        meta
          .encode(text)
          .map(token => Buffer.from(meta.bytes(token)).toString('hex'))
          .join(''),
      ).toBe(Buffer.from(bytes).toString('hex'));
    }
  });

  test('a stream gives what decode gives, special tokens and unfinished characters among them', () => {
    const tokens = fc.array(fc.oneof(fc.nat({ max: gguf.vocabSize - 1 }), fc.nat({ max: 255 })), { maxLength: 30 });
    fc.assert(
      fc.property(tokens, fc.constantFrom<'skip' | 'show'>('skip', 'show'), (ids, special) => {
        const stream = gguf.stream({ special });
        const text = ids.map(token => stream.push(token)).join('') + stream.end();
        expect(gguf.decode(ids, { special })).toBe(text);
      }),
      { numRuns: 500 },
    );
    const many = Array.from({ length: 20_000 }, (_, i) => i % gguf.vocabSize);
    const stream = gguf.stream();
    expect(gguf.decode(many) === many.map(token => stream.push(token)).join('') + stream.end()).toBe(true);
  });

  test('any bytes stream as they decode at once', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), bytes => {
        const stream = gguf.stream();
        let text = '';
        for (const byte of bytes) text += stream.push(byte);
        expect(text + stream.end()).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes));
      }),
      { numRuns: 1000 },
    );
  });

  test('a stream can be used again after its end', () => {
    const stream = gguf.stream();
    expect(stream.push(0xc3) + stream.end()).toBe('\ufffd');
    expect(stream.push(0x61) + stream.end()).toBe('a');
    expect(stream.push(0xef) + stream.push(0xbb) + stream.push(0xbf) + stream.end()).toBe('\ufeff');
  });
});

describe('special tokens', () => {
  const text = 'a<|eot|>b<|header_start|><|eot|';

  test('are text by default and tokens when parsed', () => {
    for (const tokenizer of [meta, gguf]) {
      const plain = tokenizer.encode(text);
      expect(plain.some(token => [...tokenizer.specialTokens.values()].includes(token))).toBe(false);
      expect(tokenizer.decode(plain)).toBe(text);
      expect(tokenizer.encode(text, { special: 'parse' })).toEqual([
        ...tokenizer.encode('a'),
        id(tokenizer, '<|eot|>'),
        ...tokenizer.encode('b'),
        id(tokenizer, '<|header_start|>'),
        ...tokenizer.encode('<|eot|'),
      ]);
    }
  });

  test('are left out of decoded text unless shown; an unfinished character ends before them', () => {
    const ids = [0xc3, id(gguf, '<|eot|>'), 0x61];
    expect(gguf.decode(ids, { special: 'show' })).toBe('\ufffd<|eot|>a');
    expect(gguf.decode([0x61, id(gguf, '<|eot|>'), 0x62])).toBe('ab');
    expect(new TextDecoder().decode(gguf.bytes(id(gguf, '<|eot|>')))).toBe('<|eot|>');
  });

  test('the longest text at a place wins, and added tokens that are no control tokens are shown', () => {
    const metadata = asGguf(synthetic, 'llama4');
    const tokens = [...(metadata.get('tokenizer.ggml.tokens') as string[]), '<|eot|>more', '<think>'];
    metadata.set('tokenizer.ggml.tokens', tokens);
    metadata.set('tokenizer.ggml.token_type', [...(metadata.get('tokenizer.ggml.token_type') as number[]), 3, 4]);
    const tokenizer = tokenizerFromGguf(metadata);
    expect(tokenizer.encode('<|eot|>more', { special: 'parse' })).toEqual([tokens.length - 2]);
    expect(tokenizer.decode(tokenizer.encode('<think>x', { special: 'parse' }))).toBe('<think>x');
    expect(tokenizer.encode('<think>', { special: 'parse' })).toEqual([tokens.length - 1]);
    expect(tokenizer.encode('<think>').length).toBeGreaterThan(1);
  });

  test('ids outside the vocabulary are refused by name', () => {
    for (const bad of [-1, gguf.vocabSize, 1.5, Number.NaN]) {
      expect(() => gguf.decode([bad])).toThrow(RangeError);
      expect(() => gguf.bytes(bad)).toThrow(/is not in the vocabulary; ids are 0 … 607/);
    }
  });
});

describe('hostile length', () => {
  // One that cuts long runs as Meta does, and one that must encode them whole.
  const smol = tokenizerFromGguf(asGguf(synthetic, 'smollm'));
  test.each(['a', ' ', '😀', '<|eot|>'])('400,000 of %j', part => {
    const long = part.repeat(400_000 / part.length);
    const time = processorTime();
    for (const tokenizer of [meta, smol]) {
      const ids = tokenizer.encode(long, { special: 'parse' });
      expect(tokenizer.decode(ids, { special: 'show' }) === long).toBe(true);
    }
    expect(time()).toBeLessThan(8000);
  });

  test('8,000 characters the same, a piece of its own each time', () => {
    const time = processorTime();
    for (const part of ['a', 'A', ' ', '\n', '!', '1', 'ab', 'xX'])
      for (const tokenizer of [meta, smol]) tokenizer.encode(part.repeat(8000 / part.length));
    expect(time()).toBeLessThan(1000);
  });

  test('more different pieces than the cache holds come out right', () => {
    const words = Array.from({ length: 90_000 }, (_, i) => ` ${i.toString(36)}q`);
    const text = words.join('');
    const first = meta.encode(text);
    expect(`${meta.encode(text)}` === `${first}`).toBe(true);
    expect(meta.decode(first) === text).toBe(true);
  });
});
