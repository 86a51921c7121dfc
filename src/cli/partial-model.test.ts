// A model that is run before it is here: the answer of the whole one, with fewer bytes, offline as far as it goes; by command and by library.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import type { ChatModel } from '../engine/chat-types.ts';
import { type FakeHub, fakeHub } from '../hub/fake-hub.cases.ts';
import { openPartial } from '../hub/partial.ts';
import { type Geometry, writeRandomModel } from '../hub/random-model.ts';
import { maverick } from './fake-terminal.cases.ts';

/** Most of it is experts: 2 layers of 64. */
const geometry: Geometry = {
  architecture: 'llama4',
  layers: 4,
  dim: 128,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  ff: 128,
  expertFf: 256,
  experts: 64,
  moeStep: 2,
  vocab: 300,
  contextLength: 512,
};
const NAME = 'hf:someone/Sparse-GGUF:Q8_0';

let folder: string;
let path: string;
let content: Buffer;
let hub: FakeHub;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-partial-cli-'));
  path = await writeRandomModel(join(folder, 'Sparse-Q8_0.gguf'), geometry, { dtype: 'Q8_0', seed: 3 });
  content = await readFile(path);
});
afterAll(() => rm(folder, { recursive: true }));
const newHub = () =>
  fakeHub({
    'someone/Sparse-GGUF': { commit: 'c'.repeat(40), card: { license: 'mit' }, files: { 'Sparse-Q8_0.gguf': content } },
  });

const tokensOf = async (chat: ChatModel, prompt: string): Promise<number[]> => {
  const tokens: number[] = [];
  for await (const event of chat.complete(prompt, { maxTokens: 6 }))
    if (event.type === 'text') tokens.push(...event.tokens.map(({ token }) => token));
  return tokens;
};

test('experts come when a token wants them; one that is missing offline is an error, and the engine goes on', {
  timeout: 60_000,
}, async () => {
  hub = await newHub();
  const settings = { endpoint: hub.endpoint, cache: join(folder, 'library'), token: null };
  const engine = { threads: 1, maxSequences: 1 } as const;
  const [near, far] = ['hello', 'zyx wvut srqp onm lkji'];
  await using whole = await openChat(path, engine);
  const wanted = { near: await tokensOf(whole, near), far: await tokensOf(whole, far) };
  const open = async (offline: boolean) => {
    const opened = new AsyncDisposableStack();
    const partial = opened.use(await openPartial(NAME, { settings: { ...settings, offline }, pieceBytes: 16_384 }));
    const chat = opened.use(await openChat(partial.path, { ...engine, sources: partial.sources }));
    return { chat, partial, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
  };
  {
    await using first = await open(false);
    expect(await tokensOf(first.chat, near)).toEqual(wanted.near);
    expect(first.chat.engine.info.streaming).toMatchObject({ heldExperts: 128, experts: 128 });
  }
  expect(hub.sent).toBeLessThan(0.5 * content.length);
  const { sent } = hub;
  await hub[Symbol.asyncDispose]();
  {
    await using second = await open(true);
    expect(second.partial.presentBytes).toBe(sent);
    expect(await tokensOf(second.chat, near)).toEqual(wanted.near);
    await expect(tokensOf(second.chat, far)).rejects.toThrow(
      /tensor blk\.\d\.ffn_\w+_exps\.weight: bytes \d+ to \d+ are not on this machine yet: HF_HUB_OFFLINE/,
    );
    expect(await tokensOf(second.chat, near)).toEqual(wanted.near);
  }
  expect(wanted.far).not.toEqual(wanted.near);
});

test('maverick generate hf:… runs what is not here, offline too, and pull makes it whole', {
  timeout: 60_000,
}, async () => {
  hub = await newHub();
  const environment = { HF_HOME: join(folder, 'home'), HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '' };
  const run = (model: string, more: Record<string, string> = {}) =>
    maverick(['generate', model, 'hello', '-n', '6', '--json', '--threads', '1'], {
      environment: { ...environment, ...more },
    });
  const wanted = JSON.parse((await run(path)).stdout).tokens;
  const first = await run(NAME);
  expect([first.code, first.stderr]).toEqual([0, expect.stringMatching(/0 B of \d+\.\d MB are here; it runs/)]);
  expect(JSON.parse(first.stdout).tokens).toEqual(wanted);
  const requests = hub.requests.length;
  const offline = await run(NAME, { HF_HUB_OFFLINE: '1' });
  expect([offline.code, JSON.parse(offline.stdout).tokens]).toEqual([0, wanted]);
  expect(hub.requests.length).toBe(requests);
  expect((await maverick(['pull', NAME], { environment })).code).toBe(0);
  expect(hub.sent).toBe(content.length);
  const whole = await run(NAME, { HF_HUB_OFFLINE: '1' });
  expect([whole.code, whole.stderr]).toEqual([0, '']);
  await hub[Symbol.asyncDispose]();
});
