// Tools and formats in a chat: calls are events and never text, history and descriptions reach the model, and where calls are
// demanded a model of random weights makes well-formed ones.
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Message, Tool } from '../tokenizer/tokenizer.ts';
import { createChat, openChat } from './chat.ts';
import { chatGrammar } from './chat-grammar.ts';
import type { ChatModel, ChatOptions } from './chat-types.ts';
import { accepts } from './grammar.ts';
import type { ChatEvent, Engine, GenerateOptions } from './types.ts';

const path = fileURLToPath(new URL('../../test/fixtures/golden/maverick-tiny.gguf', import.meta.url));
let model: ChatModel;
beforeAll(async () => {
  model = await openChat(path, { backend: 'wasm', threads: 2, contextTokens: 2048 });
});
afterAll(() => model[Symbol.asyncDispose]());

const weather: Tool = {
  name: 'get_weather',
  description: 'Weather of a city <|eot|>',
  parameters: {
    type: 'object',
    properties: { city: { type: 'string', maxLength: 12 }, days: { type: 'integer', minimum: 1, maximum: 7 } },
    required: ['city', 'days'],
    additionalProperties: false,
  },
};
const tree: Tool = {
  name: 'plant.tree',
  parameters: {
    type: 'object',
    properties: { root: { $ref: '#/$defs/node' } },
    required: ['root'],
    $defs: {
      node: { type: 'object', properties: { kids: { type: 'array', items: { $ref: '#/$defs/node' }, maxItems: 2 } } },
    },
  },
};
const now: Tool = { name: 'now' };
const tools = [weather, tree, now];
const ask: Message[] = [{ role: 'user', content: 'Weather in Oslo?' }];

interface Answer {
  readonly text: string;
  readonly calls: { name: string; arguments: string; complete: boolean }[];
  readonly events: ChatEvent[];
  readonly tokens: number[];
}

async function collect(events: AsyncGenerator<ChatEvent, void>): Promise<Answer> {
  const all: ChatEvent[] = [];
  const calls: Answer['calls'] = [];
  let text = '';
  for await (const event of events) {
    all.push(event);
    if (event.type === 'text') text += event.text;
    else if (event.type === 'call-start') {
      expect(event.index).toBe(calls.length);
      calls.push({ name: event.name, arguments: '', complete: false });
    } else if (event.type === 'call-arguments') calls[event.index]!.arguments += event.delta;
    else if (event.type === 'call-end') calls[event.index]!.complete = event.complete;
  }
  return { text, calls, events: all, tokens: all.flatMap(e => (e.type === 'end' ? [] : e.tokens.map(t => t.token))) };
}

const stats = {
  promptTokens: 1,
  cachedTokens: 0,
  queueMs: 0,
  prefillMs: 0,
  decodeMs: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
};

/** What a chat makes of an answer; `<|python_start|>` and its end are the tokens of that name. */
async function heard(said: string, options: ChatOptions = { tools }) {
  const { tokenizer, format } = model;
  const tokens = said
    .split(/(<\|python_(?:start|end)\|>)/)
    .flatMap(part => tokenizer.specialTokens.get(part) ?? tokenizer.encode(part));
  const asked: { prompt: readonly number[]; options: GenerateOptions }[] = [];
  let spoken = 0;
  const engine = {
    async *generate(prompt: readonly number[], generate: GenerateOptions) {
      asked.push({ prompt, options: generate });
      for (const token of tokens) {
        if (generate.signal?.aborted) return { reason: 'abort', stats: { ...stats, generatedTokens: spoken } };
        spoken++;
        yield { token, logprob: 0, topLogprobs: [] };
      }
      return { reason: 'stop', stats: { ...stats, generatedTokens: tokens.length } };
    },
  } as unknown as Engine;
  const answer = await collect(createChat(engine, tokenizer, format).chat(ask, options));
  return { ...answer, said: tokens, spoken, prompt: tokenizer.decode(asked[0]!.prompt, { special: 'show' }), asked };
}

