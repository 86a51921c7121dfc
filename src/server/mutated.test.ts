// Bodies that were valid and have been broken, in structure and in bytes: every answer is 200 or names what is wrong, never a 5xx.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openChat } from '../engine/chat.ts';
import { createApp } from './app.ts';
import { createFakeChat } from './fake-chat.cases.ts';
import { createModels, type Models } from './models.ts';

const long = Boolean(process.env.LONG);
const SCRIPTED = long ? 48_000 : 5000;
const COMPUTED = long ? 2000 : 500;

/** A small seeded generator (mulberry32), so that a failure can be found again. */
function randomOf(seed: number) {
  let state = seed;
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}
type Random = ReturnType<typeof randomOf>;

const schema = { type: 'object', properties: { a: { type: 'integer', minimum: 1 } }, required: ['a'] };
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: [{ type: 'text', text: 'hi' }] },
  {
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
  },
  { role: 'tool', tool_call_id: 'c', content: '1' },
];
const sampling = {
  temperature: 0.5,
  top_p: 0.9,
  top_k: 3,
  min_p: 0.1,
  seed: 1,
  presence_penalty: 0.5,
  repetition_penalty: 1.1,
};
const shared = {
  ...sampling,
  model: 'tiny',
  stop: ['x', 'y'],
  n: 2,
  logit_bias: { 5: 1 },
  prompt_lookup: 4,
  ignore_eos: false,
};
const tools = [{ type: 'function', function: { name: 'f', description: 'd', parameters: schema } }];
const valid: [path: string, body: object][] = [
  ['/v1/chat/completions', { ...shared, messages, max_tokens: 3, logprobs: true, top_logprobs: 2, user: 'u' }],
  [
    '/v1/chat/completions',
    { ...shared, messages, tools, tool_choice: 'required', stream: true, stream_options: { include_usage: true } },
  ],
  [
    '/v1/chat/completions',
    {
      model: 'tiny',
      messages,
      max_completion_tokens: 4,
      response_format: { type: 'json_schema', json_schema: { name: 's', schema } },
    },
  ],
  ['/v1/completions', { ...shared, prompt: ['a', 'b'], max_tokens: 2, logprobs: 1, echo: true }],
  ['/v1/completions', { model: 'tiny', prompt: [[1, 2], [3]], max_tokens: 2, grammar: 'root ::= "a" | [b-c]*' }],
  [
    '/v1/completions',
    { model: 'tiny', prompt: 'x', max_tokens: 2, response_format: { type: 'regex', pattern: '[a-c]{2,3}|(?:x|y)+' } },
  ],
  [
    '/v1/chat/completions',
    { model: 'tiny', messages, max_tokens: 2, structured_outputs: { regex: '(?:a|b)*[^\\d]?' } },
  ],
  ['/v1/chat/completions', { model: 'tiny', messages, max_tokens: 2, structured_outputs: { choice: ['a', 'b"\\'] } }],
  ['/v1/chat/completions', { model: 'tiny', messages, max_tokens: 2, structured_outputs: { json: schema } }],
  [
    '/v1/responses',
    { model: 'tiny', input: 'x', max_output_tokens: 2, text: { format: { type: 'grammar', grammar: 'root ::= "a"' } } },
  ],
  [
    '/v1/responses',
    {
      model: 'tiny',
      instructions: 'i',
      input: [
        { role: 'user', content: [{ type: 'input_text', text: 'x' }] },
        { type: 'function_call', call_id: 'c', name: 'f', arguments: '{"a":1}' },
        { type: 'function_call_output', call_id: 'c', output: '1' },
      ],
      tools: [{ type: 'function', name: 'f', parameters: schema }],
      text: { format: { type: 'json_object' } },
      max_output_tokens: 3,
      stream: true,
    },
  ],
  [
    '/v1/messages',
    {
      model: 'tiny',
      max_tokens: 3,
      system: 's',
      messages: [
        { role: 'user', content: 'x' },
        { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'f', input: { a: 1 } }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: '1' }] },
      ],
      tools: [{ name: 'f', input_schema: schema }],
      tool_choice: { type: 'any' },
      stop_sequences: ['x'],
      stream: true,
    },
  ],
  ['/v1/messages/count_tokens', { model: 'tiny', messages: [{ role: 'user', content: 'x' }] }],
  [
    '/v1/embeddings',
    { model: 'tiny', input: ['the sea', 'the sky'], encoding_format: 'base64', dimensions: null, user: 'u' },
  ],
  ['/v1/routing', { model: 'tiny', messages: [...messages, { role: 'assistant', content: 'x' }] }],
  ['/tokenize', { model: 'tiny', messages, return_token_strs: true }],
  ['/detokenize', { model: 'tiny', tokens: [1, 2, 3] }],
  ['/v1/models/load', { model: 'tiny' }],
];

