// One too many, refused at the socket: told the same as the app would tell, only sooner; and nobody is told so who has no business here.
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFakeChat } from './fake-chat.cases.ts';
import { type RunningServer, startServer } from './start.ts';

const KEY = 'a key of the tests';
const lines: string[] = [];
let server: RunningServer;
let holder: AbortController;

beforeEach(async () => {
  lines.length = 0;
  holder = new AbortController();
  const chat = createFakeChat('tiny.gguf', { reply: () => 'x'.repeat(3000), delayMs: 5 });
  server = await startServer({
    library: { list: async () => [{ id: 'tiny', path: 'tiny.gguf', bytes: 10 }] },
    openChat: async () => chat,
    port: 0,
    maxRequests: 1,
    keys: [{ name: 'tester', key: KEY.replaceAll(' ', '-') }],
    log: { write: line => lines.push(line) },
  });
  const held = await ask('/v1/completions', { stream: true, max_tokens: 3000 }, {}, holder.signal);
  expect(held.status).toBe(200);
  held.text().catch(() => {});
});
afterEach(async () => {
  holder.abort();
  await server.close();
});

const authorization = `Bearer ${KEY.replaceAll(' ', '-')}`;
const ask = (path: string, fields: object, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  fetch(new URL(path, server.url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization, ...headers },
    body: JSON.stringify({ model: 'tiny', prompt: 'x', ...fields }),
    ...(signal && { signal }),
  });

const told = async (response: Response) => {
  const headers = Object.fromEntries(response.headers);
  expect(headers['x-request-id']).toMatch(/^req_/);
  for (const name of ['x-request-id', 'date', 'keep-alive']) delete headers[name];
  return { status: response.status, headers, body: await response.text() };
};

test.each(['/v1/completions', '/v1/chat/completions', '/v1/messages', '/v1/responses', '/tokenize'])(
  '%s: what the app tells, header by header',
  async path => {
    // A page's request goes to the app.
    const ofApp = await told(await ask(path, {}, { origin: server.url.slice(0, -1) }));
    const atOnce = await told(await ask(path, {}));
    expect(atOnce).toEqual(ofApp);
    expect(atOnce.status).toBe(429);
    expect(Number(atOnce.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(JSON.parse(atOnce.body).error.message).toBe('1 requests are being answered or wait. Try again later.');
  },
);

test.each([
  ['another key', { authorization: 'Bearer wrong-wrong' }, 401],
  ['a foreign page', { origin: 'https://elsewhere.example' }, 403],
])('%s is told that', async (_, headers, status) => {
  expect((await ask('/v1/completions', {}, headers)).status).toBe(status);
});

test('a foreign name, a wrong path and other methods are told that; reading what there is goes on', async () => {
  const raw = async (head: string): Promise<string> => {
    const socket = connect(server.port, '127.0.0.1');
    socket.end(`${head}authorization: ${authorization}\r\nconnection: close\r\n\r\n`);
    let text = '';
    for await (const piece of socket) text += piece;
    return text.slice(0, 12);
  };
  const length = 'content-length: 0\r\n';
  expect(await raw(`POST /v1/completions HTTP/1.1\r\nhost: evil.example\r\n${length}`)).toBe('HTTP/1.1 403');
  expect(await raw(`POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\n${length}`)).toBe('HTTP/1.1 404');
  expect(await raw(`PUT /v1/completions HTTP/1.1\r\nhost: localhost\r\n${length}`)).toBe('HTTP/1.1 405');
  expect(await raw('GET /v1/models HTTP/1.1\r\nhost: localhost\r\n')).toBe('HTTP/1.1 200');
});

test('the connection stays of use, whatever of the body was sent; metrics and the log tell of it', async () => {
  const body = JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(100_000) });
  const head = `POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\n`;
  const socket = connect(server.port, '127.0.0.1');
  for (let i = 0; i < 3; i++) socket.write(`${head}content-length: ${body.length}\r\n\r\n${body}`);
  let text = '';
  socket.on('data', data => {
    text += data;
  });
  await expect.poll(() => text.match(/HTTP\/1\.1 429/g)?.length, { timeout: 5000 }).toBe(3);
  socket.destroy();
  const metrics = await (await fetch(new URL('/metrics', server.url), { headers: { authorization } })).text();
  expect(metrics).toContain('maverick:http_requests_total{route="/v1/completions",status="429"} 3');
  const refused = lines.map(line => JSON.parse(line)).filter(({ status }) => status === 429);
  expect(refused).toHaveLength(3);
  expect(refused[0]).toMatchObject({ key: 'tester', route: '/v1/completions', error: 'too_many_requests' });
});

test('as soon as there is room the next is answered', async () => {
  expect((await ask('/v1/completions', { max_tokens: 1 })).status).toBe(429);
  holder.abort();
  await expect.poll(async () => (await ask('/v1/completions', { max_tokens: 1 })).status).toBe(200);
});
