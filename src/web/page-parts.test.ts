// The page's parts that are functions: event streams in any pieces, code fences, figures in words, stored values.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { splitFences } from './answer-text.tsx';
import { type ChatMessage, isConversation, requestFor, settled } from './conversation.ts';
import { bytes, count, short } from './numbers.ts';
import { DEFAULTS } from './settings.ts';
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

describe('splitFences', () => {
  test.each([
    ['plain', [{ code: false, language: '', text: 'plain' }]],
    [
      'a\n```ts\nx\n\ny\n```\nb',
      [
        { code: false, language: '', text: 'a' },
        { code: true, language: 'ts', text: 'x\n\ny' },
        { code: false, language: '', text: 'b' },
      ],
    ],
    ['```c++\nstill open', [{ code: true, language: 'c++', text: 'still open' }]],
    ['in `code` and ```inline``` here', [{ code: false, language: '', text: 'in `code` and ```inline``` here' }]],
    ['```\n```js\n```', [{ code: true, language: '', text: '```js' }]],
    ['', [{ code: false, language: '', text: '' }]],
  ])('%j', (text, parts) => {
    expect(splitFences(text)).toEqual(parts);
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
});

describe('conversation', () => {
  const message = (role: 'user' | 'assistant', content: string, state: ChatMessage['state'] = 'done'): ChatMessage => ({
    id: content,
    role,
    content,
    state,
  });

  test('only what was said is sent, and only the settings that are set', () => {
    const request = requestFor('m', [message('user', 'a'), message('assistant', '', 'failed'), message('user', 'b')], {
      ...DEFAULTS,
      system: '  ',
    });
    expect(request.messages).toEqual([
      { role: 'user', content: 'a' },
      { role: 'user', content: 'b' },
    ]);
    expect(request).not.toHaveProperty('seed');
    expect(request).not.toHaveProperty('max_tokens');
    const more = requestFor('m', [], { ...DEFAULTS, system: 'Be kind.', seed: 0, maxTokens: 5 });
    expect(more).toMatchObject({ messages: [{ role: 'system', content: 'Be kind.' }], seed: 0, max_tokens: 5 });
  });

  test('stored values are doubted, and an answer in the making becomes a stopped one', () => {
    const stored = [message('user', 'a'), message('assistant', 'b', 'streaming')];
    expect(isConversation(stored)).toBe(true);
    for (const damaged of [
      null,
      {},
      'x',
      [null],
      [{}],
      [{ ...stored[0], role: 'system' }],
      [{ ...stored[0], state: 'odd' }],
    ])
      expect(isConversation(damaged)).toBe(false);
    expect(settled(stored).map(({ state }) => state)).toEqual(['done', 'stopped']);
  });
});
