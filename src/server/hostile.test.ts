// Requests that are wrong, hostile or from elsewhere: each gets a clear answer, quickly, and the server goes on.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { createApp } from './app.ts';
import { createFakeChat } from './fake-chat.cases.ts';
import { createModels } from './models.ts';
import { startServer } from './start.ts';
import type { WireError } from './wire.ts';

const library = { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] };
const openChat = async (path: string) => createFakeChat(path, { contextTokens: 200 });
const folder = mkdtempSync(join(tmpdir(), 'page-'));
afterAll(() => rmSync(folder, { recursive: true }));
const pageFolder = new URL(`${pathToFileURL(folder)}/`);
const newApp = (more: object = {}) => createApp({ models: createModels({ library, openChat }), pageFolder, ...more });
const app = newApp();

const chat = (fields: object) => ({ model: 'tiny', messages: [{ role: 'user', content: 'x' }], ...fields });
const fn = (name: string) => ({ type: 'function', function: { name } });
const completion = (fields: object) => ({ model: 'tiny', prompt: 'x', ...fields });

async function post(path: string, body: string, headers: Record<string, string> = {}) {
  const response = await app.request(path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  return { status: response.status, body: (await response.json()) as WireError };
}

describe('wrong parameters are named, with what they got and what they wanted', () => {
  const cases: [
    path: 'chat/completions' | 'completions',
    body: object,
    param: string | null,
    message: string,
    code?: string,
  ][] = [
    ['chat/completions', [], null, 'The body must be a JSON object; got an array of 0 items.'],
    ['chat/completions', {}, 'model', "'model' is missing", 'missing_required_parameter'],
    ['chat/completions', { model: 'tiny' }, 'messages', "'messages' is missing", 'missing_required_parameter'],
    [
      'chat/completions',
      chat({ model: 5 }),
      'model',
      "'model' must be the id of a model that '/v1/models' lists; got 5.",
    ],
    [
      'chat/completions',
      chat({ temperature: 'hot' }),
      'temperature',
      `'temperature' must be a number from 0 to 2; got "hot".`,
    ],
    ['chat/completions', chat({ temperature: -0.1 }), 'temperature', 'from 0 to 2; got -0.1.'],
    ['chat/completions', chat({ top_p: 1.5 }), 'top_p', 'a number from 0 to 1; got 1.5.'],
    ['chat/completions', chat({ top_k: 2.5 }), 'top_k', 'a whole number from 0 to 1000000; got 2.5.'],
    ['chat/completions', chat({ max_tokens: 0 }), 'max_tokens', 'a whole number of at least 1; got 0.'],
    [
      'chat/completions',
      chat({ max_tokens: 5, max_completion_tokens: 6 }),
      'max_tokens',
      "equal to 'max_completion_tokens', which is 6",
    ],
    [
      'chat/completions',
      chat({ max_completion_tokens: 1e300 }),
      'max_completion_tokens',
      'whole number of at least 1; got 1e+300.',
    ],
    ['chat/completions', chat({ timeout_ms: 0 }), 'timeout_ms', 'a whole number from 1 to 2147483647; got 0.'],
    ['completions', completion({ ignore_eos: 'yes' }), 'ignore_eos', 'got "yes".'],
    ['chat/completions', chat({ n: 0 }), 'n', 'a whole number from 1 to 16; got 0.'],
    ['chat/completions', chat({ n: 1e15 }), 'n', 'a whole number from 1 to 16; got 1000000000000000.'],
    ['chat/completions', chat({ stop: '' }), 'stop', 'not empty'],
    [
      'chat/completions',
      chat({ stop: Array(17).fill('a') }),
      'stop',
      'an array of up to 16 strings; got an array of 17 items.',
    ],
    ['chat/completions', chat({ stop: ['a', 5] }), 'stop[1]', 'a string; got 5.'],
    ['chat/completions', chat({ stop: { a: 1 } }), 'stop', "got an object with 'a'."],
    ['chat/completions', chat({ seed: 'x' }), 'seed', 'a whole number; got "x".'],
    ['chat/completions', chat({ stream: 'yes' }), 'stream', 'true or false; got "yes".'],
    [
      'chat/completions',
      chat({ stream_options: { include_usage: true } }),
      'stream_options',
      "unless 'stream' is true",
    ],
    [
      'chat/completions',
      chat({ stream: true, stream_options: { x: 1 } }),
      'stream_options.x',
      'no parameter of this request',
      'unknown_parameter',
    ],
    ['chat/completions', chat({ top_logprobs: 3 }), 'top_logprobs', "unless 'logprobs' is true"],
    ['chat/completions', chat({ logprobs: true, top_logprobs: 21 }), 'top_logprobs', 'from 0 to 20; got 21.'],
    ['chat/completions', chat({ logit_bias: [1] }), 'logit_bias', 'an object of token ids'],
    ['chat/completions', chat({ logit_bias: { 5: 101 } }), 'logit_bias.5', 'from -100 to 100; got 101.'],
    ['chat/completions', chat({ logit_bias: { x: 1 } }), 'logit_bias', 'keys are token ids; got "x".'],
    ['chat/completions', chat({ logit_bias: { 258: 1 } }), 'logit_bias', 'token ids from 0 to 257; got 258.'],
    ['chat/completions', chat({ tools: [{}] }), 'tools[0].type', "'function'", 'missing_required_parameter'],
    ['chat/completions', chat({ tools: [fn('f'), fn('f')] }), 'tools[1].function.name', 'no other tool has; got "f".'],
    ['chat/completions', chat({ tools: [fn('a b')] }), 'tools[0].function.name', 'a name of 1 to 64 letters'],
    ['chat/completions', chat({ tool_choice: 'required' }), 'tool_choice', 'without \'tools\'; got "required".'],
    [
      'chat/completions',
      chat({ tools: [fn('f')], tool_choice: { type: 'function', function: { name: 'g' } } }),
      'tool_choice',
      'one of the \'tools\'; got "g".',
    ],
    [
      'chat/completions',
      chat({ response_format: { type: 'xml' } }),
      'response_format.type',
      "'response_format.type' must be 'text', 'json_object', 'json_schema', 'regex' or 'grammar'; got \"xml\".",
    ],
    [
      'chat/completions',
      chat({ response_format: { type: 'json_schema' } }),
      'response_format.json_schema',
      'an object with name and schema',
      'missing_required_parameter',
    ],
    [
      'chat/completions',
      chat({ temprature: 1 }),
      'temprature',
      "'temprature' is no parameter of this request",
      'unknown_parameter',
    ],
    [
      'chat/completions',
      chat({ messages: [] }),
      'messages',
      'an array of 1 to 4096 messages; got an array of 0 items.',
    ],
    ['chat/completions', chat({ messages: 'hi' }), 'messages', 'got "hi".'],
    ['chat/completions', chat({ messages: [5] }), 'messages[0]', 'got 5.'],
    [
      'chat/completions',
      chat({ messages: [{ content: 'x' }] }),
      'messages[0].role',
      "one of 'system'",
      'missing_required_parameter',
    ],
    ['chat/completions', chat({ messages: [{ role: 'king', content: 'x' }] }), 'messages[0].role', 'got "king".'],
    [
      'chat/completions',
      chat({ messages: [{ role: 'user' }] }),
      'messages[0].content',
      'a string or an array of parts',
      'missing_required_parameter',
    ],
    [
      'chat/completions',
      chat({ messages: [{ role: 'user', content: 'x', colour: 1 }] }),
      'messages[0].colour',
      'no parameter',
      'unknown_parameter',
    ],
    [
      'chat/completions',
      chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }),
      'messages[0].content[0].type',
      `'text', for this server reads text only; got "image_url".`,
    ],
    [
      'chat/completions',
      chat({ messages: [{ role: 'assistant', content: null }] }),
      'messages[0].content',
      "unless there are 'tool_calls'",
    ],
    [
      'chat/completions',
      chat({ messages: [{ role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: '{' } }] }] }),
      'messages[0].tool_calls[0].function.arguments',
      'must be a string with JSON',
    ],
    [
      'chat/completions',
      chat({
        messages: [
          { role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: '['.repeat(99) + ']'.repeat(99) } }] },
        ],
      }),
      'messages[0].tool_calls[0].function.arguments',
      'at most 64 levels',
    ],
    [
      'chat/completions',
      chat({ messages: [{ role: 'assistant', content: 'x' }] }),
      'messages',
      "the last message must not be the assistant's",
    ],
    [
      'chat/completions',
      chat({ messages: [{ role: 'user', content: 'x'.repeat(300) }] }),
      'messages',
      'The context holds 200 tokens',
      'context_length_exceeded',
    ],
    ['completions', { model: 'tiny' }, 'prompt', "'prompt' is missing", 'missing_required_parameter'],
    ['completions', completion({ prompt: null }), 'prompt', 'got null.'],
    ['completions', completion({ prompt: [] }), 'prompt', 'got an array of 0 items.'],
    ['completions', completion({ prompt: ['a', 1] }), 'prompt[1]', 'a string, as the others are; got 1.'],
    ['completions', completion({ prompt: [1, 'a'] }), 'prompt[1]', 'a token id, as the others are; got "a".'],
    ['completions', completion({ prompt: [1, -1] }), 'prompt[1]', 'got -1.'],
    ['completions', completion({ prompt: [1, 258] }), 'prompt[1]', 'a token id from 0 to 257; got 258.'],
    ['completions', completion({ prompt: [[1], [999]] }), 'prompt[1][0]', 'a token id from 0 to 257; got 999.'],
    ['completions', completion({ prompt: [[]] }), 'prompt[0]', 'an array of token ids; got an array of 0 items.'],
    ['completions', completion({ prompt: [{}] }), 'prompt[0]', 'got an empty object.'],
    ['completions', completion({ prompt: Array(129).fill('a') }), 'prompt', 'at most 128 texts'],
    [
      'completions',
      completion({ prompt: 'x'.repeat(200) }),
      'prompt',
      'The context holds 200 tokens',
      'context_length_exceeded',
    ],
    ['completions', completion({ max_tokens: -1 }), 'max_tokens', 'at least 0; got -1.'],
    ['completions', completion({ logprobs: true }), 'logprobs', 'from 0 to 20; got true.'],
    ['completions', completion({ best_of: 4 }), 'best_of', "1 like 'n'", 'unsupported_parameter'],
    ['completions', completion({ prompt: Array(65).fill('a'), n: 2 }), 'n', 'at most 1 for 65 prompts; got 2.'],
    ['completions', completion({ suffix: 'end' }), 'suffix', 'does not have that feature', 'unsupported_parameter'],
  ];

  test.each(cases)('%s %j', async (path, body, param, message, code = 'invalid_value') => {
    const answer = await post(`/v1/${path}`, JSON.stringify(body));
    expect(answer.body.error).toMatchObject({ type: 'invalid_request_error', param, code });
    expect(answer.body.error.message).toContain(message);
    expect(answer.status).toBe(400);
  });

  test('null counts as absent, and labels are taken', async () => {
    const nulls = [
      'temperature',
      'top_p',
      'max_tokens',
      'stop',
      'seed',
      'n',
      'stream',
      'logprobs',
      'tools',
      'logit_bias',
      'response_format',
    ];
    const fields = Object.fromEntries(nulls.map(name => [name, null]));
    const more = {
      user: 'me',
      metadata: { a: 'b' },
      response_format: { type: 'text' },
      tools: [],
      tool_choice: 'auto',
    };
    for (const body of [chat(fields), chat(more)]) {
      const { status, body: answer } = await post('/v1/chat/completions', JSON.stringify(body));
      expect([status, answer]).toMatchObject([200, { object: 'chat.completion' }]);
    }
  });
});

