// JSON Schemas as one plain shape: references followed, `allOf` and what stands beside it put into one, and refused by name
// what no grammar of ours expresses.
import { accepts } from './grammar.ts';
import { GrammarError } from './grammar-error.ts';
import { regexGrammar } from './grammar-regex.ts';
import { EXCEPT, TURNED, TYPES } from './json-schema-keywords.ts';
import { LOGIC, negation, rewritten } from './json-schema-logic.ts';

export type Schema = boolean | { readonly [keyword: string]: unknown };
export type SchemaObject = { readonly [keyword: string]: unknown };

/** Assertions that a grammar cannot keep: to overlook one would give out what is not valid. */
const REFUSED = ['$dynamicRef', '$recursiveRef'];
const DEEPEST = 64;
const MOST_ALTERNATIVES = 256;

const UNEVALUATED = "'unevaluatedProperties' and 'unevaluatedItems'";
/** What a document without an `$id` is called; nobody else's name begins so. */
const DOCUMENT = 'schema://document/';

export const isObject = (value: unknown): value is SchemaObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Follows and joins the schemas of one document. */
export class SchemaDocument {
  readonly #parameter: string;
  /** By their whole names. */
  readonly #resources = new Map<string, Schema>();
  readonly #anchors = new Map<string, Schema>();
  readonly #bases = new WeakMap<object, string>();

  constructor(root: Schema, parameter: string) {
    this.#parameter = parameter;
    this.#resources.set(DOCUMENT, root);
    this.#findNames(root, DOCUMENT, 0);
  }

  fail(place: string, problem: string): never {
    throw new GrammarError(this.#parameter, place || '/', problem);
  }

  /** A schema without `$ref`, `allOf`, conditions and dependencies; what it says of the parts within is still as it was. */
  flatten(schema: Schema, place: string, depth = 0): Schema {
    if (typeof schema === 'boolean') return schema;
    if (depth > DEEPEST) this.fail(place, `references and allOf go round, or more than ${DEEPEST} deep`);
    for (const keyword of REFUSED)
      if (schema[keyword] !== undefined)
        this.fail(`${place}/${keyword}`, `'${keyword}' is not supported; take it out and check the answer yourself`);
    const { $ref, allOf, ...own } = schema;
    const rest = Object.fromEntries(Object.entries(own).filter(([keyword]) => !LOGIC.includes(keyword)));
    let flat: Schema = this.#plain(rest, place);
    if ($ref !== undefined)
      flat = this.merge(flat, this.part(this.resolve($ref, schema, place), `${place}/$ref`, depth + 1), place);
    if (allOf !== undefined && !Array.isArray(allOf)) this.fail(`${place}/allOf`, 'wanted an array of schemas');
    const parts: (readonly [at: string, part: unknown])[] = rewritten(
      own,
      (value, keyword) => this.#negated(value, `${place}/${keyword}`, depth + 1),
      (keyword, problem) => this.fail(`${place}/${keyword}`, problem),
    ).map(([keyword, part]) => [`${place}/${keyword}`, part]);
    for (const [i, part] of ((allOf ?? []) as unknown[]).entries()) parts.push([`${place}/allOf/${i}`, part]);
    for (const [at, part] of parts) flat = this.merge(flat, this.part(part, at, depth + 1), place);
    return this.#closed(flat, place);
  }

  #negated(schema: unknown, place: string, depth: number): Schema {
    return negation(this.flatten(this.schema(schema, place), place, depth), keyword =>
      this.fail(
        `${place}/${keyword}`,
        `'${keyword}' is not supported under 'not' and 'if'; take it out and check the answer yourself`,
      ),
    );
  }

  /** A schema that another one holds. */
  part(schema: unknown, place: string, depth = 0): Schema {
    const flat = this.flatten(this.schema(schema, place), place, depth);
    if (isObject(flat) && (flat.unevaluatedProperties !== undefined || flat.unevaluatedItems !== undefined))
      this.fail(place, `${UNEVALUATED} within others are not supported beside anyOf and oneOf`);
    return flat;
  }

