// The page as people use it, in headless Chromium against the server with a scripted model.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createFakeChat, type FakeChat, type FakeOptions } from '../server/fake-chat.cases.ts';
import { type RunningServer, startServer } from '../server/start.ts';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const hasChromium = existsSync(executablePath);
if (!hasChromium)
  process.stderr.write(
    `The page's tests are skipped: there is no Chromium at ${executablePath} (set CHROMIUM to its path).\n`,
  );

describe.skipIf(!hasChromium)('the page', () => {
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  let browser: Browser;
  let server: RunningServer;
  let page: Page;
  let opened: FakeChat[];
  const problems: string[] = [];

  beforeAll(async () => {
    await build({ configFile: 'vite.config.ts', logLevel: 'silent', build: { outDir: folder } });
    const args = [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-extensions',
      '--in-process-gpu', // one process fewer to start
    ];
    browser = await chromium.launch({ executablePath, args });
  });
  afterEach(async () => {
    await page.context().close();
    await server.close();
    expect(problems.splice(0)).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  /** Serves a scripted model and opens the page; errors, outside requests and refused content are gathered. */
  async function visit(fake: FakeOptions = {}, context: Parameters<Browser['newContext']>[0] = {}, loadMs = 0) {
    opened = [];
    let openings = 0;
    server = await startServer({
      port: 0,
      pageFolder: new URL(`${pathToFileURL(folder)}/`),
      library: {
        list: async () => [
          { id: 'steady', path: 'steady.gguf', bytes: 98_000_000 },
          { id: 'noisy', path: 'noisy.gguf', bytes: 2_000_000_000, note: 'random weights: answers are noise' },
          { id: 'broken', path: 'broken.gguf', bytes: 1000 },
        ],
      },
      openChat: async (path, { onProgress }) => {
        if (path === 'broken.gguf' && openings++ === 0) throw new Error('broken.gguf: the file is cut off at byte 17');
        onProgress(500_000_000, 2_000_000_000);
        await new Promise(resolve => setTimeout(resolve, loadMs));
        const chat = createFakeChat(path, fake);
        opened.push(chat);
        return chat;
      },
    });
    page = await (await browser.newContext({ reducedMotion: 'reduce', ...context })).newPage();
    page.setDefaultTimeout(5000);
    page.on('pageerror', error => problems.push(error.message));
    page.on('console', message => {
      if (message.type() === 'error' && !message.text().includes('Failed to load resource'))
        problems.push(message.text());
    });
    page.on('request', request => {
      if (!request.url().startsWith(server.url)) problems.push(`outside request: ${request.url()}`);
    });
    await page.goto(server.url);
    await page.locator('.facts').waitFor();
  }
  const field = () => page.getByRole('textbox', { name: 'Message' });
  const answer = () => page.getByRole('article', { name: 'Answer' }).last();
  const send = async (text: string) => {
    await field().fill(text);
    await field().press('Enter');
  };
  const seen = (locator: ReturnType<typeof answer>) => locator.waitFor();

  test('Enter sends, Shift+Enter breaks the line, the answer streams, figures follow', async () => {
    const reply = 'Grüezi! 🙂\n```ts\nlet x = 1\n```\nDone.';
    await visit({ reply: () => reply, delayMs: 8 });
    await field().fill('first');
    await field().press('Shift+Enter');
    await field().pressSequentially('second');
    await field().press('Enter');
    await seen(page.getByRole('button', { name: 'Stop the answer' }));
    await seen(answer().getByText('Grüezi! 🙂', { exact: true }));
    const tokens = new TextEncoder().encode(reply).length;
    await seen(answer().getByText(`${tokens} tokens · ${((tokens - 1) / 20) * 1000} tok/s`, { exact: true }));
    expect(await answer().locator('pre').textContent()).toBe('let x = 1');
    expect(opened[0]!.calls[0]!.input).toEqual([{ role: 'user', content: 'first\nsecond' }]);
    await seen(page.getByRole('button', { name: 'Send' }));
    expect(await field().inputValue()).toBe('');
    await send('and then?');
    await expect.poll(() => opened[0]!.calls.length).toBe(2);
    expect(opened[0]!.calls[1]!.input).toEqual([
      { role: 'user', content: 'first\nsecond' },
      { role: 'assistant', content: reply },
      { role: 'user', content: 'and then?' },
    ]);
  });

  test('stop by button and by Esc: the computing ends, what was said stays', async () => {
    await visit({ reply: () => 'word '.repeat(500), delayMs: 5 });
    for (const [index, stop] of [
      () => page.getByRole('button', { name: 'Stop the answer' }).click(),
      () => page.keyboard.press('Escape'),
    ].entries()) {
      await send('go on');
      await seen(answer().getByText(/word word/));
      await stop();
      await seen(answer().getByText('stopped', { exact: true }));
      await expect.poll(() => opened[0]!.counts).toMatchObject({ running: 0, aborted: index + 1 });
      expect(await answer().textContent()).toContain('word word');
    }
  });

  test('settings reach the model and are kept', async () => {
    await visit();
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('System prompt').fill('Speak like a sailor.');
    await page.getByLabel('Temperature').fill('1.2');
    await page.getByLabel('Top p').fill('0.5');
    await page.getByLabel('Top k').fill('40');
    await page.getByLabel('Max tokens').fill('3');
    await page.getByLabel('Seed').fill('7');
    await page.getByRole('radio', { name: 'Dark' }).check();
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
    await page.keyboard.press('Escape');
    await page.reload();
    await send('ahoy');
    await seen(answer().getByText(/cut off/));
    expect(opened[0]!.calls[0]).toMatchObject({
      input: [
        { role: 'system', content: 'Speak like a sailor.' },
        { role: 'user', content: 'ahoy' },
      ],
      options: { temperature: 1.2, topP: 0.5, topK: 40, maxTokens: 3, seed: 7 },
    });
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('button', { name: 'Back to the defaults' }).click();
    expect(await page.getByLabel('System prompt').inputValue()).toBe('');
    expect(await page.getByLabel('Temperature').inputValue()).toBe('0.6');
  });

  test('a reload keeps the conversation, also in the middle of an answer; New clears it', async () => {
    await visit({ reply: () => 'word '.repeat(500), delayMs: 5 });
    await send('remember me');
    await seen(answer().getByText(/word word/));
    await page.reload();
    await seen(page.getByText('remember me'));
    await seen(answer().getByText('stopped', { exact: true }));
    expect(await answer().textContent()).toContain('word');
    await expect.poll(() => opened[0]!.counts.running).toBe(0);
    await page.getByRole('button', { name: 'New conversation' }).click();
    await seen(page.getByRole('heading', { name: 'What shall we talk about?' }));
    await page.reload();
    await seen(page.getByRole('heading', { name: 'What shall we talk about?' }));
  });

  test('an error in the middle is told in words, and one can try again', async () => {
    await visit({ failAfter: { tokens: 3, error: new Error('layer 3: the weights hold NaN') } });
    await send('hello');
    await seen(page.getByRole('alert').getByText(/layer 3: the weights hold NaN/));
    expect(await answer().textContent()).toContain('Hel');
    await page.getByRole('button', { name: 'Try again' }).click();
    await expect.poll(() => opened[0]!.calls.length).toBe(2);
    expect(opened[0]!.calls[1]!.input).toEqual([{ role: 'user', content: 'hello' }]);
  });

  test('a server that is gone is told in words', async () => {
    await visit();
    await server.close();
    await send('hello?');
    await seen(answer().getByText(/The server does not answer/));
  });

  test('another model: progress, its note, one that cannot be loaded, the choice is kept', async () => {
    await visit({}, {}, 700);
    const picker = page.getByRole('combobox', { name: 'Model' });
    expect(await picker.inputValue()).toBe('steady');
    await picker.selectOption('noisy');
    const progress = page.getByRole('progressbar', { name: 'Loading noisy' });
    await expect.poll(() => progress.textContent()).toContain('500 MB of 2 GB');
    expect(await progress.getAttribute('aria-valuenow')).toBe('25');
    await seen(page.getByText('random weights: answers are noise'));
    await progress.waitFor({ state: 'detached' });
    await seen(page.getByText(/1 M parameters, 500 K active/));
    await page.reload();
    await seen(page.getByText('random weights: answers are noise'));
    expect(await picker.inputValue()).toBe('noisy');
    await picker.selectOption('broken');
    await seen(page.getByText('broken could not be loaded: broken.gguf: the file is cut off at byte 17'));
    await page.getByRole('alert').getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('alert').waitFor({ state: 'detached' });
  });

  test('on a phone everything fits and works', async () => {
    const reply = () => `A ${'very'.repeat(60)} long word.\n\`\`\`\n${'code '.repeat(60)}\n\`\`\``;
    await visit({ reply }, { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true });
    await page.getByRole('button', { name: /first snow/ }).tap();
    await seen(answer().getByRole('button', { name: 'Try again' }));
    const overflow = () =>
      page.evaluate(() => ({
        page: document.documentElement.scrollWidth - innerWidth,
        column:
          document.querySelector('.conversation')!.scrollWidth - document.querySelector('.conversation')!.clientWidth,
      }));
    expect(await overflow()).toEqual({ page: 0, column: 0 });
    for (const name of ['New conversation', 'Settings', 'Send']) {
      const box = (await page.getByRole('button', { name }).boundingBox())!;
      expect(box.x >= 0 && box.x + box.width <= 320 && box.y + box.height <= 568).toBe(true);
      expect(Math.min(box.width, box.height)).toBeGreaterThanOrEqual(40);
    }
    await page.getByRole('button', { name: 'Settings' }).tap();
    expect((await page.getByRole('dialog', { name: 'Settings' }).boundingBox())!.width).toBe(320);
    await page.getByRole('button', { name: 'Close settings' }).tap();
  });

  test('every control has a name, also in the settings, and the keyboard reaches the end of the page', async () => {
    await visit();
    await send('hi');
    await seen(answer().getByRole('button', { name: 'Try again' }));
    const nameless = /- (button|textbox|combobox|slider|spinbutton|radio|dialog|link)(:| \[|$)/m;
    expect(await page.locator('body').ariaSnapshot()).not.toMatch(nameless);
    await page.getByRole('button', { name: 'Settings' }).click();
    const settings = await page.getByRole('dialog').ariaSnapshot();
    expect(settings).toContain('slider "Temperature"');
    expect(settings).not.toMatch(nameless);
    await page.keyboard.press('Escape');
    const reached: string[] = [];
    await page.getByRole('combobox').focus();
    for (let i = 0; i < 8; i++) {
      reached.push(
        await page.evaluate(
          () => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.tagName ?? '',
        ),
      );
      await page.keyboard.press('Tab');
    }
    expect(reached).toEqual(expect.arrayContaining(['New conversation', 'Settings', 'Conversation', 'Message']));
  });
});
