// Reads grammars written in GBNF, the notation of llama.cpp, which is also EBNF with `::=`: rules, literals, character classes,
// groups, `|`, `*`, `+`, `?` and `{m,n}`. A rule ends where the next begins; line ends mean nothing.
import { GrammarError } from './grammar-error.ts';

/** A part of a rule's right side. Characters are code points. */
export type Expression =
  | { readonly type: 'literal'; readonly text: string }
  /** One character of the ranges, each [first, last], ascending and apart. */
  | { readonly type: 'class'; readonly ranges: readonly (readonly [number, number])[] }
  | { readonly type: 'rule'; readonly name: string; readonly at: number }
  | { readonly type: 'sequence'; readonly items: readonly Expression[] }
  | { readonly type: 'choice'; readonly items: readonly Expression[] }
  | { readonly type: 'repeat'; readonly item: Expression; readonly min: number; readonly max: number };

export interface GrammarText {
  readonly rules: ReadonlyMap<string, Expression>;
  /** Where in the text, for people. */
  place(at: number): string;
}

/** Beyond these a grammar is refused before any work is done with it. */
export const GRAMMAR_LIMITS = {
  /** UTF-16 units of a grammar. */
  length: 1 << 18,
  /** Groups within groups. */
  depth: 128,
  /** Expressions in all. */
  expressions: 20_000,
  /** The largest bound of a repetition. */
  repetitions: 1 << 20,
};

