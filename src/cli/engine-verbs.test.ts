// The verbs that compute, on a tiny Llama 4 with golden numbers: generate, logprobs, perplexity, bench, chat, serve.
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { maverick } from './fake-terminal.cases.ts';

const golden = (name: string) => fileURLToPath(new URL(`../../test/fixtures/golden/${name}`, import.meta.url));
const model = golden('maverick-tiny.gguf');
const flags = ['--threads', '1'];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'maverick-verbs-'));
});
afterAll(() => rm(folder, { recursive: true }));

interface Generated {
  text: string;
  tokens: number[];
  finishReason: string;
  logprobs?: { token: number; logprob: number; top: { token: number; logprob: number }[] }[];
  stats: { promptTokens: number; generatedTokens: number; draftedTokens: number };
}

async function generated(...args: string[]): Promise<Generated> {
  const { code, stdout, stderr } = await maverick(['generate', model, ...args, '--json', ...flags]);
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as Generated;
}

describe('route and plan', () => {
  test('route records each token and each layer; what it writes, plan takes; bench then shows plan against fact', async () => {
    const text = join(folder, 'text.txt');
    const out = join(folder, 'routing.json');
    await writeFile(text, 'the sea and the sky, the sky and the sea');
    const shown = await maverick(['route', model, text, '--out', out, '--context', '16', ...flags]);
    expect([shown.code, shown.stderr]).toEqual([0, `Written: ${out}\n`]);
    expect(shown.stdout).toMatch(/LAYER +USED +ENTROPY[\s\S]*\n +1 +\d+ of 128 +\d\.\d\d/);
    const record = JSON.parse(await readFile(out, 'utf8'));
    expect(record).toMatchObject({ experts: 128, expertsPerToken: 1, layers: [1, 3, 5, 7] });
    expect(record.tokens.length).toBeGreaterThan(16);
    for (const { experts } of record.tokens) expect(experts).toHaveLength(4);
    expect(record.figures[0].counts.reduce((sum: number, n: number) => sum + n, 0)).toBe(record.tokens.length);
    const whole = await maverick(['route', model, text, '--json', '-n', '5', ...flags]);
    expect(JSON.parse(whole.stdout).tokens).toEqual(record.tokens.slice(0, 5));

    const environment = { HF_HOME: folder };
    const unknown = await maverick(['bench', model, '--prompt', '4', '--generate', '2', '--repeat', '1', ...flags], {
      environment,
    });
    expect(unknown.stdout).toContain(`maverick plan ${model}`);
    const options = ['--json', '--trace', out, '--prompt', '8', ...flags];
    const { code, stdout, stderr } = await maverick(['plan', model, ...options], { environment });
    expect([code, stderr]).toEqual([0, '']);
    const [planned] = JSON.parse(stdout).models;
    expect(planned).toMatchObject({
      name: 'maverick-tiny.gguf',
      fits: true,
      memory: { experts: null },
      speed: { hitRate: 1 },
    });
    expect(planned.speed.decode.tokensPerSecond).toBeGreaterThan(10);
    const bench = ['bench', model, '--prompt', '8', '--generate', '4', '--repeat', '1', ...flags];
    expect((await maverick(bench, { environment })).stdout).toMatch(
      /PLAN +OFF BY\nprefill .* [+−]\d+ %\ndecode .* [+−]\d+ %/,
    );
    expect(JSON.parse((await maverick([...bench, '--json'], { environment })).stdout).plan.decode).toBeGreaterThan(10);
  });

  test('a name is planned without a file, whatever fits and what does not; wrong names are told', async () => {
    const environment = { HF_HOME: folder };
    const small = ['--memory', '3G', '--context', '256', ...flags];
    const { code, stdout } = await maverick(['plan', 'llama4-maverick:Q4_0', ...small], { environment });
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /400\.7 B parameters, a token uses 17\.18 B[\s\S]*no room[\s\S]*Nothing of it fits\. even with its experts on disk it takes/,
    );
    const wrong = await maverick(['plan', 'llama4-maverick:Q9'], { environment });
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      expect.stringContaining("There is no quantization 'q9' of llama4-maverick"),
    ]);
    expect((await maverick(['plan', model, '--backend', 'reference'])).code).toBe(2);
  });
});

