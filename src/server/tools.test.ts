// Tools and formats as the three official clients see them: over a scripted model that writes calls, and over a real engine whose
// grammar makes them.
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { generateText, isStepCount, jsonSchema, Output, streamText, tool } from 'ai';
import { Ajv } from 'ajv';
import OpenAI from 'openai';
import { zodFunction } from 'openai/helpers/zod';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createOpenMaverick } from '../ai-sdk/provider.ts';
import { openChat } from '../engine/chat.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import { createFakeChat, type FakeChat } from './fake-chat.cases.ts';
import { type RunningServer, startServer } from './start.ts';

/** Asks for the weather of what the user names, and then says what the tool said. */
function reply(messages: readonly Message[]): string {
  const last = messages.at(-1)!;
  if (last.role === 'tool') return `It is ${last.content}.`;
  const calls = last.content.split(',').map(city => ({ name: 'weather', parameters: { city } }));
  return `I look.${JSON.stringify(calls)}`;
}

let server: RunningServer;
let real: RunningServer;
let fake: FakeChat;
let openai: OpenAI;
let anthropic: Anthropic;
let ai: ReturnType<typeof createOpenMaverick>;
let engine: OpenAI;

beforeAll(async () => {
  fake = createFakeChat('fake.gguf', { reply });
  server = await startServer({
    port: 0,
    library: { list: async () => [{ id: 'fake', path: 'fake.gguf', bytes: 1 }] },
    openChat: async () => fake,
  });
  real = await startServer({
    port: 0,
    library: { list: async () => [{ id: 'tiny', path: 'test/fixtures/golden/maverick-tiny.gguf', bytes: 1 }] },
    openChat: (path, options) => openChat(path, { ...options, backend: 'reference', contextTokens: 2048 }),
  });
  openai = new OpenAI({ baseURL: `${server.url}v1`, apiKey: 'none', maxRetries: 0 });
  engine = new OpenAI({ baseURL: `${real.url}v1`, apiKey: 'none', maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0 });
  ai = createOpenMaverick({ baseURL: server.url });
});
afterAll(() => Promise.all([server.close(), real.close()]));

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = { type: 'function' as const, function: { name: 'weather', description: 'The weather.', parameters } };
const ask = (content: string) => ({ model: 'fake', messages: [{ role: 'user' as const, content }], tools: [weather] });
const calls = (message: OpenAI.ChatCompletionMessage) =>
  (message.tool_calls ?? []).map(
    call => call.type === 'function' && [call.function.name, JSON.parse(call.function.arguments)],
  );

