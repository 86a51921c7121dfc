// A stream of events, read as a body or taken as text: the same, with signs of life, and an end that is told once.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openai } from './dialect.ts';
import { ApiError } from './errors.ts';
import { type EventStreamOptions, eventStream, eventTextOf } from './sse.ts';

type Values = () => AsyncGenerator<unknown, void>;

function stream(values: Values, options: Partial<EventStreamOptions> = {}) {
  const told: string[] = [];
  const response = eventStream(values(), {
    abort: () => told.push('abort'),
    end: () => told.push('end'),
    dialect: openai,
    toError: error => new ApiError(500, 'internal_error', (error as Error).message),
    ...options,
  });
  return { response, told };
}

async function textOf(response: Response): Promise<string> {
  const text = eventTextOf(response)!;
  let all = '';
  for (let piece = await text.next(); piece !== null; piece = await text.next()) all += piece;
  expect(await text.next()).toBeNull();
  return all;
}

const failing: Values = async function* () {
  yield { a: 1 };
  throw new Error('out of luck');
};

test.each<readonly [string, Values, string]>([
  [
    'values',
    async function* () {
      yield { a: 1 };
      yield { b: 'é' };
    },
    'data: {"a":1}\n\ndata: {"b":"é"}\n\ndata: [DONE]\n\n',
  ],
  ['nothing', async function* () {}, 'data: [DONE]\n\n'],
  [
    'an error in the middle',
    failing,
    'data: {"a":1}\n\nevent: error\ndata: {"error":{"message":"out of luck","type":"server_error","param":null,"code":"internal_error"}}\n\n',
  ],
])('%s: as a body and as text', async (_, values, wanted) => {
  const read = stream(values);
  expect(await read.response.text()).toBe(wanted);
  const taken = stream(values);
  // What a middleware makes of a response has the same text; nothing is taken from it before it is asked for.
  const copy = new Response(taken.response.body, taken.response);
  await sleep(1);
  expect(await textOf(copy)).toBe(wanted);
  expect([read.told, taken.told]).toEqual([['end'], ['end']]);
});

test('a dialect without a closing mark just ends', async () => {
  const { response, told } = stream(async function* () {}, { dialect: { ...openai, end: '' } });
  expect(await textOf(response)).toBe('');
  expect(told).toEqual(['end']);
});

test('silence is broken by comments, as often as it lasts', async () => {
  const { response } = stream(
    async function* () {
      await sleep(100);
      yield { a: 1 };
    },
    { heartbeatMs: 20 },
  );
  expect(await textOf(response)).toMatch(/^(?:: still here\n\n){2,}data: {"a":1}\n\ndata: \[DONE\]\n\n$/);
});

test.each(['a body', 'text'])('who leaves ends the computing, once: %s', async how => {
  let left = false;
  const { response, told } = stream(async function* () {
    try {
      for (;;) yield await sleep(1, { a: 1 });
    } finally {
      left = true;
    }
  });
  if (how === 'text') {
    const text = eventTextOf(response)!;
    await text.next();
    const asked = text.next();
    await Promise.all([text.leave(), text.leave(), asked]);
    expect(await text.next()).toBeNull();
  } else {
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
  }
  expect([left, told]).toEqual([true, ['abort', 'end']]);
});

test('other responses have none', () => {
  expect(eventTextOf(new Response('x'))).toBeUndefined();
  expect(eventTextOf(new Response(null))).toBeUndefined();
});
