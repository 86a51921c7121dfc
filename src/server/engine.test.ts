// The server over a real engine and a tiny real Llama 4: what goes over the wire is what the engine computed.
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import type { ChatModel } from '../engine/chat-types.ts';
import { type RunningServer, startServer } from './start.ts';

const path = 'test/fixtures/golden/maverick-tiny.gguf';
let server: RunningServer;
let client: OpenAI;
let chat: ChatModel;

beforeAll(async () => {
  server = await startServer({
    port: 0,
    library: { list: async () => [{ id: 'tiny', path, bytes: 1 }] },
    openChat: async (path, options) => {
      chat = await openChat(path, { ...options, backend: 'reference', contextTokens: 512 });
      return chat;
    },
  });
  client = new OpenAI({ baseURL: `${server.url}v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => server.close());

const prompt = 'The sea, the sky and the ';
const messages = [{ role: 'user' as const, content: 'Tell me about the sea.' }];

// Sampled with a seed where text counts: greedily, random weights repeat one special token, which has no text.
const sampled = { temperature: 1.5, seed: 7 };

test('a conversation, whole and streamed, is the same answer with true figures', async () => {
  const request = { model: 'tiny', messages, ...sampled, max_tokens: 20, logprobs: true };
  const whole = await client.chat.completions.create(request);
  const { message, logprobs, finish_reason } = whole.choices[0]!;
  expect(whole.usage).toMatchObject({ prompt_tokens: chat.format.encode(messages).length, completion_tokens: 20 });
  expect(finish_reason).toBe('length');
  expect(message.content!.length).toBeGreaterThan(5);
  expect(logprobs!.content).toHaveLength(20);
  let text = '';
  const streamed = [];
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? '';
    streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
  }
  expect(text).toBe(message.content);
  expect(streamed.map(({ token }) => token)).toEqual(logprobs!.content!.map(({ token }) => token));
});

test('a greedy answer takes the likeliest token at each step', async () => {
  const request = { model: 'tiny', messages, temperature: 0, max_tokens: 8, logprobs: true, top_logprobs: 3 };
  const entries = (await client.chat.completions.create(request)).choices[0]!.logprobs!.content!;
  expect(entries).toHaveLength(8);
  for (const { logprob, top_logprobs } of entries) {
    expect(top_logprobs.map(top => top.logprob)).toEqual(top_logprobs.map(top => top.logprob).sort((a, b) => b - a));
    expect(top_logprobs[0]!.logprob).toBe(logprob);
  }
});

test('echo with logprobs is what the engine scores, with and without alternatives, for text and for tokens', async () => {
  const tokens = [chat.tokenizer.bos!, ...chat.tokenizer.encode(prompt)];
  const scores = await chat.engine.score(tokens);
  for (const logprobs of [0, 2]) {
    const request = { model: 'tiny', max_tokens: 0, echo: true, logprobs };
    const ofText = (await client.completions.create({ ...request, prompt })).choices[0]!;
    expect(ofText.text).toBe(prompt);
    expect(ofText.logprobs!.token_logprobs).toEqual(Array.from(scores, score => expect.closeTo(score, 4)));
    const ofTokens = (await client.completions.create({ ...request, prompt: tokens })).choices[0]!;
    expect(ofTokens.logprobs!.token_logprobs).toEqual([null, ...ofText.logprobs!.token_logprobs!]);
  }
});

test('the same seed gives the same answer, alone and beside others', async () => {
  const ask = async (seed: number) =>
    (await client.completions.create({ model: 'tiny', prompt, max_tokens: 8, temperature: 1.5, seed })).choices[0]!
      .text;
  const alone = await ask(7);
  const beside = await Promise.all([ask(7), ask(8), ask(9)]);
  expect(beside[0]).toBe(alone);
  expect(new Set(beside).size).toBe(3);
});

test('several prompts in one request are answered each as if alone', async () => {
  const prompts = [prompt, 'Once', 'A longer beginning of another text'];
  const create = async (prompt: string | string[]) =>
    (await client.completions.create({ model: 'tiny', prompt, max_tokens: 10, ...sampled })).choices.map(
      ({ text }) => text,
    );
  expect(await create(prompts)).toEqual((await Promise.all(prompts.map(create))).flat());
});

test('a client that leaves frees the engine; health still answers', async () => {
  const stream = await client.chat.completions.create({ model: 'tiny', messages, stream: true });
  for await (const _ of stream) break;
  await expect.poll(async () => (await chat.engine.stats()).running, { timeout: 5000 }).toBe(0);
  expect((await fetch(`${server.url}health`)).status).toBe(200);
});

test('a deadline ends an answer with what there is, and its place is free again', async () => {
  const request = { model: 'tiny', messages, ...sampled, ignore_eos: true };
  const free = await client.chat.completions.create({ ...request, max_tokens: 10 });
  const late = { ...request, timeout_ms: 400 };
  for (const { choices, usage } of await Promise.all([1, 2].map(() => client.chat.completions.create(late)))) {
    expect(choices[0]!.finish_reason).toBe('length');
    expect(usage!.completion_tokens).toBeGreaterThan(0);
    expect(usage!.total_tokens).toBeLessThan(512); // the context
  }
  const again = await client.chat.completions.create({ ...request, max_tokens: 10 });
  expect(again.choices[0]!.message).toEqual(free.choices[0]!.message);
});

test('stop strings end the text before them', async () => {
  const request = { model: 'tiny', prompt, max_tokens: 24, ...sampled };
  const whole = (await client.completions.create(request)).choices[0]!.text;
  const middle = Math.floor(whole.length / 2);
  const stop = whole.slice(middle, middle + 2);
  expect(stop).toHaveLength(2);
  const cut = (await client.completions.create({ ...request, stop })).choices[0]!;
  expect(cut).toMatchObject({ text: whole.slice(0, whole.indexOf(stop)), finish_reason: 'stop' });
});