describe('hostile bodies', () => {
  const deep = (open: string, close: string, depth = 200_000) => open.repeat(depth) + close.repeat(depth);
  const cases: [name: string, body: string, status?: number][] = [
    ['nothing', ''],
    ['half an object', '{"model":"tiny"'],
    ['not JSON', 'model=tiny'],
    ['a lone surrogate', '{"model":"\\ud800"}'],
    ['deep arrays', deep('[', ']')],
    ['deep objects', `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`],
    ['deep content', `{"model":"tiny","messages":[{"role":"user","content":${deep('[', ']')}}]}`],
    ['deep stop', `{"model":"tiny","messages":[{"role":"user","content":"x"}],"stop":${deep('[', ']')}}`],
    ['deep and ignored', `{"model":"tiny","messages":[{"role":"user","content":"x"}],"user":${deep('[', ']')}}`, 200],
    ['a million messages', `{"model":"tiny","messages":[${'0,'.repeat(1_000_000)}0]}`],
    [
      'a million stops',
      `{"model":"tiny","messages":[{"role":"user","content":"x"}],"stop":[${'"a",'.repeat(900_000)}"a"]}`,
    ],
    ['a million parts', `{"model":"tiny","messages":[{"role":"user","content":[${'1,'.repeat(1_000_000)}1]}]}`],
    [
      'a hundred thousand unknown keys',
      `{"model":"tiny",${Array.from({ length: 100_000 }, (_, i) => `"k${i}":1`).join()}}`,
    ],
    ['a long key', `{"model":"tiny","${'k'.repeat(1_000_000)}":1}`],
    ['a long model', JSON.stringify(chat({ model: 'm'.repeat(1_000_000) })), 404],
    ['an infinite number', '{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":1e999}'],
    [
      'a number of a million digits',
      `{"model":"tiny","messages":[{"role":"user","content":"x"}],"seed":${'9'.repeat(1_000_000)}}`,
    ],
    [
      'prototype keys',
      '{"model":"tiny","messages":[{"role":"user","content":"x"}],"__proto__":{"temperature":1},"constructor":1}',
    ],
    ['a role from the prototype', '{"model":"tiny","messages":[{"role":"toString","content":"x"}]}'],
    ['too large', `{"model":"${'m'.repeat(4 * 1024 * 1024)}"}`, 413],
  ];

  test.each(cases)('%s', async (_name, body, status = 400) => {
    const start = performance.now();
    const answer = await post('/v1/chat/completions', body);
    expect(answer.status).toBe(status);
    expect(performance.now() - start).toBeLessThan(3000);
    if (status === 200) return;
    expect(answer.body.error.type).toBe('invalid_request_error');
    expect(answer.body.error.message.length).toBeLessThan(600);
  });

  test('a million tokens, one of them wrong', async () => {
    const answer = await post('/v1/completions', `{"model":"tiny","prompt":[${'1,'.repeat(1_000_000)}"x"]}`);
    expect(answer).toMatchObject({ status: 400, body: { error: { param: 'prompt[1000000]' } } });
  });

  test('any JSON in any place is answered with 200 or 4xx', async () => {
    const names = [
      'messages',
      'temperature',
      'stop',
      'seed',
      'n',
      'stream_options',
      'logprobs',
      'tools',
      'user',
      'x',
      '__proto__',
    ];
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom(1e308, -1, '', [], {}, [[]], 2 ** 53));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), value, async (name, value) => {
        const body = JSON.stringify(chat({})).replace(/\}$/, `,${JSON.stringify(name)}:${JSON.stringify(value)}}`);
        const { status, body: answer } = await post('/v1/chat/completions', body);
        expect(status === 200 || (status === 400 && typeof answer.error.message === 'string')).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('content types other than JSON are refused: a form of another site could send them', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/jsonp',
    ]) {
      const answer = await post('/v1/chat/completions', JSON.stringify(chat({})), { 'content-type': type });
      expect(answer).toMatchObject({ status: 415, body: { error: { code: 'unsupported_media_type' } } });
    }
    expect(
      (
        await post('/v1/chat/completions', JSON.stringify(chat({})), {
          'content-type': 'application/json; charset=utf-8',
        })
      ).status,
    ).toBe(200);
  });

  test('a body that grows without an end, a broken request line and a huge header do not harm the server', async () => {
    const server = await startServer({ library, openChat, port: 0, maxBodyBytes: 10_000 });
    const talk = (text: string) =>
      new Promise<string>(resolve => {
        const socket = connect(server.port, '127.0.0.1', () => socket.write(text));
        let answer = '';
        socket.on('data', data => {
          answer += data;
          if (answer.includes('\r\n\r\n')) socket.destroy();
        });
        socket.on('error', () => {});
        socket.on('close', () => resolve(answer));
      });
    try {
      const head = 'POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
      expect(
        await talk(`${head}transfer-encoding: chunked\r\n\r\n${`400\r\n${'x'.repeat(1024)}\r\n`.repeat(20)}`),
      ).toContain(' 413 ');
      expect(await talk(`${head}content-length: 99999999999\r\n\r\n{`)).toContain(' 413 ');
      expect(await talk('BLAH\r\n\r\n')).toContain(' 400 ');
      expect(await talk(`GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`)).toContain(' 431 ');
      expect(await talk('GET /v1/models HTTP/1.1\r\n\r\n')).toContain(' 400 ');
      expect(await talk('GET /v1/models HTTP/1.0\r\nhost: evil.example\r\n\r\n')).toContain(' 403 ');
      expect(await talk('GET http://evil.example/v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n')).toMatch(
        / (200|400|403) /,
      );
      expect(await talk('GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n')).toContain(' 200 ');
    } finally {
      await server.close();
    }
  });
});

