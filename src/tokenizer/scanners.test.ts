// The hand-made scanners against the patterns they stand for.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { classify, LETTER, LOWER, NEWLINE, NUMBER, SPACE, UPPER } from './char-class.ts';
import { metaCuts, patterns, preTokenizers, regexScanner } from './patterns.ts';
import { processorTime } from './processor-time.cases.ts';
import type { Scanner } from './scanners.ts';

const unitsOf = (text: string): Uint16Array => Uint16Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));

function pieces(scan: Scanner, text: string): string[] {
  const units = unitsOf(text);
  const found: string[] = [];
  for (let i = 0; i < text.length; ) {
    const end = scan(units, i, text.length);
    if (end <= i || end > text.length) throw new Error(`piece from ${i} ends at ${end}`);
    found.push(text.slice(i, end));
    i = end;
  }
  return found;
}

const byPattern = (pattern: string, text: string): string[] => text.match(new RegExp(pattern, 'gu')) ?? [];

/** Every general category, what stands at the borders of the classes, and the makings of contractions. */
const characters = [
  ..."abzsStTrReEvVmMlLdD'\u2019\u017f",
  ...'AZÉǅʰªא你́ः⃝09½²Ⅷ٣',
  ...' \t\n\r\u000b\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\ufeff\u200b\u200d\u001c\u001f\u0000',
  ...'./!<|>-_€+()«»$\u00ad\ue000\ufffd\u0378',
  ...'𝐀𝐚𐐀𐐨𠀀𝟘😀👍🏽𞤀',
];
const texts = fc.oneof(
  fc.array(fc.constantFrom(...characters), { maxLength: 40 }).map(c => c.join('')),
  fc
    .array(fc.constantFrom(...characters.slice(0, 24), ' ', ' ', 'A', 'e\u0301'), { maxLength: 40 })
    .map(c => c.join('')),
  fc.string({ unit: 'binary', maxLength: 40 }).map(t => t.toWellFormed()),
);

describe('scanners', () => {
  test.each([
    ['llama4', patterns.llama4],
    ['gpt-4o', patterns.llama4],
    ['llama-bpe', patterns.llama3],
    ['smaug-bpe', patterns.llama3],
    ['qwen2', patterns.qwen2],
    ['gpt-2', patterns.gpt2],
  ])('%s cuts as its pattern does', (name, pattern) => {
    const { scan } = preTokenizers.get(name)!;
    fc.assert(
      fc.property(texts, text => {
        expect(pieces(scan, text)).toEqual(byPattern(pattern, text));
      }),
      { numRuns: 1500 },
    );
  });

  test('smollm splits digits off first and cuts what is between as a text of its own', () => {
    const { scan } = preTokenizers.get('smollm')!;
    fc.assert(
      fc.property(texts, text => {
        const expected = text
          .split(/(\p{N})/u)
          .flatMap(part => (/^\p{N}$/u.test(part) ? [part] : byPattern(patterns.gpt2, part)));
        expect(pieces(scan, text)).toEqual(expected);
      }),
      { numRuns: 1500 },
    );
  });

  test('the generic scanner cuts as a scanner made by hand', () => {
    const generic = regexScanner(['\\p{N}', patterns.gpt2]);
    fc.assert(
      fc.property(texts, text => {
        expect(pieces(generic, text)).toEqual(pieces(preTokenizers.get('smollm')!.scan, text));
      }),
    );
    const long = 'word 12 '.repeat(40_000);
    expect(pieces(generic, long).join('')).toBe(long);
  });

  test('default cuts punctuation first and numbers in threes, and loses nothing', () => {
    const { scan } = preTokenizers.get('default')!;
    expect(pieces(scan, "it's 123456 + x")).toEqual(['it', "'", 's', ' ', '123', '456', ' ', '+', ' x']);
    fc.assert(fc.property(texts, text => pieces(scan, text).join('') === text));
  });

  test('contractions fold U+017F to s, as tiktoken does', () => {
    expect(pieces(preTokenizers.get('llama4')!.scan, "a'ſx A'ſ")).toEqual(["a'ſ", 'x', " A'ſ"]);
  });

  test('long runs take linear time', () => {
    const time = processorTime();
    for (const character of ['A', 'a', ' ', '\n', '!', '9', '\u0301', 'א', '😀', '\u0301A', "'", ' \n'])
      for (const name of ['llama4', 'llama3', 'gpt-2', 'smollm']) {
        const units = unitsOf(character.repeat(40_000));
        for (let i = 0; i < units.length; ) i = preTokenizers.get(name)!.scan(units, i, units.length);
      }
    expect(time()).toBeLessThan(5000);
  });
});

test('classes of every code point below U+3000 and beyond are those of the patterns', () => {
  const whole: [RegExp, number][] = [
    [/^[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]$/u, UPPER],
    [/^[\p{Ll}\p{Lm}\p{Lo}\p{M}]$/u, LOWER],
    [/^\p{L}$/u, LETTER],
    [/^\p{N}$/u, NUMBER],
    [/^\p{White_Space}$/u, SPACE],
    [/^[\r\n]$/u, NEWLINE],
  ];
  for (let c = 0; c < 0x20000; c += c < 0x3000 ? 1 : 7) {
    if ((c >= 0xd800 && c < 0xe000) || c === 0x295) continue;
    for (const [pattern, bit] of whole)
      if (pattern.test(String.fromCodePoint(c)) !== ((classify(c) & bit) !== 0)) expect(`U+${c.toString(16)}`).toBe('');
  }
});

describe("Meta's limits", () => {
  /** Straight from the description: characters are code points, white space is Python's. */
  function simple(text: string): string[] {
    const parts: string[] = [];
    const all = [...text];
    for (let from = 0; from < all.length; from += 400_000) {
      let part = '';
      let run = 0;
      let before: boolean | null = null;
      for (const c of all.slice(from, from + 400_000)) {
        const space = /\p{White_Space}/u.test(c) || (c >= '\x1c' && c <= '\x1f');
        run = space === before ? run + 1 : 1;
        before = space;
        if (run > 25_000) {
          parts.push(part);
          part = '';
          run = 1;
        }
        part += c;
      }
      parts.push(part);
    }
    return parts;
  }
  const cut = (text: string): string[] => {
    let from = 0;
    return metaCuts(unitsOf(text), 0, text.length).map(end => {
      const part = text.slice(from, end);
      from = end;
      return part;
    });
  };

  test.each([
    ['', 'empty'],
    ['a'.repeat(25_000), 'a run just short enough'],
    ['a'.repeat(25_001), 'one too many'],
    ['\u001c'.repeat(30_000), 'white space of Python alone'],
    [`${' '.repeat(60_000)}x${'😀'.repeat(30_000)} ${'ab'.repeat(30_000)}`, 'several runs, pairs'],
    [`${'word '.repeat(90_000)}`, 'more than 400,000'],
    [`${'😀 '.repeat(150_000)}${'y'.repeat(200_000)}`, 'characters are code points'],
  ])('case %#: %$', text => {
    expect(cut(text).map(p => p.length)).toEqual(simple(text).map(p => p.length));
  });
});