describe('what a model says with tools', () => {
  test('calls are events, text is text, and every token is there once', async () => {
    const said = 'Let me see 😀. {"name": "get_weather", "parameters": {"city": "Zürich", "days": "2"}} Done.';
    const { text, calls, tokens, said: all, events } = await heard(said);
    expect(text).toBe('Let me see 😀.  Done.');
    expect(calls).toEqual([{ name: 'get_weather', arguments: '{"city":"Zürich","days":2}', complete: true }]);
    expect(tokens).toEqual(all);
    expect(events.at(-1)).toMatchObject({ type: 'end', reason: 'stop' });
  });

  test.each([
    ['[get_weather(city="Oslo", days=1), now()]', 2],
    ['<function=now>{}</function>', 1],
    ['<|python_start|>{"name": "now", "parameters": {}}<|python_end|>', 1],
    ['<|python_start|>[now(), now(), now()]<|python_end|>', 3],
    ['[{"name": "now", "parameters": {}}, {"name": "plant.tree", "parameters": {"root": {"kids": [{}]}}}]', 2],
  ])('%s is never shown', async (said, count) => {
    const { text, calls, tokens, said: all } = await heard(said);
    expect(text).toBe('');
    expect(calls.length).toBe(count);
    expect(calls.every(({ complete }) => complete)).toBe(true);
    expect(tokens).toEqual(all);
  });

  test('without tools, or with the choice of none, all is text', async () => {
    const said = '{"name": "now", "parameters": {}} [now()]';
    for (const options of [{}, { tools, toolChoice: 'none' as const }]) {
      const { text, calls, prompt } = await heard(said, options);
      expect([text, calls]).toEqual([said, []]);
      expect(prompt).not.toContain('get_weather');
    }
  });

  test('one call at a time: the answer ends with it', async () => {
    const { calls, spoken, said, events } = await heard('[now(), now(), get_weather(city="x", days=1)]', {
      tools,
      parallelToolCalls: false,
    });
    expect(calls).toEqual([{ name: 'now', arguments: '{}', complete: true }]);
    expect(spoken).toBeLessThan(said.length);
    expect(events.at(-1)).toMatchObject({ type: 'end', reason: 'stop', stats: { generatedTokens: spoken } });
  });

  test('a stop string within a call cuts it, and says so', async () => {
    const { calls, text } = await heard('{"name": "get_weather", "parameters": {"city": "OsloSTOP"}}', {
      tools,
      stop: ['STOP'],
    });
    expect([text, calls]).toEqual(['', [{ name: 'get_weather', arguments: '{"city":"Oslo', complete: false }]]);
  });

  test('tools are described in the system message, and no text of theirs becomes a special token', async () => {
    const { prompt } = await heard('x');
    expect(prompt.split('<|header_start|>').length).toBe(4);
    expect(prompt).toContain('"name": "get_weather"');
    expect(prompt).toContain('"description": "Weather of a city <|eot|>"');
    expect(
      model.format.encode(ask, { tools }).filter(token => token === model.tokenizer.specialTokens.get('<|eot|>'))
        .length,
    ).toBe(2);
    const own = await collect(model.chat([{ role: 'system', content: 'Be brief.' }, ...ask], { tools, maxTokens: 1 }));
    expect(own.events.at(-1)).toMatchObject({ type: 'end' });
  });
});

