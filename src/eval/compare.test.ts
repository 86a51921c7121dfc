// Comparisons of small models: a model with itself, with a rounded form of itself, against numbers computed another way.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { maverick } from '../cli/fake-terminal.cases.ts';
import { openLocalEngine } from '../engine/local-engine.ts';
import { geometry } from '../engine/small-models.cases.ts';
import { writeRandomModel } from '../hub/random-model.ts';
import { type Comparison, compareModels } from './compare.ts';
import { comparisonMarkdown } from './report.ts';

let folder: string;
let a: string;
let b: string;
const text = 'hello all, hell has bells and shells; all is well. '.repeat(4);
const engine = { backend: 'reference' } as const;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-eval-'));
  a = await writeRandomModel(join(folder, 'a.gguf'), geometry, { dtype: 'F16', seed: 5 });
  b = await writeRandomModel(join(folder, 'b.gguf'), geometry, { dtype: 'F16', seed: 6 });
});
afterAll(() => rm(folder, { recursive: true }));

const quick = { engine, contextTokens: 32, tasks: false, states: 1000 };

describe('compareModels', () => {
  test('a model is itself: no divergence, no drift, all alike', async () => {
    const same = await compareModels(a, a, text, quick);
    expect(same.kl).toEqual({ mean: 0, error: 0, median: 0, p99: 0, max: 0 });
    expect(same.top1).toEqual({ agreement: 1, error: 0 });
    expect([same.perplexity.ratio, same.perplexity.ratioError]).toEqual([1, 0]);
    expect(same.drift!.layers.map(({ relativeError, cosine }) => [relativeError, cosine])).toEqual(
      Array(4).fill([0, 1]),
    );
    expect(same.klHistogram.reduce((sum, { count }) => sum + count, 0)).toBe(same.predictions);
  });

  test('its numbers are those of the engines alone', async () => {
    const got = await compareModels(a, b, text, quick);
    await using one = await openLocalEngine(a, engine);
    await using other = await openLocalEngine(b, engine);
    const { tokenizer } = await (await import('../engine/chat.ts')).readVocabulary(a);
    const tokens = tokenizer.encode(text);
    const kls: number[] = [];
    const nlls = { a: 0, b: 0 };
    let agreed = 0;
    for (let from = 0; from < tokens.length; from += 31) {
      const window = [tokenizer.bos!, ...tokens.slice(from, from + 31)];
      const rows = async (of: typeof one) => (await Array.fromAsync(of.logprobs(window))).map(row => row.logprobs);
      const [p, q] = [await rows(one), await rows(other)];
      for (let i = 0; i + 1 < window.length; i++) {
        kls.push([...p[i]!].reduce((sum, logP, k) => sum + Math.exp(logP) * (logP - q[i]![k]!), 0));
        if (p[i]!.indexOf(Math.max(...p[i]!)) === q[i]!.indexOf(Math.max(...q[i]!))) agreed++;
        nlls.a -= p[i]![window[i + 1]!]!;
        nlls.b -= q[i]![window[i + 1]!]!;
      }
    }
    const mean = kls.reduce((x, y) => x + y, 0) / kls.length;
    expect(got.predictions).toBe(tokens.length);
    expect(got.kl.mean).toBeCloseTo(mean, 5);
    expect(got.kl.max).toBeCloseTo(Math.max(...kls), 5);
    expect(got.top1.agreement).toBeCloseTo(agreed / kls.length, 9);
    expect(got.perplexity.a).toBeCloseTo(Math.exp(nlls.a / kls.length), 2);
    expect(got.perplexity.ratio).toBeCloseTo(Math.exp((nlls.b - nlls.a) / kls.length), 4);
    expect(got.worst.length).toBe(10);
    expect(got.worst[0]!.kl).toBeCloseTo(got.kl.max, 9);
    expect(got.drift!.layers.every(({ relativeError, cosine }) => relativeError > 0.1 && cosine < 0.9)).toBe(true);
  });

  test('looks at as many positions of layers as it is told, and at every token where there are fewer', async () => {
    const few = await compareModels(a, b, text, { ...quick, states: 10 });
    expect(few.drift!.positions).toBeLessThanOrEqual(10);
    expect(few.drift!.positions).toBeGreaterThan(5);
    const all = await compareModels(a, b, text, quick);
    expect(all.drift!.positions).toBe(all.predictions + Math.ceil(all.predictions / 31)); // BOS of each window, too
  });

  test('other layers are no obstacle, another tokenizer is', async () => {
    const deeper = await writeRandomModel(join(folder, 'deep.gguf'), { ...geometry, layers: 6 }, { dtype: 'F16' });
    expect((await compareModels(a, deeper, text, quick)).drift).toBeNull();
    const golden = new URL('../../test/fixtures/golden/maverick-tiny.gguf', import.meta.url).pathname;
    await expect(compareModels(a, golden, text, quick)).rejects.toThrow(/its tokenizer reads this text differently/);
  });

  test('windows that do not fit, and texts of one token, are refused', async () => {
    await expect(compareModels(a, b, text, { ...quick, contextTokens: 2 })).rejects.toThrow(/wanted at least 3/);
    await expect(compareModels(a, b, text, { ...quick, contextTokens: 65 })).rejects.toThrow(/wanted at most 64/);
    await expect(compareModels(a, b, 'x', quick)).rejects.toThrow(/at least 2/);
  });

  test('an abort ends it and leaves no scratch behind', async () => {
    const abort = new AbortController();
    const before = await scratches();
    const run = compareModels(a, b, text, {
      ...quick,
      signal: abort.signal,
      onProgress: (model, phase) => model === 'B' && phase === 'predicting' && abort.abort(new Error('stop')),
    });
    await expect(run).rejects.toThrow('stop');
    expect(await scratches()).toEqual(before);
  });
});

