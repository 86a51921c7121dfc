// Passes that last as long as they should on machines and models of every speed.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createPace } from './pace.ts';

test('small until something is measured; decode passes teach nothing', () => {
  const pace = createPace(250, 512);
  expect(pace.tokens()).toBe(32);
  pace.measured(1, 40);
  pace.measured(31, 0.001);
  expect(pace.tokens()).toBe(32);
  pace.measured(32, 8);
  expect(pace.tokens()).toBe(512);
  expect(createPace(250, 5).tokens()).toBe(5);
  expect(createPace(Infinity, 512).tokens()).toBe(512);
});

test('who is alone gets passes of four times that, cut evenly', () => {
  const pace = createPace(250, 512);
  expect([1, 17, 32, 33, 100].map(tokens => pace.tokens(tokens))).toEqual([1, 17, 32, 17, 25]);
  pace.measured(100, 250); // 100 tokens would do for several
  expect([1, 400, 401, 700, 1200].map(tokens => pace.tokens(tokens))).toEqual([1, 400, 201, 350, 400]);
  expect(pace.tokens()).toBe(100);
  expect(createPace(250, 5).tokens(12)).toBe(4);
  expect(createPace(Infinity, 512).tokens(600)).toBe(300);
});

test('a pass comes close to the time wanted, or is as small or as large as may be', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.01, max: 100, noNaN: true }),
      fc.double({ min: 0, max: 200, noNaN: true }),
      (msPerToken, msPerPass) => {
        const pace = createPace(250, 512);
        const ms = (tokens: number): number => msPerPass + tokens * msPerToken;
        for (let pass = 0; pass < 60; pass++) pace.measured(pace.tokens(), ms(pace.tokens()));
        const tokens = pace.tokens();
        if (tokens > 32) expect(ms(tokens)).toBeLessThan(260);
        if (tokens < 512) expect(ms(tokens + 1)).toBeGreaterThan(240);
      },
    ),
  );
});

test('a model that gets slower as its context fills gets smaller passes', () => {
  const pace = createPace(250, 512);
  for (let depth = 0; depth < 20000; depth += pace.tokens())
    pace.measured(pace.tokens(), pace.tokens() * (0.2 + depth / 5000));
  expect(pace.tokens()).toBeLessThan(100);
});
