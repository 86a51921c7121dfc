// Text of an engine's tokens: whole characters, stop strings over any borders, tokens with the text they complete.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../checkpoint/checkpoint.ts';
import { writeGguf } from '../checkpoint/gguf-writer.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { chatFormatFor } from '../tokenizer/chat-format.ts';
import { templateFromGguf, tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import type { ChatFormat, Tokenizer } from '../tokenizer/tokenizer.ts';
import { createChat, openChat } from './chat.ts';
import type { ChatOptions } from './chat-types.ts';
import type { ChatEvent, Engine, FinishReason, GenerateOptions, TokenEvent } from './types.ts';

const path = fileURLToPath(new URL('../../test/fixtures/golden/maverick-tiny.gguf', import.meta.url));
let tokenizer: Tokenizer;
let format: ChatFormat;
beforeAll(async () => {
  await using checkpoint = await openCheckpoint(path);
  tokenizer = tokenizerFromGguf(checkpoint.metadata);
  format = chatFormatFor(tokenizer, templateFromGguf(checkpoint.metadata));
});

const stats = { promptTokens: 3, cachedTokens: 0, generatedTokens: 0, queueMs: 1, prefillMs: 2, decodeMs: 3 };

/** An engine that says given tokens, and notes what it was asked. */
function saying(tokens: readonly number[], reason: FinishReason = 'stop') {
  const asked: { prompt: readonly number[]; options: GenerateOptions }[] = [];
  let said = 0;
  let closed = false;
  const engine = {
    async *generate(prompt: readonly number[], options: GenerateOptions = {}) {
      asked.push({ prompt, options });
      try {
        for (const token of tokens) {
          if (options.signal?.aborted) return { reason: 'abort', stats };
          said++;
          yield { token, logprob: -token, topLogprobs: [] } satisfies TokenEvent;
        }
        return { reason, stats: { ...stats, generatedTokens: tokens.length } };
      } finally {
        closed = true;
      }
    },
    async [Symbol.asyncDispose]() {},
  } as unknown as Engine;
  return { engine, asked, state: () => ({ said, closed }) };
}

async function answer(tokens: readonly number[], options: ChatOptions = {}, reason?: FinishReason) {
  const { engine, state } = saying(tokens, reason);
  const events: ChatEvent[] = [];
  for await (const event of createChat(engine, tokenizer, format).complete('x', options)) events.push(event);
  const texts = events.filter(e => e.type === 'text');
  return {
    text: texts.map(e => e.text).join(''),
    pieces: texts.map(e => e.text),
    tokens: texts.flatMap(e => e.tokens.map(t => t.token)),
    end: events.at(-1)!,
    state: state(),
  };
}

/** One token for every byte: the most cuts there can be. */
function bytes(text: string): number[] {
  const ids = new Map<string, number>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const piece = tokenizer.bytes(id);
    if (piece.length === 1 && !ids.has(String(piece[0]))) ids.set(String(piece[0]), id);
  }
  return [...new TextEncoder().encode(text)].map(byte => ids.get(String(byte))!);
}

describe('text', () => {
  const text = 'Größe: 😀👩‍👩‍👧, 你好! ';

  test('never ends within a character, and has every token once', async () => {
    const result = await answer(bytes(text));
    expect(result.text).toBe(text);
    for (const piece of result.pieces) expect(piece).toBe(piece.toWellFormed());
    expect(result.pieces.join('|')).not.toContain('\uFFFD');
    expect(result.tokens).toEqual(bytes(text));
    expect(result.end).toEqual({
      type: 'end',
      reason: 'stop',
      stats: { ...stats, generatedTokens: bytes(text).length },
    });
  });

  test('half a character at the end is shown as such', async () => {
    const result = await answer(bytes('a😀').slice(0, 3), {}, 'length');
    expect(result.text).toBe('a\uFFFD');
    expect(result.tokens).toEqual(bytes('a😀').slice(0, 3));
    expect(result.end).toMatchObject({ reason: 'length' });
  });

  test('a stop string ends it wherever it begins, and nothing of it is shown', async () => {
    const units = [...text];
    for (let i = 0; i < units.length; i++)
      for (let j = i + 1; j <= units.length; j += 3) {
        const stop = units.slice(i, j).join('');
        const at = text.indexOf(stop);
        const result = await answer(bytes(`${text}and more`), { stop: ['never', stop] });
        expect(result.text).toBe(text.slice(0, at));
        expect(result.tokens).toEqual(bytes(text.slice(0, at)));
        expect(result.end).toMatchObject({ reason: 'stop' });
        // The engine is told at once.
        expect(result.state).toEqual({ said: bytes(text.slice(0, at) + stop).length, closed: true });
      }
  });

  test('what could have become a stop string is shown when it does not', async () => {
    const result = await answer(bytes('one STO'), { stop: ['STOP'] });
    expect([result.text, result.tokens]).toEqual(['one STO', bytes('one STO')]);
    expect(result.pieces.slice(0, 4)).toEqual(['o', 'n', 'e', ' ']);
  });

  test('statistics count the tokens up to the stop string', async () => {
    const result = await answer(bytes('abcSTOPdef'), { stop: ['STOP'] });
    expect(result.end).toMatchObject({ stats: { generatedTokens: 7, promptTokens: 3 } });
  });

  test.each([[['']], [['a', '']]])('stop strings %j are refused', async stop => {
    await expect(answer([1], { stop })).rejects.toThrow(/^stop\[\d\]: got '', wanted some text/);
  });
});

