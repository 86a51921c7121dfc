// The AI SDK itself over our provider: against a server on a socket, and in this process; both must say the same.
import { APICallError, embed, embedMany, generateText, streamText } from 'ai';
import { afterEach, describe, expect, test } from 'vitest';
import { createFakeChat, type FakeChat, type FakeOptions } from '../server/fake-chat.cases.ts';
import { type RunningServer, startServer } from '../server/start.ts';
import { createLocalOpenMaverick } from './local.ts';
import { createOpenMaverick, type OpenMaverickProvider } from './provider.ts';

const running: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(server => server.close()));
});

interface Opened {
  readonly provider: OpenMaverickProvider;
  readonly chat: FakeChat;
}

const ways: [name: string, open: (fake?: FakeOptions) => Promise<Opened>][] = [
  [
    'against a server',
    async fake => {
      const chat = createFakeChat('tiny.gguf', fake);
      const server = await startServer({
        library: { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] },
        openChat: async () => chat,
        keys: [{ name: 'one', key: 'key-number-one' }],
        port: 0,
      });
      running.push(server);
      return { chat, provider: createOpenMaverick({ baseURL: server.url, apiKey: 'key-number-one' }) };
    },
  ],
  [
    'in this process',
    async fake => {
      const chat = createFakeChat('tiny.gguf', fake);
      return { chat, provider: createLocalOpenMaverick(chat, 'tiny') };
    },
  ],
];

