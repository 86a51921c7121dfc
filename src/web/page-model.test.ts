// What models can do, on the page: tools, JSON, experts, keys, a real engine; in headless Chromium.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, describe, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import { tinyGeometry, writeRandomModel } from '../hub/random-model.ts';
import { chatEvents, hasChromium, pageTests } from './browser.cases.ts';
import type { WireRouting } from './routing.ts';

/** Answers chat requests in the server's place, in turn; keeps what was asked. */
async function answerChats(page: Page, bodies: readonly string[]) {
  const asked: Record<string, unknown>[] = [];
  await page.route('**/v1/chat/completions', route => {
    asked.push(route.request().postDataJSON() as Record<string, unknown>);
    return route.fulfill({
      contentType: 'text/event-stream',
      body: bodies[asked.length - 1] ?? chatEvents([], 'stop'),
    });
  });
  return asked;
}

/** The list of models with more said of each. */
const extendModels = (page: Page, more: object) =>
  page.route('**/v1/models', async route => {
    const response = await route.fetch();
    const list = (await response.json()) as { data: object[] };
    return route.fulfill({ json: { ...list, data: list.data.map(model => ({ ...model, ...more })) } });
  });

const WORDS = ['A', ' boat', ' can', ' sail', ' against', ' the', ' wind', ',', ' but', ' not', ' straight', '.', '\n'];
const routingOf = (tokens: number, layers: number, experts: number): WireRouting => ({
  object: 'routing',
  model: 'steady',
  experts,
  experts_per_token: 1,
  layers: Array.from({ length: layers }, (_, index) => index),
  tokens: Array.from({ length: tokens }, (_, token) => ({
    text: WORDS[token % WORDS.length]!,
    // A fixed rule with some order and some noise, as routers have.
    experts: Array.from({ length: layers }, (_, layer) => [
      (layer * 3 + (token % WORDS.length) + ((token * 7919 + layer * 104_729) % 11 > 7 ? token : 0)) % experts,
    ]),
  })),
});

