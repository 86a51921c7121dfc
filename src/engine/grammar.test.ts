// Grammars against regular expressions that mean the same, masks against trying every token, and what must be refused in time.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createGrammar } from './grammar.ts';
import { GrammarError } from './grammar-error.ts';
import { compileGrammar, utf8Ranges } from './grammar-program.ts';
import { isAllowed, type TokenConstraint } from './token-constraint.ts';
import { createTokenTrie, type TokenBytes } from './token-trie.ts';

const encoder = new TextEncoder();
const tokensOf = (texts: readonly (string | Uint8Array)[]): TokenBytes => {
  const parts = texts.map(text => (typeof text === 'string' ? encoder.encode(text) : text));
  const offsets = Uint32Array.from([
    0,
    ...parts.map(
      (
        (sum: number) => part =>
          (sum += part.length)
      )(0),
    ),
  ]);
  return { bytes: Uint8Array.from(parts.flatMap(part => [...part])), offsets };
};
/** All bytes, some longer tokens, two tokens without bytes, and one text twice. The last is the stop token. */
const texts = [
  'aa',
  'ab',
  'abc',
  'ba',
  '", "',
  '{"',
  '":',
  'é',
  'éa',
  '日本',
  'aa',
  'aaaaaa',
  'aaaaac',
  '',
  '1',
  '12',
  '  ',
  '\n ',
  '',
];
const all = [...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...texts.map(t => encoder.encode(t))];
const STOP = all.length - 1;
const trie = createTokenTrie(tokensOf(all));

const begin = (grammar: string): TokenConstraint => createGrammar(grammar, trie).begin([STOP]);
/** Byte by byte; null where the text cannot go on. */
function follow(place: TokenConstraint, text: string): TokenConstraint | null {
  for (const byte of encoder.encode(text)) {
    if (!isAllowed(place.allowed, byte)) return null;
    place = place.after(byte);
  }
  return place;
}
const accepts = (grammar: string, text: string): boolean => {
  const end = follow(begin(grammar), text);
  return end !== null && isAllowed(end.allowed, STOP);
};

describe('the notation', () => {
  const same: [grammar: string, pattern: RegExp][] = [
    ['root ::= "a" | "bc"', /^(a|bc)$/],
    ['root ::= [a-c]* "x"?', /^[a-c]*x?$/],
    ['root ::= [^a"]+ # all but these\n', /^[^a"]+$/u],
    ['root ::= ("a" | "b" "c"){2,3} x\nx ::=\n  "x"\n  | ""', /^(a|bc){2,3}x?$/],
    ['root ::= "a"{2} [b]{1,} "c"{,2} "a"{0}', /^aab+c{0,2}$/],
    ['root ::= ("a" | "ab"){3,}', /^(a|ab){3,}$/],
    ['root ::= ("a"? "b"?){2,5} "c"', /^(a?b?){2,5}c$/],
    ['root ::= ("a"*){2,} "c"', /^a*c$/],
    ['root ::= . "\\u00e9" "\\x41" [\\u3040-\\u30ff\\]-]', /^[\s\S]éA[\u3040-\u30ff\]-]$/u],
    ['root ::= [\\U0001F600-\\U0001F64F]+', /^[\u{1f600}-\u{1f64f}]+$/u],
    ['root ::= "" | "a" root', /^a*$/],
    ['root::=a b\na::="a"|"ab"\nb::="bc"|"c"', /^(a|ab)(bc|c)$/],
  ];
  const parts = ['a', 'b', 'c', 'x', '"', 'é', 'A', 'ー', ']', '😀', '🙏', 'aab'];
  test.each(same)('%s', (grammar, pattern) => {
    let matched = 0;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 8 }), pieces => {
        const text = pieces.join('');
        const wanted = pattern.test(text);
        if (wanted) matched++;
        expect(accepts(grammar, text)).toBe(wanted);
      }),
      { numRuns: 300 },
    );
    const sample = ['a', 'x', 'b', 'abcx', 'aab', 'aaa', 'aac', 'c', '日éAー', '😀', 'aa', 'aaaac', 'abc'];
    expect(matched + sample.filter(text => pattern.test(text) && accepts(grammar, text)).length).toBeGreaterThan(0);
  });

  test('what is nested needs rules that come back to themselves', () => {
    const grammar = 'root ::= v\nv ::= "(" v* ")" | "a"';
    for (const text of ['a', '(a)', '((a)())', `${'('.repeat(500)}${')'.repeat(500)}`])
      expect(accepts(grammar, text)).toBe(true);
    for (const text of ['', '(', '(a', 'aa', ')', '((a)']) expect(accepts(grammar, text)).toBe(false);
  });

  const wrong: [grammar: string, message: RegExp][] = [
    ['', /at line 1, column 1: there is no rule 'root'/],
    ['root = "a"', /line 1, column 6: got "= .*wanted '::='/],
    ['root ::= "a', /line 1, column 10: this literal has no closing "/],
    ['root ::= [a', /column 10: this class has no closing \]/],
    ['root ::= [z-a]', /column 11: this range ends before it begins/],
    ['root ::= []', /this class has no character/],
    ['root ::= ("a"', /got the end, wanted '\)'/],
    ['root ::= "a")', /got "\)", wanted the name of a rule/],
    ['root ::= a\n\n b ::= "x"', /line 1, column 10: there is no rule 'a'/],
    ['root ::= "a"\nroot ::= "b"', /line 2, column 1: rule 'root' was defined before/],
    ['root ::= "\\q"', /column 11: got .* wanted an escape/],
    ['root ::= "\\ud800"', /is no character/],
    ['root ::= "a"{3,2}', /\{3,2\} ends before it begins/],
    ['root ::= "a"{9999999}', /9999999 repetitions, at most/],
    ['root ::= "a"**', /a repetition of a repetition/],
    ['root ::= root "a" | "a"', /rule 'root' begins with itself/],
    ['root ::= a\na ::= "x"? b\nb ::= a | "y"', /begins with itself/],
    ['root ::= "x" root', /rule 'root' can never end/],
    ['root ::= ("a"?){0,1000}', /up to 1000 repetitions of a part that may be empty/],
    ['root ::= $', /got "\$", wanted a literal/],
  ];
  test.each(wrong)('%j is refused', (grammar, message) => {
    expect(() => compileGrammar(grammar, 'grammar')).toThrow(message);
    expect(() => compileGrammar(grammar, 'grammar')).toThrow(GrammarError);
    expect(() => compileGrammar(grammar, 'body.grammar')).toThrow(/^body\.grammar/);
  });
});

