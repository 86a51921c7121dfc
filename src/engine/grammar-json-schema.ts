// JSON Schema as GBNF: every text of the grammar is valid JSON and valid under the schema. Not every valid text can be written:
// members come in the schema's order, and members it does not name only where it says what they are.

import { GrammarError } from './grammar-error.ts';
import { anyInteger, anyNumber, multiplesIn, type NumberRange, numbersIn } from './grammar-json-number.ts';
import { anyCharacter, formats, keyExcept, literal, patternString } from './grammar-json-string.ts';
import { compileGrammar } from './grammar-program.ts';
import { matches, type Schema, SchemaDocument, type SchemaObject, same, TYPES } from './json-schema.ts';
import { isValid, keywordsOf, typeOf } from './json-schema-constant.ts';

/** Characters of keys and strings, and 16 for each value. */
const LONGEST = 1 << 18;
const DEEPEST = 100;
const MOST_RULES = 5000;
const MOST_MULTIPLES = 1000;
/** Longer strings and arrays are not written, whatever a schema allows. */
const MOST_LENGTH = 1 << 20;

/** A little white space, as people and models lay JSON out. */
const preamble = `ws ::= | " " | "\\n" [ \\t]{0,32}
any ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (member (ws "," ws member)*)? ws "}"
member ::= string ws ":" ws any
array ::= "[" ws (any (ws "," ws any)*)? ws "]"
string ::= "\\"" char* "\\""
char ::= ${anyCharacter}
number ::= ${anyNumber}
integer ::= ${anyInteger}
`;

/** Any JSON object: what `json_object` asks for. */
export const jsonObjectGrammar = `root ::= object\n${preamble}`;

/**
 * @param parameter what error messages call the schema
 * @throws GrammarError with a JSON pointer to what is wrong, not supported, or accepts nothing
 */
export function jsonSchemaGrammar(schema: unknown, parameter = 'schema'): string {
  checkSchemaSize(schema, parameter);
  const document = new SchemaDocument(schema as Schema, parameter);
  const builder = new Builder(document);
  const root = builder.value(document.schema(schema, ''), '');
  if (root === null) document.fail('', 'nothing is valid under it');
  const grammar = `root ::= ${root}\n${preamble}${builder.rules.join('\n')}\n`;
  try {
    compileGrammar(grammar, parameter);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    if (/never end|no rule/.test(error.message)) document.fail('', 'nothing that ends is valid under it');
    document.fail('', `as a grammar, ${error.message}`);
  }
  return grammar;
}

/** Before anything recursive is done with it. @throws GrammarError when it is too large or too deep */
export function checkSchemaSize(schema: unknown, parameter: string): void {
  // Level by level, so that no depth overflows the stack.
  let level: unknown[] = [schema];
  let parts = 0;
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) throw new GrammarError(parameter, '', `it is more than ${DEEPEST} levels deep`);
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value === 'string') parts += value.length;
      else if (typeof value === 'object' && value !== null)
        for (const key of Object.keys(value)) {
          parts += 16 + key.length;
          next.push((value as SchemaObject)[key]);
          if (parts > LONGEST) break;
        }
      if (parts > LONGEST)
        throw new GrammarError(parameter, '', `it is too large; at most about ${LONGEST >> 10} KB are supported`);
    }
    level = next;
  }
}

/** A text of GBNF, or null where nothing is valid. */
type Text = string | null;

class Builder {
  readonly rules: string[] = [];
  readonly #document: SchemaDocument;
  /** Rules of schemas by what they say. */
  readonly #known = new Map<string, string>();
  readonly #impossible = new Set<string>();
  /** Rules by their text. */
  readonly #shared = new Map<string, string>();
  #count = 0;

  constructor(document: SchemaDocument) {
    this.#document = document;
  }