describe('generate', () => {
  test('greedy is repeatable, and tells why it ended and what it cost', async () => {
    const first = await generated('the sea', '-n', '8');
    expect(first.tokens.length).toBeLessThanOrEqual(8);
    expect(first.stats.generatedTokens).toBe(first.tokens.length);
    expect(['stop', 'length']).toContain(first.finishReason);
    expect((await generated('the sea', '-n', '8')).tokens).toEqual(first.tokens);
  });

  test('--prompt-lookup changes no token, and says what its guesses were worth', async () => {
    const text = 'the sea the sea the sea';
    let drafted = 0; // what random weights say, and so what can be looked up, depends on the backend
    for (const options of [[], ['--temperature', '0.5', '--seed', '4', '--repetition-penalty', '0.8']]) {
      const wanted = await generated(text, '-n', '40', ...options);
      const got = await generated(text, '-n', '40', ...options, '--prompt-lookup', '6');
      expect(got.tokens).toEqual(wanted.tokens);
      drafted += got.stats.draftedTokens;
      expect(wanted.stats.draftedTokens).toBe(0);
    }
    expect(drafted).toBeGreaterThan(0);
    const { stderr } = await maverick(['generate', model, text, '-n', '40', '--prompt-lookup']);
    expect(stderr).toMatch(/· \d+ of \d+ guesses right ·/);
  });

  test('a seed repeats a draw, another seed draws otherwise', async () => {
    const draw = async (seed: string) =>
      (await generated('the sea', '-n', '12', '--temperature', '1', '--seed', seed)).tokens;
    expect(await draw('1')).toEqual(await draw('1'));
    expect(await draw('1')).not.toEqual(await draw('2'));
  });

  test('--logprobs gives the likeliest, of which greedy took the first', async () => {
    const { logprobs, tokens } = await generated('the sea', '-n', '4', '--logprobs', '3');
    expect(logprobs!.map(step => step.token)).toEqual(tokens);
    for (const step of logprobs!) {
      expect(step.top.length).toBe(3);
      expect(step.top[0]!.token).toBe(step.token);
      expect(step.top[0]!.logprob).toBeCloseTo(step.logprob, 5);
      expect(step.top[1]!.logprob).toBeLessThanOrEqual(step.top[0]!.logprob);
    }
  });

  test('streams text to standard output and statistics to standard error; the prompt may be piped', async () => {
    const piped = await maverick(['generate', model, '-n', '6', ...flags], { input: 'the sea' });
    const { text } = await generated('the sea', '-n', '6');
    expect(piped.stdout.trimEnd()).toBe(text.trimEnd());
    expect(piped.stderr).toMatch(/\d+ tokens .*prompt \d+ tokens/);
  });

  test('--chat wraps the prompt into the chat format', async () => {
    const plain = await generated('the sea', '-n', '1');
    const chat = await generated('the sea', '-n', '1', '--chat', '--system', 'Be brief.');
    expect(chat.stats.promptTokens).toBeGreaterThan(plain.stats.promptTokens + 5);
  });

  test('--stop ends the text before it', async () => {
    const { text } = await generated('the sea', '-n', '12', '--temperature', '1', '--seed', '3');
    const stop = text.slice(4, 6);
    const stopped = await generated('the sea', '-n', '12', '--temperature', '1', '--seed', '3', '--stop', stop);
    expect([stopped.text, stopped.finishReason]).toEqual([text.slice(0, text.indexOf(stop)), 'stop']);
  });

  test('a file that is no model is named', async () => {
    const path = join(folder, 'no.gguf');
    await writeFile(path, 'GGUF but not really');
    const { code, stderr } = await maverick(['generate', path, 'x']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('no.gguf')]);
  });
});

describe('logprobs', () => {
  const goldenTokens = async () => {
    const manifest = JSON.parse(await readFile(golden('manifest.json'), 'utf8')) as {
      model: string;
      tokens: number[];
    }[];
    return manifest.find(entry => entry.model === 'maverick-tiny.gguf')!.tokens;
  };
  const floats = async (path: string) => {
    const bytes = await readFile(path);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  };

  test('are the golden ones, all rows or some', async () => {
    const tokens = await goldenTokens();
    const list = join(folder, 'ids.json');
    await writeFile(list, JSON.stringify({ tokens }));
    const out = join(folder, 'all.f32');
    const ran = await maverick(['logprobs', model, '--tokens', list, '--out', out, '--json', '--backend', 'reference']);
    expect([ran.code, ran.stderr]).toEqual([0, '']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ rows: tokens.length, vocab: 512 });
    const got = await floats(out);
    const wanted = await floats(golden('maverick-tiny.logprobs.f32'));
    expect(got.length).toBe(wanted.length);
    expect(Math.max(...got.map((value, i) => Math.abs(value - wanted[i]!)))).toBeLessThan(2e-3);

    const some = join(folder, 'some.f32');
    expect(
      (
        await maverick([
          'logprobs',
          model,
          '--tokens',
          list,
          '--rows',
          '0,5,9',
          '--out',
          some,
          '--backend',
          'reference',
        ])
      ).code,
    ).toBe(0);
    const rows = await floats(some);
    expect([...rows]).toEqual([0, 5, 9].flatMap(row => [...got.subarray(row * 512, row * 512 + 512)]));
  });

  test('wrong rows and tokens are wrong usage, and leave no file', async () => {
    const list = join(folder, 'ids.json');
    await writeFile(list, '[1, 2, 512]');
    const out = join(folder, 'wrong.f32');
    for (const [rows, expected] of [
      ['', /token 512 is outside/],
      ['3', /no position 3/],
      ['1,0', /ascend/],
    ] as const) {
      const { code, stderr } = await maverick([
        'logprobs',
        model,
        '--tokens',
        list,
        '--out',
        out,
        ...(rows ? ['--rows', rows] : []),
      ]);
      expect([code, stderr]).toEqual([2, expect.stringMatching(expected)]);
    }
    expect((await readdir(folder)).filter(name => name.startsWith('wrong'))).toEqual([]);
  });
});

