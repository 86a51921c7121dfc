// Keys, limits, metrics, logs and traces: who asked, what it cost, and never what was said.
import { context, propagation, trace } from '@opentelemetry/api';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterAll, describe, expect, test } from 'vitest';
import { type AppOptions, createApp } from './app.ts';
import { createFakeChat, type FakeOptions } from './fake-chat.cases.ts';
import { createKeyCheck, parseKeys } from './keys.ts';
import { createModels } from './models.ts';
import { createRateLimits } from './rate-limits.ts';

const secret = 'the secret word';

function newApp(options: Partial<AppOptions> = {}, fake: FakeOptions = {}) {
  const library = { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] };
  const models = createModels({
    library,
    openChat: async path => createFakeChat(path, { reply: () => secret, ...fake }),
  });
  const app = createApp({ models, ...options });
  const chat = async (fields: object = {}, headers: Record<string, string> = {}) => {
    const response = await app.request('/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: secret }], ...fields }),
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  };
  return { app, chat };
}

describe('keys', () => {
  const keys = [
    { name: 'one', key: 'key-number-one' },
    { name: 'two', key: `sha256:${'2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'}` }, // 'hello'
  ];

  test('open the API by either header, written or as a digest; all else is refused', async () => {
    const { app, chat } = newApp({ keys });
    expect((await chat({}, { authorization: 'Bearer key-number-one' })).status).toBe(200);
    expect((await chat({}, { authorization: 'bearer  hello ' })).status).toBe(200);
    expect((await chat({}, { 'x-api-key': 'hello' })).status).toBe(200);
    for (const headers of [
      {},
      { authorization: 'Bearer' },
      { authorization: 'Basic key-number-one' },
      { authorization: 'Bearer key-number-on' },
      { authorization: 'key-number-one' },
      { 'x-api-key': keys[1]!.key },
      { 'x-api-key': '' },
    ] as Record<string, string>[]) {
      const refused = await chat({}, headers);
      expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
      expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'invalid_api_key' } });
      expect(refused.body).not.toContain('key-number');
    }
    for (const path of ['/v1/models', '/v1/models/tiny', '/metrics', '/openapi.json', '/v1/nothing'])
      expect((await app.request(path)).status).toBe(401);
    for (const path of ['/', '/health']) expect((await app.request(path)).status).not.toBe(401);
    const messages = await app.request('/v1/messages', { method: 'POST' });
    expect(await messages.json()).toMatchObject({ type: 'error', error: { type: 'authentication_error' } });
  });

  test('a file of keys that is wrong is told, without showing a key', () => {
    expect(parseKeys('[{"name": "a", "key": "12345678", "tokensPerMinute": 5}]', 'keys.json')).toHaveLength(1);
    for (const [text, message] of [
      ['{', 'keys.json is no JSON'],
      ['[]', 'keys.json is wrong. Wanted'],
      ['[{"name": "a", "key": "short"}]', 'wrong at [0].key'],
      ['[{"name": "a", "key": "sha256:12345678"}]', 'wrong at [0].key'],
      ['[{"name": "a", "key": "12345678", "rpm": 1}]', 'wrong at [0]'],
      ['[{"name": "a", "key": "12345678", "requestsPerMinute": 0}]', 'wrong at [0].requestsPerMinute'],
      ['[{"name": "a", "key": "12345678"}, {"name": "a", "key": "12345679"}]', 'two keys of one name'],
      ['[{"name": "a", "key": "12345678"}, {"name": "b", "key": "12345678"}]', 'one key twice'],
    ] as const) {
      expect(() => parseKeys(text, 'keys.json')).toThrow(message);
      expect(() => parseKeys(text, 'keys.json')).not.toThrow('12345678');
    }
    expect(createKeyCheck([])(new Headers())).toEqual({ name: 'anonymous' });
  });
});