test('UTF-8 ranges hold just the characters of the range', () => {
  const character = fc.integer({ min: 0, max: 0x10ffff });
  const edges = [0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff];
  fc.assert(
    fc.property(character, character, fc.array(character), (x, y, others) => {
      const [from, to] = x < y ? [x, y] : [y, x];
      const ranges = utf8Ranges(from, to);
      for (const c of [from, to, from - 1, to + 1, ...edges, ...others]) {
        if (c < 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) continue;
        const bytes = encoder.encode(String.fromCodePoint(c));
        const found = ranges.filter(
          range =>
            range.length === bytes.length && range.every(([low, high], i) => bytes[i]! >= low && bytes[i]! <= high),
        );
        expect(found.length).toBe(c >= from && c <= to ? 1 : 0);
      }
    }),
    { numRuns: 2000 },
  );
});

const grammars = [
  'root ::= "{" ("\\"" [^"\\\\]{1,4} "\\":" (root | "1"+ | "\\"" [^"]* "\\"")){0,3} "}"',
  'root ::= ("a" | "ab" | "ba"){2,20} [é日]?',
  'root ::= v "."\nv ::= "a" | "(" v* ")" | "b" v v',
  'root ::= [\\x80-\\U0010ffff]{2,5} " "*',
];

describe('the law', () => {
  test.each(grammars)('a token is allowed iff its bytes can follow: %s', grammar => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 30 }), choices => {
        let place = begin(grammar);
        for (const choice of choices) {
          const { allowed } = place;
          const can = all.map((_, token) => isAllowed(allowed, token));
          all.forEach((bytes, token) => {
            if (token === STOP) return;
            let at: TokenConstraint | null = bytes.length === 0 ? null : place;
            for (const byte of bytes) at = at && isAllowed(at.allowed, byte) ? at.after(byte) : null;
            expect(can[token]).toBe(at !== null);
          });
          if (place.ended) return;
          const tokens = [...can.keys()].filter(token => can[token]);
          const token = tokens[choice % tokens.length]!;
          if (token === STOP) return;
          place = place.after(token);
        }
      }),
      { numRuns: 30 },
    );
  });

  test.each([
    ['root ::= ("a" | "é" | "b"){70,90} "c"', 100],
    ['root ::= ("a"{1,70} "b"){66,68} [c1]', 260],
    ['root ::= (("a" | "aa"){100,130} [b1]?){65,}', 400],
  ])('counters near and far from their bounds: %s', (grammar, longest) => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'a', 'a', 'aa', 'ab', 'b', 'c'), { minLength: longest, maxLength: longest }),
        steps => {
          let place = begin(grammar);
          for (const step of steps) {
            const next = follow(place, step);
            if (next === null) continue;
            place = next;
            // Each text from here byte by byte says what the mask of this place must say.
            for (const [i, text] of texts.entries())
              if (text !== '') expect(isAllowed(place.allowed, 256 + i)).toBe(follow(place, text) !== null);
          }
        },
      ),
      { numRuns: 12 },
    );
  });

  test.each(grammars)('what was tried and taken back leaves no trace: %s', grammar => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 20 }), fc.array(fc.nat(), { maxLength: 8 }), (choices, tries) => {
        const run = (withTries: boolean): Uint32Array[] => {
          let place = begin(grammar);
          const masks: Uint32Array[] = [];
          const go = (from: TokenConstraint, choice: number): TokenConstraint => {
            const tokens = [...all.keys()].filter(token => token !== STOP && isAllowed(from.allowed, token));
            return tokens.length === 0 ? from : from.after(tokens[choice % tokens.length]!);
          };
          for (const choice of choices) {
            if (withTries) tries.reduce((at, tried) => go(at, tried), place);
            masks.push(place.allowed);
            place = go(place, choice);
          }
          return masks;
        };
        expect(run(true)).toEqual(run(false));
      }),
      { numRuns: 50 },
    );
  });

  test('a token that is not allowed is refused, and one that ends the text ends it', () => {
    const place = begin('root ::= "ab" "c"?');
    expect(() => place.after(0x62)).toThrow(/token 98 is not allowed/);
    expect(() => place.after(STOP)).toThrow(/not allowed/);
    const whole = place.after(all.length - texts.length + 1);
    expect([whole.ended, isAllowed(whole.allowed, STOP)]).toEqual([false, true]);
    expect(whole.after(STOP).ended).toBe(true);
    expect(whole.after(0x63).ended).toBe(true);
  });

  test('more states than are kept, and still right', () => {
    const grammar = createGrammar('root ::= (("a" | "b"){1,9000} "c"){2}', trie);
    let place = grammar.begin([STOP]);
    for (let i = 0; i < 9000; i++) {
      if (i % 1000 === 7)
        expect([isAllowed(place.allowed, 0x61), isAllowed(place.allowed, 0x64)]).toEqual([true, false]);
      place = place.after(i % 3 === 0 ? 0x61 : 0x62);
    }
    expect([isAllowed(place.allowed, 0x61), isAllowed(place.allowed, 0x63)]).toEqual([false, true]);
    for (const byte of encoder.encode('cabc')) place = place.after(byte);
    expect(place.ended).toBe(true);
  });
});

