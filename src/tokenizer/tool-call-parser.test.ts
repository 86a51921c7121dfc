// The corpus of transcripts, cut at every byte; nothing is ever lost, whatever is read; and hostile texts cost no more than others.
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CallableTool, ToolCallPiece } from './tool-call-events.ts';
import { createToolCallParser } from './tool-call-parser.ts';

interface Transcript {
  readonly name: string;
  readonly text: string;
  readonly calls: readonly { readonly name: string; readonly arguments: unknown }[];
  /** What a user is shown. */
  readonly shown: string;
  /** Calls that broke off, with what was read of their arguments. */
  readonly incomplete?: readonly { readonly name: string; readonly arguments: string }[];
}

const folder = new URL('../../test/fixtures/tool-calls/', import.meta.url);
const corpus = readdirSync(folder)
  .filter(file => file.endsWith('.json'))
  .map(file => {
    const { tools, transcripts } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as {
      tools: CallableTool[];
      transcripts: Transcript[];
    };
    return { file, tools, transcripts };
  });

function read(tools: readonly CallableTool[] | null, parts: Iterable<string>) {
  const parser = createToolCallParser(tools);
  const pieces: ToolCallPiece[] = [];
  for (const part of parts) pieces.push(...parser.push(part));
  return sumOf([...pieces, ...parser.end()]);
}

function sumOf(pieces: readonly ToolCallPiece[]) {
  const calls: { name: string; json: string; complete: boolean | null }[] = [];
  let shown = '';
  let raw = '';
  for (const piece of pieces) {
    raw += piece.type === 'text' ? piece.text : piece.type === 'call-end' ? '' : piece.raw;
    if (piece.type === 'text') shown += piece.text;
    else if (piece.type === 'call-start') {
      expect(piece.index).toBe(calls.length);
      expect(calls.at(-1)?.complete).not.toBe(null);
      calls.push({ name: piece.name, json: '', complete: null });
    } else if (piece.type !== 'frame') {
      const call = calls[piece.index]!;
      expect(call.complete).toBe(null);
      if (piece.type === 'call-end') call.complete = piece.complete;
      else call.json += piece.delta;
    }
  }
  expect(calls.at(-1)?.complete).not.toBe(null);
  return { calls, shown, raw };
}

/** The text as a stream of bytes gives it that is cut at some places. */
function decoded(text: string, cuts: readonly number[]): string[] {
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const borders = [0, ...cuts, bytes.length];
  return borders.slice(1).map((end, i) => decoder.decode(bytes.subarray(borders[i], end), { stream: true }));
}

describe('the corpus', () => {
  test('has at least 200 transcripts', () => {
    expect(corpus.flatMap(({ transcripts }) => transcripts).length).toBeGreaterThanOrEqual(200);
  });

  describe.each(corpus)('$file', ({ tools, transcripts }) => {
    test.each(transcripts)('$name', ({ text, calls, shown, incomplete = [] }) => {
      const whole = read(tools, [text]);
      expect(whole.raw).toBe(text);
      expect(whole.shown).toBe(shown);
      const complete = whole.calls.filter(call => call.complete);
      expect(complete.map(({ name, json }) => ({ name, arguments: JSON.parse(json) }))).toEqual(calls);
      expect(whole.calls.filter(call => !call.complete).map(({ name, json }) => ({ name, arguments: json }))).toEqual(
        incomplete,
      );
      // Cut at every byte, and in two at each.
      const length = new TextEncoder().encode(text).length;
      const everywhere = Array.from({ length: Math.max(0, length - 1) }, (_, i) => i + 1);
      expect(read(tools, decoded(text, everywhere))).toEqual(whole);
      for (const cut of everywhere) expect(read(tools, decoded(text, [cut]))).toEqual(whole);
    });
  });
});

const tools = corpus[0]!.tools;
const fragments = corpus.flatMap(({ transcripts }) => transcripts.map(({ text }) => text));
const soup = fc.array(
  fc.oneof(
    fc.constantFrom(...'{}[]()<>"\'\\,:=;| \n'),
    fc.constantFrom(
      '{"name": "now"',
      '"parameters": {',
      '[now(',
      'get_weather(',
      'city=',
      '<function=now>',
      '</function>',
    ),
    fc.constantFrom(
      '<|python_start|>',
      '<|python_end|>',
      'null',
      'True',
      '1.5',
      '"a',
      '"""',
      '\\u12',
      'é',
      '😀',
      '\ud800',
    ),
    fc.constantFrom(...fragments).chain(text => fc.nat(text.length).map(n => text.slice(0, n))),
    fc.string(),
  ),
  { maxLength: 12 },
);