describe('the openai client', () => {
  test('gets the calls beside the text, and none of their JSON in the text', async () => {
    const { message, finish_reason } = (await openai.chat.completions.create(ask('Oslo,Bern'))).choices[0]!;
    expect([message.content, finish_reason]).toEqual(['I look.', 'tool_calls']);
    expect(calls(message)).toEqual([
      ['weather', { city: 'Oslo' }],
      ['weather', { city: 'Bern' }],
    ]);
    expect(new Set(message.tool_calls!.map(({ id }) => id)).size).toBe(2);
    expect(fake.calls.at(-1)!.options).toMatchObject({ toolChoice: 'auto', parallelToolCalls: true });
  });

  test('puts a stream together to the same', async () => {
    const stream = openai.chat.completions.stream({ ...ask('Oslo,Bern'), n: 2 });
    const pieces: string[] = [];
    for await (const chunk of stream)
      for (const choice of chunk.choices)
        for (const call of choice.delta.tool_calls ?? []) pieces.push(call.function?.arguments ?? '');
    expect(pieces.length).toBeGreaterThan(4);
    const { choices } = await stream.finalChatCompletion();
    expect(choices).toHaveLength(2);
    for (const { message, finish_reason } of choices) {
      expect([message.content, finish_reason]).toEqual(['I look.', 'tool_calls']);
      expect(calls(message)).toEqual([
        ['weather', { city: 'Oslo' }],
        ['weather', { city: 'Bern' }],
      ]);
    }
  });

  test('runs tools by itself', async () => {
    const runner = openai.chat.completions.runTools({
      model: 'fake',
      messages: [{ role: 'user', content: 'Oslo' }],
      tools: [
        {
          type: 'function',
          function: {
            ...weather.function,
            parse: JSON.parse,
            function: ({ city }: { city: string }) => `cold in ${city}`,
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe('It is cold in Oslo.');
  });

  test("with tool_choice 'none' the text is what the model wrote", async () => {
    const { message } = (await openai.chat.completions.create({ ...ask('Oslo'), tool_choice: 'none' })).choices[0]!;
    expect(message.tool_calls).toBeUndefined();
    expect(message.content).toContain('"name":"weather"');
  });

  test('responses: calls are items, streamed and whole, and their outputs go back', async () => {
    const { name, description } = weather.function;
    const tools = [{ type: 'function' as const, name, description, parameters, strict: false }];
    const whole = await openai.responses.create({ model: 'fake', input: 'Oslo', tools });
    expect(whole.output).toMatchObject([
      { type: 'message', content: [{ text: 'I look.' }] },
      { type: 'function_call', name: 'weather', arguments: '{"city":"Oslo"}', status: 'completed' },
    ]);
    const stream = openai.responses.stream({ model: 'fake', input: 'Oslo', tools });
    const types = [];
    for await (const { type } of stream) types.push(type);
    expect(types).toContain('response.function_call_arguments.delta');
    const final = await stream.finalResponse();
    expect(final.output.map(({ type }) => type)).toEqual(['message', 'function_call']);
    const call = final.output[1] as OpenAI.Responses.ResponseFunctionToolCall;
    const next = await openai.responses.create({
      model: 'fake',
      input: [
        { role: 'user', content: 'Oslo' },
        ...(final.output as OpenAI.Responses.ResponseInputItem[]),
        { type: 'function_call_output', call_id: call.call_id, output: 'cold' },
      ],
      tools,
    });
    expect(next.output_text).toBe('It is cold.');
  });
});

describe("Anthropic's client", () => {
  const tools = [
    { name: 'weather', description: 'The weather.', input_schema: { ...parameters, type: 'object' as const } },
  ];
  const request = {
    model: 'fake',
    max_tokens: 500,
    messages: [{ role: 'user' as const, content: 'Oslo,Bern' }],
    tools,
  };

  test('gets calls as blocks, whole and streamed', async () => {
    const whole = await anthropic.messages.create(request);
    const blocks = [
      { type: 'text', text: 'I look.' },
      { type: 'tool_use', name: 'weather', input: { city: 'Oslo' } },
      { type: 'tool_use', name: 'weather', input: { city: 'Bern' } },
    ];
    expect(whole).toMatchObject({ content: blocks, stop_reason: 'tool_use' });
    const inputs: unknown[] = [];
    const stream = anthropic.messages.stream(request).on('inputJson', (_, input) => inputs.push(input));
    expect(await stream.finalMessage()).toMatchObject({ content: blocks, stop_reason: 'tool_use' });
    expect(inputs.length).toBeGreaterThan(2);
  });

  test('sends results back', async () => {
    const { content } = await anthropic.messages.create({ ...request, messages: [{ role: 'user', content: 'Oslo' }] });
    const used = content.find(block => block.type === 'tool_use')!;
    const answer = await anthropic.messages.create({
      ...request,
      messages: [
        { role: 'user', content: 'Oslo' },
        { role: 'assistant', content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: used.id, content: 'cold' }] },
      ],
    });
    expect(answer).toMatchObject({ content: [{ text: 'It is cold.' }], stop_reason: 'end_turn' });
  });

  test('runs tools by itself, with threads as it asks for them first, and without', async () => {
    const weather = betaZodTool({
      name: 'weather',
      description: 'The weather.',
      inputSchema: z.object({ city: z.string() }),
      run: ({ city }) => `cold in ${city}`,
    });
    const asked = { ...request, messages: [{ role: 'user' as const, content: 'Oslo' }], tools: [weather] };
    for (const more of [{}, { thread: false as const }, { stream: true as const }]) {
      const runner = anthropic.beta.messages.toolRunner({ ...asked, ...more });
      expect((await runner).content).toMatchObject([{ type: 'text', text: 'It is cold in Oslo.' }]);
    }
    const thread = anthropic.beta.messages.thread({ model: 'fake', max_tokens: 50 });
    const error = await thread.send({ role: 'user', content: 'Oslo' }).catch(error => error);
    expect(error).toMatchObject({ status: 400, message: expect.stringContaining('keeps no conversations') });
  });

  test('the choice reaches the model; a call that broke off is told, and the stop sequence that ended an answer', async () => {
    await anthropic.messages.create({ ...request, tool_choice: { type: 'auto', disable_parallel_tool_use: true } });
    expect(fake.calls.at(-1)!.options).toMatchObject({ toolChoice: 'auto', parallelToolCalls: false });
    const cut = await anthropic.messages.create({ ...request, max_tokens: 45 });
    expect(cut.stop_reason).toBe('max_tokens');
    expect(cut.content.at(-1)).toMatchObject({ type: 'tool_use', input: { INVALID_JSON: expect.any(String) } });
    const stopped = await anthropic.messages.create({ ...request, stop_sequences: ['XX', 'look'] });
    expect(stopped).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'look', content: [{ text: 'I ' }] });
  });
});

test('the AI SDK calls tools and goes on with their results, whole and streamed', async () => {
  const tools = {
    weather: tool({
      description: 'The weather.',
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `cold in ${city}`,
    }),
  };
  const request = { model: ai('fake'), prompt: 'Oslo', tools, stopWhen: isStepCount(3) };
  const whole = await generateText(request);
  expect(whole.text).toBe('It is cold in Oslo.');
  expect(whole.steps[0]!.toolCalls).toMatchObject([{ toolName: 'weather', input: { city: 'Oslo' } }]);
  const streamed = streamText(request);
  let text = '';
  for await (const piece of streamed.textStream) text += piece;
  expect(text).toBe('I look.It is cold in Oslo.');
  expect((await streamed.steps).map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop']);
});

describe('a real engine of random weights', () => {
  const schema = {
    type: 'object',
    properties: { name: { type: 'string', maxLength: 8 }, age: { type: 'integer', minimum: 0, maximum: 150 } },
    required: ['name', 'age'],
    additionalProperties: false,
  };
  const isValid = new Ajv().compile(schema);
  const messages = [{ role: 'user' as const, content: 'Who?' }];
  const sampled = { model: 'tiny', messages, temperature: 1.5, max_tokens: 400 };

  test('answers with JSON of a schema, through every client', async () => {
    for (const seed of [1, 2, 3]) {
      const response_format = { type: 'json_schema' as const, json_schema: { name: 'person', schema } };
      const { choices } = await engine.chat.completions.create({ ...sampled, seed, response_format });
      expect([choices[0]!.finish_reason, isValid(JSON.parse(choices[0]!.message.content!))]).toEqual(['stop', true]);
    }
    const format = { type: 'json_schema' as const, name: 'person', schema, strict: true };
    const response = await engine.responses.create({
      model: 'tiny',
      input: 'Who?',
      text: { format },
      max_output_tokens: 400,
    });
    expect(isValid(JSON.parse(response.output_text))).toBe(true);
    const provider = createOpenMaverick({ baseURL: real.url });
    const { output } = await generateText({
      model: provider('tiny'),
      prompt: 'Who?',
      temperature: 1.5,
      seed: 4,
      maxOutputTokens: 400,
      output: Output.object({ schema: jsonSchema(schema as Parameters<typeof jsonSchema>[0]) }),
    });
    expect(isValid(output)).toBe(true);
  });

  test('must call a tool when told so, with arguments that are valid', async () => {
    const person = zodFunction({ name: 'person', parameters: z.object({ age: z.int().min(0).max(150) }) });
    const required = {
      ...sampled,
      tools: [person],
      tool_choice: 'required' as const,
      parallel_tool_calls: false,
      seed: 5,
    };
    const { message, finish_reason } = (await engine.chat.completions.create(required)).choices[0]!;
    expect([message.content, finish_reason, message.tool_calls!.length]).toEqual([null, 'tool_calls', 1]);
    expect(calls(message)).toEqual([['person', { age: expect.any(Number) }]]);
  });

  test('a grammar or schema that cannot be used is refused, with its place', async () => {
    const wrong: [fields: object, param: string, message: string][] = [
      [{ grammar: 'root ::= "a' }, 'grammar', 'line 1'],
      [
        { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { not: { pattern: 'a' } } } } },
        'response_format.json_schema.schema',
        'not',
      ],
    ];
    for (const [fields, param, message] of wrong) {
      const error = await engine.chat.completions.create({ ...sampled, ...fields }).catch(error => error);
      expect(error).toMatchObject({ status: 400, param, message: expect.stringContaining(message) });
    }
    const { choices } = await engine.chat.completions.create({ ...sampled, ...{ grammar: 'root ::= "yes" | "no"' } });
    expect(['yes', 'no']).toContain(choices[0]!.message.content);
  });

  test('prompt lookup changes nothing but the time', async () => {
    const ask = async (fields: object) =>
      (await engine.completions.create({ model: 'tiny', prompt: 'a b a b a b a', max_tokens: 20, seed: 3, ...fields }))
        .choices[0]!.text;
    expect(await ask({ prompt_lookup: true })).toBe(await ask({}));
  });
});