describe.skipIf(!hasChromium)('what models can do, on the page', () => {
  const visit = pageTests();
  const folder = mkdtempSync(join(tmpdir(), 'page-model-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('tools: the calls are shown, their results are given, the answer goes on', async () => {
    let asked: Record<string, unknown>[] = [];
    const call = (index: number, id: string, place: string) => ({
      tool_calls: [{ index, id, type: 'function', function: { name: 'weather', arguments: `{"place":"${place}"}` } }],
    });
    const { page, answer, send, accessibility, shot } = await visit({
      prepare: async page => {
        asked = await answerChats(page, [
          chatEvents([{ content: 'I shall look.' }, call(0, 'c1', 'Bern'), call(1, 'c2', 'Oslo')], 'tool_calls'),
          chatEvents([{ content: 'It is colder in Oslo.' }], 'stop'),
        ]);
      },
    });
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('textbox', { name: 'Tools' }).fill('[{"nam": 1}]');
    await page.getByText(/Tool 1 must be an object with a name/).waitFor();
    await page.getByRole('textbox', { name: 'Tools' }).fill('');
    await page.getByRole('button', { name: 'Insert an example of Tools' }).click();
    await page.keyboard.press('Escape');
    await send('Where is it colder, Bern or Oslo?');
    await page.getByLabel('Result of weather').first().waitFor();
    expect(asked[0]).toMatchObject({ tools: [{ type: 'function', function: { name: 'weather' } }] });
    await page.getByLabel('Result of weather').first().fill('{"celsius": 9}');
    expect(await page.getByRole('button', { name: 'Give the results' }).isEnabled()).toBe(false);
    await page.getByLabel('Result of weather').last().fill('-4 °C');
    expect(await accessibility()).toEqual([]);
    await shot('tools');
    await page.getByRole('button', { name: 'Give the results' }).click();
    await answer.getByText('It is colder in Oslo.').waitFor();
    expect(asked[1]!.messages).toMatchObject([
      { role: 'user' },
      { role: 'assistant', content: 'I shall look.', tool_calls: [{ id: 'c1' }, { id: 'c2' }] },
      { role: 'tool', tool_call_id: 'c1', content: '{"celsius": 9}' },
      { role: 'tool', tool_call_id: 'c2', content: '-4 °C' },
    ]);
    const calls = page.getByRole('article', { name: 'Answer' }).first();
    await calls.getByText('weather').first().click();
    await calls.getByText('{"celsius": 9}').waitFor();
  });

  test('JSON: asked for by mode or schema, shown set out, and the draft figures beside it', async () => {
    let asked: Record<string, unknown>[] = [];
    const timings = { queue_ms: 0, cache_n: 40, prompt_n: 2, prompt_ms: 30, prompt_per_second: 66 };
    const predicted = { predicted_n: 7, predicted_ms: 100, predicted_per_second: 60, draft_n: 12, draft_n_accepted: 9 };
    const { page, answer, send, accessibility } = await visit({
      prepare: async page => {
        const body = chatEvents([{ content: '{"answer":' }, { content: '42}' }], 'stop', { ...timings, ...predicted });
        asked = await answerChats(page, [body, body]);
      },
    });
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('radio', { name: 'JSON' }).check();
    await page.getByRole('switch', { name: /Prompt lookup/ }).check();
    await page.keyboard.press('Escape');
    await send('The answer, please');
    await answer.getByRole('button', { name: 'Try again' }).waitFor();
    expect(await answer.locator('pre').textContent()).toBe('{\n  "answer": 42\n}');
    expect(asked[0]).toMatchObject({ response_format: { type: 'json_object' }, prompt_lookup: true });
    await answer.getByText('7 tokens · 60 tok/s').click();
    await answer.getByText('9 of 12 tokens taken').waitFor();
    await answer.getByText('40 tokens', { exact: true }).waitFor();
    expect(await accessibility()).toEqual([]);
    await page.getByRole('button', { name: 'Settings in use: JSON Prompt lookup' }).click();
    await page.getByRole('radio', { name: 'Schema' }).check();
    await page.getByRole('button', { name: 'Insert an example of JSON schema' }).click();
    expect(await accessibility()).toEqual([]);
    await page.keyboard.press('Escape');
    await send('Again');
    await expect.poll(() => asked.length).toBe(2);
    expect(asked[1]).toMatchObject({
      response_format: {
        type: 'json_schema',
        json_schema: { strict: true, schema: { required: ['answer', 'confidence'] } },
      },
    });
  });

  test('experts: the picture of an answer, cell by cell and expert by expert; nothing of it for other models', async () => {
    const asked: unknown[] = [];
    const { page, answer, send, accessibility, shot } = await visit({
      context: { viewport: { width: 1280, height: 900 } },
      prepare: async page => {
        await extendModels(page, { experts: 16 });
        await page.route('**/v1/routing', route => {
          asked.push(route.request().postDataJSON());
          if (asked.length > 1) return route.fulfill({ status: 404, json: { error: { message: 'no routing here' } } });
          return route.fulfill({ json: routingOf(90, 24, 16) });
        });
      },
    });
    await send('hi');
    await answer.getByRole('button', { name: 'Experts of this answer' }).click();
    const picture = page.getByRole('application', { name: /90 tokens, 24 layers/ });
    await picture.waitFor();
    expect(asked[0]).toEqual({
      model: 'steady',
      messages: [
        { role: 'user', content: 'hi' },
        { role: 'assistant', content: 'Hello.' },
      ],
    });
    await picture.focus();
    for (const key of ['ArrowRight', 'ArrowDown', 'ArrowDown', 'ArrowLeft', 'ArrowLeft', 'ArrowRight'])
      await page.keyboard.press(key);
    await page.getByText('Token 2 of 90, layer 2: expert 7').waitFor();
    const colours = () =>
      page.locator('canvas').evaluate((canvas: HTMLCanvasElement) => {
        const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
        const all = new Set<string>();
        for (let at = 0; at < data.length; at += 4 * 37)
          if (data[at + 3] === 255) all.add(data.slice(at, at + 3).join());
        return all.size;
      });
    expect(await colours()).toBeGreaterThanOrEqual(16);
    expect(await accessibility()).toEqual([]);
    await shot('experts-light');
    await page.getByRole('button', { name: /^Expert 7:/ }).click();
    expect(await colours()).toBeLessThan(16);
    await shot('experts-one');
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.setViewportSize({ width: 390, height: 844 });
    expect(await accessibility()).toEqual([]);
    await shot('experts-phone-dark');
    await page.keyboard.press('Escape');
    await answer.getByRole('button', { name: 'Experts of this answer' }).click();
    await page.getByRole('alert').getByText('no routing here').waitFor();
  });

  test('experts of a real answer: the server reads it again, and every token of it has its column', async () => {
    const path = join(folder, 'experts.gguf');
    await writeRandomModel(path, tinyGeometry);
    const { page, answer, send } = await visit({
      server: {
        library: { list: async () => [{ id: 'tiny', path, bytes: 4_000_000 }] },
        openChat: (file, { onProgress, signal }) => openChat(file, { backend: 'reference', onProgress, signal }),
      },
    });
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('Max tokens').fill('12');
    await page.getByLabel('Seed').fill('5');
    await page.keyboard.press('Escape');
    await send('hello');
    await answer.locator('summary', { hasText: '12 tokens' }).waitFor({ timeout: 30_000 });
    await answer.getByRole('button', { name: 'Experts of this answer' }).click();
    const picture = page.getByRole('application', { name: /^Experts by token and layer: \d+ tokens, 2 layers/ });
    await picture.waitFor();
    await picture.focus();
    await page.keyboard.press('ArrowDown');
    await page.getByText(/^Token 1 of \d+, layer 3: expert [0-3]$/).waitFor();
    expect(await page.getByRole('button', { name: /^Expert [0-3]: / }).count()).toBe(4);
  });

  test('a server that wants a key: the page says so, takes one, and sends it', async () => {
    const { page, send, answer, accessibility } = await visit({
      prepare: async page => {
        await page.route('**/v1/**', route =>
          route.request().headers().authorization === 'Bearer secret'
            ? route.continue()
            : route.fulfill({ status: 401, json: { error: { message: 'This server wants an API key.' } } }),
        );
      },
    });
    await page.getByText('This server wants an API key.').waitFor();
    expect(await accessibility()).toEqual([]);
    await page.getByRole('button', { name: 'Enter the key' }).click();
    await page.getByLabel('API key').fill('secret');
    await page.keyboard.press('Escape');
    await page.getByText('This server wants an API key.').waitFor({ state: 'detached' });
    await send('hello');
    await answer.getByText('Hello.').waitFor();
  });

  test('a real engine with a tiny model of random weights: noise streams in, stops, and comes again by its seed', async () => {
    const path = join(folder, 'tiny.gguf');
    await writeRandomModel(path, tinyGeometry);
    const { page, answer, send } = await visit({
      server: {
        library: {
          list: async () => [{ id: 'tiny', path, bytes: 4_000_000, note: 'random weights: answers are noise' }],
        },
        openChat: (file, { onProgress, signal }) => openChat(file, { backend: 'reference', onProgress, signal }),
      },
    });
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByLabel('Max tokens').fill('6');
    await page.getByLabel('Seed').fill('5');
    await page.keyboard.press('Escape');
    await send('hello');
    await answer.locator('summary', { hasText: '6 tokens' }).waitFor({ timeout: 30_000 });
    const first = await answer.locator('.prose').textContent();
    expect(first).not.toBe('');
    await answer.getByRole('button', { name: 'Try again' }).click();
    await answer.getByText('2/2').waitFor();
    await answer.locator('summary', { hasText: '6 tokens' }).waitFor({ timeout: 30_000 });
    expect(await answer.locator('.prose').textContent()).toBe(first);
  });
});
