// Typed tools: what the schema says, what it checks, and the loop that calls them.
import { describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { createFakeChat } from '../server/fake-chat.cases.ts';
import type { Message } from '../tokenizer/tokenizer.ts';
import { defineTool, type RunToolsOptions, runTools, type StandardSchema } from './chat-tools.ts';

const add = defineTool({
  name: 'add',
  description: 'Adds.',
  parameters: z.object({ a: z.int(), b: z.int().default(1) }),
  run: input => {
    expectTypeOf(input).toEqualTypeOf<{ a: number; b: number }>();
    return { sum: input.a + input.b };
  },
});
const user = (content: string): Message[] => [{ role: 'user', content }];

async function all(reply: (messages: readonly Message[]) => string, options: Partial<RunToolsOptions> = {}) {
  const chat = createFakeChat('fake.gguf', { reply });
  const run = runTools(chat, user('go'), { tools: [add], ...options });
  const results = [];
  for (;;) {
    const next = await run.next();
    if (next.done) return { results, conversation: next.value, calls: chat.calls };
    if (next.value.type === 'tool-result') results.push(next.value);
  }
}

describe('a tool', () => {
  test('is described by its schema, and checks and types what it is called with', async () => {
    expect(add).toMatchObject({ name: 'add', description: 'Adds.', parameters: { type: 'object', required: ['a'] } });
    expect(await add.call({ a: 2 }, { signal: undefined })).toEqual({ sum: 3 });
    await expect(add.call({ a: 'x' }, { signal: undefined })).rejects.toThrow(/^a: /);
  });

  test('of a library without JSON Schema needs one', async () => {
    const parameters: StandardSchema<number> = {
      '~standard': { version: 1, vendor: 'mine', validate: async value => ({ value: Number(value) }) },
    };
    const description = { name: 'f', parameters, run: (input: number) => input + 1 };
    expect(() => defineTool(description)).toThrow(
      "the schema, of mine, does not say its JSON Schema. Give it as 'jsonSchema'",
    );
    const tool = defineTool({ ...description, jsonSchema: { type: 'number' } });
    expect([tool.parameters, await tool.call('4', { signal: undefined })]).toEqual([{ type: 'number' }, 5]);
  });
});

describe('the loop', () => {
  const call = (parameters: object, name = 'add') => JSON.stringify({ name, parameters });

  test('runs every call and goes on with the results', async () => {
    const { results, conversation } = await all(messages =>
      messages.at(-1)!.role === 'tool'
        ? `sums: ${messages.filter(({ role }) => role === 'tool').map(({ content }) => content)}`
        : `Let me see. [${call({ a: 1, b: 2 })}, ${call({ a: 5 })}]`,
    );
    expect(results).toEqual([
      { type: 'tool-result', index: 0, name: 'add', content: '{"sum":3}', isError: false },
      { type: 'tool-result', index: 1, name: 'add', content: '{"sum":6}', isError: false },
    ]);
    expect(conversation.slice(1)).toMatchObject([
      {
        role: 'assistant',
        content: 'Let me see. ',
        toolCalls: [{ arguments: { a: 1, b: 2 } }, { arguments: { a: 5 } }],
      },
      { role: 'tool', content: '{"sum":3}' },
      { role: 'tool', content: '{"sum":6}' },
      { role: 'assistant', content: 'sums: {"sum":3},{"sum":6}' },
    ]);
  });

  test('tells the model what is wrong with its arguments, and what a tool threw', async () => {
    const fails = defineTool({
      name: 'fails',
      parameters: z.object({}),
      run: () => {
        throw new Error('out of paper');
      },
    });
    const replies = [call({ a: 'x' }), call({}, 'fails'), 'I give up.'];
    const { results } = await all(() => replies.shift()!, { tools: [add, fails] });
    expect(results).toMatchObject([
      { isError: true, content: expect.stringContaining('a: ') },
      { isError: true, content: '{"error":"out of paper"}' },
    ]);
  });

  test('ends: the last answer may not call', async () => {
    const { results, calls } = await all(() => call({ a: 1 }), { maxAnswers: 3, toolChoice: 'required' });
    expect(results).toHaveLength(2);
    expect(calls.map(({ options }) => options.toolChoice)).toEqual(['required', 'auto', 'none']);
    await expect(all(() => '', { maxAnswers: 0 })).rejects.toThrow('maxAnswers: got 0');
  });

  test('a call that was cut off is not run', async () => {
    const { results, conversation } = await all(() => call({ a: 1, b: 2 }), { maxTokens: 30 });
    expect(results).toEqual([]);
    expect(conversation).toHaveLength(2);
  });

  test('the signal ends it between calls', async () => {
    const controller = new AbortController();
    const stops = defineTool({
      name: 'add',
      parameters: z.object({ a: z.int() }),
      run: () => controller.abort(new Error('enough')),
    });
    const running = all(() => `[${call({ a: 1 })}, ${call({ a: 2 })}]`, { tools: [stops], signal: controller.signal });
    await expect(running).rejects.toThrow('enough');
  });
});
