// Models that run before they are here: by ranges from a hub that misbehaves, from the cache when there is no hub, completed by pull.
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { openerOf, type Source } from '../checkpoint/sources.ts';
import { cachePaths } from './cache.ts';
import type { HubError } from './errors.ts';
import { type FakeHub, type FakeRepo, fakeHub, sha256 } from './fake-hub.cases.ts';
import { openPartial, type PartialModel, type PartialOptions } from './partial.ts';
import { pull } from './pull.ts';

const noise = (length: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 13) & 255));
const model = noise(300_000, 1);
const part1 = noise(50_000, 2);
const part2 = noise(70_000, 3);
const PIECE = 16_384;
const repo: FakeRepo = {
  commit: 'b'.repeat(40),
  files: {
    'Tiny-Q4_K_M.gguf': model,
    'BF16/Tiny-BF16-00001-of-00002.gguf': part1,
    'BF16/Tiny-BF16-00002-of-00002.gguf': part2,
  },
};
const NAME = 'hf:someone/Tiny-GGUF:Q4_K_M';

let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  hub = await fakeHub({ 'someone/Tiny-GGUF': repo });
  cache = await mkdtemp(join(tmpdir(), 'maverick-partial-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(cache, { recursive: true, force: true });
});

const options = (more: Partial<PartialOptions['settings']> = {}): PartialOptions => ({
  settings: { endpoint: hub.endpoint, cache, token: null, offline: false, ...more },
  attempts: 3,
  backoffMs: 2,
  stallMs: 2000,
  pieceBytes: PIECE,
});
const incomplete = () => `${cachePaths(cache, 'someone/Tiny-GGUF').blob(sha256(model))}.maverick.incomplete`;
const blob = () => cachePaths(cache, 'someone/Tiny-GGUF').blob(sha256(model));

async function using<T>(
  use: (source: Source, partial: PartialModel) => Promise<T>,
  more?: Partial<PartialOptions['settings']>,
): Promise<T> {
  await using partial = await openPartial(NAME, options(more));
  await using source = await (await openerOf(partial.sources))(partial.path);
  return await use(source, partial);
}
async function read(source: Source, from: number, length: number): Promise<void> {
  const into = new Uint8Array(length);
  const got = await source.read(from, into);
  expect(got).toBe(Math.min(length, model.length - from));
  expect(Buffer.from(into.subarray(0, got)).equals(model.subarray(from, from + got))).toBe(true);
}
const failure = async (run: Promise<unknown>): Promise<Error> =>
  run.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => error as Error,
  );

describe('reading', () => {
  test('brings the pieces it touches, once, and in the next process from the disk', async () => {
    await using(async (source, partial) => {
      expect([source.size, partial.bytes, partial.presentBytes]).toEqual([model.length, model.length, 0]);
      expect(hub.sent).toBe(0);
      await read(source, 100, 50);
      expect(hub.sent).toBe(PIECE);
      await read(source, 0, PIECE);
      expect(hub.sent).toBe(PIECE);
      await read(source, 3 * PIECE - 10, 20);
      expect(hub.sent).toBe(3 * PIECE);
      await read(source, model.length - 30, 100); // past the end
    });
    const { sent } = hub;
    await using(async (source, partial) => {
      expect(partial.presentBytes).toBe(3 * PIECE + (model.length % PIECE));
      await read(source, 2 * PIECE, 2 * PIECE);
      expect(hub.sent).toBe(sent);
    });
  });

  test('gives any range as it is, also of a shared buffer, also many at once', async () => {
    await using(async source => {
      const ranges = Array.from({ length: 40 }, (_, i) => [(i * 7919 * 37) % model.length, (i * 1931) % 40_000]);
      await Promise.all(ranges.map(([from, length]) => read(source, from!, length!)));
      const into = new Uint8Array(new SharedArrayBuffer(20_000));
      expect(await source.read(5, into)).toBe(20_000);
      expect(Buffer.from(into).equals(model.subarray(5, 20_005))).toBe(true);
    });
    expect(hub.sent).toBeLessThanOrEqual(model.length); // no piece twice
  });

  test('one run of pieces is one request, of 16 pieces at most', async () => {
    await using(source => read(source, 0, model.length));
    expect(
      hub.requests.filter(({ path, range }) => range && path.includes('signature')).map(({ range }) => range),
    ).toEqual([`bytes=0-${16 * PIECE - 1}`, `bytes=${16 * PIECE}-${model.length - 1}`]);
  });

  test('a connection that breaks goes on with the piece it broke in', async () => {
    hub.cdn.push({ cutAfter: 2 * PIECE + 100 }, { cutAfter: 10 }, { status: 503 }, { stallAfter: PIECE + 5 });
    await using partial = await openPartial(NAME, { ...options(), attempts: 6, stallMs: 100 });
    await using source = await (await openerOf(partial.sources))(partial.path);
    await read(source, 0, 6 * PIECE);
    expect(hub.sent).toBe(6 * PIECE + 100 + 10 + 5);
  });

  test('all parts of a split model have their own place', async () => {
    await using partial = await openPartial('hf:someone/Tiny-GGUF:BF16', options());
    const open = await openerOf(partial.sources);
    await using first = await open(partial.path);
    await using second = await open(partial.path.replace('00001-of', '00002-of'));
    const into = Buffer.alloc(70_000);
    await second.read(0, into);
    expect([first.size, into.equals(part2)]).toEqual([50_000, true]);
    await expect(open(partial.path.replace('00001-of', '00003-of'))).rejects.toThrow(/does not exist/);
  });
});

