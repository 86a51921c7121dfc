// A server on a loopback port over a scripted model, for tests; it is closed when the test ends.
import { afterEach } from 'vitest';
import { createFakeChat, type FakeChat, type FakeOptions } from './fake-chat.cases.ts';
import { type RunningServer, type StartOptions, startServer } from './start.ts';

const running: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(server => server.close()));
});

/** Serves the model `tiny`; `opened` are the chat models made for it. */
export async function serveFake(
  fake: FakeOptions = {},
  options: Partial<StartOptions> = {},
): Promise<{ server: RunningServer; opened: FakeChat[] }> {
  const opened: FakeChat[] = [];
  const server = await startServer({
    library: { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] },
    openChat: async path => {
      opened.push(createFakeChat(path, fake));
      return opened.at(-1)!;
    },
    port: 0,
    ...options,
  });
  running.push(server);
  return { server, opened };
}
