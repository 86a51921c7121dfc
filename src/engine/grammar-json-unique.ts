// Items of an array that are all different, chosen from a list: each at most once, in the list's order.
import type { Text } from './grammar-union.ts';

/** Choices of an item in all, beyond which no grammar is made. */
export const MOST_CHOICES = 8192;

/** How many choices that makes. */
export const choicesOf = (values: number, least: number, most: number): number =>
  values * values * (isBounded(values, least, most) ? Math.min(values, most) : 1);

const isBounded = (values: number, least: number, most: number): boolean => least > 1 || most < values;

/**
 * What stands between the brackets.
 * @param values expressions of values that are all different
 * @param rule names a part, so that it is written once
 */
export function distinctItems(
  values: readonly string[],
  least: number,
  most: number,
  rule: (text: string) => string,
): Text {
  const counts = isBounded(values.length, least, most);
  const known = new Map<string, Text>();
  /** One more item, from the list's i-th on, behind `said` others. */
  const next = (i: number, said: number): Text => {
    const key = `${i} ${counts ? said : 0}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const choices: string[] = [];
    for (let at = i; at < values.length; at++) {
      const rest = others(at + 1, said + 1);
      if (rest !== null) choices.push(rest === '' ? values[at]! : `${values[at]} ${rest}`);
    }
    const text = choices.length === 0 ? null : rule(choices.join(' | '));
    known.set(key, text);
    return text;
  };
  const others = (i: number, said: number): Text => {
    const more = said >= most ? null : next(i, said);
    if (more === null) return said >= least ? '' : null;
    return said >= least ? `(ws "," ws ${more})?` : `ws "," ws ${more}`;
  };
  const first = most > 0 ? next(0, 0) : null;
  if (first === null) return least === 0 ? '' : null;
  return least === 0 ? `(${first})?` : first;
}
