// Answers of a certain form, asked for in every way that the API knows: what comes has the form, and what cannot be used is refused by the
// name that the client gave it, soon.
import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { openChat } from '../engine/chat.ts';
import { processorTime } from '../tokenizer/processor-time.cases.ts';
import { type RunningServer, startServer } from './start.ts';

let server: RunningServer;
let openai: OpenAI;
let anthropic: Anthropic;
beforeAll(async () => {
  server = await startServer({
    port: 0,
    library: { list: async () => [{ id: 'tiny', path: 'test/fixtures/golden/maverick-tiny.gguf', bytes: 1 }] },
    openChat: (path, options) => openChat(path, { ...options, threads: 1, contextTokens: 2048 }),
  });
  openai = new OpenAI({ baseURL: `${server.url}v1`, apiKey: 'none', maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => server.close());

const messages = [{ role: 'user' as const, content: 'Say something.' }];
const sampled = { model: 'tiny', temperature: 1.5, max_tokens: 200 };
const ADDRESS = '(?:[a-z]{2,8}|[0-9]+)@(?:example|invalid)\\.(?:com|org)';
const date = 'root ::= year "-" two "-" two\nyear ::= [12] [0-9]{3}\ntwo ::= [0-2] [0-9]';
const DATE = /^[12]\d{3}-[0-2]\d-[0-2]\d$/;
const schema = { type: 'object', properties: { a: { enum: [1, 2] } }, required: ['a'], additionalProperties: false };
const strange = ['"', '\\', 'a\nb', '\u0007', '[^]', 'é \u{1f40b}', '"; drop ::= "'];

/** Fields of a request, and what the answer then is. */
const forms: [name: string, fields: object, form: RegExp][] = [
  ['response_format regex', { response_format: { type: 'regex', pattern: ADDRESS } }, new RegExp(`^${ADDRESS}$`)],
  ['response_format grammar', { response_format: { type: 'grammar', grammar: date } }, DATE],
  [
    'response_format json_schema',
    { response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } },
    /^\s*\{\s*"a"\s*:\s*[12]\s*\}/,
  ],
  ['response_format json_object', { response_format: { type: 'json_object' }, max_tokens: 1 }, /^\s*\{?/],
  ['structured_outputs regex', { structured_outputs: { regex: ADDRESS } }, new RegExp(`^${ADDRESS}$`)],
  ['structured_outputs grammar', { structured_outputs: { grammar: date } }, DATE],
  ['structured_outputs json', { structured_outputs: { json: schema } }, /^\s*\{\s*"a"\s*:\s*[12]\s*\}/],
  ['structured_outputs json_object', { structured_outputs: { json_object: true }, max_tokens: 1 }, /^\s*\{?/],
  [
    'structured_outputs choice',
    { structured_outputs: { choice: ['positive', 'negative'], disable_any_whitespace: false } },
    /^(positive|negative)$/,
  ],
  ['grammar', { grammar: date }, DATE],
];

describe('an answer has the form', () => {
  test.each(forms)('%s: chat, whole and streamed, and completions', async (_, fields, form) => {
    for (const seed of [1, 2, 3]) {
      const asked = { ...sampled, seed, ...fields };
      const chat = await openai.chat.completions.create({ ...asked, messages });
      const text = chat.choices[0]!.message.content!;
      expect(text).toMatch(form);
      const streamed = openai.chat.completions.stream({ ...asked, messages } as Parameters<
        typeof openai.chat.completions.stream
      >[0]);
      expect((await streamed.finalChatCompletion()).choices[0]!.message.content).toBe(text);
      const completion = await openai.completions.create({ ...asked, prompt: 'Say' });
      expect(completion.choices[0]!.text).toMatch(form);
    }
  });

  test('choices are said as they are, whatever is in them', async () => {
    const structured_outputs = { choice: strange };
    const said = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const { choices } = await openai.chat.completions.create({
        ...sampled,
        seed,
        messages,
        ...{ structured_outputs },
      });
      said.add(choices[0]!.message.content!);
    }
    expect(strange).toEqual(expect.arrayContaining([...said]));
    expect(said.size).toBeGreaterThan(3);
  });

  test('responses: text.format', async () => {
    for (const [format, form] of [
      [{ type: 'regex', pattern: ADDRESS }, new RegExp(`^${ADDRESS}$`)],
      [{ type: 'grammar', grammar: date }, DATE],
    ] as const) {
      const text = { format } as unknown as OpenAI.Responses.ResponseTextConfig;
      const response = await openai.responses.create({ model: 'tiny', input: 'Say', text, max_output_tokens: 200 });
      expect(response.output_text).toMatch(form);
      expect(response.text).toEqual({ format });
    }
  });

  test("types of zod, as OpenAI's and Anthropic's clients write and read them", async () => {
    const Answer = z.object({
      kind: z.enum(['a', 'b']),
      count: z.int().min(0).max(9),
      note: z.string().max(5).nullable(),
    });
    const asked = { ...sampled, seed: 1, messages };
    const chat = await openai.chat.completions.parse({
      ...asked,
      response_format: zodResponseFormat(Answer, 'answer'),
    });
    const streamed = openai.chat.completions.stream({ ...asked, response_format: zodResponseFormat(Answer, 'answer') });
    const format = zodTextFormat(Answer, 'answer');
    const response = await openai.responses.parse({
      model: 'tiny',
      input: 'Say',
      text: { format },
      max_output_tokens: 200,
    });
    const Plain = Answer.omit({ note: true, count: true }); // Anthropic's client leaves bounds to its server's model
    const output_config = { format: zodOutputFormat(Plain) };
    const message = await anthropic.messages.parse({ model: 'tiny', max_tokens: 200, messages, output_config });
    for (const parsed of [
      chat.choices[0]!.message.parsed,
      (await streamed.finalChatCompletion()).choices[0]!.message.parsed,
      response.output_parsed,
    ])
      expect(Answer.parse(parsed)).toEqual(parsed);
    expect(Plain.parse(message.parsed_output)).toEqual(message.parsed_output);
  });

  test("Anthropic's output_config", async () => {
    const output_config = { format: { type: 'json_schema' as const, schema }, effort: 'low' as const };
    const asked = { model: 'tiny', max_tokens: 200, messages, output_config };
    const { content } = await anthropic.messages.create(asked);
    expect(JSON.parse(content[0]!.type === 'text' ? content[0].text : '')).toEqual({ a: expect.any(Number) });
    const stream = anthropic.messages.stream(asked);
    expect(JSON.parse(await stream.finalText())).toEqual({ a: expect.any(Number) });
    const parsed = await anthropic.messages.parse(asked);
    expect(parsed.parsed_output).toEqual({ a: expect.any(Number) });
  });
});

/** Posts a body; what processors had to do, in this process, until the answer was there. */
async function post(path: string, body: object | string) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const sent = { method: 'POST', headers: { 'content-type': 'application/json' }, body: text };

  const time = processorTime();
  const response = await fetch(new URL(path, server.url), sent);
  const answer = (await response.json()) as { error: { message: string; param?: string; code?: string } };
  return { status: response.status, ms: time(), ...answer.error };
}
const chat = (fields: object) => post('v1/chat/completions', { model: 'tiny', messages, max_tokens: 5, ...fields });

describe('what cannot be used is refused by its name', () => {
  const lookahead = { type: 'regex', pattern: 'a(?=b)' };
  const tool = (parameters: object) => ({ type: 'function', function: { name: 'f', parameters } });
  const wrong: [fields: object, param: string, words: RegExp][] = [
    [{ response_format: lookahead }, 'response_format.pattern', /^response_format\.pattern at character 2: /],
    [
      { response_format: { type: 'grammar', grammar: 'root ::= x' } },
      'response_format.grammar',
      /^response_format\.grammar at line 1/,
    ],
    [{ structured_outputs: { regex: '(' } }, 'structured_outputs.regex', /^structured_outputs\.regex at character/],
    [{ structured_outputs: { grammar: '' } }, 'structured_outputs.grammar', /no rule 'root'/],
    [
      { structured_outputs: { json: { not: { pattern: 'a' } } } },
      'structured_outputs.json',
      /^structured_outputs\.json at \/not/,
    ],
    [{ grammar: 'root' }, 'grammar', /^grammar at line 1, column 5/],
    [
      { tools: [tool({ not: { pattern: 'a' } })], tool_choice: 'required' },
      'tools[0].function.parameters',
      /^tools\[0\]\.function\.parameters at \/not/,
    ],
    // These never reach the grammars.
    [{ response_format: { type: 'regex' } }, 'response_format.pattern', /is missing; it must be a regular expression/],
    [{ response_format: { type: 'regex', pattern: 5 } }, 'response_format.pattern', /a regular expression; got 5/],
    [{ response_format: { type: 'regex', pattern: 'a', flags: 'i' } }, 'response_format.flags', /no parameter/],
    [{ response_format: 'json' }, 'response_format', /must be an object whose type is 'text'/],
    [{ response_format: { type: 'lark' } }, 'response_format.type', /'json_schema', 'regex' or 'grammar'; got "lark"/],
    [{ structured_outputs: {} }, 'structured_outputs', /one of 'json', 'regex'/],
    [{ structured_outputs: { json_object: false } }, 'structured_outputs', /one of 'json', 'regex'/],
    [
      { structured_outputs: { regex: 'a', choice: ['b'] } },
      'structured_outputs.choice',
      /left out where 'structured_outputs\.regex' says/,
    ],
    [
      { structured_outputs: { regex: 'a' }, grammar: 'root ::= "a"' },
      'grammar',
      /left out where 'structured_outputs\.regex' says/,
    ],
    [
      { response_format: { type: 'json_object' }, structured_outputs: { regex: 'a' } },
      'structured_outputs.regex',
      /left out where 'response_format' says/,
    ],
    [{ structured_outputs: { choice: [] } }, 'structured_outputs.choice', /1 to 1024 strings/],
    [{ structured_outputs: { choice: ['a', ''] } }, 'structured_outputs.choice[1]', /not empty/],
    [{ structured_outputs: { choice: ['\ud800'] } }, 'structured_outputs.choice[0]', /halves of characters/],
    [
      { structured_outputs: { regex: 'a', structural_tag: '{}' } },
      'structured_outputs.structural_tag',
      /does not have that feature/,
    ],
    [{ guided_regex: 'a' }, 'guided_regex', /no parameter of this request/],
  ];
  test.each(wrong)('%j', async (fields, param, words) => {
    const { status, message, param: named } = await chat(fields);
    expect([status, named, message]).toEqual([400, param, expect.stringMatching(words)]);
  });

  test('on the other routes too', async () => {
    const answers = [
      await post('v1/completions', { model: 'tiny', prompt: 'a', response_format: lookahead }),
      await post('v1/responses', { model: 'tiny', input: 'a', text: { format: lookahead } }),
    ];
    expect(answers.map(({ status, param }) => [status, param])).toEqual([
      [400, 'response_format.pattern'],
      [400, 'text.format.pattern'],
    ]);
    const asked = { model: 'tiny', max_tokens: 5, messages };
    const format = { type: 'json_schema', schema: { not: { pattern: 'a' } } };
    const schemas = await post('v1/messages', { ...asked, output_config: { format } });
    expect([schemas.status, schemas.message]).toEqual([
      400,
      expect.stringMatching(/^output_config\.format\.schema at \/not/),
    ]);
    const tools = [{ name: 'f', input_schema: { not: { pattern: 'a' } } }];
    const tool = await post('v1/messages', { ...asked, tools, tool_choice: { type: 'any' } });
    expect([tool.status, tool.message]).toEqual([400, expect.stringMatching(/^tools\[0\]\.input_schema at \/not/)]);
  });
});

describe('bombs', () => {
  const nested = (open: string, close: string, count: number) => `${open.repeat(count)}a${close.repeat(count)}`;
  const counted = (levels: number) => `${'('.repeat(levels)}a${'{1,1000})'.repeat(levels)}`;
  const refused: [name: string, fields: object][] = [
    ['60,000 groups in a regex', { response_format: { type: 'regex', pattern: nested('(', ')', 60_000) } }],
    ['60,000 groups in a grammar', { grammar: `root ::= ${nested('(', ')', 60_000)}` }],
    ['repetitions of repetitions in a regex', { structured_outputs: { regex: counted(40) } }],
    ['repetitions of repetitions in a grammar', { grammar: `root ::= ${'('.repeat(40)}"a"${'{1,1000})'.repeat(40)}` }],
    [
      '20,000 alternatives in a regex',
      { structured_outputs: { regex: Array.from({ length: 20_000 }, (_, i) => `a${i}`).join('|') } },
    ],
    ['1,000,000 repetitions', { structured_outputs: { regex: '(?:a|b){1000000}' } }],
    ['200,000 parts of a grammar', { grammar: `root ::= ${'"a" '.repeat(60_000)}` }],
    [
      '1,024 choices of 4,096 characters',
      { structured_outputs: { choice: Array.from({ length: 1000 }, (_, i) => `${i}${'x'.repeat(4000)}`) } },
    ],
  ];
  test.each(refused)('%s', async (_, fields) => {
    await chat({ response_format: { type: 'regex', pattern: 'warm' } });
    const answers = [await chat(fields), await chat(fields), await chat(fields)];
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400]);
    expect(Math.min(...answers.map(({ ms }) => ms))).toBeLessThan(100);
  });

  test('a schema of 60,000 levels', async () => {
    const schema = `${'{"items":'.repeat(60_000)}{}${'}'.repeat(60_000)}`;
    const body = JSON.stringify({ model: 'tiny', messages, structured_outputs: { json: {} } }).replace(
      '{}',
      () => schema,
    );
    const answers = [await post('v1/chat/completions', body), await post('v1/chat/completions', body)];
    expect(answers).toMatchObject([400, 400].map(status => ({ status, param: 'structured_outputs.json' })));
    expect(Math.min(...answers.map(({ ms }) => ms))).toBeLessThan(100);
  });

  // These can be followed, in time that does not grow with what they could be read as.
  test.each([
    ['(a+)+', '(?:a+)+'],
    ['(a|a)*', '(?:a|a)*b'],
    ['(a*)*', '(?:a*)*'],
    ['(a|aa)+$', '(?:a|aa|aaa|aaaa)+b?'],
    ['.*.*.*', `${'.*'.repeat(20)}z`],
  ])('%s is no bomb here', async (_, pattern) => {
    const start = performance.now();
    const { status } = await chat({ structured_outputs: { regex: pattern }, max_tokens: 30 });
    expect([200, 400]).toContain(status ?? 200);
    expect(performance.now() - start).toBeLessThan(2000);
    expect((await chat({})).status).toBe(200);
  });
});
