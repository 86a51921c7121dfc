// Strings of JSON as GBNF: their characters with the escapes that JSON demands, formats, and keys that are none of some names.
import { classText, regexGrammar } from './grammar-regex.ts';
import { complement, mergeRanges } from './grammar-text.ts';

type Ranges = readonly (readonly [number, number])[];

/** Any character of a string, however it is written; halves of characters are not. */
export const anyCharacter =
  '([ !#-\\[\\U0000005d-\\U0010ffff] | "\\\\" (["\\\\/bfnrt] | "u" ([0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})))';

const MUST_ESCAPE = mergeRanges([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]);
const short: Readonly<Record<number, string>> = { 8: 'b', 9: 't', 10: 'n', 12: 'f', 13: 'r', 34: '"', 92: '\\' };

/** A text as a literal of GBNF. */
export const literal = (text: string): string =>
  `"${text.replace(/["\\]/g, c => `\\${c}`).replace(/\p{Cc}/gu, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}"`;

/** One character of some ranges, within a string. */
export function stringCharacter(ranges: Ranges): string {
  const merged = mergeRanges(ranges);
  const plain = intersect(merged, complement(MUST_ESCAPE));
  const escaped = intersect(merged, MUST_ESCAPE);
  const parts = plain.length > 0 ? [classText(plain)] : [];
  const codes = escaped.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
  const letters = codes.flatMap(code => short[code] ?? []);
  if (letters.length > 0)
    parts.push(
      `"\\\\" ${letters
        .map(literal)
        .join(' | ')
        .replace(/^(.* \| .*)$/, '($1)')}`,
    );
  for (const high of [0, 1]) {
    const digits = codes.filter(code => code >> 4 === high && !(code in short)).map(code => (code & 15).toString(16));
    if (digits.length > 0) parts.push(`"\\\\u00${high}" [${digits.join('')}]`);
  }
  return parts.length === 1 ? parts[0]!.replace(/^("\\\\".*)$/, '($1)') : `(${parts.join(' | ')})`;
}

function intersect(a: Ranges, b: Ranges): [number, number][] {
  const found: [number, number][] = [];
  for (const [from, to] of a)
    for (const [first, last] of b)
      if (Math.max(from, first) <= Math.min(to, last)) found.push([Math.max(from, first), Math.min(to, last)]);
  return found;
}

/** A pattern of a string's content, its quotes included. */
export const patternString = (pattern: string, place: string): string =>
  `"\\"" (${regexGrammar(pattern, place, { whole: false, write: stringCharacter })}) "\\""`;

/** Formats that are kept to; of others, a schema's `format` is a remark, as the standard has it. */
export const formats: Readonly<Record<string, string>> = (() => {
  const date =
    '[0-9]{4} "-" ("0" [13578] "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | "1" [02] "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))';
  const time =
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])';
  const byte = '([0-9] | [1-9] [0-9] | "1" [0-9] [0-9] | "2" [0-4] [0-9] | "25" [0-5])';
  const hex = '[0-9a-f]';
  const label = '[a-z0-9] ([a-z0-9-]{0,20} [a-z0-9])?';
  return {
    date,
    time,
    'date-time': `${date} "T" ${time}`,
    uuid: `${hex}{8} "-" ${hex}{4} "-" ${hex}{4} "-" ${hex}{4} "-" ${hex}{12}`,
    ipv4: `${byte} "." ${byte} "." ${byte} "." ${byte}`,
    ipv6: `[0-9a-f]{1,4} (":" [0-9a-f]{1,4}){7}`,
    hostname: `${label} ("." ${label}){0,3}`,
    email: `[a-zA-Z0-9_+-]{1,20} ("." [a-zA-Z0-9_+-]{1,20}){0,2} "@" ${label} ("." ${label}){1,3}`,
    uri: `[a-z] [a-z0-9]{0,10} "://" ${label} ("." ${label}){0,3} ("/" [a-zA-Z0-9._~-]{0,30}){0,6}`,
  };
})();

/** Strings, with their quotes, that are none of the names; each character is written in one way only. */
export function keyExcept(names: readonly string[], rule: (text: string) => string): string {
  const any = stringCharacter([[0, 0x10ffff]]);
  const rest = rule(`${any}*`);
  const node = (here: readonly string[]): string => {
    const byFirst = new Map<number, string[]>();
    for (const name of here) {
      const c = name.codePointAt(0);
      if (c === undefined) continue;
      byFirst.set(c, [...(byFirst.get(c) ?? []), name.slice(String.fromCodePoint(c).length)]);
    }
    const others = complement(mergeRanges([...byFirst.keys()].map(c => [c, c] as const)));
    const parts = [...byFirst].map(([c, rests]) => `${stringCharacter([[c, c]])} ${node(rests)}`);
    parts.push(`${stringCharacter(others)} ${rest}`);
    if (!here.includes('')) parts.push('""');
    return rule(parts.join(' | '));
  };
  return `"\\"" ${node(names)} "\\""`;
}
