// Guesses are trusted while at least half of the recent ones come true, and never before some were counted.
import { expect, test } from 'vitest';
import { GuessTrust } from './expert-guess.ts';

function after(outcomes: readonly boolean[], trust = new GuessTrust()): GuessTrust {
  for (const right of outcomes) {
    trust.guess(7);
    trust.judge(() => right);
  }
  return trust;
}
const times = (count: number, right: (i: number) => boolean): boolean[] =>
  Array.from({ length: count }, (_, i) => right(i));

test('trust is earned, lost, and earned again', () => {
  expect(after(times(15, () => true)).deserved).toBe(false);
  const trust = after(times(40, i => i % 8 !== 0));
  expect(trust).toMatchObject({ deserved: true, guesses: 40, right: 35 });
  expect(
    after(
      times(100, i => i % 8 === 0),
      trust,
    ).deserved,
  ).toBe(false);
  expect(
    after(
      times(200, i => i % 4 !== 0),
      trust,
    ).deserved,
  ).toBe(true);
});

test('one in eight, as on random weights, is never enough', () => {
  expect(after(times(1000, i => i % 8 === 0)).deserved).toBe(false);
});
