// Headless Chromium for the page's tests: builds the page, serves it with a scripted model, gathers what should not happen.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { createFakeChat, type FakeChat, type FakeOptions } from '../server/fake-chat.cases.ts';
import { type RunningServer, type StartOptions, startServer } from '../server/start.ts';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const hasChromium = existsSync(executablePath);
if (!hasChromium)
  process.stderr.write(
    `The page's tests are skipped: there is no Chromium at ${executablePath} (set CHROMIUM to its path).\n`,
  );

export interface Visit {
  readonly page: Page;
  readonly server: RunningServer;
  /** The models that the server opened, with what they were asked. */
  readonly opened: readonly FakeChat[];
  readonly field: ReturnType<Page['locator']>;
  /** The last answer. */
  readonly answer: ReturnType<Page['locator']>;
  send(text: string): Promise<void>;
  /** Violations of the accessibility rules (WCAG 2.2 A and AA, and best practices), in short. */
  accessibility(): Promise<string[]>;
  /** A picture of the page in the folder `SCREENSHOTS`, if it is set. */
  shot(name: string): Promise<void>;
}

interface VisitOptions {
  readonly fake?: FakeOptions;
  readonly context?: BrowserContextOptions;
  /** How long a model takes to load. */
  readonly loadMs?: number;
  /** Another library or engine than the scripted one. */
  readonly server?: Partial<StartOptions>;
  /** Before the page is opened, for routes that answer in the server's place. */
  readonly prepare?: (page: Page) => Promise<void>;
}

/** Registers the hooks of a file of page tests; gives the function that opens the page. */
export function pageTests(): (options?: VisitOptions) => Promise<Visit> {
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  const screenshots = process.env.SCREENSHOTS;
  const problems: string[] = [];
  let browser: Browser;
  const closing: (() => Promise<void>)[] = [];

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
  }, 60_000); // a build and a browser: on a busy machine more than the usual 10 s
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
    expect(problems.splice(0)).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  return async ({ fake = {}, context: contextOptions = {}, loadMs = 0, server: serverOptions, prepare } = {}) => {
    const opened: FakeChat[] = [];
    let openings = 0;
    const server = await startServer({
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
      ...serverOptions,
    });
    closing.push(() => server.close());
    const context = await browser.newContext({ reducedMotion: 'reduce', ...contextOptions });
    closing.push(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.on('pageerror', error => problems.push(error.message));
    page.on('console', message => {
      if (message.type() === 'error' && !message.text().includes('Failed to load resource'))
        problems.push(message.text());
    });
    page.on('request', request => {
      const url = request.url();
      if (!url.startsWith(server.url) && !url.startsWith('blob:')) problems.push(`outside request: ${url}`);
    });
    await prepare?.(page);
    await page.goto(server.url);
    await page.locator('.facts, .notice').first().waitFor();
    const field = page.getByRole('textbox', { name: 'Message', exact: true });
    return {
      page,
      server,
      opened,
      field,
      answer: page.getByRole('article', { name: 'Answer' }).last(),
      async send(text) {
        await field.fill(text);
        await field.press('Enter');
      },
      accessibility: () => accessibilityOf(page),
      async shot(name) {
        if (!screenshots) return;
        mkdirSync(screenshots, { recursive: true });
        await page.screenshot({ path: join(screenshots, `${name}.png`) });
      },
    };
  };
}

async function accessibilityOf(page: Page): Promise<string[]> {
  const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await page.evaluate(source);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import('axe-core') };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
    );
  });
}

/** A body of server-sent events, as the server streams an answer. */
export function chatEvents(deltas: readonly object[], finish: string, timings?: object): string {
  const chunk = (delta: object, finish_reason: string | null, more: object = {}) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }], ...more })}\n\n`;
  return `${deltas.map(delta => chunk(delta, null)).join('')}${chunk({}, finish, timings && { timings })}data: [DONE]\n\n`;
}
