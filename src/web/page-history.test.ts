// Conversations on the page: kept, found, renamed, deleted, saved to files, branched; in headless Chromium.
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { hasChromium, pageTests } from './browser.cases.ts';

const echo = { reply: (messages: readonly { content: string }[]) => `You said: ${messages.at(-1)!.content}` };

describe.skipIf(!hasChromium)('conversations on the page', () => {
  const visit = pageTests();

  test('a reload keeps the conversation, also in the middle of an answer; a new one leaves it in the list', async () => {
    const { page, answer, opened, send } = await visit({ fake: { reply: () => 'word '.repeat(500), delayMs: 5 } });
    await send('remember me');
    await answer.getByText(/word word/).waitFor();
    await page.reload();
    await page.getByRole('paragraph').getByText('remember me').waitFor();
    await answer.getByText('stopped', { exact: true }).waitFor();
    expect(await answer.textContent()).toContain('word');
    await expect.poll(() => opened[0]!.counts.running).toBe(0);
    await page.locator('.bar').getByRole('button', { name: 'New conversation' }).click();
    await page.getByRole('heading', { name: 'What shall we talk about?' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'What shall we talk about?' }).waitFor();
    await page.getByRole('button', { name: 'remember me', exact: true }).click();
    await answer.getByText(/word word/).waitFor();
    expect(await page.title()).toBe('remember me · open-maverick');
    await page.goBack();
    await page.getByRole('heading', { name: 'What shall we talk about?' }).waitFor();
  });

  test('one answers while another is read; rename, delete and undo', async () => {
    const { page, answer, opened, send, accessibility, shot } = await visit({
      fake: { reply: messages => (messages.length === 1 ? 'slow '.repeat(60) : 'x'), delayMs: 4 },
    });
    await send('First thing');
    await answer.getByText(/slow slow/).waitFor();
    await page.keyboard.press('Control+Shift+O');
    await page.getByRole('heading', { name: 'What shall we talk about?' }).waitFor();
    const list = page.getByRole('navigation', { name: 'Conversations' });
    const first = list.getByRole('button', { name: 'First thing (answering)', exact: true });
    await first.waitFor();
    expect(await accessibility()).toEqual([]);
    await list.getByRole('button', { name: 'First thing', exact: true }).click();
    await answer.getByRole('button', { name: 'Try again' }).waitFor();
    expect(opened[0]!.counts.aborted).toBe(0);
    await list.getByRole('button', { name: 'Rename First thing' }).click();
    await page.getByRole('textbox', { name: 'New title' }).fill('A better name');
    await page.keyboard.press('Enter');
    await list.getByRole('button', { name: 'A better name', exact: true }).waitFor();
    await list.getByRole('button', { name: 'Delete A better name' }).click();
    await page.getByText('“A better name” is deleted.').waitFor();
    expect(await list.getByRole('listitem').count()).toBe(0);
    expect(await accessibility()).toEqual([]);
    await shot('deleted');
    await page.getByRole('button', { name: 'Undo' }).click();
    await list.getByRole('button', { name: 'A better name', exact: true }).click();
    await answer.getByText(/slow slow/).waitFor();
    await page.waitForTimeout(400); // until it is written
    await page.reload();
    await answer.getByText(/slow slow/).waitFor();
    expect(await list.getByRole('listitem').count()).toBe(1);
  });

  test('Ctrl+K finds a conversation by what was said; Enter opens it', async () => {
    const { page, answer, field, send } = await visit({ fake: echo });
    for (const text of ['Tell me about sailing', 'And about snow']) {
      await send(text);
      await answer.getByText(`You said: ${text}`).waitFor();
      await page.keyboard.press('Control+Shift+O');
    }
    await page.keyboard.press('Control+k');
    const search = page.getByRole('searchbox', { name: 'Search the conversations' });
    await expect.poll(() => search.evaluate(element => element === document.activeElement)).toBe(true);
    await search.pressSequentially('SAIL said');
    const list = page.getByRole('navigation', { name: 'Conversations' });
    await list.getByRole('button', { name: 'And about snow', exact: true }).waitFor({ state: 'detached' });
    await page.keyboard.press('Enter');
    await answer.getByText('You said: Tell me about sailing').waitFor();
    expect(await search.inputValue()).toBe('');
    await expect.poll(() => field.evaluate(element => element === document.activeElement)).toBe(true);
    await search.fill('nowhere');
    await list.getByText('Nothing found.').waitFor();
  });

  test('try again, ↑ and Edit make versions, and the arrows lead between them', async () => {
    let asked = 0;
    const { page, answer, field, opened, send, accessibility, shot } = await visit({
      fake: { reply: messages => `Answer ${++asked} to ${messages.at(-1)!.content}` },
    });
    await send('one');
    await answer.getByText('Answer 1 to one').waitFor();
    await answer.getByRole('button', { name: 'Try again' }).click();
    await answer.getByText('Answer 2 to one').waitFor();
    await answer.getByText('2/2').waitFor();
    await answer.getByRole('button', { name: 'Earlier version' }).click();
    await answer.getByText('Answer 1 to one').waitFor();
    await send('two');
    await answer.getByText('Answer 3 to two').waitFor();
    expect(opened[0]!.calls[2]!.input).toEqual([
      { role: 'user', content: 'one' },
      { role: 'assistant', content: 'Answer 1 to one' },
      { role: 'user', content: 'two' },
    ]);
    await field.press('ArrowUp');
    const editor = page.getByRole('textbox', { name: 'Edited message' });
    expect(await editor.inputValue()).toBe('two');
    await editor.press('Escape');
    await page.getByRole('article', { name: 'You' }).first().hover();
    await page.getByRole('article', { name: 'You' }).first().getByRole('button', { name: 'Edit' }).click();
    await editor.fill('uno');
    expect(await accessibility()).toEqual([]);
    await shot('edit');
    await editor.press('Enter');
    await answer.getByText('Answer 4 to uno').waitFor();
    expect(opened[0]!.calls[3]!.input).toEqual([{ role: 'user', content: 'uno' }]);
    await shot('branches');
    const you = page.getByRole('article', { name: 'You' }).first();
    await you.getByRole('button', { name: 'Earlier version' }).click();
    await page.getByText('Answer 3 to two').waitFor();
    await page.getByText('Answer 1 to one').waitFor();
    await page.waitForTimeout(400); // until it is written
    await page.reload();
    await page.getByText('Answer 3 to two').waitFor();
  });

  test('conversations are saved to a file and read from one; a wrong file is refused in words', async () => {
    const { page, answer, send } = await visit({ fake: echo });
    await send('keep this');
    await answer.getByText('You said: keep this').waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Export' }).click(),
    ]);
    expect(download.suggestedFilename()).toMatch(/^conversations-\d{4}-\d\d-\d\d\.json$/);
    const file = JSON.parse(readFileSync(await download.path(), 'utf8')) as {
      conversations: { title: string; id: string }[];
    };
    expect(file.conversations.map(({ title }) => title)).toEqual(['keep this']);
    const path = join(tmpdir(), `conversations-${process.pid}.json`);
    writeFileSync(
      path,
      JSON.stringify({ conversations: [{ ...file.conversations[0], id: 'x', title: 'from a file' }] }),
    );
    const input = page.locator('input[type=file]');
    await input.setInputFiles(path);
    await page.getByText('1 conversation read.').waitFor();
    await page.getByRole('button', { name: 'from a file', exact: true }).click();
    await answer.getByText('You said: keep this').waitFor();
    writeFileSync(path, 'no JSON');
    await input.setInputFiles(path);
    await page
      .getByRole('alert')
      .getByText(/The file is not JSON/)
      .waitFor();
  });

  test('two tabs show the same conversations', async () => {
    const { page, server, answer, send } = await visit({ fake: echo });
    const other = await page.context().newPage();
    await other.goto(server.url);
    await other.getByText('What you talk about is kept here.').waitFor();
    await send('seen in both');
    await answer.getByText('You said: seen in both').waitFor();
    await other.getByRole('button', { name: 'seen in both', exact: true }).click();
    await other.getByText('You said: seen in both').waitFor();
  });
});