test('perplexity: overlapping windows, and one window that agrees with the log-probabilities', async () => {
  const file = join(folder, 'text.txt');
  await writeFile(file, 'She sells sea shells on the sea shore; the shells she sells are sea shells, for sure.');
  const score = async (...args: string[]) => {
    const { code, stdout } = await maverick(['perplexity', model, file, '--json', '--backend', 'reference', ...args]);
    expect(code).toBe(0);
    return JSON.parse(stdout) as { nll: number; nllError: number; tokens: number; perplexity: number };
  };
  const one = await score();
  const many = await score('--context', '16', '--stride', '4');
  expect(many.tokens).toBe(one.tokens);
  expect(one.perplexity).toBeCloseTo(Math.exp(one.nll), 6);
  expect(one.nllError).toBeGreaterThan(0);

  const tokenized = await maverick(['tokenize', model, '--json'], { input: await readFile(file) });
  const tokens = [496, ...(JSON.parse(tokenized.stdout) as number[])];
  const list = join(folder, 'text.json');
  await writeFile(list, JSON.stringify(tokens));
  const out = join(folder, 'text.f32');
  await maverick(['logprobs', model, '--tokens', list, '--out', out, '--backend', 'reference']);
  const rows = await readFile(out);
  let sum = 0;
  for (let i = 1; i < tokens.length; i++) sum -= rows.readFloatLE(((i - 1) * 512 + tokens[i]!) * 4);
  expect(one.nll).toBeCloseTo(sum / (tokens.length - 1), 4);
  expect(one.tokens).toBe(tokens.length - 1);
});

test('tokenize goes there and back', async () => {
  const text = 'the sea\n  <|eot|> été';
  const { stdout } = await maverick(['tokenize', model, '--json'], { input: text });
  const back = await maverick(['tokenize', model, '--decode', stdout]);
  expect([back.code, back.stdout]).toEqual([0, text]);
  expect(JSON.parse((await maverick(['tokenize', model, '--decode', '--json', stdout])).stdout)).toBe(text);
  expect(
    (JSON.parse((await maverick(['tokenize', model, '--json', '--special', '<|eot|>'])).stdout) as number[]).length,
  ).toBe(1);
  for (const ids of ['[1,', '1 x', '[-1]', '999'])
    expect((await maverick(['tokenize', model, '--decode', ids])).code).toBe(2);
});

test('bench and inspect agree on the model', async () => {
  const args = ['--prompt', '8', '--generate', '4', '--repeat', '2', '--depth', '16', '--json', ...flags];
  const { code, stdout } = await maverick(['bench', model, ...args]);
  expect(code).toBe(0);
  const bench = JSON.parse(stdout);
  for (const phase of [bench.prefill, bench.decode]) {
    expect(phase.tokensPerSecond).toBeGreaterThan(0);
    expect(phase.gigabytesPerSecond).toBeGreaterThan(0);
    expect(phase.multiplyAddsPerSecond).toBeGreaterThan(0);
    expect(phase.runs.length).toBe(2);
  }
  expect(bench.prefill.tokens).toBe(8);
  expect(bench.peakMemoryBytes).toBeGreaterThan(bench.weightBytes);
  const inspect = JSON.parse((await maverick(['inspect', model, '--json'])).stdout);
  expect([inspect.parameters, inspect.activeParameters, inspect.bytes]).toEqual([
    bench.parameters,
    bench.activeParameters,
    bench.weightBytes,
  ]);
  expect((await maverick(['bench', model, ...args.slice(0, -3), ...flags])).stdout).toMatch(/decode at depth 16 +3 /);
});

test('chat takes scripted turns', async () => {
  const ran = await maverick(['chat', model, '-n', '4', '--seed', '1', ...flags], {
    input: 'hello\nand again\n/exit\n',
  });
  expect(ran.code).toBe(0);
  expect(ran.stderr.match(/tok\/s|tokens/g)!.length).toBeGreaterThanOrEqual(2);
});

