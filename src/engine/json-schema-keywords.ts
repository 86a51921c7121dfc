// JSON Schema's words: its types, and which of them each keyword speaks of.

export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'];

/** Values that a schema leaves out: none of JSON Schema's keywords, which have names that people can write. */
export const EXCEPT = '\u0000except';
/** Marks what was turned round: its members and items count as evaluated nowhere. */
export const TURNED = '\u0000turned';

/** Of which type a keyword speaks; without `type`, a schema with none of them is any value. */
export const keywordsOf: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries({
    object: [
      'properties',
      'required',
      'additionalProperties',
      'patternProperties',
      'propertyNames',
      'minProperties',
      'maxProperties',
    ],
    array: ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems', 'contains', 'minContains', 'maxContains'],
    string: ['minLength', 'maxLength', 'pattern', 'format'],
    number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
  }).flatMap(([type, keywords]) => keywords.map(keyword => [keyword, type])),
);
