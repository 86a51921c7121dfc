// The life of a server: where it may listen, what it says while its engine restarts, and how it ends.
import OpenAI from 'openai';
import { expect, test } from 'vitest';
import type { FakeOptions } from './fake-chat.cases.ts';
import { serveFake } from './served-fake.cases.ts';
import type { StartOptions } from './start.ts';

async function serve(fake: FakeOptions = {}, options: Partial<StartOptions> = {}) {
  const { server, opened } = await serveFake(fake, options);
  const client = new OpenAI({ baseURL: `${server.url}v1`, apiKey: 'none', maxRetries: 0 });
  const ask = (fields: object = {}) =>
    client.chat.completions.create({ model: 'tiny', messages: [{ role: 'user', content: 'x' }], ...fields });
  const health = async () => (await fetch(`${server.url}health`)).status;
  return { server, opened, client, ask, health };
}

test('without keys only this machine is listened to', async () => {
  for (const host of ['0.0.0.0', '::', '192.168.1.5', 'example.org', '127.0.0.1.example.org'])
    await expect(serve({}, { host })).rejects.toThrow('there are no API keys. Give keys (--keys FILE');
  const { server } = await serve({}, { host: '0.0.0.0', keys: [{ name: 'one', key: 'key-number-one' }] });
  expect((await fetch(`http://127.0.0.1:${server.port}/v1/models`)).status).toBe(401);
  await serve({}, { host: '127.0.0.2' });
});

test('while the engine restarts: 503 with retry-after, health 503, and back without loading anew', async () => {
  const { ask, health, opened } = await serve();
  await ask();
  expect(await health()).toBe(200);
  opened[0]!.setState('restarting');
  const error = await ask().catch(error => error);
  expect(error).toMatchObject({ status: 503, code: 'engine_restarting' });
  expect(error.headers.get('retry-after')).toBe('2');
  const streamed = await ask({ stream: true }).catch(error => error);
  expect(streamed).toMatchObject({ status: 503 }); // not 200 and an event
  expect(await health()).toBe(503);
  opened[0]!.setState('ready');
  expect(await health()).toBe(200);
  await ask();
  expect(opened).toHaveLength(1);
});

test('draining: the answer under way ends whole, new ones are refused, health says so, then all is closed', async () => {
  const { server, ask, health, opened, client } = await serve({ reply: () => 'a long answer', delayMs: 20 });
  const stream = (await ask({ stream: true })) as unknown as AsyncIterable<OpenAI.ChatCompletionChunk>;
  let text = '';
  let drained: Promise<void> | null = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    if (drained) continue;
    drained = server.drain();
    expect(await health()).toBe(503);
    const refused = await ask().catch(error => error);
    expect(refused).toMatchObject({ status: 503, code: 'server_stopping' });
    expect(refused.headers.get('retry-after')).toBe('5');
  }
  expect(text).toBe('a long answer');
  await drained;
  expect(opened[0]!.isClosed).toBe(true);
  await expect(client.models.list()).rejects.toThrow('Connection error');
});

test('draining ends after its grace, with words for who still waits', async () => {
  const { server, ask, opened } = await serve({ reply: () => 'x'.repeat(5000), delayMs: 5 });
  const answer = ask().catch(error => error);
  await expect.poll(() => opened[0]?.counts.running).toBe(1);
  const start = performance.now();
  await server.drain(200);
  expect(performance.now() - start).toBeLessThan(1500);
  expect(await answer).toMatchObject({ status: 503, code: 'server_stopping' });
});
