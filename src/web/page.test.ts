// Talking on the page, in headless Chromium against the server with a scripted model.
import { describe, expect, test } from 'vitest';
import { hasChromium, pageTests } from './browser.cases.ts';

const LONG = { reply: () => 'word '.repeat(500), delayMs: 5 };

const RICH = `## Sailing to windward

A boat **cannot** sail straight into the wind, but it can *zigzag*: see [the rules](https://example.org/tacking).

1. Sail close-hauled, about 45° off the wind
2. Tack through the eye of the wind
   - ease the jib
   - harden in

| Point of sail | Angle | Speed |
|---|---:|---|
| Close-hauled | 45° | slow |
| Beam reach | 90° | fast |

\`\`\`ts
// Velocity made good
export const vmg = (speed: number, angle: number): string => \`\${(speed * Math.cos(angle)).toFixed(2)} kn\`;
\`\`\`

> The \`keel\` turns sideways force into motion.`;

describe.skipIf(!hasChromium)('talking on the page', () => {
  const visit = pageTests();

  test('Enter sends, Shift+Enter breaks the line, the answer streams, figures follow', async () => {
    const reply = 'Grüezi! 🙂\n\n```ts\nlet x = 1\n```\nDone.';
    const { page, field, answer, opened, send } = await visit({ fake: { reply: () => reply, delayMs: 8 } });
    await field.fill('first');
    await field.press('Shift+Enter');
    await field.pressSequentially('second');
    await field.press('Enter');
    await page.getByRole('button', { name: 'Stop the answer' }).waitFor();
    await answer.getByText('Grüezi! 🙂', { exact: true }).waitFor();
    const tokens = new TextEncoder().encode(reply).length;
    await answer.getByText(`${tokens} tokens · ${((tokens - 1) / 20) * 1000} tok/s`, { exact: true }).click();
    await answer.getByText('First token after').waitFor();
    await answer.getByText('steady', { exact: true }).waitFor();
    expect(await answer.locator('pre').textContent()).toBe('let x = 1');
    expect(opened[0]!.calls[0]!.input).toEqual([{ role: 'user', content: 'first\nsecond' }]);
    await page.getByRole('button', { name: 'Send' }).waitFor();
    expect(await field.inputValue()).toBe('');
    await send('and then?');
    await expect.poll(() => opened[0]!.calls.length).toBe(2);
    expect(opened[0]!.calls[1]!.input).toEqual([
      { role: 'user', content: 'first\nsecond' },
      { role: 'assistant', content: reply },
      { role: 'user', content: 'and then?' },
    ]);
  });

  test('Markdown: headings, lists, a table, coloured code that can be copied; in light, dark and on a phone', async () => {
    const { page, answer, send, shot, accessibility } = await visit({
      fake: { reply: () => RICH },
      context: { permissions: ['clipboard-read', 'clipboard-write'], viewport: { width: 1280, height: 900 } },
    });
    await shot('welcome-light');
    await send('How can a boat sail against the wind?');
    await answer.getByRole('heading', { name: 'Sailing to windward' }).waitFor();
    await answer.getByRole('button', { name: 'Try again' }).waitFor();
    expect(await answer.getByRole('row').count()).toBe(3);
    expect(await answer.getByRole('link', { name: 'the rules' }).getAttribute('rel')).toContain('noopener');
    expect(await answer.locator('.tint-comment').textContent()).toBe('// Velocity made good');
    await answer.getByRole('button', { name: 'Copy code' }).click();
    await answer.getByRole('button', { name: 'Copied' }).waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toMatch(
      /^\/\/ Velocity made good\nexport const vmg/,
    );
    await answer.getByRole('button', { name: 'Copy answer' }).click();
    await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe(RICH);
    expect(await accessibility()).toEqual([]);
    await shot('answer-light');
    await page.getByRole('button', { name: 'Dark colours' }).click();
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
    expect(await accessibility()).toEqual([]);
    await shot('answer-dark');
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByRole('dialog', { name: 'Conversations' }).waitFor({ state: 'hidden' });
    expect(await accessibility()).toEqual([]);
    await shot('answer-phone-dark');
    await page.getByRole('button', { name: 'Light colours' }).click();
    await shot('answer-phone-light');
  });

  test('HTML and addresses that run code stay text; an image is no request', async () => {
    const reply = [
      '<script>window.harm = 1</script><img src=x onerror="window.harm = 2">',
      '[a](javascript:window.harm=3) [b](data:text/html,<script>harm</script>) ![c](https://example.org/c.png)',
      '<a href="javascript:window.harm=4">d</a> [e](/v1/models) <iframe src="https://example.org"></iframe>',
      '```"><img src=x onerror=harm>\ncode\n```',
    ].join('\n\n');
    const { page, answer, send } = await visit({ fake: { reply: () => reply } });
    await send('harm me');
    await answer.getByRole('button', { name: 'Try again' }).waitFor();
    expect(await answer.locator('script, img, iframe, object, embed, style').count()).toBe(0);
    expect(await answer.getByText('<script>window.harm = 1</script>').count()).toBe(1);
    const links = await answer.getByRole('link').evaluateAll(all => all.map(link => (link as HTMLAnchorElement).href));
    expect(links).toEqual(['https://example.org/c.png']);
    expect(await page.evaluate(() => (window as { harm?: number }).harm)).toBeUndefined();
  });

  test('stop by button and by Esc: the computing ends, what was said stays', async () => {
    const { page, answer, opened, send } = await visit({ fake: LONG });
    for (const [index, stop] of [
      () => page.getByRole('button', { name: 'Stop the answer' }).click(),
      () => page.keyboard.press('Escape'),
    ].entries()) {
      await send('go on');
      await answer.getByText(/word word/).waitFor();
      await stop();
      await answer.getByText('stopped', { exact: true }).waitFor();
      await expect.poll(() => opened[0]!.counts).toMatchObject({ running: 0, aborted: index + 1 });
      expect(await answer.textContent()).toContain('word word');
    }
  });

  test('settings reach the model and are kept', async () => {
    const { page, answer, opened, send, accessibility, shot } = await visit();
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('System prompt').fill('Speak like a sailor.');
    await page.getByLabel('Temperature').fill('1.2');
    await page.getByLabel('Top p').fill('0.5');
    await page.getByLabel('Top k').fill('40');
    await page.getByLabel('Max tokens').fill('3');
    await page.getByLabel('Seed').fill('7');
    await page.getByLabel('Stop before').fill('###\nUser:');
    await page.getByRole('radio', { name: 'Dark' }).check();
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
    expect(await accessibility()).toEqual([]);
    await shot('settings-dark');
    await page.keyboard.press('Escape');
    await page.reload();
    await page.getByRole('button', { name: 'Settings in use: System prompt' }).waitFor();
    await send('ahoy');
    await answer.getByText(/cut off/).waitFor();
    expect(opened[0]!.calls[0]).toMatchObject({
      input: [
        { role: 'system', content: 'Speak like a sailor.' },
        { role: 'user', content: 'ahoy' },
      ],
      options: { temperature: 1.2, topP: 0.5, topK: 40, maxTokens: 3, seed: 7, stop: ['###', 'User:'] },
    });
    await page.getByRole('button', { name: 'Settings', exact: true }).click();
    await page.getByRole('button', { name: 'Back to the defaults' }).click();
    expect(await page.getByLabel('System prompt').inputValue()).toBe('');
    expect(await page.getByLabel('Temperature').inputValue()).toBe('0.6');
  });

  test('an error in the middle is told in words, and one can try again', async () => {
    const { page, answer, opened, send, accessibility } = await visit({
      fake: { failAfter: { tokens: 3, error: new Error('layer 3: the weights hold NaN') } },
    });
    await send('hello');
    await page
      .getByRole('alert')
      .getByText(/layer 3: the weights hold NaN/)
      .waitFor();
    expect(await answer.textContent()).toContain('Hel');
    expect(await accessibility()).toEqual([]);
    await page.getByRole('button', { name: 'Try again' }).click();
    await expect.poll(() => opened[0]!.calls.length).toBe(2);
    expect(opened[0]!.calls[1]!.input).toEqual([{ role: 'user', content: 'hello' }]);
  });

  test('a server that is gone is told in words', async () => {
    const { server, answer, send } = await visit();
    await server.close();
    await send('hello?');
    await answer.getByText(/The server does not answer/).waitFor();
  });

  test('another model: progress, its note, one that cannot be loaded, the choice is kept', async () => {
    const { page, accessibility } = await visit({ loadMs: 500 });
    const picker = page.getByRole('combobox', { name: 'Model' });
    expect(await picker.inputValue()).toBe('steady');
    await picker.selectOption('noisy');
    const progress = page.getByRole('progressbar', { name: 'Loading noisy' });
    await expect.poll(() => progress.textContent()).toContain('500 MB of 2 GB');
    expect(await progress.getAttribute('aria-valuenow')).toBe('25');
    await page.getByText('random weights: answers are noise').waitFor();
    await progress.waitFor({ state: 'detached' });
    await page.getByText(/1 M parameters, 500 K active/).waitFor();
    await page.reload();
    await page.getByText('random weights: answers are noise').waitFor();
    expect(await picker.inputValue()).toBe('noisy');
    await picker.selectOption('broken');
    await page.getByText('broken could not be loaded: broken.gguf: the file is cut off at byte 17').waitFor();
    expect(await accessibility()).toEqual([]);
    await page.getByRole('alert').getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('alert').waitFor({ state: 'detached' });
  });

  test('on a phone everything fits and works', async () => {
    const reply = () => `A ${'very'.repeat(60)} long word.\n\`\`\`\n${'code '.repeat(60)}\n\`\`\``;
    const { page, answer, accessibility, shot } = await visit({
      fake: { reply },
      context: { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true },
    });
    await page.getByRole('button', { name: /first snow/ }).tap();
    await answer.getByRole('button', { name: 'Try again' }).waitFor();
    const overflow = () =>
      page.evaluate(() => ({
        page: document.documentElement.scrollWidth - innerWidth,
        column:
          document.querySelector('.conversation')!.scrollWidth - document.querySelector('.conversation')!.clientWidth,
      }));
    expect(await overflow()).toEqual({ page: 0, column: 0 });
    for (const name of ['Conversations', 'New conversation', 'Settings', 'Send']) {
      const box = (await page.getByRole('button', { name, exact: true }).boundingBox())!;
      expect(box.x >= 0 && box.x + box.width <= 320 && box.y + box.height <= 568).toBe(true);
      expect(Math.min(box.width, box.height)).toBeGreaterThanOrEqual(40);
    }
    await page.getByRole('button', { name: 'Settings' }).tap();
    expect((await page.getByRole('dialog', { name: 'Settings' }).boundingBox())!.width).toBe(320);
    await page.getByRole('button', { name: 'Close settings' }).tap();
    await page.getByRole('button', { name: 'Conversations' }).tap();
    const drawer = page.getByRole('dialog', { name: 'Conversations' });
    await drawer.getByRole('button', { name: 'Write a short poem about the first snow.', exact: true }).waitFor();
    expect(await accessibility()).toEqual([]);
    await shot('drawer-phone');
    await drawer.getByRole('button', { name: 'New conversation' }).tap();
    await drawer.waitFor({ state: 'hidden' });
    await page.getByRole('heading', { name: 'What shall we talk about?' }).waitFor();
  });

  test('every control has a name, also in the settings, and the keyboard reaches the end of the page', async () => {
    const { page, answer, send } = await visit();
    await send('hi');
    await answer.getByRole('button', { name: 'Try again' }).waitFor();
    const nameless = /- (button|textbox|combobox|slider|spinbutton|radio|switch|dialog|link)(:| \[|$)/m;
    expect(await page.locator('body').ariaSnapshot()).not.toMatch(nameless);
    await page.getByRole('button', { name: 'Settings' }).click();
    const settings = await page.getByRole('dialog').ariaSnapshot();
    expect(settings).toContain('slider "Temperature"');
    expect(settings).not.toMatch(nameless);
    await page.keyboard.press('Escape');
    const reached: string[] = [];
    await page.getByRole('combobox').focus();
    for (let i = 0; i < 14; i++) {
      reached.push(
        await page.evaluate(
          () => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.tagName ?? '',
        ),
      );
      await page.keyboard.press('Tab');
    }
    expect(reached).toEqual(
      expect.arrayContaining(['New conversation', 'Settings', 'Conversation', 'Copy answer', 'Message']),
    );
  });
});