const NAME = /[A-Za-z_][A-Za-z0-9_.-]*/y;
const SPACE = /(?:[ \t\r\n]|#[^\n]*)*/y;
const LAST_CHARACTER = 0x10ffff;

/**
 * @param parameter what error messages call the text
 * @throws GrammarError naming line and column
 */
export function parseGrammar(text: string, parameter = 'grammar'): GrammarText {
  return new Reader(text, parameter).grammar();
}

class Reader {
  readonly #text: string;
  readonly #parameter: string;
  #at = 0;
  #depth = 0;
  #expressions = 0;

  constructor(text: string, parameter: string) {
    this.#text = text;
    this.#parameter = parameter;
    if (text.length > GRAMMAR_LIMITS.length)
      throw new GrammarError(
        parameter,
        '',
        `it has ${text.length} characters, at most ${GRAMMAR_LIMITS.length} are read`,
      );
  }

  grammar(): GrammarText {
    const rules = new Map<string, Expression>();
    for (this.#space(); this.#at < this.#text.length; this.#space()) {
      const start = this.#at;
      const name = this.#match(NAME);
      if (name === '') throw this.#wrong('the name of a rule');
      this.#space();
      if (!this.#take('::=')) throw this.#wrong("'::=' behind the name of a rule");
      if (rules.has(name)) throw this.#error(start, `rule '${name}' was defined before; name this one otherwise`);
      rules.set(name, this.#choice());
    }
    if (!rules.has('root')) throw this.#error(0, "there is no rule 'root', with which every text begins");
    return { rules, place: at => placeIn(this.#text, at) };
  }

  #choice(): Expression {
    if (++this.#depth > GRAMMAR_LIMITS.depth)
      throw this.#error(
        this.#at,
        `groups are nested more than ${GRAMMAR_LIMITS.depth} deep; make rules of the inner ones`,
      );
    const items = [this.#sequence()];
    while (this.#take('|')) items.push(this.#sequence());
    this.#depth--;
    return items.length === 1 ? items[0]! : this.#count({ type: 'choice', items });
  }

  #sequence(): Expression {
    const items: Expression[] = [];
    for (;;) {
      this.#space();
      const item = this.#atom();
      if (!item) break;
      items.push(this.#repeated(item));
    }
    return items.length === 1 ? items[0]! : this.#count({ type: 'sequence', items });
  }

  #atom(): Expression | null {
    const start = this.#at;
    const c = this.#text[start];
    if (c === '"') return this.#count({ type: 'literal', text: this.#literal() });
    if (c === '[') return this.#count({ type: 'class', ranges: this.#class() });
    if (c === '.') {
      this.#at++;
      return this.#count({ type: 'class', ranges: [[0, LAST_CHARACTER]] });
    }
    if (c === '(') {
      this.#at++;
      const inner = this.#choice();
      if (!this.#take(')')) throw this.#wrong("')', for a group is open");
      return inner;
    }
    const name = this.#match(NAME);
    if (name === '') {
      if (c === undefined || c === '|' || c === ')') return null;
      throw this.#wrong('a literal "…", a class […], a group (…), the name of a rule, or the end of this one');
    }
    // A name with '::=' behind it begins the next rule.
    const end = this.#at;
    this.#space();
    if (this.#text.startsWith('::=', this.#at)) {
      this.#at = start;
      return null;
    }
    this.#at = end;
    return this.#count({ type: 'rule', name, at: start });
  }

  #repeated(atom: Expression): Expression {
    const bounds = this.#bounds();
    if (!bounds) return atom;
    if (this.#bounds()) throw this.#error(this.#at - 1, 'a repetition of a repetition; put the inner one in a group');
    return this.#count({ type: 'repeat', item: atom, ...bounds });
  }

  #bounds(): { min: number; max: number } | null {
    const c = this.#text[this.#at];
    if (c === '*' || c === '+' || c === '?') {
      this.#at++;
      return { min: c === '+' ? 1 : 0, max: c === '?' ? 1 : Infinity };
    }
    if (c !== '{') return null;
    const start = this.#at;
    const [all, first, comma, last] = /\{\s*(\d*)\s*(,?)\s*(\d*)\s*\}/y.exec(this.#from(start)) ?? [];
    if (all === undefined || (first === '' && last === '')) throw this.#wrong('{m}, {m,}, {,n} or {m,n}');
    const min = Number(first);
    const max = comma === '' ? min : last === '' ? Infinity : Number(last);
    const largest = max === Infinity ? min : Math.max(min, max);
    if (max < min) throw this.#error(start, `{${min},${max}} ends before it begins`);
    if (largest > GRAMMAR_LIMITS.repetitions)
      throw this.#error(start, `${largest} repetitions, at most ${GRAMMAR_LIMITS.repetitions} are supported`);
    this.#at += all.length;
    return { min, max };
  }

  /** The text from a position on, short enough that a look at it costs little. */
  #from(start: number): string {
    return this.#text.slice(start, start + 64);
  }

  #literal(): string {
    const parts: string[] = [];
    const start = this.#at++;
    for (;;) {
      const c = this.#character(start);
      if (c === null) return parts.join('');
      parts.push(String.fromCodePoint(c));
    }
  }

  /** The next character of a literal, null behind its end. */
  #character(start: number): number | null {
    if (this.#take('"')) return null;
    if (this.#at >= this.#text.length) throw this.#error(start, 'this literal has no closing "');
    return this.#codePoint();
  }

  #class(): (readonly [number, number])[] {
    const start = this.#at++;
    const negated = this.#take('^');
    const ranges: [number, number][] = [];
    while (!this.#take(']')) {
      if (this.#at >= this.#text.length) throw this.#error(start, 'this class has no closing ]');
      const at = this.#at;
      const from = this.#codePoint();
      let to = from;
      if (this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']') {
        this.#at++;
        to = this.#codePoint();
      }
      if (to < from) throw this.#error(at, 'this range ends before it begins');
      ranges.push([from, to]);
      if (++this.#expressions > GRAMMAR_LIMITS.expressions) throw this.#tooLarge();
    }
    const merged = mergeRanges(ranges);
    const result = negated ? complement(merged) : merged;
    if (result.length === 0) throw this.#error(start, 'this class has no character, so that nothing could follow here');
    return result;
  }

  #codePoint(): number {
    const c = this.#text.codePointAt(this.#at);
    if (c === undefined) throw this.#wrong('a character');
    if (c !== 0x5c) {
      this.#at += c > 0xffff ? 2 : 1;
      return c;
    }
    const [all, hex2, hex4, hex8, plain] =
      /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrtfbv0"'\\[\]^/.-]))/y.exec(
        this.#from(this.#at),
      ) ?? [];
    if (all === undefined)
      throw this.#wrong('an escape \\n \\r \\t \\" \\\\ \\[ \\] \\^ \\- \\xHH \\uHHHH or \\UHHHHHHHH');
    const hex = hex2 ?? hex4 ?? hex8;
    const code = hex === undefined ? (escapes[plain!] ?? plain!.charCodeAt(0)) : Number.parseInt(hex, 16);
    if (code > LAST_CHARACTER || (code >= 0xd800 && code <= 0xdfff))
      throw this.#error(this.#at, `U+${code.toString(16)} is no character`);
    this.#at += all.length;
    return code;
  }

  #count<E extends Expression>(expression: E): E {
    if (++this.#expressions > GRAMMAR_LIMITS.expressions) throw this.#tooLarge();
    return expression;
  }

  #tooLarge(): GrammarError {
    return this.#error(this.#at, `it has more than ${GRAMMAR_LIMITS.expressions} parts; use a smaller grammar`);
  }

  #space(): void {
    this.#match(SPACE);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  #take(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #wrong(wanted: string): GrammarError {
    const rest = this.#text.slice(this.#at, this.#at + 20);
    return this.#error(this.#at, `got ${rest === '' ? 'the end' : JSON.stringify(rest)}, wanted ${wanted}`);
  }

  #error(at: number, problem: string): GrammarError {
    return new GrammarError(this.#parameter, placeIn(this.#text, at), problem);
  }
}

const escapes: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, b: 8, v: 11, 0: 0 };

function placeIn(text: string, at: number): string {
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  return `line ${line}, column ${at - before.lastIndexOf('\n')}`;
}

/** Ascending, apart, and none within another. */
export function mergeRanges(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const merged: [number, number][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** All characters that are in none of the merged ranges. */
export function complement(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const rest: [number, number][] = [];
  let from = 0;
  for (const [first, last] of ranges) {
    if (first > from) rest.push([from, first - 1]);
    from = last + 1;
  }
  if (from <= LAST_CHARACTER) rest.push([from, LAST_CHARACTER]);
  return rest;
}
