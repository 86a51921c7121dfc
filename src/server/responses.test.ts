// OpenAI's responses, tokenize and detokenize as clients see them, over a real socket and a scripted model.
import OpenAI from 'openai';
import { describe, expect, test } from 'vitest';
import { BOS, END, type FakeOptions } from './fake-chat.cases.ts';
import { serveFake } from './served-fake.cases.ts';

async function serve(fake: FakeOptions = {}) {
  const { server, opened } = await serveFake(fake);
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  return { opened, post, client: new OpenAI({ baseURL: `${server.url}v1`, apiKey: 'none', maxRetries: 0 }) };
}

describe('responses', () => {
  test('whole: text, usage, what was asked; the conversation reaches the model', async () => {
    const { client, opened } = await serve({ reply: () => 'Four ✓' });
    const response = await client.responses.create({
      model: 'tiny',
      instructions: 'Be brief.',
      input: [
        { role: 'developer', content: 'In words.' },
        { role: 'user', content: [{ type: 'input_text', text: '2 + 2?' }] },
        { type: 'message', role: 'assistant', content: 'I ask.' },
        { type: 'function_call', call_id: 'c1', name: 'add', arguments: '{"a":2}' },
        { type: 'function_call', call_id: 'c2', name: 'add', arguments: '{"a":3}' },
        { type: 'function_call_output', call_id: 'c1', output: '4' },
        { type: 'function_call_output', call_id: 'c2', output: '5' },
      ],
      temperature: 0.5,
      max_output_tokens: 40,
      store: false,
    });
    expect(response.output_text).toBe('Four ✓');
    expect(response).toMatchObject({
      object: 'response',
      status: 'completed',
      instructions: 'Be brief.',
      temperature: 0.5,
      max_output_tokens: 40,
      error: null,
      usage: { output_tokens: 8, input_tokens_details: { cached_tokens: 0 } },
      timings: { predicted_n: 8 },
    });
    expect(opened[0]!.calls[0]).toMatchObject({
      input: [
        { role: 'system', content: 'Be brief.' },
        { role: 'system', content: 'In words.' },
        { role: 'user', content: '2 + 2?' },
        {
          role: 'assistant',
          content: 'I ask.',
          toolCalls: [
            { name: 'add', arguments: { a: 2 } },
            { name: 'add', arguments: { a: 3 } },
          ],
        },
        { role: 'tool', content: '4' },
        { role: 'tool', content: '5' },
      ],
      options: { temperature: 0.5, maxTokens: 40 },
    });
  });

  test('streamed: the client puts the same response together; every event has its number', async () => {
    const { client } = await serve({ reply: () => 'naïve 🙂' });
    const stream = client.responses.stream({
      model: 'tiny',
      input: 'hi',
      top_logprobs: 1,
      include: ['message.output_text.logprobs'],
    });
    let text = '';
    const types: string[] = [];
    const numbers: number[] = [];
    for await (const event of stream) {
      types.push(event.type);
      numbers.push(event.sequence_number);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    expect(text).toBe('naïve 🙂');
    expect(numbers).toEqual(numbers.map((_, i) => i));
    expect(types.filter(type => type !== 'response.output_text.delta')).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    const final = await stream.finalResponse();
    expect(final.output_text).toBe('naïve 🙂');
    const [item] = final.output;
    const part = item?.type === 'message' ? item.content[0] : undefined;
    expect(part?.type === 'output_text' && part.logprobs).toHaveLength(11);
  });

  test('a limit makes it incomplete; an error in the middle is one for the client', async () => {
    const { client } = await serve({
      reply: () => 'one two',
      failAfter: { tokens: 5, error: new Error('layer 3 broke') },
    });
    expect(await client.responses.create({ model: 'tiny', input: 'hi', max_output_tokens: 3 })).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output_text: 'one',
    });
    const read = async () => {
      for await (const _ of await client.responses.create({ model: 'tiny', input: 'hi', stream: true })) {
        // what comes before the error
      }
    };
    await expect(read()).rejects.toMatchObject({ message: expect.stringContaining('layer 3 broke') });
  });

  const wrong: [fields: object, param: string, message: string][] = [
    [{ input: [] }, 'input', 'an array of 1 to 4096 items'],
    [{ input: [{ type: 'reasoning' }] }, 'input[0].type', 'got "reasoning"'],
    [{ input: [{ role: 'king', content: 'x' }] }, 'input[0].role', 'got "king"'],
    [
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'http://x' }] }] },
      'input[0].content[0].type',
      'this server reads text only; got "input_image".',
    ],
    [{ input: [{ type: 'function_call', call_id: 'c', name: 'f', arguments: '{' }] }, 'input[0].arguments', 'JSON'],
    [{ previous_response_id: 'resp_1' }, 'previous_response_id', 'does not have that feature'],
    [{ store: true }, 'store', 'does not have that feature'],
    [{ tools: [{ type: 'web_search' }] }, 'tools[0].type', 'no tools of its own; got "web_search".'],
    [{ top_logprobs: 2 }, 'top_logprobs', "unless 'include'"],
    [{ max_tokens: 2 }, 'max_tokens', 'no parameter of this request'],
  ];
  test.each(wrong)('%j is refused by name', async (fields, param, message) => {
    const { post } = await serve();
    const answer = await post('v1/responses', { model: 'tiny', input: 'hi', ...fields });
    expect(answer).toMatchObject({
      status: 400,
      body: { error: { param, message: expect.stringContaining(message) } },
    });
  });
});

describe('tokens', () => {
  test('of a text and of a conversation, and back', async () => {
    const { post } = await serve();
    expect((await post('tokenize', { model: 'tiny', prompt: 'aé', return_token_strs: true })).body).toEqual({
      count: 4,
      max_model_len: 4096,
      tokens: [BOS, 97, 0xc3, 0xa9],
      token_strs: ['<|begin|>', 'a', 'bytes:\\xc3', 'bytes:\\xa9'],
    });
    expect((await post('tokenize', { model: 'tiny', prompt: 'a', add_special_tokens: false })).body.tokens).toEqual([
      97,
    ]);
    const conversation = { model: 'tiny', messages: [{ role: 'user', content: 'x' }] };
    expect((await post('tokenize', conversation)).body.tokens).toEqual([BOS, ...new TextEncoder().encode('user:x\n')]);
    expect((await post('detokenize', { model: 'tiny', tokens: [0xc3, 0xa9, END] })).body).toEqual({
      prompt: 'é<|end|>',
    });
  });

  test('what is wrong is named', async () => {
    const { post } = await serve();
    for (const [path, body, param] of [
      ['tokenize', {}, 'prompt'],
      ['tokenize', { prompt: 'x', messages: [{ role: 'user', content: 'x' }] }, 'prompt'],
      ['tokenize', { messages: [{ role: 'assistant', content: 'x' }] }, 'messages'],
      ['detokenize', { tokens: 'x' }, 'tokens'],
      ['detokenize', { tokens: [1, 258] }, 'tokens[1]'],
      ['detokenize', { tokens: [1, 0.5] }, 'tokens[1]'],
    ] as const)
      expect(await post(path, { model: 'tiny', ...body })).toMatchObject({ status: 400, body: { error: { param } } });
  });
});
