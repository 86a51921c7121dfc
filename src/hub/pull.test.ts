// Pulls from a server that behaves like the hub, and from one that does not: the cache never holds a bad file.
import { mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cachePaths } from './cache.ts';
import { HubError } from './errors.ts';
import { type FakeHub, type FakeRepo, fakeHub, gitSha1, sha256 } from './fake-hub.cases.ts';
import { findModel, listModels } from './library.ts';
import { type PullOptions, type PullPlan, pull } from './pull.ts';

const noise = (length: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 13) & 255));
const model = noise(300_000, 1);
const part1 = noise(50_000, 2);
const part2 = noise(70_000, 3);
const licence = Buffer.from('Be kind.\n');
const repo: FakeRepo = {
  commit: 'a'.repeat(40),
  card: { license: 'other', license_name: 'llama4', license_link: 'https://example.org/licence' },
  files: {
    LICENSE: licence,
    'README.md': Buffer.from('# A model'),
    'Tiny-Q4_K_M.gguf': model,
    'Tiny-Q8_0.gguf': noise(2000, 4),
    'mmproj-F16.gguf': noise(2000, 5),
    'BF16/Tiny-BF16-00001-of-00002.gguf': part1,
    'BF16/Tiny-BF16-00002-of-00002.gguf': part2,
    'broken/Tiny-Q2_K-00002-of-00002.gguf': part2,
  },
};

let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  hub = await fakeHub({
    'someone/Tiny-GGUF': repo,
    'meta/Gated-GGUF': { ...repo, gated: true },
    'someone/plain': { ...repo, files: { 'model.safetensors': model } },
    'someone/nothing': { ...repo, files: { 'README.md': model } },
  });
  cache = await mkdtemp(join(tmpdir(), 'maverick-hub-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(cache, { recursive: true, force: true });
});

const settings = (more: Partial<PullOptions['settings']> = {}): PullOptions['settings'] => ({
  endpoint: hub.endpoint,
  cache,
  token: null,
  offline: false,
  ...more,
});
const quick = (more: Partial<PullOptions> = {}): PullOptions => ({
  settings: settings(),
  attempts: 4,
  backoffMs: 5,
  stallMs: 2000,
  ...more,
});
const paths = () => cachePaths(cache, 'someone/Tiny-GGUF');
const blobs = () =>
  readdir(join(paths().repo, 'blobs')).then(
    names => names.sort(),
    () => [],
  );
