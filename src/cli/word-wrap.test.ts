// Words at the right edge: whatever pieces a text comes in, the screen shows whole words.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WordWrap, widthOf, wrapWords } from './word-wrap.ts';

const ESC = '\x1b';
const BACK_OR_CHARACTER = new RegExp(`${ESC}\\[(\\d+)D${ESC}\\[K|[^]`, 'gu');

/** What a terminal shows that knows lines, moving back and erasing; a line that runs over goes on in the next. */
function screen(written: string, columns: number): string[] {
  const lines: string[][] = [[]];
  let at = 0;
  for (const [part, back] of written.matchAll(BACK_OR_CHARACTER)) {
    const line = lines.at(-1)!;
    if (back) {
      at -= Number(back);
      line.length = at;
    } else if (part === '\n') {
      lines.push([]);
      at = 0;
    } else {
      const width = widthOf(part);
      if (at + width > columns) {
        lines.push([]);
        at = 0;
      }
      lines.at(-1)![at] = part;
      at += width;
    }
  }
  return lines.map(line =>
    Array.from(line, cell => cell ?? '')
      .join('')
      .trimEnd(),
  );
}

const shown = (pieces: readonly string[], columns: number): string[] => {
  const wrap = new WordWrap(() => columns);
  return screen(pieces.map(piece => wrap.push(piece)).join(''), columns);
};

describe('a stream', () => {
  test('breaks between words, wherever the pieces end', () => {
    const text = 'The lighthouse keeper had seen ships, and more ships.\nShe slept.';
    const lines = ['The lighthouse', 'keeper had seen', 'ships, and more', 'ships.', 'She slept.'];
    expect(shown([text], 17)).toEqual(lines);
    expect(shown([...text], 17)).toEqual(lines);
    expect(shown(text.split(/(?=e)/), 17)).toEqual(lines);
  });

  test('a word longer than a line has lines of its own', () => {
    expect(shown(['see https://example.org/a/long/address now'], 16)).toEqual([
      'see',
      'https://example.',
      'org/a/long/addre',
      'ss',
      'now',
    ]);
  });

  test('code between fences is left as it is', () => {
    const code = '```\nconst a = 1; const b = 2; const c = 3;\n```\n';
    const wrap = new WordWrap(() => 16);
    expect([...code].map(c => wrap.push(c)).join('')).toBe(code);
    expect(wrap.push('and then it goes on').includes('\n')).toBe(true);
  });

  test('wide characters may be parted, joined ones not', () => {
    expect(shown(['海海海海海海'], 9)).toEqual(['海海海海', '海海']);
    expect(widthOf('é')).toBe(1);
    expect(widthOf('\u0301')).toBe(0);
    expect(widthOf('🐋')).toBe(2);
  });

  test('the law: no word of a line that fits is cut, none is lost, whatever the pieces', () => {
    const word = fc.stringMatching(/^[a-zé.,]{1,9}$/);
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 11, max: 40 }),
        fc.integer({ min: 1, max: 7 }),
        (words, columns, size) => {
          const text = words.join(' ');
          const pieces = text.match(new RegExp(`[^]{1,${size}}`, 'g'))!;
          const lines = shown(pieces, columns);
          expect(lines.join(' ').split(/ +/).filter(Boolean)).toEqual(words);
          for (const line of lines) expect(line.length).toBeLessThan(columns);
        },
      ),
    );
  });
});

test('a whole text', () => {
  expect(wrapWords('one two three four', 9)).toBe('one two\nthree\nfour');
  expect(wrapWords('/retry   answer it\n\nlast', 80)).toBe('/retry   answer it\n\nlast');
});