describe('without a hub', () => {
  test('what is here is read, and what is not is an error that names the bytes and what to do', async () => {
    await using(source => read(source, 0, PIECE));
    await using(
      async source => {
        await read(source, 0, PIECE);
        const error = await failure(source.read(PIECE, new Uint8Array(10)));
        expect(error).toBeInstanceOf(CheckpointError);
        expect(error.message).toMatch(
          /bytes 16384 to 16394 are not on this machine yet: HF_HUB_OFFLINE .*maverick pull/,
        );
        await read(source, 10, 20); // and goes on
      },
      { offline: true },
    );
  });

  test('a hub that is gone is the same, without being told so', async () => {
    await using(source => read(source, 0, PIECE));
    const { endpoint } = hub;
    await hub[Symbol.asyncDispose]();
    hub = await fakeHub({});
    await using(
      async source => {
        await read(source, 0, PIECE);
        expect((await failure(source.read(PIECE, new Uint8Array(10)))).message).toMatch(/could not be reached/);
      },
      { endpoint },
    );
  });

  test('a model that was never asked for is an error', async () => {
    const error = await failure(openPartial(NAME, options({ offline: true })));
    expect([(error as HubError).kind, error.message]).toEqual(['offline', expect.stringContaining('HF_HUB_OFFLINE')]);
  });
});

describe('a hub that cannot be trusted', () => {
  test.each([
    ['serves no ranges', { ignoreRange: true }, /serves no ranges/],
    ['sends more than was asked for', { tooLong: true }, /more than the range/],
    ['refuses', { status: 404 }, /not found/],
  ] as const)('%s: nothing of it is kept', async (_, bad, expected) => {
    await using(async source => {
      hub.cdn.push(bad, bad, bad);
      expect((await failure(source.read(0, new Uint8Array(10)))).message).toMatch(expected);
      hub.cdn.length = 0;
      await read(source, 0, 3 * PIECE);
    });
  });

  test('has another file under the same name: found by its etag', async () => {
    await using partial = await openPartial(NAME, options());
    await hub[Symbol.asyncDispose]();
    const other = { ...repo, files: { 'Tiny-Q4_K_M.gguf': noise(300_000, 9) } };
    hub = await fakeHub({ 'someone/Tiny-GGUF': other });
    const { sources, path } = partial;
    const data = sources.data as { http: { settings: object } };
    const moved = { ...data, http: { ...data.http, settings: { ...data.http.settings, endpoint: hub.endpoint } } };
    await using source = await (await openerOf({ ...sources, data: moved }))(path);
    expect((await failure(source.read(0, new Uint8Array(10)))).message).toMatch(/now has another file/);
  });

  test('sends wrong bytes: a range cannot tell, the whole does, and nothing gets its final name', async () => {
    hub.cdn.push({ wrongBytes: true });
    await using(async source => {
      await source.read(5 * PIECE, new Uint8Array(10));
    });
    hub.cdn.length = 0;
    const { path } = await pull(NAME, options());
    expect((await readFile(path)).equals(model)).toBe(true);
    expect(await readdir(join(cache, 'models--someone--Tiny-GGUF', 'blobs'))).toEqual([sha256(model)]);
  });
});

describe('pull', () => {
  test('completes it: fetches only what is missing, and it is an ordinary file of the library then', async () => {
    await using(async source => {
      await read(source, 0, 100);
      await read(source, 7 * PIECE, 3 * PIECE);
    });
    const { sent } = hub;
    let present = -1;
    const { path } = await pull(NAME, {
      ...options(),
      onPlan: plan => {
        present = plan.presentBytes;
      },
    });
    expect(present).toBe(4 * PIECE);
    expect(hub.sent - sent).toBe(model.length - 4 * PIECE);
    expect((await readFile(path)).equals(model)).toBe(true);
    expect(await readdir(join(cache, 'models--someone--Tiny-GGUF', 'blobs'))).toEqual([sha256(model)]);
    await using(async (source, partial) => {
      expect(partial.presentBytes).toBe(model.length);
      await read(source, 1000, 100_000);
    });
  });

  test('fetches again just the piece in which a bit has flipped', async () => {
    await using(source => read(source, 0, model.length));
    const bytes = await readFile(incomplete());
    bytes[9 * PIECE + 77]! ^= 16;
    await writeFile(incomplete(), bytes);
    const { sent } = hub;
    const { path } = await pull(NAME, options());
    expect(hub.sent - sent).toBe(PIECE);
    expect((await readFile(path)).equals(model)).toBe(true);
  });

  test('what it left when it was broken off is read from', async () => {
    hub.cdn.push({ cutAfter: 5 * PIECE + 100 }, { status: 404 });
    await failure(pull(NAME, options()));
    expect((await stat(incomplete())).size).toBe(5 * PIECE + 100);
    const { sent } = hub;
    await using(async source => {
      await read(source, PIECE, 4 * PIECE);
      expect(hub.sent).toBe(sent);
      await read(source, 5 * PIECE, PIECE);
      expect(hub.sent).toBe(sent + PIECE);
    });
  });

  test('waits while the model runs, and the model does not run while it pulls', async () => {
    await using partial = await openPartial(NAME, options());
    let waited = false;
    const pulling = pull(NAME, {
      ...options(),
      onWait: () => {
        waited = true;
      },
    });
    await expect.poll(() => waited).toBe(true);
    const error = await failure(openPartial(NAME, options()));
    expect((error as HubError).kind).toBe('refused');
    expect(error.message).toMatch(/another process/);
    await partial[Symbol.asyncDispose]();
    await pulling;
    expect((await stat(blob())).size).toBe(model.length);
  });
});
