// The server over real engines: several models under one budget of memory, and prefix caches that outlive the process.
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import type { OpenChatOptions } from '../server/library.ts';
import { type RunningServer, startServer } from '../server/start.ts';
import { maverick } from './fake-terminal.cases.ts';
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

describe('--prefix-cache', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'maverick-prefixes-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const keysFile = async (): Promise<string> => {
    const file = join(folder, 'keys.json');
    const keys = ['anna', 'otto'].map(name => ({ name, key: `key-of-${name}` }));
    await writeFile(file, JSON.stringify(keys));
    return file;
  };

  /** `maverick serve` from its start to its orderly end, as SIGTERM ends it; between them what `use` does. */
  async function session<T>(
    flags: readonly string[],
    use: (cachedOf: (prompt: string, key?: string) => Promise<number>) => Promise<T>,
  ): Promise<{ result: T; stdout: string; stderr: string }> {
    const end = new AbortController();
    const listening = Promise.withResolvers<string>();
    const done = maverick(
      ['serve', fixture('maverick-tiny'), '--port', '0', '--threads', '1', '--backend', 'wasm', ...flags],
      {
        signal: end.signal,
        onOutput: text => {
          const url = /http:\S+/.exec(text)?.[0];
          if (url) listening.resolve(url);
        },
      },
    );
    void done.then(({ stderr }) => listening.reject(new Error(stderr)));
    const url = await listening.promise;
    const cachedOf = async (prompt: string, key = 'none'): Promise<number> => {
      const response = await fetch(`${url}v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body: JSON.stringify({ model: 'maverick-tiny', prompt, max_tokens: 2 }),
      });
      const { usage } = (await response.json()) as { usage: { prompt_tokens_details: { cached_tokens: number } } };
      return usage.prompt_tokens_details.cached_tokens;
    };
    try {
      const result = await use(cachedOf);
      end.abort();
      return { result, ...(await done) };
    } finally {
      end.abort();
      await done;
    }
  }

  const long = 'The sea was calm, and the boats lay in the harbour as if they would never leave it again. '.repeat(2);

  test('what was asked before a restart is found after it, by its own key only', async () => {
    const flags = ['--prefix-cache', join(folder, 'restart', 'deep'), '--keys', await keysFile()];
    const first = await session(flags, cachedOf => cachedOf(long, 'key-of-anna'));
    expect([first.result, first.stderr]).toEqual([0, '']);
    expect(first.stdout).toMatch(/1 conversation kept in .*maverick-tiny-[0-9a-f]{12}\.kv \(\d+ tokens, .*B\)/);
    const file = /\S+\.kv/.exec(first.stdout)![0];
    expect([(await stat(file)).mode & 0o777, (await stat(dirname(file))).mode & 0o777]).toEqual([0o600, 0o700]);
    const written = await readFile(file);
    expect(written.includes('anna')).toBe(false);

    const second = await session(flags, async cachedOf => ({
      other: await cachedOf(`${long}And then`, 'key-of-otto'),
      own: await cachedOf(`${long}And then`, 'key-of-anna'),
    }));
    expect(second.stdout).toMatch(/1 conversation found in .*kv/);
    expect(second.result.other).toBe(0);
    expect(second.result.own).toBeGreaterThan(50);
    expect((await readFile(file)).equals(written)).toBe(false);
    // Nobody asks, so the file stays as it is.
    const before = await readFile(file);
    const third = await session(flags, async () => {});
    expect(third.stdout).not.toContain('kept in');
    expect((await readFile(file)).equals(before)).toBe(true);
  });

  test('a file that is damaged, or of another model or cache, is told and replaced', async () => {
    const flags = ['--prefix-cache', join(folder, 'damaged')];
    const { stdout } = await session(flags, cachedOf => cachedOf(long));
    const file = /\S+\.kv/.exec(stdout)![0];
    const good = await readFile(file);
    const q8 = await session([...flags, '--cache-type', 'q8_0'], async cachedOf => {
      await cachedOf('something else');
      return await cachedOf(long);
    });
    expect(q8.stderr).toMatch(
      /^Prefix cache not used: .*\.kv: its keys and values are of another backend or model: layout/,
    );
    expect([q8.result, (await readFile(file)).length < good.length]).toEqual([0, true]);
    const bytes = [good.subarray(0, good.length >> 1), Buffer.concat([good, good]), Buffer.alloc(0), Buffer.from('x')];
    for (const damaged of bytes) {
      await writeFile(file, damaged);
      const { result, stderr } = await session(flags, cachedOf => cachedOf(long));
      expect(stderr).toMatch(/^Prefix cache not used: .*\.kv: /);
      expect(result).toBe(0);
    }
    expect((await session(flags, cachedOf => cachedOf(long))).result).toBeGreaterThan(50);
  });

  test('a folder that cannot be written is refused at the start; one that goes away is told at the end', async () => {
    const file = join(folder, 'a-file');
    await writeFile(file, '');
    const refused = await maverick(['serve', fixture('maverick-tiny'), '--port', '0', '--prefix-cache', file]);
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringContaining(`--prefix-cache: ${file} cannot be used`),
    ]);
    const gone = join(folder, 'gone');
    const { stderr } = await session(['--prefix-cache', gone], async cachedOf => {
      await cachedOf(long);
      await rm(gone, { recursive: true });
    });
    expect(stderr).toMatch(/^Prefix cache not written: ENOENT/);
  });
});