describe('the law', () => {
  test('text and calls put together are what was read, and complete arguments are JSON objects', () => {
    fc.assert(
      fc.property(soup, fc.boolean(), (parts, known) => {
        const text = parts.join('');
        const { raw, calls } = read(known ? tools : null, [text]);
        expect(raw).toBe(text);
        for (const { json, complete } of calls) if (complete) expect(JSON.parse(json)).toBeTypeOf('object');
      }),
      { numRuns: 3000 },
    );
  });

  test('how it is cut changes nothing', () => {
    fc.assert(
      fc.property(soup, fc.array(fc.nat(40), { maxLength: 30 }), fc.boolean(), (parts, lengths, known) => {
        const text = parts.join('');
        const cut: string[] = [];
        let from = 0;
        for (const length of lengths) {
          cut.push(text.slice(from, from + length));
          from += length;
        }
        cut.push(text.slice(from));
        const list = known ? tools : null;
        expect(read(list, cut)).toEqual(read(list, [text]));
        expect(read(list, text.split(''))).toEqual(read(list, [text]));
      }),
      { numRuns: 2000 },
    );
  });

  test('any arguments come through JSON as they are', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), args => {
        const text = JSON.stringify({ name: 'x', parameters: args });
        expect(JSON.parse(read(null, [text]).calls[0]!.json)).toEqual(JSON.parse(JSON.stringify(args)));
      }),
    );
  });
});

describe('pieces come as soon as they are certain', () => {
  const steps = (text: string): string[] => {
    const parser = createToolCallParser(tools);
    return [...text].map(c =>
      parser
        .push(c)
        .map(p =>
          p.type === 'text'
            ? p.text
            : p.type === 'call-start'
              ? `<${p.name}>`
              : p.type === 'call-arguments'
                ? p.delta
                : '.',
        )
        .join(''),
    );
  };
  test('text at once, a name with the first of its arguments, arguments character by character', () => {
    expect(steps('ab {"name": "translate", "parameters": {"text": "xyz"}}').filter(s => s !== '')).toEqual([
      ...'ab ',
      '<translate>{',
      '"text":',
      '"',
      ...'xyz"}',
      '.',
    ]);
    expect(steps('[translate(text="xy")]').filter(s => s !== '')).toEqual([
      '<translate>{"text":',
      '"',
      'x',
      'y',
      '"',
      '}.',
      '.',
    ]);
    expect(steps('a [b] {c')).toEqual([...'a ', '', '', '[b]', ' ', '', '{c']);
  });
});

describe('hostile texts', () => {
  const timed = (text: string, piece: number): number => {
    const parts = text.match(new RegExp(`[^]{1,${piece}}`, 'g'))!;
    const start = performance.now();
    const parser = createToolCallParser(tools);
    let length = 0;
    for (const part of parts) for (const p of parser.push(part)) length += p.type === 'text' ? p.text.length : 0;
    parser.end();
    expect(length).toBeLessThanOrEqual(text.length);
    return performance.now() - start;
  };
  const long = 1_000_000;
  test.each([
    ['brackets', '['.repeat(long)],
    ['braces', '{'.repeat(long)],
    ['braces and quotes', '{"'.repeat(long / 2)],
    ['a string that never ends', `{"name": "${'x'.repeat(long)}`],
    ['arguments that come first and never end', `{"parameters": ["${'x'.repeat(long)}`],
    ['white space', `{"name":${' '.repeat(long)}`],
    ['deep arguments', `{"name": "now", "parameters": ${'{"a":'.repeat(long / 5)}`],
    ['deep lists', `[now(a=${'['.repeat(long)}`],
    ['names', `[${'now'.repeat(long / 3)}`],
    ['markers', '<|python_start|>'.repeat(long / 16)],
    ['markers and objects', '<|python_start|>{"name":'.repeat(long / 24)],
    ['beginnings of tags', '<function='.repeat(long / 10)],
    ['calls', '[now()],'.repeat(long / 8)],
    ['backslashes', `{"name": "now", "parameters": {"a": "${'\\\\'.repeat(long / 2)}"}}`],
    ['one long string', `{"name": "now", "parameters": {"a": "${'é\\n'.repeat(long / 3)}"}}`],
    ['lists of objects', '[{"type": 1, '.repeat(long / 13)],
  ])('a megabyte of %s takes linear time', (_, text) => {
    expect(timed(text, long * 2)).toBeLessThan(3000);
    expect(timed(text.slice(0, long / 5), 7)).toBeLessThan(3000);
  });

  test('what is held back is bounded', () => {
    const parser = createToolCallParser(tools);
    let given = 0;
    const text = `{"parameters": {"a": "${'x'.repeat(100_000)}`;
    let held = 0;
    for (let i = 0; i < text.length; i++) {
      for (const p of parser.push(text[i]!)) given += p.type === 'text' ? p.text.length : 0;
      held = Math.max(held, i + 1 - given);
    }
    expect(held).toBeLessThanOrEqual(16_385);
  });
});
