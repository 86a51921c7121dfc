// The page's parts that are functions: event streams in any pieces, Markdown, colours of code, figures in words, requests.
import fc from 'fast-check';
import { createElement } from 'react';
import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, test } from 'vitest';
import { type ChatBodyMessage, parseSchema, parseTools, requestFor } from './chat-request.ts';
import { tintCode } from './code-tint.ts';
import { Markdown } from './markdown.tsx';
import { markdownBlocks } from './markdown-blocks.ts';
import { ageOf, bytes, count, duration, short } from './numbers.ts';
import { hueOf, isRouting, sharesOf, type WireRouting } from './routing.ts';
import { DEFAULTS, settingsFrom } from './settings.ts';
import { sseEvents } from './sse.ts';

describe('sseEvents', () => {
  const read = async (pieces: readonly Uint8Array[]) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const piece of pieces) controller.enqueue(piece);
        controller.close();
      },
    });
    const events: string[] = [];
    for await (const event of sseEvents(body)) events.push(event);
    return events;
  };

  test('gives the data of each event, wherever the stream is cut', async () => {
    const stream =
      ': still here\n\ndata: {"text":"naïve 🙂"}\n\nevent: error\ndata: a\r\ndata:b\r\n\r\nid: 5\n\ndata: [DONE]\n\n';
    const whole = new TextEncoder().encode(stream);
    const expected = ['{"text":"naïve 🙂"}', 'a\nb', '[DONE]'];
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: whole.length })), async cuts => {
        const at = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const pieces = at.slice(1).map((end, i) => whole.slice(at[i], end));
        expect(await read(pieces.filter(piece => piece.length > 0))).toEqual(expected);
      }),
    );
  });
});

test('numbers in words', () => {
  expect([count(950), count(135_000_000), count(17_170_000_000), count(400e9), count(2e12)]).toEqual([
    '950',
    '135 M',
    '17.2 B',
    '400 B',
    '2 T',
  ]);
  expect([bytes(12), bytes(94_000_000), bytes(3_250_000_000)]).toEqual(['12 bytes', '94 MB', '3.3 GB']);
  expect([short(8.44), short(8), short(123.4)]).toEqual(['8.4', '8', '123']);
  expect([duration(85.4), duration(1340), duration(125_000)]).toEqual(['85 ms', '1.3 s', '2 min 5 s']);
  const noon = new Date(2026, 4, 20, 12).getTime();
  const hours = (number: number) => ageOf(noon - number * 3_600_000, noon);
  expect([hours(0), hours(11), hours(13), hours(60), hours(24 * 40)]).toEqual([
    'Today',
    'Today',
    'Yesterday',
    'This week',
    'April 2026',
  ]);
});

describe('Markdown', () => {
  const html = (text: string) => renderToStaticMarkup(createElement(Markdown, { text }));
  const piece = fc.constantFrom(
    'words',
    '# title',
    '- item',
    '1. one',
    '  indented',
    '> quote',
    '```ts',
    '```',
    '~~~',
    '| a | b |',
    '|---|---|',
    '**bold**',
    '`code`',
    '',
    '',
  );

  test('blocks together are the text, and mean the same as the whole', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), lines => {
        const text = lines.join('\n');
        const blocks = markdownBlocks(text);
        expect(blocks.join('')).toBe(text);
        // A following block never changes the ones before it: what was drawn while streaming stays.
        for (let end = 1; end < blocks.length; end++)
          expect(markdownBlocks(blocks.slice(0, end).join('') + blocks[end]!)).toEqual(blocks.slice(0, end + 1));
      }),
    );
  });

  test.each([
    ['<script>x</script><b onclick=x>y</b>', /^(?!.*<(script|b)[ >])/s],
    ['[x](javascript:alert(1))', /^(?!.*href)/s],
    ['[x](JaVaScRiPt:alert(1))', /^(?!.*href)/s],
    ['[x](data:text/html;base64,PHNjcmlwdD4=)', /^(?!.*href)/s],
    ['[x](vbscript:x)', /^(?!.*href)/s],
    ['![x](https://example.org/x.png)', /^(?!.*<img)/s],
    ['[x](https://example.org/"onmouseover=alert(1))', /^(?!.*"onmouseover)/s],
  ])('%s is harmless', (text, expected) => {
    expect(html(text)).toMatch(expected);
  });

  test('a fence that is still open is code already', () => {
    expect(html('so:\n\n```c++\nint x')).toContain('<pre');
  });
});

