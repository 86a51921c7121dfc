// The API as the official client sees it, over a real socket on the loopback address and a scripted model.
import OpenAI from 'openai';
import { afterEach, describe, expect, test } from 'vitest';
import { createFakeChat, type FakeChat, type FakeOptions, fakeLogprob } from './fake-chat.cases.ts';
import { type RunningServer, type StartOptions, startServer } from './start.ts';
import type { WireChatCompletion, WireHealth } from './wire.ts';

const running: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(server => server.close()));
});

async function serve(fake: FakeOptions = {}, options: Partial<StartOptions> = {}) {
  const opened: FakeChat[] = [];
  const errors: unknown[] = [];
  const server = await startServer({
    library: {
      list: async () => [
        { id: 'tiny', path: 'tiny.gguf', bytes: 10, note: 'random weights: answers are noise' },
        { id: 'owner/repo:file', path: 'other.gguf', bytes: 20 },
      ],
    },
    openChat: async path => {
      const chat = createFakeChat(path, fake);
      opened.push(chat);
      return chat;
    },
    port: 0,
    onError: error => errors.push(error),
    ...options,
  });
  running.push(server);
  const client = new OpenAI({ baseURL: `${server.url}v1`, apiKey: 'none', maxRetries: 0 });
  return { server, client, opened, errors };
}

const user = (content: string) => [{ role: 'user' as const, content }];
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise(resolve => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
};

describe('models', () => {
  test('are listed and found, also with a slash in the name, with what this server adds', async () => {
    const { client } = await serve();
    const models = await client.models.list();
    expect(models.data.map(model => model.id)).toEqual(['tiny', 'owner/repo:file']);
    expect(models.data[0]).toMatchObject({
      object: 'model',
      status: 'available',
      note: expect.stringContaining('random'),
    });
    expect((await client.models.retrieve('owner/repo:file')).id).toBe('owner/repo:file');
    await expect(client.models.retrieve('gpt-5')).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
      message: expect.stringContaining("There are: 'tiny', 'owner/repo:file'"),
    });
  });

  test('load on request, and health says whether an engine answers', async () => {
    const { server, opened } = await serve();
    const health = async () => {
      const response = await fetch(`${server.url}health`);
      return { status: response.status, body: (await response.json()) as WireHealth };
    };
    expect(await health()).toMatchObject({ status: 503, body: { status: 'unavailable' } });
    const load = await fetch(`${server.url}v1/models/load`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"model":"tiny"}',
    });
    expect(load.status).toBe(202);
    await until(() => opened.length === 1);
    expect(await health()).toMatchObject({
      status: 200,
      body: { status: 'ok', models: { tiny: { status: 'ready' }, 'owner/repo:file': { status: 'available' } } },
    });
    opened[0]!.die(new Error('the worker exited'));
    expect(await health()).toMatchObject({
      status: 503,
      body: { models: { tiny: { status: 'failed', error: 'the worker exited' } } },
    });
  });

  test('preload answers health before any request', async () => {
    const { server, opened } = await serve({}, { preload: 'tiny' });
    await until(() => opened.length === 1);
    expect((await fetch(`${server.url}health`)).status).toBe(200);
    await expect(serve({}, { preload: 'nope' })).rejects.toThrow("There is no model 'nope' here");
  });
});