  /** What is left unevaluated is, once all is joined, what is additional: with alternatives, once one is chosen. */
  #closed(flat: Schema, place: string): Schema {
    if (typeof flat === 'boolean') return flat;
    const { unevaluatedProperties, unevaluatedItems, ...rest } = flat;
    if (unevaluatedProperties === undefined && unevaluatedItems === undefined) return flat;
    if (rest[TURNED] !== undefined || (unevaluatedItems !== undefined && rest.contains !== undefined))
      this.fail(place, `${UNEVALUATED} beside 'not', 'else' and 'contains' are not supported; say what is additional`);
    if (rest.anyOf !== undefined || rest.oneOf !== undefined) return flat;
    return {
      ...rest,
      ...(unevaluatedProperties === undefined
        ? {}
        : { additionalProperties: rest.additionalProperties ?? unevaluatedProperties }),
      ...(unevaluatedItems === undefined ? {} : { items: rest.items ?? unevaluatedItems }),
    };
  }

  schema(value: unknown, place: string): Schema {
    if (typeof value === 'boolean' || isObject(value)) return value as Schema;
    this.fail(place, `got ${shown(value)}, wanted a schema`);
  }

  /** Older drafts' ways of saying things as the newest says them. */
  #plain(schema: SchemaObject, place: string): SchemaObject {
    const plain: Record<string, unknown> = { ...schema };
    if (Array.isArray(plain.items)) {
      plain.prefixItems = plain.items;
      plain.items = plain.additionalItems ?? true;
    }
    delete plain.additionalItems;
    if (plain.contains === undefined) {
      delete plain.minContains;
      delete plain.maxContains;
    } else plain.minContains ??= 1;
    for (const side of ['Minimum', 'Maximum']) {
      const exclusive = `exclusive${side}`;
      const inclusive = side.toLowerCase();
      if (typeof plain[exclusive] !== 'boolean') continue;
      if (plain[exclusive]) {
        plain[exclusive] = plain[inclusive];
        delete plain[inclusive];
      } else delete plain[exclusive];
    }
    if (plain.type !== undefined) {
      const types = [plain.type].flat();
      const wrong = types.find(type => !TYPES.includes(type as string));
      if (wrong !== undefined) this.fail(`${place}/type`, `got ${shown(wrong)}, wanted one of ${TYPES.join(', ')}`);
      plain.type = types;
    }
    for (const [keyword, kind] of Object.entries(KINDS)) {
      const value = plain[keyword];
      if (value === undefined || kind.test(value)) continue;
      this.fail(`${place}/${keyword}`, `got ${shown(value)}, wanted ${kind.wanted}`);
    }
    return plain;
  }

  /** @param from the schema that refers: names in it are relative to the `$id` that it stands under */
  resolve(reference: unknown, from: SchemaObject, place: string): Schema {
    if (typeof reference !== 'string') this.fail(`${place}/$ref`, `got ${shown(reference)}, wanted a string`);
    const [name, fragment = ''] = reference.split('#', 2) as [string, string?];
    const base = absolute(name, this.#bases.get(from) ?? DOCUMENT);
    const resource = base === null ? undefined : this.#resources.get(base);
    const found =
      fragment === '' || fragment.startsWith('/')
        ? resource && pointed(resource, fragment)
        : this.#anchors.get(`${base}#${fragment}`);
    if (found === undefined)
      this.fail(`${place}/$ref`, `there is no '${reference}' in this schema; nothing is fetched, put it under $defs`);
    return this.schema(found, `${place}/$ref`);
  }

  /** Where each schema stands, and what can be referred to by a name. */
  #findNames(value: unknown, base: string, depth: number): void {
    if (typeof value !== 'object' || value === null || depth > 4 * DEEPEST) return;
    let here = base;
    if (isObject(value)) {
      for (const id of [value.$id, value.id]) {
        const found = typeof id === 'string' ? absolute(id.replace(/#$/, ''), base) : null;
        if (found !== null) here = found;
        if (typeof id === 'string' && /^#./.test(id)) this.#anchors.set(`${base}${id}`, value); // as draft 6 has it
      }
      if (here !== base) this.#resources.set(here, value);
      if (typeof value.$anchor === 'string') this.#anchors.set(`${here}#${value.$anchor}`, value);
      this.#bases.set(value, here);
    }
    for (const [keyword, part] of Object.entries(value))
      if (keyword !== 'const' && keyword !== 'enum') this.#findNames(part, here, depth + 1);
  }

  /** What both schemas accept. @param place for messages */
  merge(a: Schema, b: Schema, place: string): Schema {
    if (a === false || b === false) return false;
    if (a === true || Object.keys(a).length === 0) return b;
    if (b === true || Object.keys(b).length === 0) return a;
    const merged: Record<string, unknown> = { ...a };
    for (const [keyword, theirs] of Object.entries(b)) {
      const ours = merged[keyword];
      if (ours === undefined) merged[keyword] = theirs;
      else if (theirs !== undefined && !same(ours, theirs)) merged[keyword] = this.#join(keyword, ours, theirs, place);
    }
    if (a.properties !== undefined || b.properties !== undefined) merged.properties = joinedProperties(a, b);
    if (a.prefixItems !== undefined || b.prefixItems !== undefined) merged.prefixItems = joinedItems(a, b);
    if (Array.isArray(merged.type) && merged.type.length === 0) return false;
    if (Array.isArray(merged.enum) && merged.enum.length === 0) return false;
    if (merged.const === NOTHING) return false;
    return merged;
  }

  #join(keyword: string, a: unknown, b: unknown, place: string): unknown {
    switch (keyword) {
      case 'type':
        return joinedTypes(a as string[], b as string[]);
      case 'enum':
        return (a as unknown[]).filter(x => (b as unknown[]).some(y => same(x, y)));
      case 'const':
        return NOTHING;
      case 'minimum':
      case 'exclusiveMinimum':
      case 'minLength':
      case 'minItems':
      case 'minProperties':
      case 'minContains':
        return Math.max(a as number, b as number);
      case 'maximum':
      case 'exclusiveMaximum':
      case 'maxLength':
      case 'maxItems':
      case 'maxProperties':
      case 'maxContains':
        return Math.min(a as number, b as number);
      case EXCEPT:
        return [...(a as unknown[]), ...(b as unknown[])];
      case 'required':
        return [...new Set([...(a as string[]), ...(b as string[])])];
      case 'properties':
      case 'prefixItems':
        return a; // joined with the rest of both at the end
      case 'items':
      case 'additionalProperties':
      case 'propertyNames':
        return { allOf: [a, b] };
      case 'uniqueItems':
        return a === true || b === true;
      case 'patternProperties': {
        const joined: Record<string, unknown> = { ...(a as SchemaObject) };
        for (const [pattern, schema] of Object.entries(b as SchemaObject))
          joined[pattern] = pattern in joined ? { allOf: [joined[pattern], schema] } : schema;
        return joined;
      }
      case 'anyOf':
      case 'oneOf': {
        const pairs = (a as Schema[]).flatMap(x => (b as Schema[]).map(y => ({ allOf: [x, y] })));
        if (pairs.length > MOST_ALTERNATIVES)
          this.fail(`${place}/${keyword}`, `more than ${MOST_ALTERNATIVES} alternatives in all`);
        return pairs;
      }
      case 'contains':
      case 'pattern':
      case 'multipleOf':
        this.fail(`${place}/${keyword}`, `two different ones at once (${shown(a)} and ${shown(b)}) are not supported`);
    }
    return a; // a remark
  }
}

const NOTHING = Symbol('no constant is two');

const isWhole = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const whole = { test: isWhole, wanted: 'a whole number from 0 on' };
const number = { test: (value: unknown) => typeof value === 'number' && Number.isFinite(value), wanted: 'a number' };
const object = { test: isObject, wanted: 'an object' };
const list = { test: Array.isArray, wanted: 'an array' };
const some = {
  test: (value: unknown) => Array.isArray(value) && value.length > 0,
  wanted: 'an array that is not empty',
};
const schema = { test: (value: unknown) => typeof value === 'boolean' || isObject(value), wanted: 'a schema' };
const KINDS: Readonly<Record<string, { test: (value: unknown) => boolean; wanted: string }>> = {
  minLength: whole,
  maxLength: whole,
  minItems: whole,
  maxItems: whole,
  minProperties: whole,
  maxProperties: whole,
  minContains: whole,
  maxContains: whole,
  minimum: number,
  maximum: number,
  exclusiveMinimum: number,
  exclusiveMaximum: number,
  multipleOf: { test: value => number.test(value) && (value as number) > 0, wanted: 'a number above 0' },
  pattern: { test: value => typeof value === 'string', wanted: 'a string' },
  properties: object,
  patternProperties: object,
  required: {
    test: value => Array.isArray(value) && value.every(key => typeof key === 'string'),
    wanted: 'an array of strings',
  },
  enum: list,
  anyOf: some,
  oneOf: some,
  prefixItems: list,
  items: schema,
  contains: schema,
  additionalProperties: schema,
  propertyNames: schema,
};

/** A name made whole, without a fragment; null where it is none. */
function absolute(name: string, base: string): string | null {
  if (name === '') return base;
  const url = URL.parse(name, base);
  if (!url) return null;
  url.hash = '';
  return url.href;
}

/** What a JSON pointer, percent-encoded as in a fragment, leads to. */
function pointed(root: Schema, pointer: string): unknown {
  let at: unknown = root;
  for (const part of pointer.split('/').slice(1)) {
    let key = part;
    try {
      key = decodeURIComponent(part);
    } catch {}
    key = key.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as SchemaObject)[key];
  }
  return at;
}