describe('limits', () => {
  test('so many requests a minute, refilled steadily, each key for itself', () => {
    let time = 0;
    const limits = createRateLimits(() => time);
    const [a, b] = [
      { name: 'a', requestsPerMinute: 3 },
      { name: 'b', requestsPerMinute: 3 },
    ];
    for (const left of ['2', '1', '0'])
      expect(limits.admit(a)).toEqual({ 'x-ratelimit-limit-requests': '3', 'x-ratelimit-remaining-requests': left });
    expect(() => limits.admit(a)).toThrow('may use 3 requests a minute, and has. Try again in 20 s.');
    limits.admit(b);
    time = 19_000;
    expect(() => limits.admit(a)).toThrow('in 1 s');
    time = 20_000;
    limits.admit(a);
    expect(() => limits.admit(a)).toThrow('in 20 s');
    time = 10_000_000;
    for (let i = 0; i < 3; i++) limits.admit(a);
    expect(() => limits.admit(a)).toThrow();
  });

  test('so many tokens a minute: what an answer overdraws is waited for', () => {
    let time = 0;
    const limits = createRateLimits(() => time);
    const key = { name: 'a', tokensPerMinute: 600 };
    limits.admit(key);
    limits.spend(key, 700);
    expect(() => limits.admit(key)).toThrow('600 tokens a minute, and has. Try again in 10 s.');
    time = 10_001;
    limits.admit(key);
    limits.admit({ name: 'free' });
  });

  test('over the API: 429 with retry-after, in little time; the tokens spent are those of the answers', async () => {
    const keys = [
      { name: 'one', key: 'key-number-one', requestsPerMinute: 2 },
      { name: 'two', key: 'key-number-two', tokensPerMinute: 20 },
    ];
    const { chat } = newApp({ keys });
    const one = { 'x-api-key': 'key-number-one' };
    expect((await chat({}, one)).headers.get('x-ratelimit-remaining-requests')).toBe('1');
    expect((await chat({ temperature: 'hot' }, one)).status).toBe(400);
    const start = performance.now();
    const refused = await chat({}, one);
    expect(performance.now() - start).toBeLessThan(100);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '30']);
    expect(JSON.parse(refused.body)).toMatchObject({
      error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' },
    });
    const two = { 'x-api-key': 'key-number-two' };
    expect((await chat({ stream: true }, two)).status).toBe(200);
    expect((await chat({}, two)).status).toBe(429); // 22 tokens of the prompt and 15 of the answer
  });
});

describe('metrics', () => {
  const value = (text: string, line: string): number =>
    Number(
      text
        .split('\n')
        .find(one => one.startsWith(`${line} `))
        ?.slice(line.length + 1) ?? Number.NaN,
    );

  test('count tokens, answers and requests under the names of vLLM', async () => {
    const { app, chat } = newApp();
    const usage = (JSON.parse((await chat({ n: 2 })).body) as { usage: { prompt_tokens: number } }).usage;
    await chat({ stream: true, max_tokens: 3 });
    await chat({ temperature: 'hot' });
    await chat({ model: 'nothing' });
    const response = await app.request('/metrics');
    const text = await response.text();
    expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
    const of = (name: string, labels = '') => value(text, `vllm:${name}{model_name="tiny"${labels}}`);
    expect(of('prompt_tokens_total')).toBe(3 * usage.prompt_tokens);
    expect(of('generation_tokens_total')).toBe(15 + 15 + 3);
    expect(of('request_success_total', ',finished_reason="stop"')).toBe(2);
    expect(of('request_success_total', ',finished_reason="length"')).toBe(1);
    expect(of('time_to_first_token_seconds_count')).toBe(2);
    expect(of('e2e_request_latency_seconds_count')).toBe(2);
    expect(of('inter_token_latency_seconds_count')).toBe(14 + 14 + 2);
    expect(of('request_prompt_tokens_sum')).toBe(3 * usage.prompt_tokens);
    expect([of('request_params_n_sum'), of('request_params_n_count')]).toEqual([3, 2]);
    expect([of('request_params_max_tokens_sum'), of('request_params_max_tokens_count')]).toEqual([3, 1]);
    expect(of('request_max_num_generation_tokens_sum')).toBe(15 + 3);
    expect(of('request_inference_time_seconds_sum')).toBeCloseTo(3 * 0.03);
    expect(of('request_time_per_output_token_seconds_sum')).toBeCloseTo(0.02 / 14 + 0.02 / 14 + 0.02 / 2);
    expect(of('num_requests_running')).toBe(0);
    expect(of('kv_cache_usage_perc')).toBe(0.25);
    expect(of('num_requests_waiting')).toBe(0);
    expect(of('prefix_cache_queries_total')).toBe(3 * usage.prompt_tokens);
    expect(of('prefix_cache_hits_total')).toBe(0);
    const http = (route: string, status: number) =>
      value(text, `maverick:http_requests_total{route="${route}",status="${status}"}`);
    expect(http('/v1/chat/completions', 200)).toBe(2);
    expect(http('/v1/chat/completions', 400)).toBe(1);
    expect(http('/v1/chat/completions', 404)).toBe(1);
    expect(text).not.toContain('nothing');
    expect(text).not.toContain(secret);
  });

  test('unknown paths and models make no new series', async () => {
    const { app, chat } = newApp();
    for (let i = 0; i < 50; i++) {
      await app.request(`/v1/path-${i}`);
      await chat({ model: `model-${i}` });
    }
    const text = await (await app.request('/metrics')).text();
    expect(text).not.toMatch(/path-|model-/);
    expect(text).toContain('maverick:http_requests_total{route="other",status="404"} 50');
  });
});

