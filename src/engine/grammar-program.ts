// A grammar as a program over bytes: nodes that read a byte of a range, branch, call a rule, count repetitions, or end a rule.
import { GrammarError } from './grammar-error.ts';
import { type Expression, type GrammarText, parseGrammar } from './grammar-text.ts';

/** What a node does. */
export const BYTE = 0;
export const BRANCH = 1;
export const CALL = 2;
export const REPEAT = 3;
export const END = 4;

/** Node i is kinds[i] with its operands. All counts and bounds were checked when it was made. */
export interface GrammarProgram {
  readonly kinds: Uint8Array;
  /** BYTE: first byte. CALL: entry of the rule. REPEAT: entry of the body, which ends with END. */
  readonly a: Int32Array;
  /** BYTE: last byte. REPEAT: fewest times. */
  readonly b: Int32Array;
  /** REPEAT: most times, −1 for no bound. */
  readonly c: Int32Array;
  /** The node behind BYTE, CALL and REPEAT. */
  readonly next: Int32Array;
  /** BRANCH: where it may go on. */
  readonly targets: readonly (readonly number[])[];
  readonly entry: number;
  /** Bytes that no node tells apart have the same class. */
  readonly classOf: Uint8Array;
  readonly classes: number;
  /** A byte of each class. */
  readonly byteOf: Uint8Array;
}

const MOST_NODES = 200_000;
/** A repetition of something that may be empty is tried so many times without reading anything. */
export const MOST_EMPTY_REPETITIONS = 64;
const NONE: readonly number[] = [];

/**
 * @param parameter what error messages call the text
 * @throws GrammarError when the text is no grammar, names an unknown rule, is left-recursive or never ends
 */
export function compileGrammar(text: string, parameter = 'grammar'): GrammarProgram {
  const grammar = parseGrammar(text, parameter);
  checkNames(grammar, parameter);
  const nullable = checkRules(grammar, parameter);
  return new Builder(grammar, nullable, parameter).build();
}

function* within(expression: Expression): Generator<Expression> {
  const open = [expression];
  for (let next = open.pop(); next; next = open.pop()) {
    yield next;
    if (next.type === 'repeat') open.push(next.item);
    else if (next.type === 'sequence' || next.type === 'choice') open.push(...next.items);
  }
}

function checkNames({ rules, place }: GrammarText, parameter: string): void {
  for (const rule of rules.values())
    for (const part of within(rule))
      if (part.type === 'rule' && !rules.has(part.name))
        throw new GrammarError(parameter, place(part.at), `there is no rule '${part.name}'`);
}

/** Which rules may be empty. Every rule must be able to end, and must read something before it comes to itself again. */
function checkRules({ rules, place }: GrammarText, parameter: string): (expression: Expression) => boolean {
  const users = new Map<string, Set<string>>();
  for (const [name, rule] of rules)
    for (const part of within(rule))
      if (part.type === 'rule') users.set(part.name, (users.get(part.name) ?? new Set()).add(name));
  /** The rules of which `test` holds, when it holds of more the more rules are known to. */
  const closure = (test: (expression: Expression, known: ReadonlySet<string>) => boolean): ReadonlySet<string> => {
    const known = new Set<string>();
    const open = new Set(rules.keys());
    for (const name of open) {
      open.delete(name);
      if (known.has(name) || !test(rules.get(name)!, known)) continue;
      known.add(name);
      for (const user of users.get(name) ?? NONE) open.add(user as string);
    }
    return known;
  };
  const ends = (e: Expression, known: ReadonlySet<string>): boolean => {
    if (e.type === 'rule') return known.has(e.name);
    if (e.type === 'sequence') return e.items.every(item => ends(item, known));
    if (e.type === 'choice') return e.items.some(item => ends(item, known));
    return e.type !== 'repeat' || e.min === 0 || ends(e.item, known);
  };
  const isEmpty = (e: Expression, known: ReadonlySet<string>): boolean => {
    if (e.type === 'literal') return e.text === '';
    if (e.type === 'class') return false;
    if (e.type === 'rule') return known.has(e.name);
    if (e.type === 'sequence') return e.items.every(item => isEmpty(item, known));
    if (e.type === 'choice') return e.items.some(item => isEmpty(item, known));
    return e.min === 0 || isEmpty(e.item, known);
  };
  const ending = closure(ends);
  for (const [name, rule] of rules) {
    if (ending.has(name)) continue;
    const at = [...within(rule)].find(part => part.type === 'rule')?.at ?? 0;
    throw new GrammarError(
      parameter,
      place(at),
      `rule '${name}' can never end: give it an alternative that does not come back to it`,
    );
  }
  const empty = closure(isEmpty);
  checkLeftRecursion(
    rules,
    e => isEmpty(e, empty),
    (name, at) => {
      throw new GrammarError(
        parameter,
        place(at),
        `rule '${name}' begins with itself; write the repetition with * or +, or put what it reads first`,
      );
    },
  );
  return e => isEmpty(e, empty);
}