export const shown = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 60);

/** A property that one of them does not list is one of its additional or patterned ones. */
function joinedProperties(a: SchemaObject, b: SchemaObject): SchemaObject {
  const joined: Record<string, unknown> = {};
  const of = (side: SchemaObject, name: string): Schema[] => {
    const listed = side.properties as SchemaObject | undefined;
    if (listed && Object.hasOwn(listed, name)) return [listed[name] as Schema];
    const patterns = Object.keys((side.patternProperties as SchemaObject | undefined) ?? {});
    if (patterns.some(pattern => matches(pattern, name))) return [];
    return side.additionalProperties === undefined ? [] : [side.additionalProperties as Schema];
  };
  for (const name of new Set(
    [a, b].flatMap(side => Object.keys((side.properties as SchemaObject | undefined) ?? {})),
  )) {
    const parts = [...of(a, name), ...of(b, name)];
    Object.defineProperty(joined, name, {
      value: parts.length === 1 ? parts[0] : { allOf: parts },
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return joined;
}

/** By our own automaton: a regular expression of a stranger may take JavaScript's for ever. */
export const matches = (pattern: string, text: string): boolean =>
  accepts(`root ::= ${regexGrammar(pattern, 'pattern', { whole: false })}`, text);

/** An item that one of them does not list is one of its others. */
function joinedItems(a: SchemaObject, b: SchemaObject): Schema[] {
  const [ours, theirs] = [a, b].map(side => (side.prefixItems as Schema[] | undefined) ?? []) as [Schema[], Schema[]];
  return Array.from({ length: Math.max(ours.length, theirs.length) }, (_, i) => ({
    allOf: [ours[i] ?? (a.items as Schema | undefined) ?? true, theirs[i] ?? (b.items as Schema | undefined) ?? true],
  }));
}

function joinedTypes(a: readonly string[], b: readonly string[]): string[] {
  const within = (type: string, types: readonly string[]): boolean =>
    types.includes(type) || (type === 'integer' && types.includes('number'));
  return [...new Set([...a.filter(type => within(type, b)), ...b.filter(type => within(type, a))])];
}

/** Equal as JSON values. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => same(x, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every(key => Object.hasOwn(b, key) && same(a[key], b[key]));
}