const strange: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  2,
  0.5,
  1e-320,
  -0.0,
  1e308,
  -1e308,
  2 ** 31,
  2 ** 53,
  2 ** 53 + 2,
  '',
  ' ',
  'x',
  '\u0000',
  '\ud800',
  '🙂',
  'constructor',
  '__proto__',
  'toString',
  'a'.repeat(3000),
  [],
  [[]],
  [null],
  {},
  { '': 0 },
  { type: 'text' },
  { type: 'function' },
  Array(200).fill(0),
  Array(40).fill('a'),
  { $ref: '#' },
  { type: 'object' },
  { a: { b: { c: [{}] } } },
  '<|eot|>',
  'tiny',
  'root ::= root',
]; // prettier-ignore

interface Place {
  readonly holder: Record<string, unknown>;
  readonly key: string;
}

function placesOf(value: unknown, places: Place[] = []): Place[] {
  if (typeof value !== 'object' || value === null) return places;
  const holder = value as Record<string, unknown>;
  for (const key of Object.keys(holder)) {
    places.push({ holder, key });
    placesOf(holder[key], places);
  }
  return places;
}

/** Changes one to three places of a value, in place. */
function breakValue(value: unknown, random: Random): void {
  for (let changes = 1 + random(3); changes > 0; changes--) {
    const places = placesOf(value);
    if (places.length === 0) return;
    const { holder, key } = places[random(places.length)]!;
    const other = places[random(places.length)]!;
    const odd = structuredClone(strange[random(strange.length)]);
    switch (random(6)) {
      case 0:
        delete holder[key];
        break;
      case 1:
        if (!Array.isArray(holder)) holder[String(odd).slice(0, 50)] = holder[key];
        break;
      case 2:
        holder[key] = structuredClone(other.holder[other.key]);
        break;
      case 3:
        holder[key] = [holder[key], odd];
        break;
      default:
        holder[key] = odd;
    }
  }
}

/** Breaks the text: bytes changed, taken out, put in, or cut off. */
function breakText(text: string, random: Random): string {
  const at = random(text.length);
  const odd = '{}[]",:\\0e-+.truefalsn \u0000\u2028é'.charAt(random(30));
  switch (random(4)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + odd + text.slice(at);
    case 2:
      return text.slice(0, at) + text.slice(at + 1 + random(20));
    default:
      return text.slice(0, at) + odd + text.slice(at + 1);
  }
}

function mutated(random: Random): [path: string, body: string] {
  const [path, body] = valid[random(valid.length)]!;
  const value = structuredClone(body);
  if (random(3) === 0) return [path, breakText(JSON.stringify(value), random)];
  breakValue(value, random);
  return [path, JSON.stringify(value)];
}

let models: Models;
let computing: Models;
beforeAll(() => {
  const library = { list: async () => [{ id: 'tiny', path: 'test/fixtures/golden/maverick-tiny.gguf', bytes: 10 }] };
  models = createModels({ library, openChat: async path => createFakeChat(path, { contextTokens: 300, experts: 4 }) });
  computing = createModels({
    library,
    openChat: (path, options) => openChat(path, { ...options, contextTokens: 320, threads: 1 }),
  });
});
afterAll(() => Promise.all([models[Symbol.asyncDispose](), computing[Symbol.asyncDispose]()]));

async function send(count: number, seed: number, over: Models): Promise<Map<number, number>> {
  const faults: unknown[] = [];
  const app = createApp({ models: over, onError: error => faults.push(error) });
  const random = randomOf(seed);
  const statuses = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const [path, body] = mutated(random);
    const response = await app.request(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const answer = await response.text();
    statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
    if (response.status >= 500 || faults.length > 0)
      throw new Error(`${path} ${body.slice(0, 3000)} → ${response.status} ${answer.slice(0, 500)}`, {
        cause: faults[0],
      });
    if (response.status !== 200 && response.status !== 202)
      expect((JSON.parse(answer) as { error: { message: string } }).error.message.length).toBeLessThan(1500);
  }
  return statuses;
}

describe('mutated bodies', () => {
  test('the bodies themselves are valid', async () => {
    const app = createApp({ models });
    for (const [path, body] of valid) {
      const headers = { 'content-type': 'application/json' };
      const response = await app.request(path, { method: 'POST', headers, body: JSON.stringify(body) });
      expect([path, response.status < 300, await response.text()]).toMatchObject([path, true, expect.any(String)]);
    }
  });

  test(`${SCRIPTED} over a scripted model${long ? '' : ' (48,000 with LONG=1)'}`, { timeout: 600_000 }, async () => {
    const statuses = await send(SCRIPTED, 1, models);
    expect(statuses.get(200)).toBeGreaterThan(SCRIPTED / 20);
    expect(statuses.get(400)).toBeGreaterThan(SCRIPTED / 3);
  });

  test(`${COMPUTED} over a real engine${long ? '' : ' (2,000 with LONG=1)'}`, { timeout: 1_200_000 }, async () => {
    const statuses = await send(COMPUTED, 2, computing);
    expect(statuses.get(200)).toBeGreaterThan(COMPUTED / 20);
  });
});
