// POST /v1/routing: the routing of an answer, what is refused, and that one key's reading helps or shows nothing to another.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import type { ChatModel } from '../engine/chat-types.ts';
import { serveFake } from './served-fake.cases.ts';
import { type RunningServer, startServer } from './start.ts';
import type { WireError, WireModelList, WireRouting } from './wire.ts';

const question = { role: 'user', content: 'the sea' };
const answer = { role: 'assistant', content: 'Hi é' };

async function ask(server: RunningServer, body: object, key?: string) {
  const response = await fetch(`${server.url}v1/routing`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
    body: JSON.stringify({ model: 'tiny', ...body }),
  });
  const json = (await response.json()) as WireRouting & Partial<WireError>;
  return { status: response.status, json, message: json.error?.message ?? '' };
}

describe('over a scripted model', () => {
  test('tokens with their text and their experts, layer by layer', async () => {
    const { server } = await serveFake({ experts: 16 });
    const { status, json } = await ask(server, { messages: [question, answer] });
    expect(status).toBe(200);
    expect(json).toEqual({
      object: 'routing',
      model: 'tiny',
      experts: 16,
      experts_per_token: 1,
      layers: [1, 3],
      tokens: [
        { text: 'H', experts: [[9], [11]] },
        { text: 'i', experts: [[10], [12]] },
        { text: ' ', experts: [[1], [3]] },
        { text: 'bytes:\\xc3', experts: [[4], [6]] },
        { text: 'bytes:\\xa9', experts: [[10], [12]] },
      ],
    });
    const { data } = (await (await fetch(`${server.url}v1/models`)).json()) as WireModelList;
    expect(data[0]!.experts).toBe(16);
  });

  test('what is refused, by name', async () => {
    const { server } = await serveFake({ experts: 16, contextTokens: 40 });
    const cases: [object, string][] = [
      [
        { messages: [question] },
        "'messages[0].role' must be 'assistant': the last message is the answer; got \"user\"",
      ],
      [{ messages: [question, { ...answer, content: '' }] }, "'messages[1].content' must be a text that is not empty"],
      [{ messages: [question, answer], n: 2 }, "'n' is no parameter of this request"],
      [
        { messages: [{ ...question, content: 'x'.repeat(60) }, answer] },
        "The context holds 40 tokens, and 'messages' has",
      ],
      [{}, "'messages' is missing"],
    ];
    for (const [body, words] of cases) {
      const { status, message } = await ask(server, body);
      expect([status, message]).toEqual([400, expect.stringContaining(words)]);
    }
    const dense = await serveFake();
    const { status, message } = await ask(dense.server, { messages: [question, answer] });
    expect([status, message]).toEqual([400, expect.stringContaining("'model' must be a model with experts")]);
  });

  test('a key has its own salt, and pays for the tokens', async () => {
    const keys = [{ name: 'one', key: 'key-number-one', tokensPerMinute: 4 }];
    const { server, opened } = await serveFake({ experts: 4 }, { keys });
    expect((await ask(server, { messages: [question, answer] })).status).toBe(401);
    expect((await ask(server, { messages: [question, answer] }, 'key-number-one')).status).toBe(200);
    expect(opened[0]!.calls[0]!.options).toMatchObject({ cacheSalt: 'one', fairnessKey: 'one' });
    expect((await ask(server, { messages: [question, answer] }, 'key-number-one')).status).toBe(429);
  });
});

describe('over a real engine', () => {
  let server: RunningServer;
  let chat: ChatModel;
  beforeAll(async () => {
    const keys = ['one', 'two'].map(name => ({ name, key: `key-number-${name}` }));
    server = await startServer({
      port: 0,
      keys,
      library: { list: async () => [{ id: 'tiny', path: 'test/fixtures/golden/maverick-tiny.gguf', bytes: 1 }] },
      openChat: async (path, options) => {
        chat = await openChat(path, { ...options, backend: 'reference', contextTokens: 512 });
        return chat;
      },
    });
  });
  afterAll(() => server.close());

  test("is the engine's, for every key the same, and no key finds another's conversation in the cache", async () => {
    const first = await ask(server, { messages: [question, answer] }, 'key-number-one');
    expect(first.status).toBe(200);
    const prompt = chat.format.encode([question as { role: 'user'; content: string }]);
    const tokens = chat.tokenizer.encode(answer.content);
    const { ids, layers } = await chat.engine.routing([...prompt, ...tokens], { from: prompt.length });
    expect(first.json.layers).toEqual(layers);
    expect(first.json.tokens.flatMap(token => token.experts.flat())).toEqual([...ids]);
    const reused = async (key: string): Promise<number> => {
      const before = (await chat.engine.stats()).reusedTokens;
      expect((await ask(server, { messages: [question, answer] }, key)).json).toEqual(first.json);
      return (await chat.engine.stats()).reusedTokens - before;
    };
    expect(await reused('key-number-one')).toBe(prompt.length);
    expect(await reused('key-number-two')).toBe(0);
  });

  test('an answer that would not fit is told so', async () => {
    const long = { ...answer, content: 'sea '.repeat(600) };
    const { status, message } = await ask(server, { messages: [question, long] }, 'key-number-one');
    expect([status, message]).toEqual([400, expect.stringContaining('at most 512')]);
  });
});
