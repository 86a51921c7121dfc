// Whether a constant is valid under a schema, as far as that can be said without looking into it.
import { isInRange, type NumberRange } from './grammar-json-number.ts';
import { matches, type SchemaObject, same } from './json-schema.ts';
import { EXCEPT, keywordsOf } from './json-schema-keywords.ts';

export const typeOf = (value: unknown): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
};

/** Whether a constant is valid under a flat schema; null where that is not known here. */
export function isValid(value: unknown, schema: SchemaObject): boolean | null {
  const type = typeOf(value);
  const types = schema.type as string[] | undefined;
  if (types && !types.includes(type) && !(type === 'integer' && types.includes('number'))) return false;
  const listed = schema.const !== undefined ? [schema.const] : (schema.enum as unknown[] | undefined);
  if (listed && !listed.some(other => same(value, other))) return false;
  if ((schema[EXCEPT] as unknown[] | undefined)?.some(other => same(value, other))) return false;
  if (schema.anyOf !== undefined || schema.oneOf !== undefined) return null;
  if (typeof value === 'number') {
    const { multipleOf } = schema as { multipleOf?: number };
    return (
      isInRange(value, schema as NumberRange) && (multipleOf === undefined || Number.isInteger(value / multipleOf))
    );
  }
  if (typeof value === 'string') {
    const {
      minLength = 0,
      maxLength = Infinity,
      pattern,
    } = schema as { minLength?: number; maxLength?: number; pattern?: string };
    const length = [...value].length;
    return length >= minLength && length <= maxLength && (pattern === undefined || matches(pattern, value));
  }
  if (typeof value !== 'object' || value === null) return true;
  const kind = Array.isArray(value) ? 'array' : 'object';
  return Object.keys(schema).some(keyword => keywordsOf[keyword] === kind) ? null : true;
}