function checkLeftRecursion(
  rules: ReadonlyMap<string, Expression>,
  isEmpty: (expression: Expression) => boolean,
  fail: (name: string, at: number) => never,
): void {
  /** Rules with which an expression may begin. */
  const beginnings = (e: Expression, into: { name: string; at: number }[]): void => {
    if (e.type === 'rule') into.push(e);
    else if (e.type === 'repeat') beginnings(e.item, into);
    else if (e.type === 'choice') for (const item of e.items) beginnings(item, into);
    else if (e.type === 'sequence')
      for (const item of e.items) {
        beginnings(item, into);
        if (!isEmpty(item)) break;
      }
  };
  const state = new Map<string, 'open' | 'done'>();
  for (const root of rules.keys()) {
    if (state.has(root)) continue;
    const path = [{ name: root, rest: restOf(root) }];
    state.set(root, 'open');
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const next = top.rest.pop();
      if (!next) {
        state.set(top.name, 'done');
        path.pop();
      } else if (state.get(next.name) === 'open') fail(next.name, next.at);
      else if (!state.has(next.name)) {
        state.set(next.name, 'open');
        path.push({ name: next.name, rest: restOf(next.name) });
      }
    }
  }
  function restOf(name: string): { name: string; at: number }[] {
    const found: { name: string; at: number }[] = [];
    beginnings(rules.get(name)!, found);
    return found;
  }
}

/** Builds from the back: a part is compiled with the node that follows it in hand. */
class Builder {
  readonly #grammar: GrammarText;
  readonly #isEmpty: (expression: Expression) => boolean;
  readonly #parameter: string;
  readonly #kinds: number[] = [];
  readonly #a: number[] = [];
  readonly #b: number[] = [];
  readonly #c: number[] = [];
  readonly #next: number[] = [];
  readonly #targets: (readonly number[])[] = [];
  readonly #calls: [node: number, rule: string][] = [];

  constructor(grammar: GrammarText, isEmpty: (expression: Expression) => boolean, parameter: string) {
    this.#grammar = grammar;
    this.#isEmpty = isEmpty;
    this.#parameter = parameter;
  }