  /** The rule of a schema's values. */
  value(schema: Schema, place: string): Text {
    if (schema === true) return 'any';
    if (schema === false) return null;
    const key = JSON.stringify(schema);
    const known = this.#known.get(key);
    if (known !== undefined) return this.#impossible.has(known) ? null : known;
    const name = this.#name(place);
    this.#known.set(key, name);
    const text = this.#flat(this.#document.flatten(schema, place), place);
    if (text === null) {
      this.#impossible.add(name);
      // Whoever comes back to it while it is made finds that it leads nowhere.
      return null;
    }
    this.rules.push(`${name} ::= ${text}`);
    return name;
  }

  #name(place: string): string {
    if (++this.#count > MOST_RULES) this.#document.fail(place, `more than ${MOST_RULES} parts; use a smaller schema`);
    return `s${this.#count}`;
  }

  readonly #rule = (text: string): string => {
    let name = this.#shared.get(text);
    if (name === undefined) {
      name = this.#name('');
      this.#shared.set(text, name);
      this.rules.push(`${name} ::= ${text}`);
    }
    return name;
  };

  #flat(schema: Schema, place: string): Text {
    if (schema === true) return 'any';
    if (schema === false) return null;
    const { anyOf, oneOf, ...rest } = schema;
    if (anyOf !== undefined) return this.#anyOf({ ...rest, oneOf }, anyOf as unknown[], place);
    if (oneOf !== undefined) return this.#oneOf(rest, oneOf as unknown[], place);
    if (rest.const !== undefined) return this.#values(rest, [rest.const], place);
    if (rest.enum !== undefined) return this.#values(rest, rest.enum as unknown[], place);
    // Whoever says something of objects, and no type, means objects.
    const meant = [...new Set(Object.keys(rest).flatMap(keyword => keywordsOf[keyword] ?? []))];
    const types = (rest.type as string[] | undefined) ?? meant;
    if (types.length === 0) return 'any';
    return union(types.map(type => this.#typed(type, rest, place)));
  }

  #typed(type: string, schema: SchemaObject, place: string): Text {
    switch (type) {
      case 'object':
        return this.#object(schema, place);
      case 'array':
        return this.#array(schema, place);
      case 'string':
        return this.#string(schema, place);
      case 'number':
      case 'integer':
        return this.#number(schema, type === 'integer', place);
      case 'boolean':
        return '"true" | "false"';
      default:
        return '"null"';
    }
  }

  #anyOf(rest: SchemaObject, parts: readonly unknown[], place: string): Text {
    return union(
      parts.map((part, i) => {
        const at = `${place}/anyOf/${i}`;
        const flat = this.#document.flatten(this.#document.schema(part, at), at);
        return this.value(this.#document.merge(clean(rest), flat, at), at);
      }),
    );
  }

  /** Alternatives that no value can satisfy two of are just alternatives; others are refused. */
  #oneOf(rest: SchemaObject, parts: readonly unknown[], place: string): Text {
    const flat = parts.map((part, i) => {
      const at = `${place}/oneOf/${i}`;
      const own = this.#document.flatten(this.#document.schema(part, at), at);
      return this.#document.merge(clean(rest), own, at);
    });
    const possible = flat
      .map((schema, i) => ({ schema, at: `${place}/oneOf/${i}` }))
      .filter(({ schema }) => schema !== false);
    possible.forEach(({ schema: a, at }, i) => {
      for (const { schema: b } of possible.slice(0, i))
        if (!this.#apart(a, b, at, 0))
          this.#document.fail(
            at,
            'a value could be valid under two alternatives of oneOf; use anyOf, or give each another type or constant',
          );
    });
    return union(possible.map(({ schema, at }) => this.value(schema, at)));
  }

  /** True when it is certain that no value is valid under both. */
  #apart(a: Schema, b: Schema, place: string, depth: number): boolean {
    if (a === false || b === false) return true;
    if (a === true || b === true || depth > 4) return false;
    const listed = (schema: SchemaObject): unknown[] | null =>
      schema.const !== undefined ? [schema.const] : ((schema.enum as unknown[] | undefined) ?? null);
    const [x, y] = [listed(a), listed(b)];
    if (x && y) return !x.some(value => y.some(other => same(value, other)));
    const typesOf = (schema: SchemaObject): string[] =>
      listed(schema)?.map(typeOf) ?? (schema.type as string[] | undefined) ?? TYPES;
    const overlap = typesOf(a).filter(type =>
      typesOf(b).some(other => other === type || [type, other].sort().join() === 'integer,number'),
    );
    if (overlap.length === 0) return true;
    if (x || y) return !(x ?? y)!.some(value => isValid(value, x ? b : a) !== false);
    if (overlap.some(type => type !== 'object')) return false;
    const [p, q] = [(a.properties ?? {}) as SchemaObject, (b.properties ?? {}) as SchemaObject];
    const [r, s] = [(a.required ?? []) as string[], (b.required ?? []) as string[]];
    return r
      .filter(name => s.includes(name) && Object.hasOwn(p, name) && Object.hasOwn(q, name))
      .some(name =>
        this.#apart(
          this.#document.flatten(p[name] as Schema, place),
          this.#document.flatten(q[name] as Schema, place),
          place,
          depth + 1,
        ),
      );
  }

  #values(schema: SchemaObject, values: readonly unknown[], place: string): Text {
    const { const: only, enum: some, ...rest } = schema;
    const among =
      only === undefined || some === undefined ? values : values.filter(v => (some as unknown[]).some(x => same(v, x)));
    const valid = among.filter(value => {
      const answer = isValid(value, rest);
      if (answer === null)
        this.#document.fail(place, "'enum' and 'const' of objects or arrays with further keywords are not supported");
      return answer;
    });
    return union(valid.map(value => literal(JSON.stringify(value))));
  }

  #number(schema: SchemaObject, isInteger: boolean, place: string): Text {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema as NumberRange & {
      multipleOf?: number;
    };
    const range = { minimum, maximum, exclusiveMinimum, exclusiveMaximum };
    if (multipleOf !== undefined && !(isInteger && Number.isInteger(1 / multipleOf)) && multipleOf !== 1) {
      const shift = /^10*$/.exec(String(multipleOf))?.[0].length;
      const isFree = Object.values(range).every(bound => bound === undefined);
      if (shift && isFree) return `"-"? [1-9] [0-9]{0,${14 - shift}} "${'0'.repeat(shift - 1)}" | "0"`;
      const all = Number.isInteger(multipleOf)
        ? multiplesIn(bounded(range, multipleOf), multipleOf, MOST_MULTIPLES)
        : null;
      if (!all)
        this.#document.fail(
          `${place}/multipleOf`,
          `got ${multipleOf}, wanted a whole number, with bounds that leave at most ${MOST_MULTIPLES} multiples`,
        );
      return union(all.map(literal));
    }
    if (Object.values(range).every(bound => bound === undefined)) return isInteger || multipleOf ? 'integer' : 'number';
    return numbersIn(range, isInteger || multipleOf !== undefined);
  }

  #string(schema: SchemaObject, place: string): Text {
    const {
      minLength = 0,
      maxLength,
      pattern,
      format,
    } = schema as {
      minLength?: number;
      maxLength?: number;
      pattern?: string;
      format?: string;
    };
    if (pattern !== undefined) {
      if (minLength > 0 || maxLength !== undefined)
        this.#document.fail(
          `${place}/pattern`,
          'pattern together with minLength or maxLength is not supported; put the length into the pattern',
        );
      try {
        return patternString(pattern, 'pattern');
      } catch (error) {
        if (!(error instanceof GrammarError)) throw error;
        this.#document.fail(`${place}/pattern`, error.message);
      }
    }
    if (maxLength !== undefined && maxLength < minLength) return null;
    if (minLength > MOST_LENGTH)
      this.#document.fail(`${place}/minLength`, `got ${minLength}, wanted at most ${MOST_LENGTH}`);
    if (minLength > 0 || maxLength !== undefined)
      return `"\\"" char{${minLength},${maxLength === undefined ? '' : Math.min(maxLength, MOST_LENGTH)}} "\\""`;
    if (format !== undefined && Object.hasOwn(formats, format)) return `"\\"" ${this.#rule(formats[format]!)} "\\""`;
    return 'string';
  }

  #array(schema: SchemaObject, place: string): Text {
    const { minItems = 0, maxItems = Infinity } = schema as { minItems?: number; maxItems?: number };
    if (schema.uniqueItems === true && maxItems > 1)
      this.#document.fail(`${place}/uniqueItems`, 'uniqueItems is not supported for more than one item');
    if (maxItems < minItems) return null;
    if (minItems > MOST_LENGTH)
      this.#document.fail(`${place}/minItems`, `got ${minItems}, wanted at most ${MOST_LENGTH}`);
    const first: string[] = [];
    let most = maxItems;
    for (const [i, part] of ((schema.prefixItems as unknown[] | undefined) ?? []).entries()) {
      const at = `${place}/prefixItems/${i}`;
      const item = i < most ? this.value(this.#document.schema(part, at), at) : null;
      // Behind an item that cannot be there is none.
      if (item === null) most = Math.min(most, i);
      else first.push(item);
    }
    const rest =
      most > first.length ? this.value((schema.items as Schema | undefined) ?? true, `${place}/items`) : null;
    if (rest === null) most = Math.min(most, first.length);
    if (most < minItems) return null;
    const more = (least: number, greatest: number, comma: string): string => {
      if (greatest === 0) return '';
      const bounds = greatest >= MOST_LENGTH ? `{${least},}` : `{${least},${greatest}}`;
      return ` (${comma}${rest})${bounds}`;
    };
    // Items that may be missing are nested: the next is there only behind the one before.
    let text = '';
    for (let i = first.length; i >= 0; i--) {
      const comma = i > 0 ? 'ws "," ws ' : '';
      if (i === first.length) {
        if (most > first.length) {
          if (i === 0) {
            const others = more(Math.max(0, minItems - 1), most - 1, 'ws "," ws ');
            text = minItems > 0 ? `${rest}${others}` : `(${rest}${others})?`;
          } else text = more(Math.max(0, minItems - i), most - i, comma);
        }
      } else {
        const here = `${comma}${first[i]}${text ? ` ${text}` : ''}`;
        text = i < minItems ? here : `(${here})?`;
      }
    }
    return `"[" ws ${text} ws "]"`;
  }

  #object(schema: SchemaObject, place: string): Text {
    const properties = (schema.properties ?? {}) as SchemaObject;
    const required = new Set((schema.required ?? []) as string[]);
    const patterns = Object.entries((schema.patternProperties ?? {}) as SchemaObject);
    const additional = schema.additionalProperties as Schema | undefined;
    const { minProperties = 0, maxProperties = Infinity } = schema as {
      minProperties?: number;
      maxProperties?: number;
    };
    const names =
      schema.propertyNames === undefined
        ? true
        : this.#document.flatten(
            this.#document.schema(schema.propertyNames, `${place}/propertyNames`),
            `${place}/propertyNames`,
          );
    const unlisted = [...required].filter(name => !Object.hasOwn(properties, name));
    const members: { name: string; text: string; isRequired: boolean }[] = [];
    for (const name of [...Object.keys(properties), ...unlisted]) {
      const at = `${place}/properties/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
      const matching = patterns.filter(([pattern]) => matches(pattern, name)).map(([, of]) => of as Schema);
      const own = Object.hasOwn(properties, name)
        ? [properties[name] as Schema]
        : matching.length === 0
          ? [additional ?? true]
          : [];
      const parts = [...own, ...matching];
      const nameIsValid = names === true || (names !== false && isValid(name, names));
      if (nameIsValid === null) this.#document.fail(`${place}/propertyNames`, 'of this kind it is not supported');
      const text = nameIsValid
        ? this.value(parts.length === 1 ? this.#document.schema(parts[0], at) : { allOf: parts }, at)
        : null;
      if (text !== null)
        members.push({
          name,
          text: `${literal(JSON.stringify(name))} ws ":" ws ${text}`,
          isRequired: required.has(name),
        });
      else if (required.has(name)) return null;
    }
    const open = this.#openMembers(schema, Object.keys(properties), patterns, names, place);
    let missing = minProperties - members.filter(member => member.isRequired).length;
    let room = maxProperties - members.filter(member => member.isRequired).length;
    if (room < 0) return null;
    // What may be there is made to be there, or left out, where the number of members demands it.
    const chosen = members.filter(member => {
      if (member.isRequired) return true;
      if (missing > 0) {
        missing--;
        room--;
        member.isRequired = true;
      } else if (maxProperties !== Infinity && --room < 0) return false;
      return true;
    });
    if (missing > 0 && open === null) return null;
    if (missing > 1)
      this.#document.fail(
        `${place}/minProperties`,
        `got ${minProperties}, wanted at most one more than the properties that are named: further ones could be alike`,
      );
    const others = open !== null && room > 0 ? open : null;
    return this.#members(chosen, others, Math.max(0, missing), room);
  }

  /** Members beyond those listed, where the schema says what they are; null for none. */
  #openMembers(
    schema: SchemaObject,
    listed: readonly string[],
    patterns: readonly (readonly [string, unknown])[],
    names: Schema,
    place: string,
  ): Text {
    const additional = schema.additionalProperties as Schema | undefined;
    const unlisted = ((schema.required ?? []) as string[]).filter(name => !listed.includes(name));
    const taken = [...listed, ...unlisted];
    if (names === false) return null;
    if (patterns.length > 0) {
      // One pattern alone says what all further members are; of several, a name might match two.
      if (patterns.length > 1 || taken.length > 0 || names !== true) return null;
      const [[pattern, of]] = patterns as [[string, unknown]];
      const value = this.value(this.#document.schema(of, `${place}/patternProperties`), `${place}/patternProperties`);
      return value && `${this.#string({ pattern }, `${place}/patternProperties`)} ws ":" ws ${value}`;
    }
    // Whoever lists properties and says nothing of others wants those listed.
    if (additional === false || (additional === undefined && taken.length > 0)) return null;
    const value = this.value(additional ?? true, `${place}/additionalProperties`);
    if (value === null) return null;
    if (names !== true) {
      if (taken.length > 0) return null;
      const key = this.#flat({ ...names, type: ['string'] }, `${place}/propertyNames`);
      return key && `(${key}) ws ":" ws ${value}`;
    }
    return `${taken.length === 0 ? 'string' : keyExcept(taken, this.#rule)} ws ":" ws ${value}`;
  }

  /** Members in their order; each takes its comma with it, so that the first that is there has none. */
  #members(members: readonly { text: string; isRequired: boolean }[], open: Text, least: number, room: number): string {
    const comma = 'ws "," ws ';
    const bounds = (from: number, to: number): string =>
      to >= MOST_LENGTH ? `{${from},}` : `{${from},${Math.max(from, to)}}`;
    const opened = open === null ? null : this.#rule(open);
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
      const member = this.#rule(text);
      const rest = behind[i + 1] ? ` ${this.#rule(behind[i + 1]!)}` : '';
      behind[i] = isRequired ? `${comma}${member}${rest}` : `(${comma}${member})?${rest}`;
      const start = `${member}${rest}`;
      first[i] = isRequired ? start : first[i + 1] ? `${start} | ${this.#rule(first[i + 1]!)}` : `(${start})?`;
    }
    const all = first[0]!;
    return `"{" ws ${all.includes('|') ? `(${all})` : all} ws "}"`;
  }
}

const clean = (schema: SchemaObject): SchemaObject =>
  Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));

function union(texts: readonly Text[]): Text {
  const possible = [...new Set(texts.filter(text => text !== null))];
  return possible.length === 0
    ? null
    : possible.map(text => (text.includes('|') && possible.length > 1 ? `(${text})` : text)).join(' | ');
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
