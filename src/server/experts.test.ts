// GET /v1/experts and its figures in /metrics: of models whose experts are read from disk, and of no others.
import { expect, test } from 'vitest';
import type { StreamStats } from '../model/expert-stats.ts';
import { createApp } from './app.ts';
import { createFakeChat } from './fake-chat.cases.ts';
import { createModels } from './models.ts';
import type { WireExpertStats } from './wire.ts';

const experts: StreamStats = {
  experts: 640,
  slots: 263,
  held: 200,
  heldBytes: 14e9,
  wanted: 1000,
  hits: 800,
  bytesRead: 14e9,
  stalledMs: 4000,
  busyMs: 7000,
  guesses: 8,
  guessesRight: 1,
  foreseen: 0,
  foreseenRight: 0,
  failures: 0,
  layers: [
    { layer: 1, wanted: 1000, hits: 800, bytesRead: 14e9, stalledMs: 4000 },
    { layer: 3, wanted: 0, hits: 0, bytesRead: 0, stalledMs: 0 },
  ],
};

async function appOf(streamed: StreamStats | null) {
  const library = { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] };
  const openChat = async (path: string) => {
    const chat = await createFakeChat(path);
    const { stats } = chat.engine;
    chat.engine.stats = async () => ({
      ...(await stats.call(chat.engine)),
      prefillTokens: 50,
      decodeTokens: 50,
      experts: streamed,
    });
    return chat;
  };
  const app = createApp({ models: createModels({ library, openChat }) });
  const nothing = (await (await app.request('/v1/experts')).json()) as WireExpertStats;
  expect(nothing).toEqual({ object: 'list', data: [] });
  const message = { model: 'tiny', messages: [{ role: 'user', content: 'hello' }] };
  await app.request('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(message),
  });
  return app;
}

test('a streamed model tells what reading cost, by layer', async () => {
  const app = await appOf(experts);
  const { data } = (await (await app.request('/v1/experts')).json()) as WireExpertStats;
  expect(data).toHaveLength(1);
  expect(data[0]).toMatchObject({
    model: 'tiny',
    held: 200,
    hit_rate: 0.8,
    bytes_per_token: 14e7,
    read_bytes_per_second: 2e9,
  });
  expect(data[0]!.layers.map(layer => layer.hit_rate)).toEqual([0.8, null]);
  const text = await (await app.request('/metrics')).text();
  expect(text).toContain('maverick:expert_stall_seconds{model_name="tiny"} 4');
  expect(text).toContain('maverick:experts_held{model_name="tiny"} 200');
});

test('a model whose experts are all in memory has nothing to tell', async () => {
  const app = await appOf(null);
  expect(await (await app.request('/v1/experts')).json()).toEqual({ object: 'list', data: [] });
  expect(await (await app.request('/metrics')).text()).not.toContain('maverick:experts_held{');
});
