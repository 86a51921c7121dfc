// The members of a JSON object as GBNF: those that are named in their order, and others behind them.
import type { Text } from './grammar-union.ts';

/** Longer strings, arrays and objects are not written, whatever a schema allows. */
export const MOST_LENGTH = 1 << 20;

/**
 * An object: members in their order; each takes its comma with it, so that the first that is there has none.
 * @param open a further member, if there may be some: at least `least`, and `room` at most
 * @param rule names a part, so that it is written once
 */
export function membersText(
  members: readonly { readonly text: string; readonly isRequired: boolean }[],
  open: Text,
  least: number,
  room: number,
  rule: (text: string) => string,
): string {
  const comma = 'ws "," ws ';
  const bounds = (from: number, to: number): string =>
    to >= MOST_LENGTH ? `{${from},}` : `{${from},${Math.max(from, to)}}`;
  const opened = open === null ? null : rule(open);
  /** Members from i on, behind others or as the first. */
  const behind: string[] = [];
  behind[members.length] = opened === null ? '' : `(${comma}${opened})${bounds(least, room)}`;
  const first: string[] = [];
  first[members.length] =
    opened === null
      ? ''
      : least > 0
        ? `${opened} (${comma}${opened})${bounds(least - 1, room - 1)}`
        : `(${opened} (${comma}${opened})${bounds(0, room - 1)})?`;
  for (let i = members.length - 1; i >= 0; i--) {
    const { text, isRequired } = members[i]!;
    const member = rule(text);
    const rest = behind[i + 1] ? ` ${rule(behind[i + 1]!)}` : '';
    behind[i] = isRequired ? `${comma}${member}${rest}` : `(${comma}${member})?${rest}`;
    const start = `${member}${rest}`;
    first[i] = isRequired ? start : first[i + 1] ? `${start} | ${rule(first[i + 1]!)}` : `(${start})?`;
  }
  const all = first[0]!;
  return `"{" ws ${all.includes('|') ? `(${all})` : all} ws "}"`;
}