describe('prompts', () => {
  test('BOS goes before text, tokens stay as they are, options arrive', async () => {
    const { engine, asked } = saying([]);
    const chat = createChat(engine, tokenizer, format);
    for await (const _ of chat.complete('Hello', { temperature: 0.5, stop: ['x'] }));
    for await (const _ of chat.complete([1, 2, 3]));
    for await (const _ of chat.chat([{ role: 'user', content: 'Hello <|eot|>' }]));
    expect(asked[0]!.prompt).toEqual([tokenizer.bos, ...tokenizer.encode('Hello')]);
    expect(asked[0]!.options).toMatchObject({ temperature: 0.5, stopTokens: tokenizer.stopTokens });
    expect('stop' in asked[0]!.options).toBe(false);
    expect(asked[1]!.prompt).toEqual([1, 2, 3]);
    expect(asked[2]!.prompt).toEqual(format.encode([{ role: 'user', content: 'Hello <|eot|>' }]));
    expect(asked[2]!.options.stopTokens).toBe(format.stopTokens);
  });

  test('an end that is to be ignored reaches the engine as none', async () => {
    const { engine, asked } = saying([]);
    const chat = createChat(engine, tokenizer, format);
    for await (const _ of chat.complete('Hello', { ignoreEnd: true }));
    for await (const _ of chat.chat([{ role: 'user', content: 'Hello' }], { ignoreEnd: true }));
    for (const { options } of asked) {
      expect(options.stopTokens).toEqual([]);
      expect('ignoreEnd' in options).toBe(false);
    }
  });

  test("leaving the loop, or the caller's signal, ends the generation", async () => {
    const left = saying(bytes('abcdef'));
    for await (const _ of createChat(left.engine, tokenizer, format).complete('x')) break;
    expect(left.state()).toEqual({ said: 1, closed: true });
    const controller = new AbortController();
    const aborted = saying(bytes('abcdef'));
    const events: ChatEvent[] = [];
    const options = { signal: controller.signal };
    for await (const event of createChat(aborted.engine, tokenizer, format).complete('x', options)) {
      events.push(event);
      if (events.length === 2) controller.abort();
    }
    expect(events.at(-1)).toMatchObject({ type: 'end', reason: 'abort' });
    expect(aborted.state()).toEqual({ said: 2, closed: true });
  });
});

describe('a model', () => {
  test('answers, with a history that is not computed twice', async () => {
    await using chat = await openChat(path, { backend: 'wasm', threads: 2, contextTokens: 512 });
    const ask = { role: 'user', content: 'Hello' } as const;
    let text = '';
    let tokens = 0;
    for await (const event of chat.chat([ask], { maxTokens: 8 })) {
      if (event.type === 'text') {
        text += event.text;
        tokens += event.tokens.length;
      } else if (event.type === 'end') expect(event.stats.generatedTokens).toBe(tokens);
    }
    const history = [ask, { role: 'assistant', content: text }, ask] as const;
    for await (const event of chat.chat(history, { maxTokens: 1 }))
      if (event.type === 'end')
        expect(event.stats.cachedTokens).toBeGreaterThanOrEqual(chat.format.encode([ask]).length - 1);
  });

  test('without a file, and with a file that has no tokenizer: the path is named', async () => {
    await expect(openChat('nowhere.gguf')).rejects.toThrow(CheckpointError);
    const folder = mkdtempSync(join(tmpdir(), 'maverick-chat-'));
    const mute = join(folder, 'mute.gguf');
    await writeGguf(mute, { metadata: { 'general.architecture': 'llama' }, tensors: [] });
    await expect(openChat(mute)).rejects.toMatchObject({
      name: 'CheckpointError',
      message: expect.stringMatching(/mute\.gguf: tokenizer\.ggml\.model is missing/),
    });
    rmSync(folder, { recursive: true });
  });
});
