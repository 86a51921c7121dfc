// Schemas as people write them for answers and tools, beside the public suite's: one line each, all supported.
export const ownSchemas: readonly unknown[] = (() => {
  const object = (properties: Record<string, unknown>, more: Record<string, unknown> = {}): unknown => ({
    type: 'object',
    properties,
    required: Object.keys(properties),
    additionalProperties: false,
    ...more,
  });
  const string = { type: 'string', maxLength: 20 };
  const types: unknown[] = [
    string,
    { type: 'string' },
    { type: 'integer' },
    { type: 'number' },
    { type: 'boolean' },
    { type: 'null' },
    { type: ['string', 'null'], maxLength: 5 },
    { type: ['integer', 'boolean'] },
    { enum: ['red', 'green', 'blue'] },
    { enum: [1, 'two', null, [3], { four: 4 }] },
    { const: 'only "this" \\ one' },
    { const: { a: [1, { b: null }] } },
    { type: 'string', enum: ['a', 'bb', 'ccc'], minLength: 2 },
    { type: 'integer', minimum: 0 },
    { type: 'integer', minimum: -17, maximum: 123 },
    { type: 'integer', exclusiveMinimum: 99, exclusiveMaximum: 101 },
    { type: 'integer', maximum: -5 },
    { type: 'integer', minimum: -(2 ** 63), maximum: 2 ** 63 },
    { type: 'integer', minimum: 1, maximum: 65535 },
    { type: 'integer', multipleOf: 10 },
    { type: 'integer', multipleOf: 7, minimum: -30, maximum: 30 },
    { type: 'number', minimum: 0, maximum: 1 },
    { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
    { type: 'number', minimum: -273.15 },
    { type: 'number', minimum: 0.1, maximum: 0.30000000000000004 },
    { type: 'number', minimum: -1.5, maximum: 99.995 },
    { type: 'string', minLength: 3, maxLength: 3 },
    { type: 'string', pattern: '^[A-Z]{3}-[0-9]{4}$' },
    { type: 'string', pattern: '^(\\(\\d{3}\\)|\\d{3}-)\\d{3}-\\d{4}$' },
    { type: 'string', pattern: '^"\\\\[\\x00-\\x1f"\\\\]{3}$' },
    { type: 'string', pattern: '^[äöü日本😀]{2,5}$' },
    { type: 'string', pattern: '^(a|b)*c+(?:d|e?f){2,}$|^$' },
    { type: 'string', pattern: '^\\S{1,9}@\\S{1,9}$' },
    ...['date', 'time', 'date-time', 'uuid', 'ipv4', 'ipv6', 'email', 'hostname', 'uri'].map(format => ({
      type: 'string',
      format,
    })),
    { type: 'array', items: { type: 'integer' }, maxItems: 4 },
    { type: 'array', items: string, minItems: 2, maxItems: 3 },
    { type: 'array', items: false },
    { type: 'array', prefixItems: [{ type: 'integer' }, string], items: false },
    { type: 'array', prefixItems: [{ type: 'integer' }, string], minItems: 3, maxItems: 5, items: { type: 'null' } },
    { type: 'array', maxItems: 1, uniqueItems: true },
    { type: 'array', items: { enum: ['a', 'b', 1, null] }, uniqueItems: true },
    {
      type: 'array',
      items: { type: 'string', enum: ['red', 'green', 'blue', 3, 'red'] },
      uniqueItems: true,
      minItems: 2,
    },
    { type: 'array', items: { enum: [1, 2, 3, 4, 5, 6] }, uniqueItems: true, minItems: 3, maxItems: 4 },
    {
      type: 'array',
      items: { type: 'array', items: { type: 'array', items: { enum: [0, 1] }, maxItems: 2 }, maxItems: 2 },
    },
    { type: 'object' },
    { type: 'object', additionalProperties: { type: 'integer' }, minProperties: 1, maxProperties: 3 },
    { type: 'object', patternProperties: { '^x-[a-z]{1,5}$': string }, additionalProperties: false },
    { type: 'object', propertyNames: { pattern: '^[a-z]{2,4}$' }, additionalProperties: { type: 'boolean' } },
    { type: 'object', properties: { a: string, b: string, c: string }, minProperties: 2 },
    { type: 'object', properties: { a: string, b: string, c: string }, maxProperties: 1 },
    { type: 'object', properties: { a: string }, additionalProperties: { type: 'integer' } },
    {
      type: 'object',
      properties: { a: string, ab: string, 'q"\\é': string },
      required: ['ab'],
      additionalProperties: true,
    },
    { type: 'object', required: ['x', 'y'] },
    { properties: { a: { type: 'integer' } }, required: ['a'] },
  ];
  const composed: unknown[] = [
    {
      anyOf: [object({ kind: { const: 'cat' }, lives: { type: 'integer', minimum: 0, maximum: 9 } }), { type: 'null' }],
    },
    { oneOf: [object({ kind: { const: 'a' }, a: string }), object({ kind: { const: 'b' }, b: { type: 'number' } })] },
    { oneOf: [{ type: 'string' }, { type: 'integer' }, { type: 'array', items: string }] },
    {
      allOf: [
        { properties: { a: { type: 'integer' } }, required: ['a'] },
        { properties: { a: { minimum: 3 }, b: string } },
      ],
    },
    { allOf: [{ type: ['integer', 'string'] }, { type: ['number', 'null'] }], minimum: 5, maximum: 6 },
    {
      $ref: '#/$defs/pair',
      $defs: { pair: { type: 'array', prefixItems: [string, string], minItems: 2, items: false } },
    },
    object({ child: { anyOf: [{ type: 'null' }, { $ref: '#' }] }, value: { type: 'integer' } }),
    object(
      { tree: { $ref: '#/definitions/node' } },
      {
        definitions: {
          node: object({
            name: string,
            children: { type: 'array', items: { $ref: '#/definitions/node' }, maxItems: 2 },
          }),
        },
      },
    ),
    {
      $defs: { a: { $anchor: 'here', type: 'boolean' } },
      type: 'array',
      items: { $ref: '#here' },
      minItems: 1,
      maxItems: 3,
    },
    { type: 'object', properties: { a: false, b: string }, required: ['b'] },
    { type: 'object', properties: { a: string }, allOf: [{ properties: { b: string } }], unevaluatedProperties: false },
    { anyOf: [{ required: ['a'] }, { required: ['b'] }], type: 'object', properties: { a: string, b: string } },
    object(
      { country: { enum: ['US', 'CA', 'CH'] }, code: { type: 'string' } },
      {
        if: { properties: { country: { const: 'US' } } },
        // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
        then: { properties: { code: { pattern: '^[0-9]{5}$' } } },
        else: { properties: { code: { maxLength: 7 } } },
      },
    ),
    {
      type: 'object',
      properties: { card: string, address: string, name: string },
      required: ['name'],
      additionalProperties: false,
      dependentRequired: { card: ['address'] },
    },
    { type: 'object', properties: { a: string, b: string }, not: { required: ['a', 'b'] } },
    { type: 'object', properties: { a: string, b: string }, oneOf: [{ required: ['a'] }, { required: ['b'] }] },
    { type: 'array', items: { type: 'integer' }, contains: { minimum: 100 }, minContains: 2, maxItems: 5 },
    { type: 'array', items: { enum: [1, 2, 3] }, contains: { const: 2 }, maxContains: 1, maxItems: 4 },
    { type: 'integer', minimum: 1, maximum: 9, not: { enum: [3, 5, 20] } },
    { type: 'string', not: { enum: ['', 'root', 'admin'] } },
    { not: { type: ['object', 'array', 'string'] } },
    {
      type: 'object',
      properties: { kind: { enum: ['circle', 'square'] } },
      required: ['kind'],
      anyOf: [
        { properties: { kind: { const: 'circle' }, radius: { type: 'number', minimum: 0 } }, required: ['radius'] },
        { properties: { kind: { const: 'square' }, side: { type: 'number', minimum: 0 } }, required: ['side'] },
      ],
      unevaluatedProperties: false,
    },
    {
      $id: 'https://example.org/root.json',
      type: 'object',
      properties: { item: { $ref: 'item.json' }, other: { $ref: 'item.json#name' } },
      required: ['item', 'other'],
      additionalProperties: false,
      $defs: {
        item: { $id: 'item.json', type: 'boolean', $defs: { name: { $anchor: 'name', enum: ['a', 'b'] } } },
      },
    },
  ];
  // Each as it is, as a member, as one that may be missing, and as an item.
  return [
    ...composed,
    ...types,
    ...types.map(type => object({ value: type })),
    ...types.map(type => ({
      type: 'object',
      properties: { first: string, value: type, last: { type: 'null' } },
      required: ['last'],
    })),
    ...types.map(type => ({ type: 'array', items: { anyOf: [type, { const: 'else' }] }, minItems: 1, maxItems: 3 })),
  ];
})();
