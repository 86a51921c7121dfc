// JSON Schema as GBNF: every text of the grammar is valid JSON and valid under the schema. Not every valid text can be written:
// members come in the schema's order, and members it does not name only where it says what they are.
import { GrammarError } from './grammar-error.ts';
import { MOST_LENGTH, membersText } from './grammar-json-members.ts';
import { anyInteger, anyNumber, type NumberRange, numberText } from './grammar-json-number.ts';
import { anyCharacter, formats, keyExcept, literal, patternString } from './grammar-json-string.ts';
import { choicesOf, distinctItems, MOST_CHOICES } from './grammar-json-unique.ts';
import { compileGrammar } from './grammar-program.ts';
import { type Text, union } from './grammar-union.ts';
import { matches, type Schema, SchemaDocument, type SchemaObject, same } from './json-schema.ts';
import { isValid, typeOf } from './json-schema-constant.ts';
import { EXCEPT, keywordsOf, TYPES } from './json-schema-keywords.ts';
import { checkSchemaSize } from './json-schema-size.ts';

const MOST_RULES = 5000;
/** Numbers left out of a range, items that an array has to contain, alternatives of which one alone may be valid. */
const MOST_EXCEPT = 16;
const MOST_CONTAINED = 1000;
const MOST_WORDS_EXCEPT = 1000;
/** Characters of alternatives, each put together with what holds beside it. */
const MOST_CHOSEN = 200_000;
const MOST_OVERLAPPING = 6;

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

class Builder {
  readonly rules: string[] = [];
  readonly #document: SchemaDocument;
  /** Rules of schemas by what they say. */
  readonly #known = new Map<string, string>();
  readonly #impossible = new Set<string>();
  /** Rules by their text. */
  readonly #shared = new Map<string, string>();
  #count = 0;
  #chosen = 0;

  constructor(document: SchemaDocument) {
    this.#document = document;
  }

