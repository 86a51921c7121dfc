// Every example runs, as a reader would run it: in a process of its own, against the built package and a tiny model.
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openChat } from '../src/engine/chat.ts';
import { startServer } from '../src/server/start.ts';

const model = 'test/fixtures/golden/maverick-tiny.gguf';
const run = async (name: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [`examples/${name}`, ...args], { timeout: 30_000 })).stdout;

/** What each says; the weights are random, so only the form is known. */
const local: [name: string, said: RegExp][] = [
  ['chat.ts', /\[(?:length|stop): \d+ tokens, \d+ ms\]\n$/],
  ['typed-tools.ts', /^calls get_weather \{.*\} → \{"city":"(?:Oslo|Bern|Quito)","degrees":\d+,"sky":"clear"\}/],
  ['json-schema.ts', /^\{\s+name: .*age: \d+,\s+languages: \[/s],
  ['ai-sdk.ts', /\ncolour: (?:red|green|blue)\n$/],
];

test.each(local)('%s', async (name, said) => {
  expect(await run(name, model)).toMatch(said);
});

test('clients.ts', async () => {
  await using closing = new AsyncDisposableStack();
  const server = await startServer({
    library: { list: async () => [{ id: 'tiny', path: model, bytes: 1 }] },
    openChat: (path, options) => openChat(path, { ...options, contextTokens: 512 }),
    port: 0,
  });
  closing.defer(() => server.close());
  const said = await run('clients.ts', server.url.replace(/\/$/, ''), 'tiny');
  expect(said).toMatch(/^openai: ".*"\nanthropic: \[.*\]\nai: ".*"\n$/s);
});

test('all of them are here', () => {
  expect(readdirSync('examples').sort()).toEqual([...local.map(([name]) => name), 'clients.ts'].sort());
});
