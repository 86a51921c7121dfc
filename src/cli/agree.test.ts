// Licences that ask to be agreed to: shown once with their policy, nothing fetched before the answer, the answer kept.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FakeHub, fakeHub } from '../hub/fake-hub.cases.ts';
import { llama4Terms } from '../licence/llama4.ts';
import { maverick, typing } from './fake-terminal.cases.ts';
import { run } from './program.ts';

let hub: FakeHub;
let home: string;
beforeEach(async () => {
  const card = { license: 'other', license_name: 'llama4' };
  const files = { 'M-Q4_0.gguf': Buffer.alloc(5000, 1) };
  hub = await fakeHub({
    'a/Llama-GGUF': { commit: 'a'.repeat(40), files, card },
    'b/Llama-GGUF': { commit: 'b'.repeat(40), files, card },
    'c/Free-GGUF': { commit: 'c'.repeat(40), files, card: { license: 'apache-2.0' } },
  });
  home = await mkdtemp(join(tmpdir(), 'maverick-agree-'));
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(home, { recursive: true });
});
const environment = () => ({ HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: '' });
const quietly = (...args: string[]) => maverick(args, { environment: environment() });
const shown = /Llama 4 Community License, April 5, 2025: https:\S+license\/\n.*use-policy\n {2}· use follows/;

/** The same with someone at the terminal, who types `answer`. */
async function asked(answer: string, ...args: string[]): Promise<{ code: number; stderr: string }> {
  const { terminal, stderr, type } = typing();
  const visible = Object.assign(stderr, { isTTY: true });
  stderr.onText = text => text.includes('[y/N]') && type(`${answer}\n`);
  const code = await run(args, { ...terminal, stderr: visible, environment: environment() });
  return { code, stderr: stderr.text };
}

const kept = async (): Promise<Record<string, unknown>> => {
  const folder = join(home, 'hub/.maverick/licences');
  const [name] = await readdir(folder);
  return JSON.parse(await readFile(join(folder, name!), 'utf8'));
};

test('where nobody can be asked nothing comes without the option; with it that is kept, and shown once', async () => {
  const refused = await quietly('pull', 'hf:a/Llama-GGUF');
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(shown)]);
  expect(refused.stderr).toMatch(/maverick pull hf:a\/Llama-GGUF --accept-licence/);
  expect(hub.sent).toBe(0);
  const agreed = await quietly('pull', 'hf:a/Llama-GGUF', '--accept-licence');
  expect([agreed.code, agreed.stderr]).toEqual([0, expect.stringMatching(shown)]);
  expect(await kept()).toEqual({
    licence: llama4Terms.title,
    version: 'April 5, 2025',
    links: [llama4Terms.link, llama4Terms.usePolicy],
    repo: 'a/Llama-GGUF',
    commit: 'a'.repeat(40),
    at: expect.stringMatching(/^20\d\d-/),
    by: 'option',
  });
  const another = await quietly('pull', 'hf:b/Llama-GGUF');
  expect([another.code, another.stderr]).toEqual([0, expect.not.stringMatching(shown)]);
  expect(another.stderr).toContain('Licence  llama4');
});

test.each([
  ['y', 0],
  ['Yes', 0],
  ['n', 2],
  ['', 2],
])('who is asked and answers "%s"', async (answer, code) => {
  const first = await asked(answer, 'pull', 'hf:a/Llama-GGUF');
  expect([first.code, first.stderr]).toEqual([code, expect.stringMatching(shown)]);
  expect(hub.sent > 0).toBe(code === 0);
  if (code === 0) expect(await kept()).toMatchObject({ by: 'answer' });
  const again = await asked('n', 'pull', 'hf:b/Llama-GGUF');
  expect([again.code, again.stderr.includes('[y/N]')]).toEqual([code, code !== 0]);
});

test('a model that runs before it is here asks, too; one under another licence does not', async () => {
  const running = await quietly('generate', 'hf:a/Llama-GGUF', 'hello');
  expect([running.code, running.stderr]).toEqual([2, expect.stringMatching(shown)]);
  expect(hub.sent).toBe(0);
  expect((await quietly('pull', 'hf:c/Free-GGUF')).code).toBe(0);
});

test('what is kept and damaged, or of another version, counts for nothing', async () => {
  await quietly('pull', 'hf:a/Llama-GGUF', '--accept-licence');
  const [name] = await readdir(join(home, 'hub/.maverick/licences'));
  const path = join(home, 'hub/.maverick/licences', name!);
  for (const content of ['{', JSON.stringify({ ...(await kept()), version: 'April 5, 2024' })]) {
    await writeFile(path, content);
    expect((await quietly('pull', 'hf:b/Llama-GGUF')).code).toBe(2);
  }
});
