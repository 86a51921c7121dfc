// Anthropic's messages as its official client sees them, over a real socket and a scripted model.
import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import type { FakeOptions } from './fake-chat.cases.ts';
import { serveFake } from './served-fake.cases.ts';

async function serve(fake: FakeOptions = {}) {
  const { server, opened } = await serveFake(fake);
  return { opened, client: new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0 }) };
}

const request = { model: 'tiny', max_tokens: 100, messages: [{ role: 'user' as const, content: 'hi' }] };

describe('messages', () => {
  test('whole: text, stop reason and usage; the parameters and the conversation reach the model', async () => {
    const { client, opened } = await serve({ reply: () => 'Grüezi ✓' });
    const message = await client.messages.create({
      model: 'tiny',
      max_tokens: 50,
      system: [
        { type: 'text', text: 'Be ' },
        { type: 'text', text: 'brief.' },
      ],
      messages: [
        { role: 'user', content: 'What is 2 + 2?' },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: 'I ask.' },
            { type: 'tool_use', id: 't1', name: 'add', input: { a: 2, b: [2] } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: '4' }] },
            { type: 'text', text: 'So?' },
          ],
        },
      ],
      stop_sequences: ['END'],
      metadata: { user_id: 'x' },
      ...{ temperature: 0.5, top_p: 0.9, top_k: 5 }, // newer models of Anthropic take none of these
    });
    expect(message).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: 'tiny',
      content: [{ type: 'text', text: 'Grüezi ✓' }],
      stop_reason: 'end_turn',
      usage: { output_tokens: 11, cache_read_input_tokens: 0 },
    });
    expect(message.id).toMatch(/^msg_/);
    expect(opened[0]!.calls[0]).toMatchObject({
      input: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'What is 2 + 2?' },
        { role: 'assistant', content: 'I ask.', toolCalls: [{ name: 'add', arguments: { a: 2, b: [2] } }] },
        { role: 'tool', content: '4' },
        { role: 'user', content: 'So?' },
      ],
      options: { temperature: 0.5, topP: 0.9, topK: 5, maxTokens: 50, stop: ['END'] },
    });
  });

  test('streamed: the client puts the same message together', async () => {
    const { client } = await serve({ reply: () => 'naïve 🙂' });
    const stream = client.messages.stream(request);
    let text = '';
    stream.on('text', piece => {
      text += piece;
    });
    const message = await stream.finalMessage();
    expect(text).toBe('naïve 🙂');
    const whole = await client.messages.create(request);
    expect(message).toMatchObject({ content: whole.content, stop_reason: 'end_turn', usage: whole.usage });
  });

  test('the limit of tokens is said', async () => {
    const { client } = await serve({ reply: () => 'one two three' });
    expect(await client.messages.create({ ...request, max_tokens: 3 })).toMatchObject({
      content: [{ text: 'one' }],
      stop_reason: 'max_tokens',
      usage: { output_tokens: 3 },
    });
  });

  test('tokens are counted as the model will see them', async () => {
    const { client } = await serve();
    const { input_tokens } = await client.messages.countTokens({ model: 'tiny', messages: request.messages });
    expect(input_tokens).toBe((await client.messages.create(request)).usage.input_tokens);
  });

  test('leaving the stream ends the computing', async () => {
    const { client, opened } = await serve({ reply: () => 'x'.repeat(3000), delayMs: 2 });
    let seen = 0;
    for await (const _ of await client.messages.create({ ...request, stream: true })) if (++seen === 5) break;
    await expect.poll(() => opened[0]!.counts).toMatchObject({ running: 0, aborted: 1 });
  });
});

describe("errors have Anthropic's shape and name the parameter", () => {
  const wrong: [fields: object, message: string, status?: number, type?: string][] = [
    [{ max_tokens: undefined }, "'max_tokens' is missing; it must be a whole number of at least 1."],
    [{ max_tokens: 0 }, "'max_tokens' must be a whole number of at least 1; got 0."],
    [{ temperature: 1.5 }, "'temperature' must be a number from 0 to 1; got 1.5."],
    [{ n: 2 }, "'n' is no parameter of this request."],
    [
      { messages: [{ role: 'system', content: 'x' }] },
      `'messages[0].role' must be 'user' or 'assistant'; got "system".`,
    ],
    [
      { messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] },
      `'messages[0].content[0].type' must be one of 'text', 'tool_use', 'tool_result'`,
    ],
    [
      { messages: [{ role: 'user', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] }] },
      `'messages[0].content[0].type' must be 'text' or 'tool_result' in a user's message; got "tool_use".`,
    ],
    [{ tool_choice: { type: 'any' } }, "'tool_choice' must be 'auto' or 'none' without 'tools'"],
    [{ tools: [{ name: 'f' }] }, "'tools[0].input_schema' is missing"],
    [{ thinking: { type: 'enabled', budget_tokens: 1024 } }, "'thinking' must be nothing"],
    [{ model: 'gpt-5' }, "There is no model 'gpt-5' here", 404, 'not_found_error'],
  ];

  test.each(wrong)('%j', async (fields, text, status = 400, type = 'invalid_request_error') => {
    const { client } = await serve();
    const error = await client.messages.create({ ...request, ...fields } as typeof request).catch(error => error);
    expect(error).toBeInstanceOf(Anthropic.APIError);
    expect(error).toMatchObject({ status, error: { type: 'error', error: { type } } });
    expect(error.error.error.message).toContain(text);
  });

  test('before the route is reached, and in the middle of a stream', async () => {
    const { client, opened } = await serve({ failAfter: { tokens: 2, error: new Error('layer 3 broke') } });
    const response = await fetch(`${client.baseURL}v1/messages`, { method: 'POST', body: '{}' });
    expect([response.status, await response.json()]).toMatchObject([
      415,
      { type: 'error', error: { type: 'invalid_request_error' } },
    ]);
    const read = async () => {
      for await (const _ of await client.messages.create({ ...request, stream: true })) {
        // what comes before the error
      }
    };
    await expect(read()).rejects.toMatchObject({ message: expect.stringContaining('layer 3 broke') });
    expect(opened[0]!.counts.running).toBe(0);
  });
});