describe('serve', () => {
  async function served(
    args: string[],
    environment: Record<string, string>,
    use: (url: string) => Promise<void>,
  ): Promise<string> {
    const stop = new AbortController();
    let used: Promise<void> | undefined;
    const output: string[] = [];
    const ran = maverick(['serve', '--port', '0', ...args, ...flags], {
      environment,
      signal: stop.signal,
      onOutput: text => {
        output.push(text);
        const url = /http:\/\/\S+/.exec(output.join(''))?.[0];
        if (url) used ??= use(url).finally(() => stop.abort());
      },
    });
    const { code, stderr } = await ran;
    await used;
    expect(used).toBeDefined();
    expect(code).toBe(0);
    return stderr;
  }

  test('answers with the model named', async () => {
    await served([model], {}, async url => {
      const models = (await (await fetch(`${url}v1/models`)).json()) as { data: { id: string }[] };
      expect(models.data.map(({ id }) => id)).toEqual(['maverick-tiny']);
      const body = JSON.stringify({ model: 'maverick-tiny', prompt: 'the sea', max_tokens: 3, temperature: 0 });
      const answer = await fetch(`${url}v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      expect(answer.status).toBe(200);
      expect(((await answer.json()) as { choices: unknown[] }).choices.length).toBe(1);
    });
  });

  test('--first-run without network says what to do and serves a random model, marked as such', async () => {
    const stderr = await served(
      ['--first-run'],
      { XDG_CACHE_HOME: folder, HF_HOME: join(folder, 'empty') },
      async url => {
        const models = (await (await fetch(`${url}v1/models`)).json()) as { data: Record<string, unknown>[] };
        expect(models.data[0]!.id).toBe('random-llama4');
        expect(JSON.stringify(models.data)).toContain('random weights: answers are noise');
        const body = JSON.stringify({
          model: 'random-llama4',
          messages: [{ role: 'user', content: 'hi' }],
          max_tokens: 3,
        });
        const answer = await fetch(`${url}v1/chat/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        });
        expect(answer.status).toBe(200);
      },
    );
    expect(stderr).toMatch(/maverick pull smollm2[\s\S]*random weights/);
  });

  test('without a model and without --first-run it says how to get one', async () => {
    const { code, stderr } = await maverick(['serve']);
    expect([code, stderr]).toEqual([2, expect.stringContaining('maverick pull smollm2')]);
  });
});

test('a context too small or too large is told in the words of the command line', async () => {
  const small = await maverick(['generate', model, 'a text of more than two tokens', '--context', '2', ...flags]);
  expect([small.code, small.stderr]).toEqual([1, expect.stringMatching(/prompt: got .* at most 2: .*--context/)]);
  const large = await maverick(['generate', model, 'x', '--context', '100000000', ...flags]);
  expect([large.code, large.stderr]).toEqual([1, expect.stringMatching(/--context: got 100000000, wanted at most/)]);
});

describe('as a process', () => {
  const start = (args: string[], before: string[] = []) =>
    spawn(process.execPath, [...before, fileURLToPath(new URL('../../bin/maverick.mjs', import.meta.url)), ...args], {
      env: { ...process.env, HF_HOME: join(folder, 'empty') },
    });
  const ended = (child: ReturnType<typeof start>) => new Promise<number | null>(resolve => child.on('close', resolve));

  test('Ctrl-C ends with 130', async () => {
    const child = start(['generate', model, 'the sea', '--temperature', '1', '--backend', 'reference']);
    child.stdout.once('data', () => child.kill('SIGINT'));
    expect(await ended(child)).toBe(130);
  });

  test('on an older Node it goes on with the own one, and ends it when it is ended', async () => {
    const versions = JSON.stringify({ ...process.versions, node: '20.0.0' });
    const older = `data:text/javascript,Object.defineProperty(process, 'versions', { value: ${versions} });`;
    const child = start(['serve', model, '--port', '0', ...flags], ['--import', older]);
    const url = await new Promise<string>(resolve => {
      let text = '';
      child.stdout.on('data', chunk => {
        text += chunk;
        const found = /http:\S+\//.exec(text);
        if (found) resolve(found[0]);
      });
    });
    expect((await fetch(`${url}v1/models`)).status).toBe(200);
    child.kill('SIGTERM');
    expect(await ended(child)).toBe(0);
    await expect(fetch(`${url}v1/models`)).rejects.toThrow();
  });

  test('a reader that has seen enough is no failure', async () => {
    const child = start(['inspect', model, '--tensors', '--json']);
    child.stdout.destroy();
    let errors = '';
    child.stderr.on('data', chunk => {
      errors += chunk;
    });
    expect([await ended(child), errors]).toEqual([0, '']);
  });
});
