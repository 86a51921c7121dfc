// SmolLM2-135M-Instruct, a real model, beside node-llama-cpp 3.22.1: the same ids, the same greedy tokens, and Paris.
// The fixture was made by `node bench/peers/greedy.mjs MODEL PROMPTS OUT 64 2`, on each of the two files.
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChatModel, openChat } from '../../src/index.ts';

interface Sample {
  prompt: string;
  tokens: number[];
  Q4_1: number[];
  F16: number[];
}
const samples: Sample[] = JSON.parse(readFileSync('test/fixtures/smollm2-greedy.json', 'utf8'));
const path = (type: string): string => new URL(`./models/SmolLM2-135M-Instruct.${type}.gguf`, import.meta.url).pathname;
const there = existsSync(path('F16'));
if (!there) console.warn('skipped: SmolLM2 is not there; fetch it with `node test/large/fetch-smollm2.ts` (98 MB).');

// With Q4_1, each engine rounds activations to 8 bits in its own way, and both lie equally far from exact arithmetic (mean KL
// 2e-3 to the reference): sequences part at near ties. With the same weights as F16 neither rounds, and they must agree.
const required = { F16: 8, Q4_1: 3 } as const;

describe.skipIf(!there).each(['F16', 'Q4_1'] as const)('SmolLM2-135M-Instruct %s', type => {
  let chat: ChatModel;
  beforeAll(async () => {
    chat = await openChat(path(type), { contextTokens: 1024 });
  }, 60_000);
  afterAll(() => chat?.[Symbol.asyncDispose]());

  test('prompts have the ids that llama.cpp gives them', () => {
    for (const { prompt, tokens } of samples)
      expect(chat.tokenizer.encode(prompt, { special: 'parse' })).toEqual(tokens);
  });

  test(`the first 64 greedy tokens equal node-llama-cpp on at least ${required[type]} of 10 prompts`, async () => {
    const same: boolean[] = [];
    for (const { tokens, [type]: theirs } of samples) {
      const ours: number[] = [];
      for await (const { token } of chat.engine.generate(tokens, { maxTokens: 64, stopTokens: chat.format.stopTokens }))
        ours.push(token);
      same.push(ours.join() === theirs.join());
    }
    console.info(`${type}: equal on ${same.filter(Boolean).length} of ${same.length} prompts (${same.map(Number)})`);
    expect(same.filter(Boolean).length).toBeGreaterThanOrEqual(required[type]);
  }, 180_000);

  test('knows the capital of France', async () => {
    let answer = '';
    for await (const event of chat.complete(samples[0]!.tokens, { temperature: 0, maxTokens: 32 }))
      if (event.type === 'text') answer += event.text;
    expect(answer).toContain('Paris');
  }, 60_000);
});