  /** The rule of a schema's values. */
  value(schema: Schema, place: string, isAlternative = false): Text {
    if (schema === true) return 'any';
    if (schema === false) return null;
    const key = JSON.stringify(schema);
    if (isAlternative) this.#chosen += key.length;
    if (this.#chosen > MOST_CHOSEN)
      this.#document.fail(place, 'conditions and alternatives within each other are more than a grammar holds');
    const known = this.#known.get(key);
    if (known !== undefined) return this.#impossible.has(known) ? null : known;
    const name = this.#name(place);
    this.#known.set(key, name);
    const text = this.#flat(this.#document.flatten(schema, place), place);
    if (text === null) {
      this.#impossible.add(name); // whoever comes back to it while it is made finds that it leads nowhere
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
    const others = TYPES.filter(type => type !== 'integer' && !meant.includes(type));
    if (types.length === 0) return rest[EXCEPT] === undefined ? 'any' : this.#flat({ ...rest, type: others }, place);
    const text = union(types.map(type => this.#typed(type, rest, place)));
    return text ?? (rest.type === undefined ? this.#flat({ ...rest, type: others }, place) : null);
  }

  #typed(type: string, { [EXCEPT]: left, ...schema }: SchemaObject, place: string): Text {
    // Of what is left out, what could be said.
    const except = ((left ?? []) as unknown[]).filter(value => isValid(value, { ...schema, type: [type] }) !== false);
    if (except.length > 0) return this.#except(type, schema, except, place);
    switch (type) {
      case 'object':
        return this.#object(schema, place);
      case 'array':
        return this.#array(schema, place);
      case 'string':
        return this.#string(schema, place);
      case 'number':
      case 'integer':
        return numberText(schema, type === 'integer', problem => this.#document.fail(`${place}/multipleOf`, problem));
      case 'boolean':
        return '"true" | "false"';
      default:
        return '"null"';
    }
  }

  /** Values of a type, some left out. */
  #except(type: string, schema: SchemaObject, except: readonly unknown[], place: string): Text {
    switch (type) {
      case 'null':
        return null;
      case 'boolean':
        return union([true, false].filter(value => !except.includes(value)).map(value => literal(String(value))));
      case 'number':
      case 'integer': {
        const [value, ...others] = except as number[];
        const {
          minimum = -Infinity,
          maximum = Infinity,
          exclusiveMinimum: above,
          exclusiveMaximum: below,
        } = schema as NumberRange;
        const parts = [
          { ...schema, exclusiveMaximum: Math.min(value!, below ?? Infinity), [EXCEPT]: others },
          { ...schema, exclusiveMinimum: Math.max(value!, above ?? -Infinity), [EXCEPT]: others },
        ];
        if (except.length > MOST_EXCEPT) break;
        return union(
          [
            minimum < value! && this.#typed(type, parts[0]!, place),
            maximum > value! && this.#typed(type, parts[1]!, place),
          ].map(text => text || null),
        );
      }
      case 'string':
        if (['pattern', 'minLength', 'maxLength', 'format'].some(keyword => schema[keyword] !== undefined)) break;
        if (except.length > MOST_WORDS_EXCEPT) break;
        return keyExcept([...new Set(except as string[])], this.#rule);
    }
    return this.#document.fail(
      place,
      `to leave out ${JSON.stringify(except[0]).slice(0, 60)} ('not', 'if' and 'else' of 'const' and 'enum') is not supported here; take it out and check the answer yourself`,
    );
  }

  #anyOf(rest: SchemaObject, parts: readonly unknown[], place: string): Text {
    return union(
      parts.map((part, i) => {
        const at = `${place}/anyOf/${i}`;
        const flat = this.#document.part(part, at);
        return this.value(this.#document.merge(clean(rest), flat, at), at, true);
      }),
    );
  }

  /** Alternatives that no value can satisfy two of are just alternatives; others are refused. */
  #oneOf(rest: SchemaObject, parts: readonly unknown[], place: string): Text {
    const flat = parts.map((part, i) => {
      const at = `${place}/oneOf/${i}`;
      const own = this.#document.part(part, at);
      return this.#document.merge(clean(rest), own, at);
    });
    const possible = flat
      .map((schema, i) => ({ schema, at: `${place}/oneOf/${i}` }))
      .filter(({ schema }) => schema !== false);
    for (const [i, { schema: a, at }] of possible.entries())
      if (possible.slice(0, i).some(({ schema: b }) => !this.#apart(a, b, at, 0)))
        return this.#oneAlone(rest, parts, at, place);
    return union(possible.map(({ schema, at }) => this.value(schema, at)));
  }

  /** Each alternative without what is valid under another, where that can be said. */
  #oneAlone(rest: SchemaObject, parts: readonly unknown[], at: string, place: string): Text {
    const alone = parts.map((part, i) => ({ allOf: [part, ...parts.toSpliced(i, 1).map(not => ({ not }))] }));
    try {
      const text = parts.length <= MOST_OVERLAPPING ? this.#anyOf(rest, alone, place) : null;
      if (text !== null) return text;
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error;
    }
    return this.#document.fail(
      at,
      'a value could be valid under two alternatives of oneOf; use anyOf, or give each another type or constant',
    );
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
    if (schema.uniqueItems === true && maxItems > 1) return this.#unique(schema, minItems, maxItems, place);
    if (schema.contains !== undefined) return this.#containing(schema, place);
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

  #unique(schema: SchemaObject, least: number, most: number, place: string): Text {
    const items = `${place}/items`;
    const flat = schema.items === undefined ? true : this.#document.part(schema.items, items);
    const { const: only, enum: some, ...rest } = flat === true || flat === false ? {} : flat;
    const values = only === undefined ? ((some ?? []) as unknown[]) : [only];
    const different = values.filter((value, i) => !values.slice(0, i).some(other => same(value, other)));
    const isPlain = schema.prefixItems === undefined && schema.contains === undefined;
    if (!isPlain || values.length === 0 || choicesOf(different.length, least, most) > MOST_CHOICES)
      this.#document.fail(
        `${place}/uniqueItems`,
        "uniqueItems is supported of a single item, and of items of a short 'enum'; take it out and check the answer yourself",
      );
    const texts = different.map(value => this.#values({ ...rest, const: value }, [value], items));
    const possible = texts.filter(text => text !== null);
    const text = distinctItems(possible, least, Math.min(most, possible.length), this.#rule);
    return text === null ? null : `"[" ws ${text} ws "]"`;
  }

  /** Items that an array has to contain come as soon as they may; where there may be no more of them, the others are none. */
  #containing(schema: SchemaObject, place: string): Text {
    const {
      contains,
      minContains = 1,
      maxContains,
      items = true,
      prefixItems = [],
      ...rest
    } = schema as {
      contains?: Schema;
      minContains?: number;
      maxContains?: number;
      items?: Schema;
      prefixItems?: readonly Schema[];
      minItems?: number;
    };
    if (maxContains !== undefined && maxContains < minContains) return null;
    if (minContains > MOST_CONTAINED)
      this.#document.fail(`${place}/minContains`, `got ${minContains}, wanted at most ${MOST_CONTAINED}`);
    const wanted = (item: Schema): Schema => ({ allOf: [item, contains!] });
    const other = (item: Schema): Schema => (maxContains === undefined ? item : { allOf: [item, { not: contains }] });
    const first: Schema[] = [];
    let missing = minContains;
    let least = rest.minItems ?? 0;
    for (const item of prefixItems) {
      const isOne = missing > 0 && this.value(wanted(item), `${place}/contains`) !== null;
      first.push(isOne ? wanted(item) : other(item));
      if (isOne) least = Math.max(least, first.length);
      if (isOne) missing--;
    }
    for (; missing > 0; missing--) least = Math.max(least, first.push(wanted(items)));
    return this.#array({ ...rest, prefixItems: first, items: other(items), minItems: least }, place);
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
    return membersText(chosen, others, Math.max(0, missing), room, this.#rule);
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
}

const clean = (schema: SchemaObject): SchemaObject =>
  Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
