// The command line itself: help, exit codes, wrong usage, quantities, and the verbs that need no engine.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fakeHub } from '../hub/fake-hub.cases.ts';
import { maverick } from './fake-terminal.cases.ts';
import { windows } from './perplexity.ts';
import { amount, bytesText, countText, durationText } from './quantities.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-cli-'));
});
afterAll(() => rm(folder, { recursive: true }));

const verbs = [
  'chat',
  'generate',
  'serve',
  'pull',
  'list',
  'inspect',
  'tokenize',
  'logprobs',
  'perplexity',
  'quantize',
  'compare',
  'calibrate',
  'card',
  'bench',
];

describe('help', () => {
  test('lists every verb', async () => {
    const { code, stdout, stderr } = await maverick(['--help']);
    expect([code, stderr]).toEqual([0, '']);
    for (const verb of verbs) expect(stdout).toMatch(new RegExp(`^  ${verb} `, 'm'));
  });
  test.each(verbs)('%s explains itself', async verb => {
    const { code, stdout } = await maverick(['help', verb]);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: maverick ${verb}`);
    expect(stdout.length).toBeGreaterThan(200);
    expect((await maverick([verb, '--help'])).stdout).toBe(stdout);
  });
  test('--version is that of the package', async () => {
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    expect((await maverick(['--version'])).stdout).toBe(`${version}\n`);
  });
});

describe('wrong usage ends with 2 and says what is wanted', () => {
  test.each<[string[], RegExp]>([
    [[], /Usage: maverick/],
    [['genrate'], /Did you mean generate/],
    [['chat'], /missing required argument 'model'[\s\S]*maverick help chat/],
    [['generate', 'm', 'p', '--threads', '0'], /integer from 1 to 1024/],
    [['generate', 'm', 'p', '--temperature', 'hot'], /a number from 0 to 100/],
    [['generate', 'm', 'p', '--top-p', '1.5'], /from 0 to 1/],
    [['generate', 'm', 'p', '--max-tokens', '1.5'], /an integer/],
    [['generate', 'm', 'p', '--backend', 'cuda'], /wasm, reference/],
    [['generate', 'm', 'p', '--raw', '--chat'], /cannot be used with/],
    [['generate', 'm', 'p', '--logprobs', '21'], /from 0 to 20/],
    [['generate', './nowhere.gguf', 'p'], /There is no file \.\/nowhere\.gguf/],
    [['generate', '/nowhere/at/all.gguf', 'p'], /There is no folder \/nowhere\/at/],
    [['logprobs', 'm', '--out', 'x'], /--tokens/],
    [['logprobs', 'm', '--tokens', '/nowhere.json', '--out', 'x'], /nowhere\.json: there is no such file/],
    [['logprobs', 'm', '--tokens', 'x', '--out', 'x', '--rows', '1;2'], /0,5,9/],
    [['perplexity', 'm', '/nowhere.txt'], /nowhere\.txt/],
    [['serve', '--port', '99999'], /65535/],
    [['bench', 'm', '--generate', '1'], /from 2/],
    [['list', '--nonsense'], /unknown option/],
  ])('%j', async (args, expected) => {
    const { code, stdout, stderr } = await maverick(args);
    expect(stderr).toMatch(expected);
    expect([code, stdout]).toEqual([2, '']);
  });
});

describe('failures end with 1, in one paragraph', () => {
  test('an unknown model names near ones and how to pull', async () => {
    const { code, stderr } = await maverick(['chat', 'smolm2']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: There is no model 'smolm2'.*Did you mean smollm2\?.*maverick pull smollm2\n$/);
  });
  test('the stack only with --debug', async () => {
    expect((await maverick(['chat', 'smolm2', '--debug'])).stderr).toMatch(/at .*library\.ts/);
  });
  test('token files are checked', async () => {
    const path = join(folder, 'tokens.json');
    for (const [content, expected] of [
      ['nonsense', /no JSON/],
      ['{"tokens": "abc"}', /"abc"/],
      ['[1, -2]', /wanted a JSON array of token ids/],
      ['[]', /wanted a JSON array of token ids/],
      ['{"tokens": [1], "rows": [0.5]}', /"rows"/],
    ] as const) {
      await writeFile(path, content);
      const { code, stderr } = await maverick(['logprobs', 'm', '--tokens', path, '--out', join(folder, 'out')]);
      expect(code).toBe(1);
      expect(stderr).toMatch(expected);
    }
  });
  test('a folder with several models asks for one', async () => {
    await writeFile(join(folder, 'a.gguf'), '');
    await writeFile(join(folder, 'b.gguf'), '');
    const { code, stderr } = await maverick(['inspect', folder]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/several models \(a\.gguf, b\.gguf\)/)]);
    expect((await maverick(['inspect', join(folder, 'c.gguf')])).stderr).toMatch(/holds a\.gguf, b\.gguf/);
  });
});

test('an interrupt ends with 130, quietly', async () => {
  const { code, stderr } = await maverick(['list'], { signal: AbortSignal.abort() });
  expect([code, stderr.includes('error')]).toEqual([0, false]); // a quick command may finish
  const generate = await maverick(['pull', 'smollm2'], {
    signal: AbortSignal.abort(),
    environment: { HF_HUB_OFFLINE: '' },
  });
  expect([generate.code, generate.stderr]).toEqual([130, '']);
});

test('pull and list share the library', async () => {
  const content = Buffer.alloc(5000, 1);
  await using hub = await fakeHub({
    'a/M-GGUF': { commit: 'b'.repeat(40), files: { 'M-Q4_0.gguf': content }, card: { license: 'apache-2.0' } },
  });
  const environment = { HF_HOME: folder, HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '' };
  const pulled = await maverick(['pull', 'hf:a/M-GGUF', '--json'], { environment });
  expect(pulled.code).toBe(0);
  expect(pulled.stderr).toMatch(/Licence {2}apache-2.0\nSize {5}5\.00 kB in 1 file\n/);
  const { path } = JSON.parse(pulled.stdout) as { path: string };
  expect(await readFile(path)).toEqual(content);
  expect((await maverick(['list'], { environment })).stdout).toContain('hf:a/M-GGUF:Q4_0  5.00 kB');
  expect(JSON.parse((await maverick(['list', '--json'], { environment })).stdout)).toEqual([
    expect.objectContaining({ path, bytes: 5000 }),
  ]);
  const all = await maverick(['list', '--all'], { environment });
  expect(all.stdout).toMatch(/llama4-maverick[\s\S]*400\.7 B parameters, 17\.18 B a token[\s\S]*Q4_K_M ≈ 243 GB/);
  const empty = await maverick(['list']);
  expect([empty.code, empty.stdout, empty.stderr]).toEqual([0, '', expect.stringContaining('maverick pull smollm2')]);
});

test('quantities read well', () => {
  expect([0, 999, 1000, 105_454_432, 243e9].map(bytesText)).toEqual(['0 B', '999 B', '1.00 kB', '105 MB', '243 GB']);
  expect([512, 134_515_008, 17_184_691_200].map(countText)).toEqual(['512', '134.5 M', '17.18 B']);
  expect([420, 3_210, 59_970, 119_700, 200_000, 7_260_000].map(durationText)).toEqual([
    '420 ms',
    '3.2 s',
    '1 min 0 s',
    '2 min 0 s',
    '3 min 20 s',
    '2 h 1 min',
  ]);
  expect([0, 1, 2].map(count => amount(count, 'token'))).toEqual(['0 tokens', '1 token', '2 tokens']);
});

test('windows score every token once, each with enough before it', () => {
  for (const [length, size, stride] of [
    [10, 4, 2],
    [10, 4, 4],
    [3, 4, 2],
    [100, 10, 3],
    [5, 5, 1],
    [6, 5, 1],
  ] as const) {
    const all = windows(length, size, stride);
    const scored = all.flatMap(window =>
      Array.from({ length: window.to - window.scored }, (_, i) => window.scored + i),
    );
    expect(scored).toEqual(Array.from({ length }, (_, i) => i));
    for (const { from, to, scored: first } of all) {
      expect(to - from).toBeLessThanOrEqual(size);
      if (from > 0) expect(first - from).toBe(size - stride);
    }
  }
});

test('tokenize says what it can read when it is given something else', async () => {
  const path = join(folder, 'notes.txt');
  await writeFile(path, 'These are notes.\n');
  const { code, stdout, stderr } = await maverick(['tokenize', path, 'hello']);
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/notes\.txt.*Wanted: a GGUF file, Meta's tokenizer\.model or a tokenizer\.json/);
});
