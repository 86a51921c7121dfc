// Regular expressions (ECMAScript's, as JSON Schema uses them) as GBNF. What has no meaning in a grammar is refused by name.
import { GrammarError } from './grammar-error.ts';
import { complement, mergeRanges } from './grammar-text.ts';

type Ranges = readonly (readonly [number, number])[];

const LONGEST = 10_000;
const DEEPEST = 100;
const LARGEST = 10_000;
const ANY: Ranges = [[0, 0x10ffff]];
const DIGIT: Ranges = [[48, 57]];
const WORD: Ranges = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const SPACE: Ranges = mergeRanges([
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
const NOT_LINE_END = complement([
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
]);
const sets: Readonly<Record<string, Ranges>> = {
  d: DIGIT,
  D: complement(DIGIT),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const escapes: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0 };

/**
 * A GBNF expression of the texts that a pattern matches.
 * @param write how the characters of some ranges are written; default: as they are. In JSON some are escaped
 * @param whole true: the pattern is the whole text; false: it may stand anywhere in it, unless `^` and `$` say otherwise
 * @throws GrammarError naming the character
 */
export function regexGrammar(
  pattern: string,
  parameter: string,
  { whole, write = classText }: { readonly whole: boolean; readonly write?: (ranges: Ranges) => string },
): string {
  return new Pattern(pattern, parameter, write).read(whole);
}

/** Ranges as a class in GBNF. */
export const classText = (ranges: Ranges): string =>
  `[${ranges.map(([from, to]) => (from === to ? hex(from) : `${hex(from)}-${hex(to)}`)).join('')}]`;

const hex = (c: number): string =>
  c > 0x20 && c < 0x7f && !'[]^-\\"'.includes(String.fromCharCode(c))
    ? String.fromCharCode(c)
    : `\\U${c.toString(16).padStart(8, '0')}`;

class Pattern {
  readonly #pattern: string;
  readonly #parameter: string;
  readonly #write: (ranges: Ranges) => string;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, parameter: string, write: (ranges: Ranges) => string) {
    this.#pattern = pattern;
    this.#parameter = parameter;
    this.#write = write;
    if (pattern.length > LONGEST)
      throw new GrammarError(parameter, '', `${pattern.length} characters, at most ${LONGEST} are supported`);
  }

  read(whole: boolean): string {
    const any = `${this.#write(ANY)}*`;
    const alternatives: string[] = [];
    do {
      const from = this.#take('^');
      const items = this.#items();
      const to = this.#take('$');
      if (this.#at < this.#pattern.length && this.#pattern[this.#at] !== '|')
        throw this.#error(
          this.#pattern[this.#at] === ')'
            ? "this ')' closes nothing"
            : `'${this.#pattern[this.#at]}' has no meaning here`,
        );
      alternatives.push(
        [whole || from ? '' : any, items, whole || to ? '' : any].filter(part => part !== '').join(' '),
      );
    } while (this.#take('|'));
    return alternatives.map(text => text || '""').join(' | ');
  }

  #choice(): string {
    if (++this.#depth > DEEPEST) throw this.#error(`groups are nested more than ${DEEPEST} deep`);
    const alternatives = [this.#items()];
    while (this.#take('|')) alternatives.push(this.#items());
    this.#depth--;
    return alternatives.map(text => text || '""').join(' | ');
  }

  #items(): string {
    const items: string[] = [];
    for (let item = this.#atom(); item !== null; item = this.#atom()) items.push(item + this.#quantifier());
    return items.join(' ');
  }

  #atom(): string | null {
    const c = this.#pattern[this.#at];
    if (c === undefined || c === '|' || c === ')') return null;
    if (c === '$') {
      // The end of an alternative that is not in a group.
      if (this.#depth === 0 && /^\$(\||$)/.test(this.#pattern.slice(this.#at, this.#at + 2))) return null;
      throw this.#error("'$' is supported at the end of the pattern or of an alternative, outside of groups");
    }
    if (c === '^')
      throw this.#error("'^' is supported at the beginning of the pattern or of an alternative, outside of groups");
    if (c === '(') return this.#group();
    if (c === '[') return this.#write(this.#class());
    if (c === '.') {
      this.#at++;
      return this.#write(NOT_LINE_END);
    }
    if ('*+?'.includes(c)) throw this.#error(`'${c}' repeats nothing`);
    const set = this.#character(false);
    return this.#write(typeof set === 'number' ? [[set, set]] : set);
  }

  #group(): string {
    const start = this.#at++;
    if (this.#pattern[this.#at] === '?') {
      const kind = /\?(:|<(?![=!])[^>]*>)/y;
      kind.lastIndex = this.#at;
      const found = kind.exec(this.#pattern)?.[0];
      if (!found) throw this.#error('looking ahead or behind, and flags, are not supported', start);
      this.#at += found.length;
    }
    const inner = this.#choice();
    if (!this.#take(')')) throw this.#error('this group is not closed', start);
    return `(${inner})`;
  }

  #quantifier(): string {
    const found = /[*+?]|\{(\d+)(,?)(\d*)\}/y;
    found.lastIndex = this.#at;
    const match = found.exec(this.#pattern);
    if (!match) return '';
    const [text, least, comma, most] = match;
    if (Math.max(Number(least ?? 0), Number(most || 0)) > LARGEST)
      throw this.#error(`more than ${LARGEST} repetitions are not supported`);
    if (most && Number(most) < Number(least)) throw this.#error(`${text} ends before it begins`);
    this.#at += text.length;
    this.#take('?'); // lazy or not, the texts are the same
    if (/^[*+?{]/.test(this.#pattern[this.#at] ?? '') && !this.#pattern.startsWith('{}', this.#at))
      throw this.#error('a repetition of a repetition; put the inner one in a group');
    return least === undefined ? text : `{${Number(least)}${comma}${most === '' ? '' : Number(most)}}`;
  }

  #class(): Ranges {
    const start = this.#at++;
    const negated = this.#take('^');
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take(']')) {
      if (this.#at >= this.#pattern.length) throw this.#error('this class is not closed', start);
      const from = this.#character(true);
      if (typeof from !== 'number') {
        ranges.push(...from);
        continue;
      }
      let to: number | Ranges = from;
      if (
        this.#pattern[this.#at] === '-' &&
        this.#pattern[this.#at + 1] !== ']' &&
        this.#at + 1 < this.#pattern.length
      ) {
        this.#at++;
        to = this.#character(true);
      }
      if (typeof to !== 'number' || to < from) throw this.#error('this range of a class is none', start);
      ranges.push([from, to]);
    }
    const merged = mergeRanges(ranges);
    const result = negated ? complement(merged) : merged;
    if (result.length === 0) throw this.#error('this class has no character, so that nothing matches', start);
    return result;
  }

  #character(inClass: boolean): number | Ranges {
    const start = this.#at;
    const c = this.#pattern.codePointAt(this.#at)!;
    this.#at += c > 0xffff ? 2 : 1;
    if (c !== 0x5c) return c;
    const rest = this.#pattern.slice(this.#at, this.#at + 10);
    const found = /^(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|c([A-Za-z]))/.exec(rest);
    if (found) {
      this.#at += found[0].length;
      const control = found[4];
      const code = control ? control.charCodeAt(0) % 32 : Number.parseInt(found[1] ?? found[2] ?? found[3]!, 16);
      if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw this.#error('this is no character', start);
      return code;
    }
    const letter = rest[0];
    if (letter === undefined) throw this.#error('a backslash escapes nothing', start);
    if (inClass && letter === 'b') {
      this.#at++;
      return 8;
    }
    if (Object.hasOwn(sets, letter)) {
      this.#at++;
      return sets[letter]!;
    }
    if (Object.hasOwn(escapes, letter) && !/^0\d/.test(rest)) {
      this.#at++;
      return escapes[letter]!;
    }
    if (/^[A-Za-z0-9]/.test(letter)) throw this.#error(`\\${letter} is not supported`, start);
    const code = rest.codePointAt(0)!;
    this.#at += code > 0xffff ? 2 : 1;
    return code;
  }

  #take(text: string): boolean {
    if (!this.#pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #error(problem: string, at = this.#at): GrammarError {
    return new GrammarError(this.#parameter, `character ${at + 1}`, problem);
  }
}