const scratches = async (): Promise<string[]> =>
  (await readdir(tmpdir())).filter(name => name.startsWith('maverick-compare-'));

describe('the report', () => {
  test('is whole in itself: no link, no image, every layer, bars that grow', async () => {
    const comparison = await compareModels(a, b, text, { ...quick, tasks: true });
    const markdown = comparisonMarkdown(comparison, new Date('2026-01-02'));
    expect(markdown).not.toMatch(/https?:|!\[/);
    expect(markdown).toContain('# b.gguf against a.gguf');
    expect(markdown).toContain('2026-01-02');
    expect(markdown.match(/^ {4}\d {2}\S+ +\S+ +\S+ +█/gm)!.length).toBe(4);
    // Tables have the same number of cells in every row.
    for (const block of markdown.split('\n\n').filter(part => part.startsWith('|')))
      expect(
        new Set(
          block
            .trim()
            .split('\n')
            .map(row => row.replaceAll('\\|', '').split('|').length),
        ).size,
      ).toBe(1);
    expect(comparison.tasks!.tools.asked).toBe(8);
  });

  test('maverick compare writes it as Markdown and as JSON', async () => {
    const file = join(folder, 'text.txt');
    await writeFile(file, text);
    const [json, markdown] = [join(folder, 'r.json'), join(folder, 'r.md')];
    const common = ['compare', a, b, file, '--backend', 'reference', '--context', '32', '--tokens', '60', '--no-tasks'];
    const { code, stdout, stderr } = await maverick([...common, '--json', json, '--markdown', markdown]);
    expect([code, stderr]).toEqual([0, `Written: ${json}, ${markdown}\n`]);
    expect(stdout).toMatch(
      /KL divergence .*\nsame likeliest .*\nperplexity .*\nlast layer .*\ncompared {8}60 predictions/,
    );
    const comparison = JSON.parse(await readFile(json, 'utf8')) as Comparison;
    expect(comparison.predictions).toBe(60);
    expect(await readFile(markdown, 'utf8')).toContain(comparison.kl.mean.toFixed(6));
    const printed = await maverick([...common, '--json']);
    expect(JSON.parse(printed.stdout)).toEqual(comparison);
  });

  test('maverick compare names a file that is not there', async () => {
    const { code, stderr } = await maverick(['compare', a, b, join(folder, 'no.txt')]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('no.txt: there is no such file')]);
  });
});