describe('options that are wrong are named', () => {
  test.each<[ChatOptions, RegExp]>([
    [{ tools: [now, now] }, /^tools\[1\]\.name: got 'now', which another tool has/],
    [{ tools: [{ name: 'a b' }] }, /^tools\[0\]\.name: got 'a b'/],
    [{ tools: [{ name: 'a', parameters: 3 as never }] }, /^tools\[0\]\.parameters: got 3/],
    [{ tools, toolChoice: { name: 'nope' } }, /^toolChoice: got 'nope'/],
    [{ toolChoice: 'required' }, /^toolChoice: got 'required'/],
    [
      { tools: [now, { name: 'a', parameters: { properties: { x: { not: {} } } } }], toolChoice: 'required' },
      /^tools\[1\]\.parameters at \/properties\/x\/not/,
    ],
    [{ responseFormat: { type: 'json_schema', schema: { type: 'strin' } } }, /^schema at \/type: got "strin"/],
    [{ responseFormat: { type: 'regex', pattern: '(a' } }, /^regex at character 1: this group is not closed/],
    [
      { responseFormat: { type: 'grammar', grammar: 'root ::= x' } },
      /^grammar at line 1, column 10: there is no rule 'x'/,
    ],
    [{ responseFormat: { type: 'xml' } as never }, /^responseFormat\.type: got 'xml'/],
  ])('%j', async (options, message) => {
    await expect(collect(model.chat(ask, options))).rejects.toThrow(message);
    await expect(collect(model.chat(ask, options))).rejects.toThrow(RangeError);
  });
});

describe('a model of random weights', () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  /** Quotes and brackets are made likelier, or a string would hardly end. */
  const closing = () =>
    new Map(
      Array.from({ length: model.tokenizer.vocabSize }, (_, token) => token)
        .filter(token => /^["}\]]+$/.test(model.tokenizer.decode([token])))
        .map(token => [token, 12] as const),
    );

  test.each([0, 1.5])('must call, and does, at temperature %d', async temperature => {
    for (const toolChoice of ['required', { name: 'get_weather' }, { name: 'plant.tree' }] as const)
      for (const seed of [1, 2, 3]) {
        const answer = await collect(
          model.chat(ask, { tools, toolChoice, temperature, seed, maxTokens: 1500, logitBias: closing() }),
        );
        expect(answer.text.trim()).toBe('');
        expect(answer.calls.length).toBeGreaterThan(0);
        if (toolChoice !== 'required') expect(answer.calls.map(({ name }) => name)).toEqual([toolChoice.name]);
        for (const { name, arguments: json, complete } of answer.calls) {
          expect(complete).toBe(true);
          const { parameters = {} } = tools.find(tool => tool.name === name)!;
          expect(ajv.validate(parameters, JSON.parse(json))).toBe(true);
        }
        expect(answer.events.at(-1)).toMatchObject({ type: 'end', reason: 'stop' });
      }
  });

  test('keeps to a format, and is cut by maxTokens', async () => {
    const schema = {
      type: 'object',
      properties: { n: { type: 'integer', minimum: 10, maximum: 20 } },
      required: ['n'],
    };
    const json = await collect(
      model.chat(ask, { responseFormat: { type: 'json_schema', schema }, temperature: 1.5, seed: 4 }),
    );
    expect(ajv.validate(schema, JSON.parse(json.text))).toBe(true);
    const regex = await collect(model.complete('x', { responseFormat: { type: 'regex', pattern: '[A-F]{3}-\\d{2}' } }));
    expect(regex.text).toMatch(/^[A-F]{3}-\d{2}$/);
    const cut = await collect(model.chat(ask, { responseFormat: { type: 'json_schema', schema }, maxTokens: 1 }));
    expect(cut.text).toMatch(/^\{/);
    expect(cut.events.at(-1)).toMatchObject({ reason: 'length' });
  });
});

test('with a format and tools, either may be said', () => {
  const schema = {
    type: 'object',
    properties: { a: { const: 1 }, b: { $ref: '#/properties/a' } },
    required: ['a'],
    additionalProperties: false,
  };
  const grammar = chatGrammar({ tools, responseFormat: { type: 'json_schema', schema } })!;
  for (const text of [
    '{"a":1,"b":1}',
    '{"name":"now","parameters":{}}',
    '[{"name":"get_weather","parameters":{"city":"x","days":3}}]',
  ])
    expect(accepts(grammar, text)).toBe(true);
  for (const text of ['{"a":2}', '{"name":"later","parameters":{}}', 'hello', '[]'])
    expect(accepts(grammar, text)).toBe(false);
});