describe('chat completions', () => {
  test('whole: text, finish reason, usage, timings; the parameters reach the model', async () => {
    const { client, opened } = await serve({ reply: messages => `You said: ${messages.at(-1)!.content} ✓` });
    const answer = await client.chat.completions.create({
      model: 'tiny',
      messages: [
        { role: 'developer', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{"x":[1]}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: '42' },
        { role: 'user', content: 'grüezi' },
      ],
      temperature: 0.5,
      top_p: 0,
      max_completion_tokens: 100,
      presence_penalty: 0.25,
      frequency_penalty: -0.5,
      seed: 7,
      stop: 'ZZZ',
      // @ts-expect-error ours, not OpenAI's
      top_k: 40,
      min_p: 0.1,
      ignore_eos: true,
      timeout_ms: 60_000,
      repetition_penalty: 1.1,
    });
    expect(answer.choices).toEqual([
      {
        index: 0,
        message: { role: 'assistant', content: 'You said: grüezi ✓', refusal: null },
        logprobs: null,
        finish_reason: 'stop',
      },
    ]);
    expect(answer.usage).toMatchObject({ completion_tokens: 21, total_tokens: answer.usage!.prompt_tokens + 21 });
    expect((answer as unknown as WireChatCompletion).timings).toMatchObject({
      prompt_ms: 10,
      predicted_n: 21,
      predicted_per_second: 1000,
    });
    expect(opened[0]!.calls[0]).toMatchObject({
      input: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'ab' },
        { role: 'assistant', content: '', toolCalls: [{ name: 'f', arguments: { x: [1] } }] },
        { role: 'tool', content: '42' },
        { role: 'user', content: 'grüezi' },
      ],
      options: {
        temperature: 0.5,
        topP: Number.MIN_VALUE,
        topK: 40,
        minP: 0.1,
        maxTokens: 100,
        repetitionPenalty: 1.1,
        presencePenalty: 0.25,
        frequencyPenalty: -0.5,
        seed: 7,
        stop: ['ZZZ'],
        ignoreEnd: true,
        timeoutMs: 60_000,
      },
    });
  });

  test('streamed: whole characters, then the finish reason with timings, then usage', async () => {
    const reply = 'naïve 🙂 日本';
    const { client } = await serve({ reply: () => reply });
    const stream = await client.chat.completions.create({
      model: 'tiny',
      messages: user('hi'),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const pieces = chunks.map(chunk => chunk.choices[0]?.delta.content ?? '');
    expect(pieces.join('')).toBe(reply);
    expect(pieces).toContain('🙂');
    expect(pieces.join('|')).not.toContain('\uFFFD');
    expect(chunks[0]!.choices[0]!.delta.role).toBe('assistant');
    expect(chunks.at(-2)).toMatchObject({
      choices: [{ finish_reason: 'stop' }],
      usage: null,
      timings: { predicted_n: 18 },
    });
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 18 } });
    expect(new Set(chunks.map(chunk => chunk.id)).size).toBe(1);
  });

  test('max_tokens ends with length; stop strings end with stop', async () => {
    const { client } = await serve({ reply: () => 'one two three' });
    const short = await client.chat.completions.create({ model: 'tiny', messages: user('x'), max_tokens: 3 });
    expect(short.choices[0]).toMatchObject({ message: { content: 'one' }, finish_reason: 'length' });
    const stopped = await client.chat.completions.create({ model: 'tiny', messages: user('x'), stop: ['th', ' tw'] });
    expect(stopped.choices[0]).toMatchObject({ message: { content: 'one' }, finish_reason: 'stop' });
  });

  test('logprobs: one entry a token with bytes and alternatives, also for parts of characters', async () => {
    const { client } = await serve({ reply: () => 'aé' });
    const request = { model: 'tiny', messages: user('x'), logprobs: true, top_logprobs: 2 };
    const answer = await client.chat.completions.create(request);
    const content = answer.choices[0]!.logprobs!.content!;
    expect(content.map(entry => entry.token)).toEqual(['a', 'bytes:\\xc3', 'bytes:\\xa9']);
    expect(content.map(entry => entry.bytes)).toEqual([[97], [0xc3], [0xa9]]);
    expect(content[0]).toMatchObject({
      logprob: fakeLogprob(97),
      top_logprobs: [
        { token: 'a', logprob: fakeLogprob(97) },
        { token: 'b', logprob: fakeLogprob(98) },
      ],
    });
    const streamed = [];
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true }))
      streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    expect(streamed).toEqual(content);
  });

  test('n answers, each with its own seed, in one request; the prompt counts once', async () => {
    const { client, opened } = await serve({ reply: () => 'Hi.' });
    const request = { model: 'tiny', messages: user('x'), n: 3, seed: 5, logit_bias: { '65': -100 } };
    const { choices, usage } = await client.chat.completions.create(request);
    expect(choices.map(({ index, message }) => [index, message.content])).toEqual([0, 1, 2].map(i => [i, 'Hi.']));
    const one = await client.chat.completions.create({ ...request, n: 1 });
    expect(usage).toMatchObject({ prompt_tokens: one.usage!.prompt_tokens, completion_tokens: 9 });
    expect(opened[0]!.calls.map(({ options }) => options.seed)).toEqual([5, 6, 7, 5]);
    expect(opened[0]!.calls[0]!.options.logitBias).toEqual(new Map([[65, -100]]));
    const streamed = ['', '', ''];
    const ends = [];
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true }))
      for (const { index, delta, finish_reason } of choices) {
        streamed[index] += delta.content ?? '';
        if (finish_reason) ends.push(index);
      }
    expect(streamed).toEqual(['Hi.', 'Hi.', 'Hi.']);
    expect(ends.sort()).toEqual([0, 1, 2]);
  });

  test('requests run side by side', async () => {
    const { client, opened } = await serve({ reply: messages => messages[0]!.content, delayMs: 3 });
    const texts = Array.from({ length: 8 }, (_, i) => `answer number ${i}`);
    const answers = await Promise.all(
      texts.map(text => client.chat.completions.create({ model: 'tiny', messages: user(text) })),
    );
    expect(answers.map(answer => answer.choices[0]!.message.content)).toEqual(texts);
    expect(opened).toHaveLength(1);
    expect(opened[0]!.counts.most).toBe(8);
  });

  test('another model is loaded when the first is free', async () => {
    const { client, opened } = await serve({ delayMs: 2 });
    const answers = await Promise.all(
      ['tiny', 'owner/repo:file', 'tiny'].map(model => client.chat.completions.create({ model, messages: user('x') })),
    );
    expect(answers.map(answer => answer.choices[0]!.message.content)).toEqual(['Hello.', 'Hello.', 'Hello.']);
    expect(opened.slice(0, -1).every(chat => chat.isClosed)).toBe(true);
    expect(opened.at(-1)!.isClosed).toBe(false);
  });
});