test('the log has a line a request, and nothing of what was said', async () => {
  const lines: string[] = [];
  const log = { write: (line: string) => lines.push(line) };
  const keys = [{ name: 'one', key: 'key-number-one' }];
  const failing = { failAfter: { tokens: 2, error: new Error('layer 3 broke') } };
  const header = { 'x-api-key': 'key-number-one' };
  const { chat } = newApp({ log, keys });
  const answered = await chat({ stream: true }, header);
  await chat({ temperature: secret }, header);
  await chat({ model: secret }, header);
  await chat({}, { 'x-api-key': 'wrong-key' });
  await newApp({ log, keys }, failing).chat({}, header);
  const entries = lines.map(line => JSON.parse(line));
  expect(entries).toMatchObject([
    {
      level: 30,
      msg: 'request',
      id: answered.headers.get('x-request-id'),
      method: 'POST',
      route: '/v1/chat/completions',
      status: 200,
      key: 'one',
      model: 'tiny',
      stream: true,
      completion_tokens: 15,
      finish: ['stop'],
    },
    { status: 400, error: 'invalid_value' },
    { status: 404, error: 'model_not_found' },
    { status: 401, error: 'invalid_api_key', key: 'anonymous' },
    { level: 50, status: 500, error: 'internal_error', cause: 'layer 3 broke' },
  ]);
  expect(lines.join('')).not.toMatch(/secret|number-one|wrong-key/);
});

describe('traces', () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  trace.setGlobalTracerProvider(provider);
  afterAll(() => trace.disable());

  test('a span a request with the GenAI attributes, and nothing of what was said', async () => {
    exporter.reset();
    const { chat } = newApp();
    await chat({ stream: true, temperature: 0.5, max_tokens: 4 });
    await chat({ temperature: secret });
    await newApp({}, { failAfter: { tokens: 1, error: new Error('broke') } }).chat();
    const spans = exporter.getFinishedSpans();
    expect(spans.map(({ name }) => name)).toEqual(['chat tiny', 'chat tiny']);
    expect(spans[0]!.attributes).toMatchObject({
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'tiny',
      'gen_ai.request.temperature': 0.5,
      'gen_ai.request.max_tokens': 4,
      'gen_ai.usage.output_tokens': 4,
      'gen_ai.response.finish_reasons': ['length'],
      'http.response.status_code': 200,
    });
    expect(spans[1]!.attributes).toMatchObject({ 'error.type': 'internal_error', 'http.response.status_code': 500 });
    expect(JSON.stringify(spans.map(({ attributes, events }) => ({ attributes, events })))).not.toContain('secret');
  });

  test("it is a child of the client's", async () => {
    propagation.setGlobalPropagator({
      inject() {},
      fields: () => ['traceparent'],
      extract: (parent, carrier, getter) => {
        const [, traceId, spanId] = String(getter.get(carrier, 'traceparent')).split('-');
        return trace.setSpanContext(parent, { traceId: traceId!, spanId: spanId!, traceFlags: 1, isRemote: true });
      },
    });
    await newApp().chat({}, { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` });
    propagation.disable();
    context.disable();
    expect(exporter.getFinishedSpans().at(-1)!.spanContext().traceId).toBe('a'.repeat(32));
  });
});
