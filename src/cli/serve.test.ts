// Several models under one budget of memory, with real engines behind the server.
import { afterEach, describe, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import type { OpenChatOptions } from '../server/library.ts';
import { type RunningServer, startServer } from '../server/start.ts';
import { roomUnder } from './serve.ts';

const fixture = (name: string): string => `test/fixtures/golden/${name}.gguf`;
const ids = ['maverick-tiny', 'scout-tiny'];
const running: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(server => server.close()));
});

/** Serves two models, with room for `memory` bytes together. */
async function serve(memory: number | undefined, available: () => number = () => 1e12) {
  const server = await startServer({
    port: 0,
    library: { list: async () => ids.map(id => ({ id, path: fixture(id), bytes: 1_000_000 })) },
    room: roomUnder(memory, available),
    openChat: (path, { room, ...more }: OpenChatOptions) =>
      openChat(path, {
        ...more,
        threads: 1,
        contextTokens: 256,
        maxSequences: 1,
        ...(memory && { memory: Math.floor(room) }),
      }),
  });
  running.push(server);
  const ask = async (model: string) => {
    const response = await fetch(`${server.url}v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, prompt: 'The sea', max_tokens: 2 }),
    });
    return { status: response.status, text: await response.text() };
  };
  const ready = async () => {
    const { data } = (await (await fetch(`${server.url}v1/models`)).json()) as {
      data: { id: string; status: string }[];
    };
    return data.filter(({ status }) => status === 'ready').map(({ id }) => id);
  };
  return { ask, ready };
}

describe('models within a budget', () => {
  test('both where it is enough for both', async () => {
    const { ask, ready } = await serve(1.2e9);
    for (const id of ids) expect((await ask(id)).status).toBe(200);
    expect(await ready()).toEqual(ids);
  });

  test('one where it is enough for one: the other makes room, though its file alone would fit, and comes back', async () => {
    const { ask, ready } = await serve(4e8);
    for (const id of [...ids, ...ids]) {
      expect((await ask(id)).status).toBe(200);
      expect(await ready()).toEqual([id]);
    }
  });

  test('none where it is too small: 503 that says what is needed', async () => {
    const { ask, ready } = await serve(5e7);
    const { status, text } = await ask(ids[0]!);
    expect([status, text]).toEqual([503, expect.stringMatching(/takes .* of memory, and .* granted \(--memory\)/)]);
    expect(await ready()).toEqual([]);
  });

  test('without a budget what is free decides', async () => {
    let free = 2_000_000;
    const { ask, ready } = await serve(undefined, () => free);
    await ask(ids[0]!);
    free = 500_000;
    await ask(ids[1]!);
    expect(await ready()).toEqual([ids[1]]);
    free = 2_000_000;
    await ask(ids[0]!);
    expect(await ready()).toEqual(ids);
  });
});