describe('completions', () => {
  test('several of several prompts come in order, and prompts count once', async () => {
    const { client } = await serve({ reply: messages => messages[0]!.content.slice(-1).repeat(2) });
    const request = { model: 'tiny', prompt: ['a', 'b'], n: 2 };
    const { choices, usage } = await client.completions.create(request);
    expect(choices.map(({ index, text }) => [index, text])).toEqual(
      ['aa', 'aa', 'bb', 'bb'].map((text, index) => [index, text]),
    );
    expect(usage).toMatchObject({ prompt_tokens: 4, completion_tokens: 8 });
  });
});

describe('a client that goes away ends the computing', () => {
  const endless = { reply: () => 'x'.repeat(3000), delayMs: 2 };

  test('streaming', async () => {
    const { client, opened } = await serve(endless);
    const stream = await client.chat.completions.create({ model: 'tiny', messages: user('x'), stream: true });
    let seen = 0;
    for await (const _ of stream) if (++seen === 5) break;
    await until(() => opened[0]!.counts.running === 0);
    expect(opened[0]!.counts.aborted).toBe(1);
  });

  test('not streaming', async () => {
    const { client, opened, errors } = await serve(endless);
    const controller = new AbortController();
    const answer = client.chat.completions.create(
      { model: 'tiny', messages: user('x') },
      { signal: controller.signal },
    );
    answer.catch(() => {});
    await until(() => opened[0]?.counts.running === 1);
    controller.abort();
    await expect(answer).rejects.toThrow('aborted');
    await until(() => opened[0]!.counts.running === 0);
    expect(opened[0]!.counts.aborted).toBe(1);
    expect(errors).toEqual([]);
  });

  test('completions of several prompts', async () => {
    const { client, opened } = await serve(endless);
    const stream = await client.completions.create({
      model: 'tiny',
      prompt: ['a', 'b', 'c', 'd', 'e', 'f'],
      max_tokens: 2000,
      stream: true,
    });
    let seen = 0;
    for await (const _ of stream) if (++seen === 9) break;
    await until(() => opened[0]!.counts.running === 0);
    const { aborted, most, tokens } = opened[0]!.counts;
    expect(most).toBe(4);
    expect(aborted).toBeGreaterThanOrEqual(3); // one may be left while its value waits to be taken
    expect(tokens).toBeLessThan(100);
  });

  test('the model can be switched afterwards: no lease is lost', async () => {
    const { client } = await serve({ delayMs: 1, reply: () => 'long answer '.repeat(5) });
    for (let i = 0; i < 10; i++) {
      const stream = await client.chat.completions.create({ model: 'tiny', messages: user('x'), stream: true });
      for await (const _ of stream) if (Math.random() < 0.3) break;
    }
    const answer = await client.chat.completions.create({ model: 'owner/repo:file', messages: user('x') });
    expect(answer.choices[0]!.finish_reason).toBe('stop');
  });
});