describe('bombs', () => {
  const bombs: [name: string, grammar: string][] = [
    ['60,000 groups', `root ::= ${'('.repeat(60_000)}"a"${')'.repeat(60_000)}`],
    ['60,000 open groups', `root ::= ${'('.repeat(60_000)}`],
    ['a million alternatives', `root ::= "a"${'|"a"'.repeat(60_000)}`],
    ['an enormous text', `root ::= "${'a'.repeat(2_000_000)}"`],
    ['many large classes', `root ::= ${'[^a]'.repeat(20_001)}`],
  ];
  test.each(bombs)('%s: refused in 100 ms', (_, grammar) => {
    const start = performance.now();
    expect(() => compileGrammar(grammar)).toThrow(GrammarError);
    expect(performance.now() - start).toBeLessThan(100);
  });

  const nested = (depth: number): string => (depth === 0 ? '"a"' : `(${nested(depth - 1)} ${nested(depth - 1)}){1,9}`);
  const followed: [name: string, grammar: string][] = [
    ['repetitions of repetitions', 'root ::= (((("a"+)+)+)+)+ "b"'],
    ['alternatives that begin alike', 'root ::= ("a" | "a" | "aa")* "b"'],
    ['counters in counters', `root ::= ${nested(6)}`],
    ['two ways at every step', 'root ::= x "."\nx ::= "a" | "a" x "b" | "a" x "c" | "a" x x'],
  ];
  test.each(followed)('%s: followed, or refused as too ambiguous, in a second', (_, grammar) => {
    const start = performance.now();
    try {
      let place = begin(grammar);
      for (let i = 0; i < 200 && !place.ended; i++) {
        expect(isAllowed(place.allowed, 0x61)).toBe(true);
        place = place.after(0x61);
      }
    } catch (error) {
      expect(String(error)).toMatch(/GrammarError: grammar: it is too ambiguous/);
    }
    expect(performance.now() - start).toBeLessThan(1000);
  });
});