test('colours of code: the pieces are the text, for any text and language', () => {
  const language = fc.constantFrom('ts', 'python', 'sql', 'html', 'text', '', 'rust');
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), language, (text, name) => {
      expect(
        tintCode(text, name)
          .map(piece => piece.text)
          .join(''),
      ).toBe(text);
    }),
  );
  for (const hostile of ['"\\"', '`\\`', '/*', "'", '((', 'a(', '<!--', '0x'])
    expect(tintCode(hostile.repeat(10_000), 'ts').length).toBeGreaterThan(0);
  expect(tintCode('x = f(1) # "note"', 'python')).toEqual([
    { tint: null, text: 'x = ' },
    { tint: 'call', text: 'f' },
    { tint: null, text: '(' },
    { tint: 'number', text: '1' },
    { tint: null, text: ') ' },
    { tint: 'comment', text: '# "note"' },
  ]);
});

describe('the request', () => {
  const said = (role: 'user' | 'assistant', content: string) =>
    ({ id: content, parent: null, role, content, state: 'done' }) as const;

  test('only what was said is sent, and only the settings that are set', () => {
    const path = [said('user', 'a'), said('assistant', ''), said('user', 'b')];
    const request = requestFor('m', path, { ...DEFAULTS, system: '  ' });
    expect(request.messages).toEqual([
      { role: 'user', content: 'a' },
      { role: 'user', content: 'b' },
    ] satisfies ChatBodyMessage[]);
    for (const key of ['seed', 'max_tokens', 'stop', 'tools', 'response_format', 'prompt_lookup'])
      expect(request).not.toHaveProperty(key);
    const more = requestFor('m', [], {
      ...DEFAULTS,
      system: 'Be kind.',
      seed: 0,
      maxTokens: 5,
      stop: 'a\n\nb',
      promptLookup: true,
      format: 'schema',
      schema: '{"type":"object"}',
      tools: '[{"name":"f"}]',
    });
    expect(more).toMatchObject({
      messages: [{ role: 'system', content: 'Be kind.' }],
      seed: 0,
      max_tokens: 5,
      stop: ['a', 'b'],
      prompt_lookup: true,
      response_format: { type: 'json_schema', json_schema: { schema: { type: 'object' } } },
      tools: [{ type: 'function', function: { name: 'f' } }],
    });
  });

  test('tools and schemas are read in either form, or refused in words', () => {
    expect(parseTools('{"type":"function","function":{"name":"g"}}')).toEqual([
      { type: 'function', function: { name: 'g' } },
    ]);
    expect(() => parseTools('[{"name":"f"},{"title":"g"}]')).toThrow(/Tool 2 must be an object with a name/);
    expect(() => parseTools('[')).toThrow(/The tools must be JSON/);
    expect(() => parseSchema('[]')).toThrow(/must be an object/);
  });

  test('stored settings are doubted one by one', () => {
    expect(settingsFrom(null)).toEqual(DEFAULTS);
    const stored = { temperature: 1.5, topP: 'high', seed: 4, maxTokens: 'x', theme: 'pink', format: 'json', other: 1 };
    expect(settingsFrom(stored)).toEqual({ ...DEFAULTS, temperature: 1.5, seed: 4, format: 'json' });
  });
});

describe('routing', () => {
  const routing: WireRouting = {
    object: 'routing',
    model: 'm',
    experts: 4,
    experts_per_token: 1,
    layers: [1, 3],
    tokens: [
      { text: 'a', experts: [[0], [1]] },
      { text: 'b', experts: [[0], [3]] },
    ],
  };
  test('is doubted, and its shares add up', () => {
    expect(isRouting(routing)).toBe(true);
    for (const damaged of [
      null,
      {},
      { ...routing, layers: [1] },
      { ...routing, experts: 3 },
      { ...routing, tokens: [{ text: 'a', experts: [[0], ['1']] }] },
    ])
      expect(isRouting(damaged)).toBe(false);
    expect(sharesOf(routing)).toEqual([0.5, 0.25, 0, 0.25]);
    expect(sharesOf(routing, 0)).toEqual([1, 0, 0, 0]);
    expect(sharesOf({ ...routing, tokens: [] })).toEqual([0, 0, 0, 0]);
  });
  test.each([1, 2, 3, 4, 7, 16, 77, 128])('%i experts have as many hues', experts => {
    expect(new Set(Array.from({ length: experts }, (_, id) => hueOf(id, experts))).size).toBe(experts);
  });
});
