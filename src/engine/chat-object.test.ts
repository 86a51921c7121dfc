// Answers that are values: typed by the schema, checked by it, and honest about what broke off.
import { afterAll, beforeAll, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { createFakeChat } from '../server/fake-chat.cases.ts';
import { openChat } from './chat.ts';
import { chatObject } from './chat-object.ts';
import type { StandardSchema } from './chat-tools.ts';
import type { ChatModel } from './chat-types.ts';

const Person = z.object({
  name: z.string().max(8),
  age: z.int().min(0).max(150).default(7),
  tags: z.array(z.enum(['a', 'b'])).max(2),
});
const messages = [{ role: 'user', content: 'Who?' }] as const;
const saying = (text: string) => createFakeChat('fake.gguf', { reply: () => text });

let chat: ChatModel;
beforeAll(async () => {
  chat = await openChat('test/fixtures/golden/maverick-tiny.gguf', { threads: 1, contextTokens: 1024 });
});
afterAll(() => chat[Symbol.asyncDispose]());

test('a model of random weights gives values of the type', async () => {
  for (const seed of [1, 2, 3, 4]) {
    const { value, text, stats } = await chatObject(chat, messages, Person, { temperature: 1.5, seed });
    expectTypeOf(value).toEqualTypeOf<{ name: string; age: number; tags: ('a' | 'b')[] }>();
    expect(Person.parse(JSON.parse(text))).toEqual(value);
    expect(value.age).toBeTypeOf('number');
    expect(stats.generatedTokens).toBeGreaterThan(5);
  }
});

test('the schema makes the grammar, and gives the value its defaults and transformations', async () => {
  const fake = saying('{"length": "12"}');
  const schema = z.object({ length: z.string().transform(Number), unit: z.string().default('m') });
  const { value } = await chatObject(fake, messages, schema, { seed: 3 });
  expect(value).toEqual({ length: 12, unit: 'm' });
  expect(fake.calls[0]!.options).toMatchObject({
    seed: 3,
    responseFormat: { type: 'json_schema', schema: { type: 'object', required: ['length'] } },
  });
});

test('what the JSON Schema does not tell is told when the value comes', async () => {
  const even = z.object({ n: z.int().refine(n => n % 2 === 0, 'must be even') });
  await expect(chatObject(saying('{"n": 3}'), messages, even)).rejects.toThrow(/^n: must be even$/);
});

test('an answer that broke off is an error that says what to do, and so is a schema that cannot be used', async () => {
  await expect(chatObject(chat, messages, Person, { maxTokens: 3, seed: 1 })).rejects.toThrow(
    /^The answer broke off after 3 tokens \(length\), .*Give it more room \(maxTokens/,
  );
  const mine: StandardSchema<number> = {
    '~standard': { version: 1, vendor: 'mine', validate: value => ({ value: Number(value) }) },
  };
  await expect(chatObject(chat, messages, mine)).rejects.toThrow('chatObject: the schema, of mine, does not say its');
  const jsonSchema = { type: 'integer', minimum: 1, maximum: 9 };
  expect((await chatObject(chat, messages, mine, { jsonSchema })).value).toBeLessThan(10);
  const not = chatObject(chat, messages, mine, { jsonSchema: { not: { pattern: 'a' } } });
  await expect(not).rejects.toMatchObject({ name: 'GrammarError', message: expect.stringMatching(/^schema at \/not/) });
});

test('the signal ends it with its reason', async () => {
  const reason = new Error('enough');
  const slow = createFakeChat('fake.gguf', { reply: () => `{"n": ${'1'.repeat(200)}}`, delayMs: 5 });
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 20);
  const answer = chatObject(slow, messages, z.object({ n: z.number() }), { signal: controller.signal });
  await expect(answer).rejects.toBe(reason);
});
