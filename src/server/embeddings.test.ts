// Embeddings over the official client: forms of input, formats of answers, what is refused, and the numbers themselves.
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import type { ChatModel } from '../engine/chat-types.ts';
import { serveFake } from './served-fake.cases.ts';
import { type RunningServer, startServer } from './start.ts';

const clientOf = (server: RunningServer, apiKey = 'none') =>
  new OpenAI({ baseURL: `${server.url}v1`, apiKey, maxRetries: 0 });

describe('over a scripted model', () => {
  test('a text, texts, tokens and lists of tokens; a text begins with BOS; usage is the sum', async () => {
    const { server, opened } = await serveFake();
    const client = clientOf(server);
    for (const [input, seen, tokens] of [
      ['sea', [[256, 115, 101, 97]], 4],
      [
        ['a', 'bc'],
        [
          [256, 97],
          [256, 98, 99],
        ],
        5,
      ],
      [[1, 2, 3], [[1, 2, 3]], 3],
      [[[1], [2, 3]], [[1], [2, 3]], 3],
    ] as [string, number[][], number][]) {
      opened[0]?.calls.splice(0);
      const answer = await client.embeddings.create({ model: 'tiny', input });
      expect(answer).toMatchObject({ object: 'list', model: 'tiny', pooling: 'mean' });
      expect(answer.usage).toEqual({ prompt_tokens: tokens, total_tokens: tokens });
      expect(opened[0]!.calls.map(call => call.input)).toEqual(seen);
      expect(answer.data.map(({ object, index, embedding }) => [object, index, embedding.length])).toEqual(
        seen.map((_, i) => ['embedding', i, 8]),
      );
    }
  });

  test('numbers and base64 are the same vectors', async () => {
    const { server } = await serveFake();
    const client = clientOf(server);
    const ask = async (fields: object) =>
      (await client.embeddings.create({ model: 'tiny', input: 'the sea', ...fields })).data[0]!.embedding;
    const numbers = await ask({ encoding_format: 'float' });
    const base64 = (await ask({ encoding_format: 'base64' })) as unknown as string;
    const { buffer, byteOffset, byteLength } = Buffer.from(base64, 'base64');
    expect(Array.from(new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength)))).toEqual(numbers);
    expect(await ask({})).toEqual(numbers); // the client asks for base64 and takes it apart
    expect(await ask({ dimensions: 8 })).toEqual(numbers);
    expect(Math.hypot(...numbers)).toBeCloseTo(1, 6);
  });

  test.each([
    [{ input: undefined }, 'input', "'input' is missing"],
    [{ input: '' }, 'input', 'a text that is not empty'],
    [{ input: ['a', ''] }, 'input[1]', 'a text that is not empty'],
    [{ input: [] }, 'input', 'an empty array|an array of 0 items'],
    [{ input: ['a', 1] }, 'input[1]', 'a string, as the others are'],
    [{ input: Array(2049).fill('a') }, 'input', 'at most 2048 texts'],
    [{ input: [999] }, 'input[0]', 'a token id from 0 to 257'],
    [{ input: 'x'.repeat(5000) }, 'input', 'The context holds 4096 tokens'],
    [{ input: 'a', dimensions: 256 }, 'dimensions', 'left out, or 8'],
    [{ input: 'a', dimensions: 0 }, 'dimensions', 'a whole number of at least 1'],
    [{ input: 'a', encoding_format: 'int8' }, 'encoding_format', "'float' or 'base64'"],
    [{ input: 'a', stream: true }, 'stream', 'no parameter of this request'],
  ])('%j is refused by name', async (fields, param, words) => {
    const { server } = await serveFake();
    const error = await clientOf(server)
      .embeddings.create({ model: 'tiny', ...fields } as OpenAI.EmbeddingCreateParams)
      .catch(error => error);
    expect([error.status, error.param]).toEqual([400, param]);
    expect(error.message).toMatch(new RegExp(words));
  });

  test('tokens count for the metrics and for the key', async () => {
    const keys = [{ name: 'one', key: 'key-number-one', tokensPerMinute: 10 }];
    const { server, opened } = await serveFake({}, { keys });
    const client = clientOf(server, 'key-number-one');
    await client.embeddings.create({ model: 'tiny', input: 'twelve bytes' });
    expect(opened[0]!.calls[0]!.options).toMatchObject({ cacheSalt: 'one', fairnessKey: 'one' });
    await expect(client.embeddings.create({ model: 'tiny', input: 'x' })).rejects.toMatchObject({ status: 429 });
    const metrics = await (
      await fetch(`${server.url}metrics`, { headers: { authorization: 'Bearer key-number-one' } })
    ).text();
    expect(metrics).toContain('vllm:prompt_tokens_total{model_name="tiny"} 13');
  });
});

describe('over a real engine', () => {
  let server: RunningServer;
  let chat: ChatModel;
  beforeAll(async () => {
    server = await startServer({
      port: 0,
      library: { list: async () => [{ id: 'tiny', path: 'test/fixtures/golden/maverick-tiny.gguf', bytes: 1 }] },
      openChat: async (path, options) => {
        chat = await openChat(path, { ...options, threads: 1, contextTokens: 512, maxBatch: 16 });
        return chat;
      },
    });
  });
  afterAll(() => server.close());

  test('many at once, beside generation, are each as if alone', async () => {
    const client = clientOf(server);
    const inputs = Array.from({ length: 40 }, (_, i) => `text ${i} ${'the sea and the sky '.repeat(i % 7)}`);
    const one = async (input: string) => (await client.embeddings.create({ model: 'tiny', input })).data[0]!.embedding;
    const alone = await one(inputs[20]!);
    const generating = client.completions.create({ model: 'tiny', prompt: 'The sea', max_tokens: 60, seed: 3 });
    const { data } = await client.embeddings.create({ model: 'tiny', input: inputs });
    expect(data.map(({ index }) => index)).toEqual(inputs.map((_, i) => i));
    expect(data[20]!.embedding).toEqual(alone);
    expect(new Set(data.map(({ embedding }) => JSON.stringify(embedding))).size).toBe(40);
    const beside = (await generating).choices[0]!.text;
    expect(
      (await client.completions.create({ model: 'tiny', prompt: 'The sea', max_tokens: 60, seed: 3 })).choices[0]!.text,
    ).toBe(beside);
  });

  test('they leave nothing in the cache, and a client that leaves frees the engine', async () => {
    const client = clientOf(server);
    await expect.poll(() => chat.engine.stats()).toMatchObject({ running: 0 }); // what was answered before is kept a moment later
    const before = (await chat.engine.stats()).keptSequences;
    await client.embeddings.create({ model: 'tiny', input: ['a'.repeat(60), 'b'.repeat(60)] });
    expect((await chat.engine.stats()).keptSequences).toBe(before);
    const controller = new AbortController();
    const many = client.embeddings.create(
      { model: 'tiny', input: Array(500).fill('the sea '.repeat(20)) },
      { signal: controller.signal },
    );
    many.catch(() => {});
    await expect.poll(async () => (await chat.engine.stats()).running).toBeGreaterThan(0);
    controller.abort();
    await expect(many).rejects.toThrow();
    await expect.poll(() => chat.engine.stats(), { timeout: 5000 }).toMatchObject({ running: 0, waiting: 0 });
  });
});