const failure = async (run: Promise<unknown>): Promise<HubError> => {
  const error = await run.then(
    () => expect.fail('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HubError);
  return error as HubError;
};

describe('pull', () => {
  test('fills the cache in the layout all tools share', async () => {
    const plans: PullPlan[] = [];
    const pulled = await pull('hf:someone/Tiny-GGUF', quick({ onPlan: plan => void plans.push(plan) }));
    expect(pulled.path).toBe(join(cache, 'models--someone--Tiny-GGUF/snapshots', repo.commit, 'Tiny-Q4_K_M.gguf'));
    expect(await readFile(pulled.path)).toEqual(model);
    expect(await readlink(pulled.path)).toBe(join('../../blobs', sha256(model)));
    expect(await readFile(paths().ref('main'), 'utf8')).toBe(repo.commit);
    expect(await blobs()).toEqual([gitSha1(licence), sha256(model)].sort());
    expect(plans).toEqual([
      expect.objectContaining({
        licence: { name: 'llama4', link: 'https://example.org/licence' },
        bytes: model.length + licence.length,
        presentBytes: 0,
      }),
    ]);
  });

  test('a second pull fetches no bytes', async () => {
    await pull('hf:someone/Tiny-GGUF', quick());
    const sent = hub.sent;
    await pull('hf:someone/Tiny-GGUF:Q4_K_M', quick());
    expect(hub.sent).toBe(sent);
  });

  test.each(['BF16', 'bf16', 'BF16/Tiny-BF16-00002-of-00002.gguf', 'Tiny-BF16-00001-of-00002.gguf'])(
    'one part of a split model, or its quantization, brings all parts: %s',
    async file => {
      const pulled = await pull(`hf:someone/Tiny-GGUF:${file}`, quick());
      expect(pulled.path).toMatch(/Tiny-BF16-00001-of-00002\.gguf$/);
      expect(await readFile(pulled.path)).toEqual(part1);
      expect(await readFile(pulled.path.replace('00001-of', '00002-of'))).toEqual(part2);
      expect(await readlink(pulled.path)).toBe(join('../../../blobs', sha256(part1)));
      expect(await listModels({ cache })).toEqual([
        expect.objectContaining({
          name: 'hf:someone/Tiny-GGUF:BF16',
          bytes: part1.length + part2.length,
          complete: true,
        }),
      ]);
    },
  );

  test('the progress counts every byte once and ends at the total', async () => {
    const seen: number[] = [];
    await pull('hf:someone/Tiny-GGUF', quick({ onProgress: progress => seen.push(progress.bytes) }));
    expect(seen.at(-1)).toBe(model.length + licence.length);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test('the token goes to the hub and not to its CDN', async () => {
    await pull('hf:meta/Gated-GGUF', quick({ settings: settings({ token: 'good' }) }));
    const bytes = hub.requests.filter(request => request.path.includes('signature='));
    expect(bytes.length).toBeGreaterThan(0);
    expect(bytes.every(request => request.authorization === undefined)).toBe(true);
    expect(
      hub.requests
        .filter(request => !bytes.includes(request))
        .every(request => request.authorization === 'Bearer good'),
    ).toBe(true);
  });
});

describe('a connection that breaks', () => {
  test('is resumed where it broke, as often as it breaks', async () => {
    for (let i = 0; i < 8; i++) hub.cdn.push({ cutAfter: 20_000 }); // more often than the 4 attempts that may bring nothing
    hub.cdn.unshift({ cutAfter: 3 });
    const pulled = await pull('hf:someone/Tiny-GGUF', quick());
    expect(await readFile(pulled.path)).toEqual(model);
    expect(hub.requests.filter(request => request.range).length).toBeGreaterThanOrEqual(8);
    expect(hub.sent).toBe(model.length + licence.length); // not one byte twice
  });

  test('what an aborted pull left is kept, hashed and resumed by the next', async () => {
    hub.cdn.push({ cutAfter: 1_000_000 }, { stallAfter: 100_000 });
    const abort = new AbortController();
    const run = pull(
      'hf:someone/Tiny-GGUF',
      quick({ signal: abort.signal, onProgress: p => p.fileBytes === 100_000 && abort.abort() }),
    );
    await expect(run).rejects.toThrow(/abort/i);
    expect((await stat(`${paths().blob(sha256(model))}.maverick.incomplete`)).size).toBe(100_000);
    expect(await blobs()).not.toContain(sha256(model));
    expect(await listModels({ cache })).toEqual([]);

    const phases: string[] = [];
    const plans: PullPlan[] = [];
    await pull(
      'hf:someone/Tiny-GGUF',
      quick({ onProgress: p => phases.push(p.phase), onPlan: plan => void plans.push(plan) }),
    );
    expect(plans[0]!.presentBytes).toBe(100_000 + licence.length);
    expect(phases).toContain('checking');
    expect(hub.requests.at(-1)!.range).toBe('bytes=100000-');
    expect(await blobs()).toEqual([gitSha1(licence), sha256(model)].sort());
  });

  test('a server that knows no ranges sends all again', async () => {
    hub.cdn.push({ cutAfter: 100 }, { cutAfter: 100_000 }, { ignoreRange: true });
    const pulled = await pull('hf:someone/Tiny-GGUF', quick());
    expect(await readFile(pulled.path)).toEqual(model);
  });

  test('silence counts as a break', async () => {
    hub.cdn.push({ ignoreRange: true }, { stallAfter: 100_000 });
    const retries: string[] = [];
    const pulled = await pull(
      'hf:someone/Tiny-GGUF',
      quick({ stallMs: 150, onRetry: retry => retries.push(retry.reason) }),
    );
    expect(retries).toEqual(['nothing came for 0.15 s']);
    expect(await readFile(pulled.path)).toEqual(model);
  });

  test('a left-over longer than the file is thrown away', async () => {
    hub.cdn.push({ ignoreRange: true }, { stallAfter: 1000 });
    const abort = new AbortController();
    await expect(
      pull(
        'hf:someone/Tiny-GGUF',
        quick({ signal: abort.signal, onProgress: p => p.fileBytes === 1000 && abort.abort() }),
      ),
    ).rejects.toThrow();
    const incomplete = `${paths().blob(sha256(model))}.maverick.incomplete`;
    await writeFile(incomplete, Buffer.alloc(model.length + 1));
    const pulled = await pull('hf:someone/Tiny-GGUF', quick());
    expect(await readFile(pulled.path)).toEqual(model);
  });
});

describe('bytes that are wrong', () => {
  test('once: they are fetched again', async () => {
    hub.cdn.push({ ignoreRange: true }, { wrongBytes: true });
    const pulled = await pull('hf:someone/Tiny-GGUF', quick());
    expect(await readFile(pulled.path)).toEqual(model);
  });

  test('twice: an error, and nothing under the final name', async () => {
    hub.cdn.push({ ignoreRange: true }, { wrongBytes: true }, { wrongBytes: true });
    const error = await failure(pull('hf:someone/Tiny-GGUF', quick()));
    expect(error.kind).toBe('integrity');
    expect(error.message).toContain(sha256(model));
    expect(await blobs()).toEqual([gitSha1(licence)]);
    expect(await listModels({ cache })).toEqual([]);
  });

  test('a small file is checked too (git blob sha1)', async () => {
    hub.cdn.push({ wrongBytes: true }, { wrongBytes: true });
    const error = await failure(pull('hf:someone/Tiny-GGUF', quick()));
    expect(error.message).toContain('LICENSE');
    expect(await blobs()).toEqual([]);
  });

  test('a spoiled left-over is found out and fetched anew', async () => {
    hub.cdn.push({ ignoreRange: true }, { stallAfter: 1000 });
    const abort = new AbortController();
    await expect(
      pull(
        'hf:someone/Tiny-GGUF',
        quick({ signal: abort.signal, onProgress: p => p.fileBytes === 1000 && abort.abort() }),
      ),
    ).rejects.toThrow();
    await writeFile(`${paths().blob(sha256(model))}.maverick.incomplete`, Buffer.alloc(5000, 7));
    const pulled = await pull('hf:someone/Tiny-GGUF', quick());
    expect(await readFile(pulled.path)).toEqual(model);
  });

  test('more bytes than promised are refused', async () => {
    hub.cdn.push({ ignoreRange: true }, { tooLong: true });
    const error = await failure(pull('hf:someone/Tiny-GGUF', quick()));
    expect(error.kind).toBe('integrity');
    expect(await blobs()).not.toContain(sha256(model));
  });
});

describe('a hub that refuses', () => {
  test('429 and 500 are waited out', async () => {
    hub.api.push({ status: 429, headers: { 'retry-after': '0' } }, { status: 500 });
    hub.cdn.push({ status: 503 }, { ignoreRange: true }, { status: 500 });
    await pull('hf:someone/Tiny-GGUF', quick());
  });

  test('429 says how long to wait', async () => {
    hub.api.push({ status: 429, headers: { 'retry-after': '1' } });
    const waits: number[] = [];
    await pull('hf:someone/Tiny-GGUF', quick({ onRetry: retry => waits.push(retry.waitMs) }));
    expect(waits).toEqual([1000]);
  });

  test('500 for ever is an error', async () => {
    for (let i = 0; i < 4; i++) hub.api.push({ status: 500 });
    const error = await failure(pull('hf:someone/Tiny-GGUF', quick()));
    expect(error.kind).toBe('refused');
    expect(error.message).toContain('500');
  });

  test('a signed address that ran out is asked for anew', async () => {
    hub.cdn.push({ ignoreRange: true }, { status: 403 });
    await pull('hf:someone/Tiny-GGUF', quick());
  });

  test.each([
    [null, /accept its licence on .*meta\/Gated-GGUF.*HF_TOKEN/],
    ['bad', /Accept the licence on .*meta\/Gated-GGUF/],
  ])('a gated model (token %s) says what to do', async (token, expected) => {
    const error = await failure(pull('hf:meta/Gated-GGUF', quick({ settings: settings({ token }) })));
    expect(error.kind).toBe('denied');
    expect(error.message).toMatch(expected);
  });

  test.each([
    ['hf:no/such', 'denied', /does not exist/],
    ['hf:someone/Tiny-GGUF@other', 'missing', /RevisionNotFound/],
    ['hf:someone/Tiny-GGUF:Q3_K_S', 'missing', /It has: BF16, Q4_K_M, Q8_0/],
    ['hf:someone/Tiny-GGUF:broken/Tiny-Q2_K-00002-of-00002.gguf', 'missing', /2 parts, and only 1/],
    ['hf:someone/plain', 'missing', /no model in safetensors: config\.json/],
    ['hf:someone/nothing', 'missing', /-GGUF/],
    ['hf:nonsense', 'name', /hf:owner\/repository/],
    ['hf:../..', 'name', /hf:owner\/repository/],
    ['hf:someone/Tiny-GGUF:../../x.gguf', 'name', /outside/],
    ['llama5', 'name', /smollm2/],
  ])('%s is an error of kind %s', async (name, kind, expected) => {
    const error = await failure(pull(name, quick()));
    expect(error.kind).toBe(kind);
    expect(error.message).toMatch(expected);
  });

  test('a file name that leads out of the cache stops everything', async () => {
    await using bad = await fakeHub({
      'a/b': { ...repo, files: { 'x-Q4_0.gguf': model, '../../../evil.gguf': model } },
    });
    const error = await failure(pull('hf:a/b', quick({ settings: settings({ endpoint: bad.endpoint }) })));
    expect(error.message).toContain('outside');
  });

  test('no connection, no network allowed, no room', async () => {
    const closed = await fakeHub({});
    await closed[Symbol.asyncDispose]();
    const unreachable = await failure(
      pull('hf:a/b', quick({ attempts: 2, settings: settings({ endpoint: closed.endpoint }) })),
    );
    expect([unreachable.kind, unreachable.message]).toEqual(['unreachable', expect.stringContaining('ECONNREFUSED')]);
    const offline = await failure(pull('smollm2', quick({ settings: settings({ offline: true }) })));
    expect(offline.kind).toBe('offline');
    const full = await failure(pull('hf:someone/Tiny-GGUF', quick({ freeBytes: async () => 1000 })));
    expect([full.kind, full.message]).toEqual(['disk', expect.stringContaining('HF_HOME')]);
    expect(hub.sent).toBe(0);
  });
});

describe('two pulls at once', () => {
  test('fetch the file once, and both have it', async () => {
    hub.cdn.push({ ignoreRange: true }, { cutAfter: 100_000 });
    const results = await Promise.all([1, 2, 3].map(() => pull('hf:someone/Tiny-GGUF', quick())));
    for (const { path } of results) expect(await readFile(path)).toEqual(model);
    expect(hub.sent).toBe(model.length + licence.length);
    expect(await readdir(join(cache, '.locks/models--someone--Tiny-GGUF'))).toEqual([]);
  });

  test('the lock of a dead process is taken over', async () => {
    await pull('hf:someone/Tiny-GGUF:Q8_0', quick());
    const lock = paths().lock(sha256(model));
    await writeFile(lock, JSON.stringify({ id: 'x', pid: 2 ** 22 + 1, host: hostname() }));
    await pull('hf:someone/Tiny-GGUF', quick());
  });
});

describe('library', () => {
  test('finds what was pulled by its names', async () => {
    await pull('hf:someone/Tiny-GGUF', quick());
    await pull('hf:someone/Tiny-GGUF:Q8_0', quick());
    for (const name of [
      'hf:someone/Tiny-GGUF',
      'hf:someone/tiny-gguf:q4_k_m',
      'hf:someone/Tiny-GGUF:Tiny-Q4_K_M.gguf',
      'Tiny-Q4_K_M',
      'tiny-q4_k_m.gguf',
    ])
      expect((await findModel(name, settings())).file).toBe('Tiny-Q4_K_M.gguf');
    expect((await findModel('hf:someone/Tiny-GGUF:Q8_0', settings())).quantization).toBe('Q8_0');
  });

  test('names near ones and how to pull', async () => {
    await pull('hf:someone/Tiny-GGUF', quick());
    const near = await failure(findModel('smolm2', settings()));
    expect(near.message).toMatch(/Did you mean smollm2\?.*hf:someone\/Tiny-GGUF:Q4_K_M/);
    const pullable = await failure(findModel('llama4-scout', settings()));
    expect(pullable.message).toContain('maverick pull llama4-scout');
  });

  test('a split model with a missing part says how to go on', async () => {
    const { path } = await pull('hf:someone/Tiny-GGUF:BF16', quick());
    await rm(path.replace('00001-of', '00002-of'));
    expect((await listModels({ cache }))[0]!.complete).toBe(false);
    const error = await failure(findModel('hf:someone/Tiny-GGUF:BF16', settings()));
    expect(error.message).toContain('maverick pull hf:someone/Tiny-GGUF:BF16');
    await pull('hf:someone/Tiny-GGUF:BF16', quick());
    expect((await listModels({ cache }))[0]!.complete).toBe(true);
  });

  test('an empty or absent library is no error', async () => {
    expect(await listModels({ cache: join(cache, 'nowhere') })).toEqual([]);
  });
});