describe('errors while answering', () => {
  const failing = { failAfter: { tokens: 2, error: new Error('layer 3: the weights hold NaN') } };

  test('whole: 500 with the message, told to the log, and the server goes on', async () => {
    const { client, errors } = await serve(failing);
    await expect(client.chat.completions.create({ model: 'tiny', messages: user('x') })).rejects.toMatchObject({
      status: 500,
      type: 'server_error',
      message: expect.stringContaining('layer 3: the weights hold NaN'),
    });
    expect(errors).toHaveLength(1);
    expect((await client.models.list()).data).toHaveLength(2);
  });

  test('one of several prompts fails: the others are stopped, and the failure is told as it is', async () => {
    const { client, opened } = await serve(failing);
    const request = { model: 'tiny', prompt: ['a', 'b', 'c'], max_tokens: 9 };
    await expect(client.completions.create(request)).rejects.toMatchObject({
      status: 500,
      message: expect.stringContaining('layer 3: the weights hold NaN'),
    });
    expect(opened[0]!.counts.running).toBe(0);
  });

  test('streamed: an error event after what was said, then the end', async () => {
    const { client, server } = await serve(failing);
    let text = '';
    const read = async () => {
      for await (const chunk of await client.chat.completions.create({
        model: 'tiny',
        messages: user('x'),
        stream: true,
      }))
        text += chunk.choices[0]?.delta.content ?? '';
    };
    await expect(read()).rejects.toMatchObject({ message: expect.stringContaining('NaN'), type: 'server_error' });
    expect(text).toBe('He');
    const raw = await fetch(`${server.url}v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tiny', messages: user('x'), stream: true }),
    });
    const body = await raw.text();
    expect(raw.headers.get('content-type')).toContain('text/event-stream');
    expect(body).toMatch(/event: error\ndata: \{"error":\{"message":"[^\n]*"type":"server_error"[^\n]*\n\n$/);
    expect(body).not.toContain('[DONE]');
  });

  test('a dead engine is replaced by the next request', async () => {
    const { client, opened } = await serve();
    await client.chat.completions.create({ model: 'tiny', messages: user('x') });
    opened[0]!.die(new Error('the worker exited'));
    await expect(client.chat.completions.create({ model: 'tiny', messages: user('x') })).rejects.toMatchObject({
      status: 500,
    });
    await until(() => opened[0]!.isClosed);
    const answer = await client.chat.completions.create({ model: 'tiny', messages: user('x') });
    expect(answer.choices[0]!.message.content).toBe('Hello.');
  });

  test('closing the server ends a stream with words and closes the model', async () => {
    const { client, opened, server } = await serve({ reply: () => 'x'.repeat(3000), delayMs: 2 });
    const read = async () => {
      for await (const _ of await client.chat.completions.create({ model: 'tiny', messages: user('x'), stream: true }))
        if (opened[0]!.counts.running === 1) void server.close();
    };
    await expect(read()).rejects.toThrow('The server is stopping');
    await server.close();
    expect(opened[0]!.isClosed).toBe(true);
  });
});

describe('completions', () => {
  test('a text, texts, tokens, lists of tokens', async () => {
    const { client, opened } = await serve({ reply: messages => `<${messages[0]!.content}>` });
    const complete = async (prompt: string | string[] | number[] | number[][]) =>
      (await client.completions.create({ model: 'tiny', prompt, max_tokens: 50 })).choices.map(choice => choice.text);
    expect(await complete('abc')).toEqual(['<abc>']);
    expect(opened[0]!.calls[0]!.input).toEqual([256, 97, 98, 99]);
    expect(await complete(['a', 'b', 'c', 'd', 'e', 'f'])).toEqual(['<a>', '<b>', '<c>', '<d>', '<e>', '<f>']);
    expect(await complete([104, 105])).toEqual(['<hi>']);
    expect(opened[0]!.calls.at(-1)!.input).toEqual([104, 105]);
    expect(await complete([[104], [105]])).toEqual(['<h>', '<i>']);
  });

  test('usage is the sum; the default length is 16', async () => {
    const { client } = await serve({ reply: () => 'y'.repeat(100) });
    const answer = await client.completions.create({ model: 'tiny', prompt: ['ab', 'c'] });
    expect(answer.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 32, total_tokens: 37 });
    expect(answer.choices.map(choice => choice.finish_reason)).toEqual(['length', 'length']);
  });

  test('logprobs and echo: the prompt and the answer in one list, offsets into the text', async () => {
    const { client } = await serve({ reply: () => 'é!' });
    const { choices } = await client.completions.create({
      model: 'tiny',
      prompt: 'ab',
      max_tokens: 9,
      logprobs: 2,
      echo: true,
    });
    const { text, logprobs } = choices[0]!;
    expect(text).toBe('abé!');
    expect(logprobs!.tokens).toEqual(['a', 'b', 'bytes:\\xc3', 'bytes:\\xa9', '!']);
    expect(logprobs!.token_logprobs).toEqual(
      [97, 98, 0xc3, 0xa9, 33].map(token => expect.closeTo(fakeLogprob(token), 6)),
    );
    expect(logprobs!.text_offset).toEqual([0, 1, 2, 2, 3]);
    // The prompt's alternatives come from the whole row, where the fake likes low ids best.
    expect(Object.keys(logprobs!.top_logprobs![0]!).sort()).toEqual(['\u0000', '\u0001', 'a']);
    expect(Object.keys(logprobs!.top_logprobs![4]!).sort()).toEqual(['!', '"']);
  });

  test('max_tokens 0 with echo scores tokens and generates nothing', async () => {
    const { client, opened } = await serve();
    for (const logprobs of [0, 1]) {
      const answer = await client.completions.create({
        model: 'tiny',
        prompt: [104, 105, 106],
        max_tokens: 0,
        logprobs,
        echo: true,
      });
      expect(answer.choices[0]).toMatchObject({ text: 'hij', finish_reason: 'length' });
      expect(answer.choices[0]!.logprobs!.token_logprobs).toEqual([
        null,
        expect.closeTo(fakeLogprob(105), 6),
        expect.closeTo(fakeLogprob(106), 6),
      ]);
      expect(answer.choices[0]!.logprobs!.top_logprobs?.[0] ?? null).toBeNull();
      expect(answer.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 0 });
    }
    expect(opened[0]!.calls).toEqual([]);
  });

  test('streamed, the pieces of each choice make the whole answer', async () => {
    const { client } = await serve({ reply: messages => `${messages[0]!.content}…`, delayMs: 1 });
    const prompt = ['one', 'two', 'three', 'four', 'five'];
    const request = { model: 'tiny', prompt, max_tokens: 30, logprobs: 1, echo: true };
    const whole = await client.completions.create(request);
    const texts = prompt.map(() => '');
    const tokens: string[][] = prompt.map(() => []);
    const finished = new Set<number>();
    let usage: unknown;
    for await (const chunk of await client.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      usage = chunk.usage;
      for (const choice of chunk.choices) {
        texts[choice.index] += choice.text;
        tokens[choice.index]!.push(...(choice.logprobs?.tokens ?? []));
        if (choice.finish_reason) finished.add(choice.index);
      }
    }
    expect(texts).toEqual(whole.choices.map(choice => choice.text));
    expect(tokens).toEqual(whole.choices.map(choice => choice.logprobs!.tokens));
    expect(finished.size).toBe(5);
    expect(usage).toEqual(whole.usage);
  });
});