describe.each(ways)('%s', (_name, open) => {
  test('text, whole: usage, finish reason, timings; the settings and the conversation reach the model', async () => {
    const { provider, chat } = await open({ reply: () => 'Grüezi ✓' });
    const result = await generateText({
      model: provider('tiny'),
      instructions: 'Be brief.',
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: '2 + ' },
            { type: 'text', text: '2?' },
          ],
        },
        {
          role: 'assistant',
          content: [{ type: 'tool-call', toolCallId: 'c1', toolName: 'add', input: { a: 2 } }],
        },
        {
          role: 'tool',
          content: [{ type: 'tool-result', toolCallId: 'c1', toolName: 'add', output: { type: 'json', value: [4] } }],
        },
      ],
      temperature: 0.5,
      topP: 0.9,
      topK: 7,
      seed: 3,
      maxOutputTokens: 50,
      stopSequences: ['END'],
      presencePenalty: 0.25,
      frequencyPenalty: 0.5,
      providerOptions: {
        openMaverick: { min_p: 0.1, logit_bias: { '65': -5 }, structured_outputs: { regex: '[^x]*' } },
      },
    });
    expect(result.text).toBe('Grüezi ✓');
    expect(result.finishReason).toBe('stop');
    expect(result.usage).toMatchObject({ outputTokens: 11, inputTokenDetails: { cacheReadTokens: 0 } });
    expect(result.providerMetadata).toMatchObject({ openMaverick: { timings: { predicted_n: 11 } } });
    expect(chat.calls[0]).toMatchObject({
      input: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: '2 + 2?' },
        { role: 'assistant', toolCalls: [{ name: 'add', arguments: { a: 2 } }] },
        { role: 'tool', content: '[4]' },
      ],
      options: {
        temperature: 0.5,
        topP: 0.9,
        topK: 7,
        seed: 3,
        maxTokens: 50,
        stop: ['END'],
        presencePenalty: 0.25,
        frequencyPenalty: 0.5,
        minP: 0.1,
        logitBias: new Map([[65, -5]]),
        responseFormat: { type: 'regex', pattern: '[^x]*' },
      },
    });
  });

  test('text, streamed: the same, piece by piece', async () => {
    const { provider } = await open({ reply: () => 'naïve 🙂' });
    const result = streamText({ model: provider('tiny'), prompt: 'hi' });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    expect(pieces.join('')).toBe('naïve 🙂');
    expect(pieces.length).toBeGreaterThan(3);
    expect(await result.finishReason).toBe('stop');
    expect(await result.usage).toMatchObject({ outputTokens: 11 });
  });

  test('embeddings: one and many, in order, of length 1, with the tokens counted', async () => {
    const { provider, chat } = await open();
    const model = provider.embeddingModel('tiny');
    const { embedding, usage } = await embed({ model, value: 'sea' });
    expect(usage.tokens).toBe(4);
    expect(Math.hypot(...embedding)).toBeCloseTo(1, 6);
    const values = Array.from({ length: 300 }, (_, i) => (i === 299 ? 'sea' : `text ${i}`));
    const { embeddings } = await embedMany({ model, values });
    expect(embeddings).toHaveLength(300);
    expect(embeddings[299]).toEqual(embedding);
    expect(chat.calls.map(({ input }) => chat.tokenizer.decode((input as number[]).slice(1)))).toContain('text 298');
    await expect(
      embed({ model, value: 'x', providerOptions: { openMaverick: { dimensions: 3 } }, maxRetries: 0 }),
    ).rejects.toThrow("'dimensions' must be left out, or 8");
  });

  test('the limit of tokens is said', async () => {
    const { provider } = await open({ reply: () => 'one two' });
    const { text, finishReason } = await generateText({ model: provider('tiny'), prompt: 'x', maxOutputTokens: 3 });
    expect([text, finishReason]).toEqual(['one', 'length']);
  });

  test('leaving the stream, or the signal, end the computing', async () => {
    const { provider, chat } = await open({ reply: () => 'x'.repeat(3000), delayMs: 2 });
    // streamText keeps a branch of the stream for its other promises, so that only a signal ends it; the model's own stream:
    const prompt = [{ role: 'user' as const, content: [{ type: 'text' as const, text: 'x' }] }];
    const { stream } = await provider('tiny').doStream({ prompt });
    for await (const part of stream) if (part.type === 'text-delta') break;
    await expect.poll(() => chat.counts, { timeout: 5000 }).toMatchObject({ running: 0, aborted: 1 });
    const controller = new AbortController();
    const answer = generateText({ model: provider('tiny'), prompt: 'x', abortSignal: controller.signal });
    answer.catch(() => {});
    await expect.poll(() => chat.counts.running).toBe(1);
    controller.abort();
    await expect(answer).rejects.toThrow();
    await expect.poll(() => chat.counts, { timeout: 5000 }).toMatchObject({ running: 0, aborted: 2 });
  });

  test("errors are the AI SDK's, and say whether to try again", async () => {
    const { provider } = await open();
    const wrong = await generateText({ model: provider('tiny'), prompt: 'x', temperature: 9 }).catch(error => error);
    expect(APICallError.isInstance(wrong)).toBe(true);
    expect(wrong).toMatchObject({
      statusCode: 400,
      isRetryable: false,
      message: "'temperature' must be a number from 0 to 2; got 9.",
    });
    const unknown = await generateText({ model: provider('nothing'), prompt: 'x' }).catch(error => error);
    expect(unknown).toMatchObject({ statusCode: 404, isRetryable: false });
    await expect(
      generateText({
        model: provider('tiny'),
        messages: [{ role: 'user', content: [{ type: 'file', mediaType: 'image/png', data: new Uint8Array(4) }] }],
      }),
    ).rejects.toThrow('reads text only');
  });

  test('an error in the middle of a stream comes after what was said', async () => {
    const { provider } = await open({ failAfter: { tokens: 2, error: new Error('layer 3 broke') } });
    const errors: unknown[] = [];
    const result = streamText({
      model: provider('tiny'),
      prompt: 'x',
      onError: ({ error }) => {
        errors.push(error);
      },
    });
    let text = '';
    for await (const piece of result.textStream) text += piece;
    expect(text).toBe('He');
    expect(String(errors[0])).toContain('layer 3 broke');
  });
});

test('without a server it says so, and that another try may help', async () => {
  const provider = createOpenMaverick({ baseURL: 'http://127.0.0.1:9' });
  const error = await generateText({ model: provider('x'), prompt: 'x', maxRetries: 0 }).catch(error => error);
  expect(error).toMatchObject({ isRetryable: true, message: expect.stringContaining("('maverick serve')") });
});
