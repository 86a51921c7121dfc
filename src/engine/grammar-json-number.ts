// Numbers of a range as GBNF: by their digits, so that no number outside can be written.
import { literal } from './grammar-json-string.ts';
import { type Text, union } from './grammar-union.ts';

const DIGITS = 15;
/** Digits behind the point of numbers with bounds. */
const FRACTION = 4;
const MOST_MULTIPLES = 1000;

export const anyInteger = `"-"? ("0" | [1-9] [0-9]{0,${DIGITS - 1}})`;
export const anyNumber = `${anyInteger} ("." [0-9]{1,${DIGITS}})? ([eE] [+-]? [0-9]{1,2})?`;

export interface NumberRange {
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** Whether a number is in the range. */
export const isInRange = (x: number, range: NumberRange): boolean =>
  x >= (range.minimum ?? -Infinity) &&
  x <= (range.maximum ?? Infinity) &&
  x > (range.exclusiveMinimum ?? -Infinity) &&
  x < (range.exclusiveMaximum ?? Infinity);

/** Numbers of a range with up to four digits behind the point, or whole ones; null when there is none. */
export function numbersIn(range: NumberRange, whole: boolean): string | null {
  const alternatives: string[] = [];
  for (let places = 0; places <= (whole ? 0 : FRACTION); places++) {
    const bounds = scaled(range, places);
    if (!bounds) continue;
    const [from, to] = bounds;
    if (to >= 0n) alternatives.push(...fixedPoint(from > 0n ? from : 0n, to, places));
    // Minus zero is zero, and better left out.
    if (from < 0n) alternatives.push(...fixedPoint(to < 0n ? -to : 1n, -from, places).map(text => `"-" (${text})`));
  }
  return alternatives.length === 0 ? null : alternatives.join(' | ');
}

/** The multiples of a whole number in a range, one by one; null when there are more than `most`. */
export function multiplesIn(range: NumberRange, of: number, most: number): string[] | null {
  const bounds = scaled(range, 0);
  if (!bounds) return [];
  const step = BigInt(of);
  const first = bounds[0] >= 0n ? ((bounds[0] + step - 1n) / step) * step : -(-bounds[0] / step) * step;
  if (bounds[1] - first >= step * BigInt(most)) return null;
  const found: string[] = [];
  for (let n = first; n <= bounds[1]; n += step) found.push(String(n));
  return found;
}

/** The smallest and largest n for which n / 10^places is in the range. */
function scaled(range: NumberRange, places: number): [bigint, bigint] | null {
  const limit = 10n ** BigInt(DIGITS);
  const readBack = (n: bigint): number => Number(pointed(n, places));
  const near = (x: number): bigint => {
    const shifted =
      Number.isFinite(x) && Math.abs(x) < 1e15 ? BigInt(Math.round(x * 10 ** Math.min(places, 15))) : null;
    return shifted ?? (x < 0 ? -limit : limit) * 10n ** BigInt(places);
  };
  const low = Math.max(range.minimum ?? -Infinity, range.exclusiveMinimum ?? -Infinity);
  const high = Math.min(range.maximum ?? Infinity, range.exclusiveMaximum ?? Infinity);
  let from = near(low) - 2n;
  let to = near(high) + 2n;
  // Rounded at the edges: what counts is the number that is read back.
  const lower: NumberRange = { minimum: range.minimum, exclusiveMinimum: range.exclusiveMinimum };
  const upper: NumberRange = { maximum: range.maximum, exclusiveMaximum: range.exclusiveMaximum };
  for (let i = 0; i < 8 && !isInRange(readBack(from), lower); i++) from++;
  for (let i = 0; i < 8 && !isInRange(readBack(to), upper); i++) to--;
  return from <= to && isInRange(readBack(from), range) && isInRange(readBack(to), range) ? [from, to] : null;
}

function pointed(n: bigint, places: number): string {
  const digits = String(n < 0n ? -n : n).padStart(places + 1, '0');
  const cut = digits.length - places;
  return `${n < 0n ? '-' : ''}${digits.slice(0, cut)}${places > 0 ? `.${digits.slice(cut)}` : ''}`;
}

/** Texts of from … to (both ≥ 0), with so many digits behind the point. */
function fixedPoint(from: bigint, to: bigint, places: number): string[] {
  if (from > to) return [];
  const least = places + 1;
  const alternatives: string[] = [];
  for (let length = least; length <= String(to).length || length === least; length++) {
    const smallest = length === least ? 0n : 10n ** BigInt(length - 1);
    const largest = 10n ** BigInt(length) - 1n;
    const a = from > smallest ? from : smallest;
    const b = to < largest ? to : largest;
    if (a > b) continue;
    alternatives.push(
      between(
        String(a).padStart(length, '0'),
        String(b).padStart(length, '0'),
        places > 0 ? length - places : Infinity,
      ),
    );
  }
  return alternatives;
}

/** Digits a … b, both of one length, with a point behind the first `before` of them. */
function between(a: string, b: string, before: number): string {
  if (a === '') return '';
  const point = before === 0 ? '"." ' : '';
  const after = before === 0 ? Infinity : before - 1;
  const [first, last] = [Number(a[0]), Number(b[0])];
  const rest = a.length - 1;
  const then = (from: string, to: string): string => {
    const text = between(from, to, after);
    return text.includes('|') ? ` (${text})` : text && ` ${text}`;
  };
  if (first === last) return `${point}"${first}"${then(a.slice(1), b.slice(1))}`;
  const low = /^0*$/.test(a.slice(1)) ? first : first + 1;
  const high = /^9*$/.test(b.slice(1)) ? last : last - 1;
  const parts: string[] = [];
  if (low > first) parts.push(`${point}"${first}"${then(a.slice(1), '9'.repeat(rest))}`);
  if (low <= high) parts.push(`${point}[${low}-${high}]${free(rest, after)}`);
  if (high < last) parts.push(`${point}"${last}"${then('0'.repeat(rest), b.slice(1))}`);
  return parts.join(' | ');
}

function free(digits: number, before: number): string {
  if (digits === 0) return '';
  if (before >= digits) return ` [0-9]{${digits}}`;
  return `${before > 0 ? ` [0-9]{${before}}` : ''} "." [0-9]{${digits - before}}`;
}

/**
 * Numbers, or integers, of a schema.
 * @throws what `fail` throws, of multiples that cannot be listed
 */
export function numberText(
  { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf }: NumberRange & { readonly multipleOf?: number },
  isInteger: boolean,
  fail: (problem: string) => never,
): Text {
  const range = { minimum, maximum, exclusiveMinimum, exclusiveMaximum };
  const isFree = Object.values(range).every(bound => bound === undefined);
  if (multipleOf !== undefined && !(isInteger && Number.isInteger(1 / multipleOf)) && multipleOf !== 1) {
    const shift = /^10*$/.exec(String(multipleOf))?.[0].length;
    if (shift && isFree) return `"-"? [1-9] [0-9]{0,${14 - shift}} "${'0'.repeat(shift - 1)}" | "0"`;
    const all = Number.isInteger(multipleOf)
      ? multiplesIn(bounded(range, multipleOf), multipleOf, MOST_MULTIPLES)
      : null;
    if (!all)
      fail(`got ${multipleOf}, wanted a whole number, with bounds that leave at most ${MOST_MULTIPLES} multiples`);
    return union(all.map(literal));
  }
  if (isFree) return isInteger || multipleOf ? 'integer' : 'number';
  return numbersIn(range, isInteger || multipleOf !== undefined);
}

/** Bounds that are missing are those that leave the most multiples that can be listed. */
function bounded(range: NumberRange, step: number): NumberRange {
  const has = (a?: number, b?: number): boolean => a !== undefined || b !== undefined;
  const reach = step * (MOST_MULTIPLES / 2 - 1);
  const low = Math.max(range.minimum ?? -Infinity, range.exclusiveMinimum ?? -Infinity);
  const high = Math.min(range.maximum ?? Infinity, range.exclusiveMaximum ?? Infinity);
  return {
    ...range,
    ...(has(range.minimum, range.exclusiveMinimum) ? {} : { minimum: high === Infinity ? -reach : high - reach }),
    ...(has(range.maximum, range.exclusiveMaximum) ? {} : { maximum: low === -Infinity ? reach : low + reach }),
  };
}
