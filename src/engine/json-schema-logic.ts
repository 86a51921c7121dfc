// What JSON Schema says by `if`, `not` and dependencies, in the words that a grammar can be made of: alternatives of plain schemas. What
// is given is at most what was said, never more.
import type { Schema, SchemaObject } from './json-schema.ts';
import { EXCEPT, keywordsOf, TURNED, TYPES } from './json-schema-keywords.ts';

/** Keywords that `rewritten` puts into other words. */
export const LOGIC = ['not', 'if', 'then', 'else', 'dependencies', 'dependentRequired', 'dependentSchemas'];

/** A schema that also has to hold, and where it was said. */
export type Part = readonly [keyword: string, schema: Schema];

const without = (name: string): SchemaObject => ({ type: ['object'], properties: named(name, false) });
const named = (name: string, schema: Schema): SchemaObject => {
  const properties = {};
  // As a name '__proto__' is one like any other.
  Object.defineProperty(properties, name, { value: schema, enumerable: true, configurable: true, writable: true });
  return properties;
};

/**
 * What a schema's logic keywords say, each as alternatives.
 * @param negated what is valid where a schema is not
 * @throws what `fail` throws, of a keyword whose value is none
 */
export function rewritten(
  schema: SchemaObject,
  negated: (schema: unknown, keyword: string) => Schema,
  fail: (keyword: string, problem: string) => never,
): Part[] {
  const parts: Part[] = [];
  const either = (keyword: string, anyOf: readonly unknown[]): unknown => parts.push([keyword, { anyOf }]);
  const entries = (keyword: string): [string, unknown][] => {
    const value = schema[keyword];
    if (value === undefined) return [];
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
    return fail(keyword, 'wanted an object');
  };
  if (schema.not !== undefined) parts.push(['not', negated(schema.not, 'not')]);
  const { if: condition, then: yes = true, else: no = true } = schema;
  if (condition !== undefined && (yes !== true || no !== true))
    either('if', [{ allOf: [condition, yes] }, { allOf: [negated(condition, 'if'), no] }]);
  for (const keyword of ['dependentRequired', 'dependentSchemas', 'dependencies'])
    for (const [name, wanted] of entries(keyword)) {
      if (Array.isArray(wanted)) {
        if (!wanted.every(other => typeof other === 'string')) fail(keyword, 'wanted names');
        if (wanted.length > 0) either(keyword, [without(name), { type: ['object'], required: wanted }, notObject]);
      } else if (keyword === 'dependentRequired') fail(keyword, 'wanted arrays of names');
      else either(keyword, [without(name), { allOf: [{ type: ['object'], required: [name] }, wanted] }, notObject]);
    }
  return parts;
}

const notObject: Schema = { type: TYPES.filter(type => type !== 'object') };

/**
 * What is valid where a schema is not: each of its assertions, broken.
 * @param flat without references and `allOf`
 * @param fail of a keyword that cannot be turned round
 */
export function negation(flat: Schema, fail: (keyword: string) => never): Schema {
  if (typeof flat === 'boolean') return !flat;
  const anyOf: unknown[] = [];
  for (const [keyword, value] of Object.entries(flat)) {
    if (value === undefined) continue;
    const isRemark = REMARKS.includes(keyword) || (keyword === 'additionalProperties' && value === true);
    const broken = breakers[keyword]?.(value, flat);
    if (broken) anyOf.push(...broken);
    else if (
      keyword === 'oneOf' ||
      /^unevaluated/.test(keyword) ||
      keyword === EXCEPT ||
      (Object.hasOwn(keywordsOf, keyword) && !isRemark)
    )
      fail(keyword);
  }
  return anyOf.length === 0 ? false : { anyOf, [TURNED]: true };
}

/** Of no consequence to what is valid, or told by the keyword that they belong to. */
const REMARKS = ['format', 'minContains', 'maxContains'];

const numbers = (bounds: SchemaObject): SchemaObject[] => [{ type: ['number'], ...bounds }];
const least = (type: string, keyword: string) => (value: unknown) =>
  (value as number) > 0 ? [{ type: [type], [keyword]: (value as number) - 1 }] : [];
const most = (type: string, keyword: string) => (value: unknown) => [
  { type: [type], [keyword]: (value as number) + 1 },
];

/** Null of what cannot be turned round. */
const breakers: Readonly<Record<string, (value: unknown, schema: SchemaObject) => readonly unknown[] | null>> = {
  type(value) {
    const types = value as string[];
    const numeric = types.includes('integer') || types.includes('number');
    const others = TYPES.filter(type => !types.includes(type) && !(numeric && ['integer', 'number'].includes(type)));
    return others.length > 0 ? [{ type: others }] : [];
  },
  const: value => [{ [EXCEPT]: [value] }],
  enum: value => [{ [EXCEPT]: value }],
  anyOf: parts => [{ allOf: (parts as unknown[]).map(not => ({ not })) }],
  required: names => (names as string[]).map(without),
  properties: properties =>
    Object.entries(properties as SchemaObject)
      .filter(([, schema]) => schema !== true)
      .map(([name, not]) => ({ type: ['object'], required: [name], properties: named(name, { not }) })),
  contains: (not, { minContains, maxContains }) =>
    minContains === 1 && maxContains === undefined ? [{ type: ['array'], items: { not } }] : null,
  minimum: value => numbers({ exclusiveMaximum: value }),
  maximum: value => numbers({ exclusiveMinimum: value }),
  exclusiveMinimum: value => numbers({ maximum: value }),
  exclusiveMaximum: value => numbers({ minimum: value }),
  minLength: least('string', 'maxLength'),
  maxLength: most('string', 'minLength'),
  minItems: least('array', 'maxItems'),
  maxItems: most('array', 'minItems'),
  minProperties: least('object', 'maxProperties'),
  maxProperties: most('object', 'minProperties'),
};
