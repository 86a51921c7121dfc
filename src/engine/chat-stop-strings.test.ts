// Stop strings: the same result however the text is cut, and nothing held back that could be shown.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createStopStrings } from './chat-stop-strings.ts';

function run(stops: string[], pieces: string[]): { text: string; stopped: boolean } {
  const filter = createStopStrings(stops);
  let text = '';
  for (const piece of pieces) text += filter.push(piece);
  return { text: text + filter.end(), stopped: filter.stopped };
}

describe('stop strings', () => {
  test('every way to cut a text in two and in three', () => {
    const text = 'One, two…\n\nUser: what 😀 now?';
    for (const stops of [['\n\nUser:'], ['User', '\n\n'], ['😀'], ['xyz'], ['two…\n\nUser', 'o…\n']]) {
      const whole = run(stops, [text]);
      for (let i = 0; i <= text.length; i++)
        for (let j = i; j <= text.length; j++)
          expect(run(stops, [text.slice(0, i), text.slice(i, j), text.slice(j)])).toEqual(whole);
    }
    expect(run(['\n\nUser:'], [text])).toEqual({ text: 'One, two…', stopped: true });
    expect(run(['xyz'], [text])).toEqual({ text, stopped: false });
  });

  test('for any strings over a small alphabet, cut anywhere, the first to be complete ends the text', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 5 });
    const pieces = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 }), { maxLength: 8 });
    fc.assert(
      fc.property(fc.array(word, { maxLength: 4 }), pieces, (stops, parts) => {
        const text = parts.join('');
        let expected = { text, stopped: false };
        for (let end = 1; end <= text.length && !expected.stopped; end++) {
          const starts = stops.filter(s => text.slice(0, end).endsWith(s)).map(s => end - s.length);
          if (starts.length > 0) expected = { text: text.slice(0, Math.min(...starts)), stopped: true };
        }
        expect(run(stops, parts)).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });

  test('holds back only what may still become a stop string', () => {
    const filter = createStopStrings(['END']);
    expect(filter.push('the E')).toBe('the ');
    expect(filter.push('N')).toBe('');
    expect(filter.push('x')).toBe('ENx');
    expect(filter.push('E')).toBe('');
    expect(filter.end()).toBe('E');
    expect(createStopStrings([]).push('all of it')).toBe('all of it');
  });

  test('long runs of a beginning are not quadratic', () => {
    const filter = createStopStrings([`${'a'.repeat(50)}b`]);
    const start = performance.now();
    let shown = 0;
    for (let i = 0; i < 20_000; i++) shown += filter.push('a').length;
    expect(shown).toBe(20_000 - 50);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
