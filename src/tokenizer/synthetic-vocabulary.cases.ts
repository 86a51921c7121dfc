// A small byte-level vocabulary made on the spot, in every form the sources read, so that tests need no file.
import { byteText } from './byte-unicode.ts';
import type { Metadata } from './from-gguf.ts';
import { patterns } from './patterns.ts';

const corpus = `The quick brown fox doesn't jump over the lazy dog's tail; they're 1234 and THE END of it all, isn't it? 12345 67
Straße ÜBER naïve café Ünïcödé. Привет, мир! Как дела? Привет. 你好，世界。今天天气怎么样？ こんにちは世界、カタカナ 안녕하세요 세계
مرحبا بالعالم كيف حالك שלום עולם नमस्ते दुनिया, आप कैसे हैं? สวัสดีชาวโลก Xin chào thế giới 👩‍👩‍👧‍👦 🇫🇷 é
function add(a: number, b: number): number { return a + b; }\r\n\tif (x) {\n\t\treturn "<|eot|>";\n\t}\n\n\n    // comment a/b//c
<|begin_of_text|> the the the there then them and and and hand land aaaa aaaaaaaa aa      aaaa ---- ==== .... !!!! ????`;

/** Texts in twelve languages and more, for round trips. */
export const texts: readonly string[] = [
  ...corpus.split('\n'),
  'Bahasa Indonesia: apa kabar? Tagalog: Kumusta ka?',
  'Ελληνικά, ქართული, հայերեն',
  '🎉👩‍👩‍👧‍👦🇫🇷🏳️‍🌈👍🏽 1️⃣',
  '\ufefforder mark, end\u0000null \u200bzero\u200dwidth',
];

export const specials: readonly string[] = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|header_start|>',
  '<|header_end|>',
  '<|eom|>',
  '<|eot|>',
  '<|im_start|>',
  '<|im_end|>',
];

export interface SyntheticVocabulary {
  /** Bytes of the tokens in order of rank, without the specials. */
  readonly tokens: readonly Uint8Array[];
  /** Pairs in merge order, each making the token 256 + its place. */
  readonly merges: readonly (readonly [Uint8Array, Uint8Array])[];
}

const key = (bytes: Uint8Array): string => byteText(bytes);

/** Trains byte-pair merges on the corpus: the most frequent pair first, the pieces cut by Llama 4's pattern. */
export function makeVocabulary(size: number): SyntheticVocabulary {
  const encoder = new TextEncoder();
  const words = [...corpus.matchAll(new RegExp(patterns.llama4, 'gu'))].map(([word]) =>
    [...encoder.encode(word)].map(byte => Uint8Array.of(byte)),
  );
  const tokens = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const merges: (readonly [Uint8Array, Uint8Array])[] = [];
  const known = new Set(tokens.map(key));
  while (tokens.length < size) {
    const counts = new Map<string, { count: number; pair: readonly [Uint8Array, Uint8Array] }>();
    for (const word of words)
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = [word[i]!, word[i + 1]!] as const;
        const name = `${key(pair[0])} ${key(pair[1])}`;
        const entry = counts.get(name);
        if (entry) entry.count++;
        else if (!known.has(key(pair[0]) + key(pair[1]))) counts.set(name, { count: 1, pair });
      }
    const best = [...counts.values()].reduce((a, b) => (b.count > a.count ? b : a), { count: 0, pair: null as never });
    if (best.count === 0) break;
    const merged = new Uint8Array([...best.pair[0], ...best.pair[1]]);
    tokens.push(merged);
    merges.push(best.pair);
    known.add(key(merged));
    for (const word of words)
      for (let i = 0; i + 1 < word.length; i++)
        if (key(word[i]!) === key(best.pair[0]) && key(word[i + 1]!) === key(best.pair[1])) word.splice(i, 2, merged);
  }
  return { tokens, merges };
}

/** As Meta's tokenizer.model, whose special tokens the reader adds. */
export function asTiktoken({ tokens }: SyntheticVocabulary): string {
  return tokens.map((bytes, rank) => `${Buffer.from(bytes).toString('base64')} ${rank}\n`).join('');
}

export function asGguf({ tokens, merges }: SyntheticVocabulary, pre: string): Map<string, unknown> & Metadata {
  return new Map<string, unknown>([
    ['general.architecture', 'llama4'],
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', pre],
    ['tokenizer.ggml.tokens', [...tokens.map(byteText), ...specials]],
    ['tokenizer.ggml.token_type', [...tokens.map(() => 1), ...specials.map(() => 3)]],
    ['tokenizer.ggml.merges', merges.map(([left, right]) => `${byteText(left)} ${byteText(right)}`)],
    ['tokenizer.ggml.bos_token_id', tokens.length],
    ['tokenizer.ggml.eos_token_id', tokens.length + 5],
    ['tokenizer.ggml.add_bos_token', true],
  ]);
}

/** As tokenizer.json; merges in the form asked for, the pattern as files write it. */
export function asJson(
  { tokens, merges }: SyntheticVocabulary,
  pattern: string,
  form: 'pairs' | 'strings',
  ignoreMerges: boolean,
): Record<string, unknown> {
  const pairs = merges.map(([left, right]) => [byteText(left), byteText(right)]);
  return {
    version: '1.0',
    added_tokens: specials.map((content, i) => ({ id: tokens.length + i, content, special: true })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: {
      type: 'Sequence',
      processors: [
        { type: 'ByteLevel' },
        {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: null,
      byte_fallback: false,
      ignore_merges: ignoreMerges,
      vocab: Object.fromEntries(tokens.map((bytes, id) => [byteText(bytes), id])),
      merges: form === 'pairs' ? pairs : pairs.map(pair => pair.join(' ')),
    },
  };
}
