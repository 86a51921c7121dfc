// Folders of safetensors from a server that behaves like the hub, and from one that does not: what has its name is whole, and runs.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../checkpoint/open.ts';
import { cachePaths } from './cache.ts';
import { HubError } from './errors.ts';
import { type FakeHub, fakeHub } from './fake-hub.cases.ts';
import { findModel, listModels } from './library.ts';
import { openPartial } from './partial.ts';
import { type PullOptions, type PullPlan, pull } from './pull.ts';

const NAME = 'hf:someone/Maverick';
const fixture = fileURLToPath(new URL('../../test/fixtures/huggingface/maverick', import.meta.url));
const commit = 'b'.repeat(40);
let files: Record<string, Buffer>;
let weightBytes = 0;
beforeAll(async () => {
  files = { LICENSE: Buffer.from('Be kind.\n'), 'README.md': Buffer.from('# Maverick') };
  for (const name of await readdir(fixture)) {
    files[name] = await readFile(join(fixture, name));
    if (/\.safetensors$/.test(name)) weightBytes += files[name].length;
  }
});

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
let hub: FakeHub;
let cache: string;
beforeEach(async () => {
  const gguf = Buffer.alloc(3000, 1);
  const config = JSON.parse(files['config.json']!.toString());
  const repo = (changed: Record<string, Buffer>) => ({ commit, files: { ...files, ...changed } });
  const mapped = (file: unknown) => ({ 'model.safetensors.index.json': json({ weight_map: { a: file } }) });
  hub = await fakeHub({
    'someone/Maverick': { commit, card: { license: 'other', license_name: 'llama4' }, files },
    'someone/Both': repo({ 'Maverick-Q4_0.gguf': gguf }),
    'bad/bert': repo({ 'config.json': json({ ...config, model_type: 'bert' }) }),
    'bad/awq': repo({ 'config.json': json({ ...config, quantization_config: { quant_method: 'awq' } }) }),
    'bad/config': { commit, files: { 'model.safetensors': gguf } },
    'bad/json': repo({ 'config.json': Buffer.from('{"model_type":') }),
    'bad/shard': repo(mapped('model-00009-of-00009.safetensors')),
    'bad/outside': repo(mapped('../../evil.safetensors')),
    'bad/index': repo({ 'model.safetensors.index.json': json(7) }),
    'bad/long': repo({ 'config.json': Buffer.alloc(2 ** 21, ' ') }),
  });
  cache = await mkdtemp(join(tmpdir(), 'maverick-folder-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(cache, { recursive: true, force: true });
});

const settings = (): PullOptions['settings'] => ({ endpoint: hub.endpoint, cache, token: null, offline: false });
const quick = (more: Partial<PullOptions> = {}): PullOptions => ({
  settings: settings(),
  attempts: 4,
  backoffMs: 5,
  stallMs: 2000,
  ...more,
});
const failure = async (run: Promise<unknown>): Promise<HubError> => {
  const error = await run.then(
    () => expect.fail('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HubError);
  return error as HubError;
};
const snapshot = (repo: string) => cachePaths(cache, repo).snapshot(commit, '');

/** The pulled folder is the fixture: the same files, and a model that opens. */
async function expectWhole(path: string): Promise<void> {
  const names = Object.keys(files).filter(name => name !== 'README.md');
  expect((await readdir(path)).sort()).toEqual(names.sort());
  for (const name of names) expect(await readFile(join(path, name)), name).toEqual(files[name]);
  await using pulled = await openCheckpoint(path);
  await using source = await openCheckpoint(fixture);
  expect([...pulled.tensors.keys()]).toEqual([...source.tensors.keys()]);
}

describe('a folder', () => {
  test('comes whole where the repository has no GGUF, licence and size first', async () => {
    const plans: PullPlan[] = [];
    const onPlan = (plan: PullPlan): void => {
      plans.push(plan);
      expect(hub.requests.some(({ path }) => /\/(LICENSE|model-0\d+\S+)/.test(path))).toBe(false);
    };
    const { path } = await pull(NAME, quick({ onPlan }));
    expect(path).toBe(snapshot('someone/Maverick'));
    await expectWhole(path);
    expect(plans[0]).toMatchObject({ licence: { name: 'llama4' }, commit });
    expect(plans[0]!.bytes).toBeGreaterThan(weightBytes);
    expect(plans[0]!.files.at(-1)!.path).toBe('model-00004-of-00004.safetensors');
    const [model] = await listModels({ cache });
    expect(model).toMatchObject({ name: NAME, bytes: weightBytes, complete: true, path });
    expect((await findModel(NAME, settings())).path).toBe(path);
    expect((await findModel(`${NAME}:safetensors`, settings())).path).toBe(path);
    const sent = hub.sent;
    await pull(NAME, quick());
    expect(hub.sent).toBe(sent);
  });

  test.each(['safetensors', 'model-00003-of-00004.safetensors', 'model.safetensors.index.json'])(
    'beside a GGUF file it is asked for: %s',
    async file => {
      expect((await pull('hf:someone/Both', quick())).path).toMatch(/Maverick-Q4_0\.gguf$/);
      const { path } = await pull(`hf:someone/Both:${file}`, quick());
      await using checkpoint = await openCheckpoint(join(path, 'config.json'));
      expect(checkpoint.metadata.get('general.architecture')).toBe('llama4');
      expect((await findModel('hf:someone/Both:safetensors', settings())).path).toBe(path);
      expect((await findModel('hf:someone/Both:Q4_0', settings())).quantization).toBe('Q4_0');
    },
  );

  test('is gone on with where it broke, and until then said to be incomplete', async () => {
    const abort = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ file, fileBytes }: { file: string; fileBytes: number }): void => {
      if (seen.at(-1) !== file) seen.push(file);
      if (file.startsWith('model-00003') && fileBytes > 50_000) abort.abort();
    };
    hub.slow = { bytes: 20_000, ms: 1 };
    await expect(pull(NAME, quick({ signal: abort.signal, onProgress }))).rejects.toThrow(/abort/i);
    hub.slow = null;
    expect((await listModels({ cache }))[0]).toMatchObject({ name: NAME, complete: false });
    const incomplete = await failure(findModel(NAME, settings()));
    expect(incomplete.message).toMatch(/shards are missing .*maverick pull hf:someone\/Maverick:safetensors/);
    const plans: PullPlan[] = [];
    const from = hub.requests.length;
    await expectWhole((await pull(`${NAME}:safetensors`, quick({ onPlan: plan => void plans.push(plan) }))).path);
    expect(plans[0]!.presentBytes).toBeGreaterThan(weightBytes / 2);
    const asked = hub.requests.slice(from).filter(({ path }) => path.includes('signature='));
    expect(asked.map(({ path, range }) => [/model-0000(\d)/.exec(path)![1], range !== undefined])).toEqual([
      ['3', true],
      ['4', false],
    ]);
  });

  test('connections that break are gone on with by range', async () => {
    for (let i = 0; i < 12; i++) hub.cdn.push({ cutAfter: 30_000 });
    await expectWhole((await pull(NAME, quick())).path);
    expect(hub.requests.filter(({ range }) => range !== undefined).length).toBeGreaterThanOrEqual(6);
  });

  test('a bit that flips on the way is found, in small files and in weights', async () => {
    for (let i = 0; i < 8; i++) {
      // Bodies in the order in which they are asked for: config, index, LICENSE, generation_config, four shards.
      const well = Array.from({ length: i }, () => ({ ignoreRange: true as const }));
      const flip = Math.floor(Math.random() * 8 * (i === 2 ? 9 : i === 3 ? 200 : 2000));
      hub.cdn.push(...well, { flip }, { flip });
      const error = await failure(pull(NAME, quick()));
      expect(error.kind, `body ${i}`).toBe('integrity');
      await expect(findModel(NAME, settings())).rejects.toThrow();
      hub.cdn.length = 0;
      await rm(cache, { recursive: true });
    }
    await expectWhole((await pull(NAME, quick())).path);
  });

  test('what is decided against before it begins leaves nothing that looks like a model', async () => {
    const onPlan = (): never => {
      throw new Error('no');
    };
    await expect(pull(NAME, quick({ onPlan }))).rejects.toThrow('no');
    const full = await failure(pull(NAME, quick({ freeBytes: async () => 1000 })));
    expect(full.kind).toBe('disk');
    expect(hub.sent).toBe(files['config.json']!.length + files['model.safetensors.index.json']!.length);
    expect(await listModels({ cache })).toEqual([]);
  });
});

describe('refused before its weights come', () => {
  test.each([
    ['bad/bert', /config\.json: model_type: got "bert", wanted "llama4"/],
    ['bad/awq', /quant_method: got "awq"/],
    ['bad/config', /config\.json and model\.safetensors.* not both there/],
    ['bad/json', /config\.json: this is no JSON/],
    ['bad/long', /config\.json: it has 2097152 bytes/],
    ['bad/shard', /its index names model-00009-of-00009\.safetensors, which is not in the repository/],
    ['bad/outside', /weight_map.*evil\.safetensors.*wanted the name of a \.safetensors file/],
    ['bad/index', /model\.safetensors\.index\.json: the file: got 7, wanted an object/],
    ['someone/Maverick:Q4_0', /It has: no GGUF files/],
  ])('%s', async (repo, expected) => {
    const error = await failure(pull(`hf:${repo}`, quick()));
    expect([error.kind, error.message]).toEqual(['missing', expect.stringMatching(expected)]);
    expect(hub.requests.filter(({ path }) => /model-0000\d/.test(path))).toEqual([]);
    expect(await listModels({ cache })).toEqual([]);
  });

  test('it does not run before it is here, and says how to get it', async () => {
    const error = await failure(openPartial(NAME, { settings: settings() }));
    expect(error.message).toMatch(/folder of safetensors.*maverick pull hf:someone\/Maverick/);
  });
});
