// JSON Schemas as one plain shape: references followed, `allOf` and what stands beside it put into one, and refused by name
// what no grammar of ours expresses.
import { accepts } from './grammar.ts';
import { GrammarError } from './grammar-error.ts';
import { regexGrammar } from './grammar-regex.ts';

export type Schema = boolean | { readonly [keyword: string]: unknown };
export type SchemaObject = { readonly [keyword: string]: unknown };

/** Assertions that a grammar cannot keep: to overlook one would give out what is not valid. */
const REFUSED = [
  'not',
  'if',
  'then',
  'else',
  'contains',
  'minContains',
  'maxContains',
  'dependencies',
  'dependentRequired',
  'dependentSchemas',
  '$dynamicRef',
  '$recursiveRef',
];
const DEEPEST = 64;
const MOST_ALTERNATIVES = 256;

export const isObject = (value: unknown): value is SchemaObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Follows and joins the schemas of one document. */
export class SchemaDocument {
  readonly #root: Schema;
  readonly #parameter: string;
  readonly #anchors = new Map<string, Schema>();

  constructor(root: Schema, parameter: string) {
    this.#root = root;
    this.#parameter = parameter;
    this.#findAnchors(root, 0);
  }

  fail(place: string, problem: string): never {
    throw new GrammarError(this.#parameter, place || '/', problem);
  }

  /** A schema without `$ref` and `allOf`; what it says of the parts within is still as it was. */
  flatten(schema: Schema, place: string, depth = 0): Schema {
    if (typeof schema === 'boolean') return schema;
    if (depth > DEEPEST) this.fail(place, `references and allOf go round, or more than ${DEEPEST} deep`);
    for (const keyword of REFUSED)
      if (schema[keyword] !== undefined && !(keyword === 'not' && schema.not === false))
        this.fail(`${place}/${keyword}`, `'${keyword}' is not supported; take it out and check the answer yourself`);
    const { $ref, allOf, ...rest } = schema;
    let flat: Schema = this.#plain(rest, place);
    if ($ref !== undefined)
      flat = this.merge(flat, this.flatten(this.resolve($ref, place), `${place}/$ref`, depth + 1), place);
    if (allOf === undefined) return this.#closed(flat, place);
    if (!Array.isArray(allOf)) this.fail(`${place}/allOf`, 'wanted an array of schemas');
    (allOf as unknown[]).forEach((part, i) => {
      const at = `${place}/allOf/${i}`;
      flat = this.merge(flat, this.flatten(this.schema(part, at), at, depth + 1), place);
    });
    return this.#closed(flat, place);
  }

  /** What is left unevaluated is, once all is joined, what is additional. */
  #closed(flat: Schema, place: string): Schema {
    if (typeof flat === 'boolean') return flat;
    const { unevaluatedProperties, unevaluatedItems, ...rest } = flat;
    if (unevaluatedProperties === undefined && unevaluatedItems === undefined) return flat;
    if (rest.anyOf !== undefined || rest.oneOf !== undefined)
      this.fail(
        place,
        "'unevaluatedProperties' and 'unevaluatedItems' beside anyOf or oneOf are not supported; say in each alternative what is additional",
      );
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

  resolve(reference: unknown, place: string): Schema {
    if (typeof reference !== 'string') this.fail(`${place}/$ref`, `got ${shown(reference)}, wanted a string`);
    const found = reference === '#' ? this.#root : (this.#anchors.get(reference) ?? this.#pointed(reference));
    if (found === undefined)
      this.fail(`${place}/$ref`, `there is no '${reference}' in this schema; nothing is fetched, put it under $defs`);
    return this.schema(found, `${place}/$ref`);
  }

  #pointed(reference: string): unknown {
    if (!reference.startsWith('#/')) return undefined;
    let at: unknown = this.#root;
    for (const part of reference.slice(2).split('/')) {
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

  #findAnchors(value: unknown, depth: number): void {
    if (typeof value !== 'object' || value === null || depth > 4 * DEEPEST) return;
    for (const part of Object.values(value)) this.#findAnchors(part, depth + 1);
    if (!isObject(value)) return;
    if (typeof value.$anchor === 'string') this.#anchors.set(`#${value.$anchor}`, value);
    for (const id of [value.$id, value.id]) if (typeof id === 'string') this.#anchors.set(id, value);
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
        return Math.max(a as number, b as number);
      case 'maximum':
      case 'exclusiveMaximum':
      case 'maxLength':
      case 'maxItems':
      case 'maxProperties':
        return Math.min(a as number, b as number);
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
      case 'pattern':
      case 'multipleOf':
        this.fail(`${place}/${keyword}`, `two different ones at once (${shown(a)} and ${shown(b)}) are not supported`);
    }
    return a; // a remark
  }
}

export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'];
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
  additionalProperties: schema,
  propertyNames: schema,
};

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