  build(): GrammarProgram {
    const end = this.#add(END, 0, 0, 0, -1);
    const entries = new Map<string, number>();
    for (const [name, rule] of this.#grammar.rules) entries.set(name, this.#compile(rule, end));
    for (const [node, name] of this.#calls) this.#a[node] = entries.get(name)!;
    return {
      kinds: Uint8Array.from(this.#kinds),
      a: Int32Array.from(this.#a),
      b: Int32Array.from(this.#b),
      c: Int32Array.from(this.#c),
      next: Int32Array.from(this.#next),
      targets: this.#targets,
      entry: entries.get('root')!,
      ...this.#byteClasses(),
    };
  }

  #compile(e: Expression, next: number): number {
    switch (e.type) {
      case 'literal':
        return new TextEncoder()
          .encode(e.text)
          .reduceRight((after, byte) => this.#add(BYTE, byte, byte, 0, after), next);
      case 'class':
        return this.#branch(
          e.ranges.flatMap(([from, to]) => utf8Ranges(from, to)).map(bytes => this.#chain(bytes, next)),
        );
      case 'rule': {
        const node = this.#add(CALL, 0, 0, 0, next);
        this.#calls.push([node, e.name]);
        return node;
      }
      case 'sequence':
        return e.items.reduceRight((after, item) => this.#compile(item, after), next);
      case 'choice':
        return this.#branch(e.items.map(item => this.#compile(item, next)));
      case 'repeat':
        return this.#repeat(e, next);
    }
  }

  #repeat({ item, min, max }: Expression & { type: 'repeat' }, next: number): number {
    if (max === 0) return next;
    if (max === 1) return min === 1 ? this.#compile(item, next) : this.#branch([this.#compile(item, next), next]);
    if (max === Infinity && min <= 1) {
      const loop = this.#add(BRANCH, 0, 0, 0, -1);
      const body = this.#compile(item, loop);
      this.#targets[loop] = [body, next];
      return min === 0 ? loop : body;
    }
    const empty = this.#isEmpty(item);
    if (empty && Math.min(max, MOST_NODES) > MOST_EMPTY_REPETITIONS && max !== Infinity)
      throw new GrammarError(
        this.#parameter,
        '',
        `up to ${max} repetitions of a part that may be empty, at most ${MOST_EMPTY_REPETITIONS} are supported: let the part be not empty`,
      );
    // Of what may be empty, the fewest times are always there.
    if (empty && max === Infinity) return this.#repeat({ type: 'repeat', item, min: 0, max }, next);
    const body = this.#compile(item, this.#add(END, 0, 0, 0, -1));
    return this.#add(REPEAT, body, empty ? 0 : min, max === Infinity ? -1 : max, next);
  }

  #chain(bytes: readonly (readonly [number, number])[], next: number): number {
    return bytes.reduceRight((after, [from, to]) => this.#add(BYTE, from, to, 0, after), next);
  }

  #branch(targets: readonly number[]): number {
    if (targets.length === 1) return targets[0]!;
    const node = this.#add(BRANCH, 0, 0, 0, -1);
    this.#targets[node] = targets;
    return node;
  }

  #add(kind: number, a: number, b: number, c: number, next: number): number {
    if (this.#kinds.length >= MOST_NODES)
      throw new GrammarError(this.#parameter, '', `it needs more than ${MOST_NODES} nodes; use a smaller grammar`);
    this.#a.push(a);
    this.#b.push(b);
    this.#c.push(c);
    this.#next.push(next);
    this.#targets.push(NONE);
    return this.#kinds.push(kind) - 1;
  }

  #byteClasses(): Pick<GrammarProgram, 'classOf' | 'classes' | 'byteOf'> {
    const begins = new Uint8Array(257);
    this.#kinds.forEach((kind, node) => {
      if (kind !== BYTE) return;
      begins[this.#a[node]!] = 1;
      begins[this.#b[node]! + 1] = 1;
    });
    const classOf = new Uint8Array(256);
    const byteOf: number[] = [0];
    for (let byte = 1; byte < 256; byte++) {
      if (begins[byte]) byteOf.push(byte);
      classOf[byte] = byteOf.length - 1;
    }
    return { classOf, classes: byteOf.length, byteOf: Uint8Array.from(byteOf) };
  }
}

/** The UTF-8 of the characters first … last as sequences of byte ranges; surrogates have none. */
export function utf8Ranges(first: number, last: number): (readonly [number, number])[][] {
  if (first <= 0xdfff && last >= 0xd800)
    return [...(first < 0xd800 ? utf8Ranges(first, 0xd7ff) : []), ...(last > 0xdfff ? utf8Ranges(0xe000, last) : [])];
  for (const border of [0x7f, 0x7ff, 0xffff])
    if (first <= border && last > border) return [...utf8Ranges(first, border), ...utf8Ranges(border + 1, last)];
  // Cut where a following byte does not run through all its values.
  const bytes = first < 0x80 ? 1 : first < 0x800 ? 2 : first < 0x10000 ? 3 : 4;
  for (let i = 1; i < bytes; i++) {
    const low = 2 ** (6 * i) - 1;
    if (Math.floor(first / (low + 1)) === Math.floor(last / (low + 1))) continue;
    if ((first & low) !== 0) {
      const border = first | low;
      return [...utf8Ranges(first, border), ...utf8Ranges(border + 1, last)];
    }
    if ((last & low) !== low) {
      const border = last - (last & low) - 1;
      return [...utf8Ranges(first, border), ...utf8Ranges(border + 1, last)];
    }
  }
  const encoder = new TextEncoder();
  const from = encoder.encode(String.fromCodePoint(first));
  const to = encoder.encode(String.fromCodePoint(last));
  return [Array.from(from, (byte, i) => [byte, to[i]!] as const)];
}
