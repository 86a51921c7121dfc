// Licences are put to the user once for each version, and nothing of a model is fetched before they are accepted.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FakeHub, type FakeRepo, fakeHub } from '../hub/fake-hub.cases.ts';
import { maverick, typing } from './fake-terminal.cases.ts';
import { run } from './program.ts';

const model = Buffer.alloc(5000, 7);
const licence = (date: string): Buffer =>
  Buffer.from(`LLAMA 4 COMMUNITY LICENSE AGREEMENT\n\nLlama 4 Version Effective Date: ${date}\n\nBe kind.\n`);
const repo = (more: Partial<FakeRepo> & { text?: Buffer } = {}): FakeRepo => ({
  commit: 'd'.repeat(40),
  card: { license: 'other', license_name: 'llama4' },
  files: {
    'LICENSE.txt': more.text ?? licence('April 5, 2025'),
    'USE_POLICY.md': Buffer.from('# Use policy\n'),
    'M-Q4_0.gguf': model,
  },
  ...more,
});

let hub: FakeHub;
let home: string;
beforeEach(async () => {
  hub = await fakeHub({
    'a/First-GGUF': repo(),
    'b/Second-GGUF': repo(),
    'c/Newer-GGUF': repo({ text: licence('May 6, 2026') }),
    'd/Free-GGUF': repo({ card: { license: 'apache-2.0' } }),
    'e/Silent-GGUF': repo({ card: {} }),
    'f/Gemma-GGUF': repo({ card: { license: 'gemma' }, text: Buffer.from('Gemma Terms of Use') }),
  });
  home = await mkdtemp(join(tmpdir(), 'maverick-licence-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

const environment = () => ({ HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '' });
const pull = (name: string, ...more: string[]) => maverick(['pull', name, ...more], { environment: environment() });
const records = () => readdir(join(home, 'hub', '.maverick', 'licences')).catch(() => []);
const gotModel = () => hub.requests.some(({ path }) => path.includes('M-Q4_0.gguf'));

describe('where nobody can be asked', () => {
  test('nothing is fetched but the texts, and the error says what to do', async () => {
    const { code, stderr } = await pull('hf:a/First-GGUF');
    expect(code).toBe(2);
    expect(stderr).toContain('Llama 4 Community License, April 5, 2025');
    expect(stderr).toContain('https://www.llama.com/llama4/use-policy');
    expect(stderr).toMatch(/LICENSE\.txt .*LICENSE\.txt\nUSE_POLICY\.md/);
    expect(stderr).toContain('700 million');
    expect(stderr).toMatch(/has not been accepted on this machine\. Read it, and say so with --accept-licence\.\n$/);
    expect([gotModel(), await records()]).toEqual([false, []]);
  });

  test('--accept-licence is noted, and the same version is not put again, also of another repository', async () => {
    expect((await pull('hf:a/First-GGUF', '--accept-licence')).code).toBe(0);
    const [name, ...more] = await records();
    expect(more).toEqual([]);
    const record = JSON.parse(await readFile(join(home, 'hub', '.maverick', 'licences', name!), 'utf8'));
    expect(record).toMatchObject({
      licence: 'llama4',
      version: 'April 5, 2025',
      repo: 'a/First-GGUF',
      usePolicy: 'https://www.llama.com/llama4/use-policy',
      how: '--accept-licence',
      texts: [{ name: 'LICENSE.txt' }, { name: 'USE_POLICY.md' }],
    });
    expect(Math.abs(Date.parse(record.acceptedAt) - Date.now())).toBeLessThan(60_000);
    const second = await pull('hf:b/Second-GGUF');
    expect(second.code).toBe(0);
    expect(second.stderr).not.toContain('asks to be accepted');
  });

  test('another version is put again, and so is another licence', async () => {
    await pull('hf:a/First-GGUF', '--accept-licence');
    const newer = await pull('hf:c/Newer-GGUF');
    expect([newer.code, newer.stderr]).toEqual([2, expect.stringContaining('Llama 4 Community License, May 6, 2026')]);
    expect((await pull('hf:f/Gemma-GGUF')).code).toBe(2);
    expect((await pull('hf:f/Gemma-GGUF', '--accept-licence')).code).toBe(0);
    expect((await records()).length).toBe(2);
  });

  test.each(['hf:d/Free-GGUF', 'hf:e/Silent-GGUF'])('a licence that asks for nothing is not put: %s', async name => {
    expect((await pull(name)).code).toBe(0);
    expect(await records()).toEqual([]);
  });

  test('a record that is damaged is none', async () => {
    await pull('hf:a/First-GGUF', '--accept-licence');
    const [name] = await records();
    await writeFile(join(home, 'hub', '.maverick', 'licences', name!), '{"licence":"llama4","ver');
    expect((await pull('hf:b/Second-GGUF')).code).toBe(2);
  });

  test('a model that is run before it is here is asked for, too', async () => {
    const { code, stderr } = await maverick(['generate', 'hf:a/First-GGUF', 'x'], { environment: environment() });
    expect([code, stderr]).toEqual([2, expect.stringContaining('--accept-licence')]);
    expect(gotModel()).toBe(false);
    // Accepted, it gets as far as the file, which is no model.
    const yes = await maverick(['generate', 'hf:a/First-GGUF', 'x', '--accept-licence'], {
      environment: environment(),
    });
    expect([yes.code, yes.stderr]).toEqual([1, expect.stringContaining('M-Q4_0.gguf')]);
    expect((await records()).length).toBe(1);
  });
});

describe('at a terminal', () => {
  async function answering(...answers: string[]): Promise<{ code: number; stderr: string }> {
    const { terminal, stderr, type } = typing();
    const running = run(['pull', 'hf:a/First-GGUF'], { ...terminal, environment: environment() });
    for (const [i, answer] of answers.entries()) {
      await expect.poll(() => stderr.text.split('Do you accept it?').length, { timeout: 5000 }).toBe(i + 2);
      type(`${answer}\n`);
    }
    return { code: await running, stderr: stderr.text };
  }

  test('yes is yes, and what is no answer is asked again', async () => {
    const { code, stderr } = await answering('', 'perhaps', 'yes');
    expect([code, stderr]).toEqual([0, expect.stringContaining('Noted in')]);
    const [name] = await records();
    expect(JSON.parse(await readFile(join(home, 'hub', '.maverick', 'licences', name!), 'utf8')).how).toBe('typed');
  });

  test('r shows the texts, and no fetches nothing', async () => {
    const { code, stderr } = await answering('r', 'no');
    expect(code).toBe(2);
    expect(stderr).toContain('Be kind.');
    expect(stderr).toContain('# Use policy');
    expect(stderr).toContain('The licence was not accepted, so nothing was fetched.');
    expect([gotModel(), await records()]).toEqual([false, []]);
  });
});