describe('Host and Origin', () => {
  const status = async (headers: Record<string, string>, more: object = {}) =>
    (await newApp(more).request('/v1/models', { headers })).status;

  test.each(['localhost', 'localhost:8080', 'LOCALHOST:1', '127.0.0.1', '127.0.0.1:65535', '[::1]', '[::1]:8080'])(
    'host %s is answered',
    async host => {
      expect(await status({ host })).toBe(200);
    },
  );

  test.each([
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    'evil-localhost',
    'localhost.',
    '127.0.0.2',
    '127.0.0.1.nip.io',
    '0.0.0.0',
    '[::]',
    '[::ffff:127.0.0.1]',
    '192.168.1.5:8080',
    'localhost@evil.example',
    'evil.example#localhost',
    'localhost:8080@x',
    'localhost/../x',
    'localhost evil',
    'localhost,evil.example',
    '2130706433',
    '0x7f000001',
    '127.1',
    '[::1',
    ':8080',
    '.localhost',
    'localhost..',
    'localhost:',
    'localhost:http',
    'localhost:-1',
    'localhost:8080:80',
    'localhost:123456',
    'http://localhost',
    '//localhost',
    '%6cocalhost',
    '127.000.000.001',
    '017700000001',
    '[::1%25lo]',
    '[0:0:0:0:0:0:0:1]',
    '[::1].evil.example',
    'localhost;evil.example',
  ])('host %s is refused', async host => {
    expect(await status({ host })).toBe(403);
  });

  test.each([
    ['localhost:8080', 'http://localhost:8080'],
    ['127.0.0.1:8080', 'http://127.0.0.1:8080'],
    ['[::1]:8080', 'http://[::1]:8080'],
    ['localhost', 'http://localhost'],
    ['localhost', 'https://localhost'],
    ['localhost:8080', 'http://LOCALHOST:8080'],
  ])('host %s, origin %s is answered', async (host, origin) => {
    expect(await status({ host, origin })).toBe(200);
  });

  test.each([
    ['localhost:8080', 'http://localhost:3000'],
    ['localhost:8080', 'http://127.0.0.1:8080'],
    ['localhost:8080', 'http://evil.example'],
    ['localhost:8080', 'http://evil.example:8080'],
    ['localhost:8080', 'http://localhost:8080.evil.example'],
    ['localhost:8080', 'http://localhost:8080@evil.example'],
    ['localhost:8080', 'http://user@localhost:8080'],
    ['localhost:8080', 'null'],
    ['localhost:8080', 'file://'],
    ['localhost:8080', 'chrome-extension://abc'],
    ['localhost:8080', 'localhost:8080'],
    ['localhost:8080', 'http://localhost:8080/'],
    ['localhost:8080', 'http://localhost:8080/v1'],
    ['localhost:8080', 'http://localhost:8080 http://evil.example'],
    ['localhost:8080', 'http://[::1]:8080'],
    ['localhost:8080', 'ws://localhost:8080'],
    ['localhost:8080', 'data:text/html,x'],
    ['localhost:8080', 'about:blank'],
    ['127.0.0.1:8080', 'http://2130706433:8080'],
    ['127.0.0.1:8080', 'http://127.1:8080'],
    ['[::1]:8080', 'http://[0:0:0:0:0:0:0:1]:8080'],
    ['localhost:8080', ''],
  ])('host %s, origin %s is refused', async (host, origin) => {
    expect(await status({ host, origin })).toBe(403);
  });

  test('more can be allowed, and only then there is CORS', async () => {
    expect(await status({ host: 'My.Box:80' }, { allowedHosts: ['my.box'] })).toBe(200);
    expect(await status({ host: '10.0.0.5' }, { allowedHosts: ['*'] })).toBe(200);
    expect(await status({ host: 'evil.example' }, { allowedHosts: ['*'] })).toBe(403);
    const headers = { host: 'localhost', origin: 'https://app.example' };
    const plain = await newApp().request('/v1/models', { headers });
    expect([plain.status, plain.headers.get('access-control-allow-origin')]).toEqual([403, null]);
    const open = await newApp({ allowedOrigins: ['https://app.example'] }).request('/v1/models', { headers });
    expect([open.status, open.headers.get('access-control-allow-origin')]).toEqual([200, 'https://app.example']);
    const preflight = await newApp().request('/v1/chat/completions', {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(403);
  });
});

describe('paths', () => {
  test('unknown ones and wrong methods are told what there is', async () => {
    const unknown = await app.request('/v1/images', { method: 'POST' });
    expect(unknown.status).toBe(404);
    expect(((await unknown.json()) as WireError).error.message).toBe(
      'There is no POST /v1/images here. There are: POST /v1/chat/completions, POST /v1/completions, ' +
        'POST /v1/responses, POST /v1/messages, POST /v1/messages/count_tokens, POST /v1/embeddings, POST /v1/routing, ' +
        'POST /tokenize, POST /detokenize, GET /v1/models, POST /v1/models/load, GET /v1/models/:id, GET /v1/experts, GET /health, GET /openapi.json, GET /metrics.',
    );
    const wrong = await app.request('/v1/chat/completions');
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST']);
  });

  test('the page: without a build it says so; with one, each file with its headers and nothing outside', async () => {
    const missing = await app.request('/');
    expect([missing.status, await missing.text()]).toEqual([503, expect.stringContaining('npm run build')]);
    writeFileSync(join(folder, 'index.html'), '<title>built</title>');
    mkdirSync(join(folder, 'assets'));
    writeFileSync(join(folder, 'assets', 'a-1.js'), 'export {}');
    const page = await app.request('/');
    expect(await page.text()).toContain('built');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'; script-src 'self'");
    expect(page.headers.get('cache-control')).toBe('no-cache');
    expect(page.headers.get('x-content-type-options')).toBe('nosniff');
    const script = await app.request('/assets/a-1.js');
    expect(script.headers.get('cache-control')).toContain('immutable');
    expect(script.headers.get('content-type')).toContain('text/javascript');
    for (const path of [
      '/../app.ts',
      '/assets/../../x.js',
      '/%2e%2e/x.js',
      '/assets/..%2f..%2fx.js',
      '/.hidden.js',
      '/a/b.js',
      '/assets/',
      '//x.js',
      '/nul%00.js',
    ])
      expect((await app.request(path)).status).toBe(404);
  });
});
