// Structured output: whatever a model of random weights says under a schema's grammar is JSON and valid, as ajv judges it.
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { processorTime } from '../tokenizer/processor-time.cases.ts';
import { accepts, createGrammar } from './grammar.ts';
import { GrammarError } from './grammar-error.ts';
import { numbersIn } from './grammar-json-number.ts';
import { jsonObjectGrammar, jsonSchemaGrammar } from './grammar-json-schema.ts';
import { classText, regexGrammar } from './grammar-regex.ts';
import { ownSchemas } from './json-schema.cases.ts';
import { seededRandom } from './random.ts';
import { createSampler, createScratch } from './sampler.ts';
import { createTokenTrie } from './token-trie.ts';

const encoder = new TextEncoder();
const words = [
  '", "',
  '": ',
  '{"',
  '"}',
  '"]',
  'the',
  'and',
  '12',
  '0.',
  '\\n',
  '": "',
  ' true',
  'null',
  'é',
  '日',
  'name',
  '-1',
  'e+',
];
const tokens = [
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...words.map(w => encoder.encode(w)),
  new Uint8Array(),
];
const STOP = tokens.length - 1;
const trie = createTokenTrie({
  bytes: Uint8Array.from(tokens.flatMap(token => [...token])),
  offsets: Uint32Array.from([
    0,
    ...tokens.map(
      (
        (sum: number) => token =>
          (sum += token.length)
      )(0),
    ),
  ]),
});
const scratch = createScratch(tokens.length);
const LONGEST = 6000;
const RUNS = process.env.LONG ? 5000 : 500;

/** What random logits say, with a growing liking for quotes, brackets and the end; null when that is not enough. */
function say(grammar: string, temperature: number, seed: number): string | null {
  const random = seededRandom(seed);
  const sampler = createSampler({ temperature, seed }, scratch, createGrammar(grammar, trie).begin([STOP]));
  const logits = new Float32Array(tokens.length);
  const said: number[] = [];
  for (let i = 0; i < LONGEST; i++) {
    for (let t = 0; t < logits.length; t++) logits[t] = random() * 6 - 3;
    for (const closing of '"}]') logits[closing.charCodeAt(0)]! += 4 + i / 200;
    logits[STOP]! += 9;
    const { token } = sampler.sample(logits, []);
    said.push(...tokens[token]!);
    if (token === STOP || sampler.ended) return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(said));
  }
  return null;
}

// A format is a remark to the standard; what ours look like is checked apart. An object's own properties are what counts.
const validator = () => new Ajv2020({ strict: false, validateFormats: false, logger: false, ownProperties: true });

function expectValid(schema: unknown, name: string): void {
  const validate = validator().compile(schema as object);
  const grammar = jsonSchemaGrammar(schema);
  for (const [temperature, seed] of [
    [0, 1],
    [1.5, 2],
    [1.5, 3],
  ] as const) {
    const text = say(grammar, temperature, seed);
    if (text === null) throw new Error(`${name} does not end in ${LONGEST} tokens`);
    const value: unknown = JSON.parse(text);
    if (!validate(value)) throw new Error(`${name}: ${text} is not valid: ${JSON.stringify(validate.errors?.[0])}`);
  }
}

interface SuiteCase {
  readonly name: string;
  readonly schema: unknown;
  readonly tests: readonly { readonly data: unknown; readonly valid: boolean }[];
}
const suite = JSON.parse(
  readFileSync(new URL('../../test/fixtures/json-schema-test-suite/draft2020-12.json', import.meta.url), 'utf8'),
) as SuiteCase[];
/** Names within names make ajv 8 call itself without end; the suite's own tests are what these are judged by. */
const beyondAjv = /^ref: (refs with relative uris and defs|relative refs with absolute uris|URN ref with nested)/;
/** `.*` before a certain word: a model that wants to end does, one of random logits does not. */
const endless =
  /^patternProperties: (patternProperties validates properties matching a regex|patternProperties with null)/;

describe('all that is said is valid', () => {
  const supported: SuiteCase[] = [];
  const refused: [SuiteCase, GrammarError][] = [];
  for (const one of suite)
    try {
      jsonSchemaGrammar(one.schema);
      supported.push(one);
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error;
      refused.push([one, error]);
    }

  test('at least 300 schemas take part', () => {
    expect(supported.length).toBeGreaterThanOrEqual(300);
    expect(ownSchemas.length).toBeGreaterThanOrEqual(250);
  });

  test.each(ownSchemas.map(schema => [JSON.stringify(schema).slice(0, 100), schema] as const))('%s', (name, schema) => {
    expectValid(schema, name);
  });

  test.each(supported.filter(({ name }) => !endless.test(name) && !beyondAjv.test(name)))(
    '$name',
    ({ name, schema }) => {
      expectValid(schema, name);
    },
  );

  test.each(supported)('nothing invalid could be said: $name', ({ schema, tests }) => {
    const grammar = jsonSchemaGrammar(schema);
    for (const { data, valid } of tests) if (!valid) expect(accepts(grammar, JSON.stringify(data))).toBe(false);
  });

  test('what is refused names a keyword and a place, or accepts nothing', () => {
    for (const [{ tests }, error] of refused) {
      expect(error.message).toMatch(/^schema at \//);
      if (/nothing .* valid/.test(error.message)) expect(tests.some(({ valid }) => valid)).toBe(false);
    }
  });
});

describe('the law: what a grammar accepts is valid', () => {
  const leaf = fc.constantFrom<unknown>(
    true,
    false,
    {},
    { type: 'integer' },
    { type: 'number', minimum: 1, exclusiveMaximum: 3 },
    { type: ['string', 'null'] },
    { type: 'string', minLength: 1 },
    { const: 'a' },
    { const: 1 },
    { enum: ['a', 'b', 1, null, false] },
    { type: 'boolean' },
    { minItems: 1 },
    { maxProperties: 1 },
    { required: ['a'] },
    { type: 'array', maxItems: 2 },
  );
  const { schema: anySchema } = fc.letrec<{ schema: unknown }>(tie => {
    const inner = tie('schema');
    const few = fc.array(inner, { minLength: 1, maxLength: 3 });
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 2 });
    const members = fc.dictionary(fc.constantFrom('a', 'b', 'c'), inner, { maxKeys: 3 });
    const keywords = {
      type: fc.constantFrom('object', 'array', 'string', 'integer', ['object', 'null']),
      properties: members,
      required: names,
      additionalProperties: fc.oneof(fc.boolean(), inner),
      unevaluatedProperties: fc.boolean(),
      items: inner,
      prefixItems: few,
      unevaluatedItems: fc.boolean(),
      contains: inner,
      uniqueItems: fc.boolean(),
      minContains: fc.nat(2),
      maxContains: fc.nat(2),
      not: inner,
      if: inner,
      // biome-ignore lint/suspicious/noThenProperty: JSON Schema's word
      then: inner,
      else: inner,
      dependentRequired: fc.dictionary(fc.constantFrom('a', 'b'), names, { maxKeys: 2 }),
      dependentSchemas: fc.dictionary(fc.constantFrom('a', 'b'), inner, { maxKeys: 1 }),
      anyOf: few,
      oneOf: few,
      allOf: few,
    };
    return { schema: fc.oneof({ depthSize: 'small' }, leaf, fc.record(keywords, { requiredKeys: [] })) };
  });
  const scalar = fc.constantFrom<unknown>('a', 'b', '', 'long', 0, 1, 2, 2.5, null, true, false);
  const value = fc.oneof(
    scalar,
    fc.array(scalar, { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.oneof(scalar, fc.array(scalar, { maxLength: 2 })), {
      maxKeys: 4,
    }),
  );

  test('of conditions, negations, dependencies and alternatives within each other', { timeout: 170_000 }, () => {
    let made = 0;
    let accepted = 0;
    fc.assert(
      fc.property(anySchema, fc.array(value, { minLength: 20, maxLength: 20 }), (schema, values) => {
        let grammar: string;
        try {
          grammar = jsonSchemaGrammar(schema);
        } catch (error) {
          if (error instanceof GrammarError) return;
          throw error;
        }
        made++;
        const validate = validator().compile(schema as object);
        for (const value of values) {
          // Members in any order: one of them is the grammar's.
          const text = JSON.stringify(value);
          if (!accepts(grammar, text)) continue;
          accepted++;
          if (!validate(value)) throw new Error(`${JSON.stringify(schema)} accepts ${text}`);
        }
      }),
      { numRuns: RUNS },
    );
    expect(made).toBeGreaterThan(RUNS / 5);
    expect(accepted).toBeGreaterThan(RUNS / 4);
  });
});

test('items that are all different: in the order of the list, as many as may be, and all that keep to it', () => {
  const values = [1, 2, 3, 4, 5];
  for (const [minItems, maxItems] of [
    [0, 5],
    [0, 9],
    [1, 5],
    [2, 5],
    [2, 3],
    [5, 5],
    [0, 2],
  ] as const) {
    const grammar = jsonSchemaGrammar({
      type: 'array',
      items: { enum: values },
      uniqueItems: true,
      minItems,
      maxItems,
    });
    for (let chosen = 0; chosen < 1 << values.length; chosen++) {
      const items = values.filter((_, i) => chosen & (1 << i));
      const fits = items.length >= minItems && items.length <= maxItems;
      expect([items, accepts(grammar, JSON.stringify(items))]).toEqual([items, fits]);
      if (items.length > 0) expect(accepts(grammar, JSON.stringify([...items, items[0]]))).toBe(false);
    }
  }
  const none = { type: 'array', items: { enum: [1, 2] }, uniqueItems: true, minItems: 3 };
  expect(() => jsonSchemaGrammar(none)).toThrow(/nothing is valid/);
  const many = { type: 'array', items: { enum: Array.from({ length: 200 }, (_, i) => i) }, uniqueItems: true };
  expect(() => jsonSchemaGrammar(many)).toThrow(/at \/uniqueItems: .* short 'enum'/);
});

describe('refusals', () => {
  test.each<[schema: unknown, message: RegExp]>([
    [{ not: { pattern: 'a' } }, /^schema at \/not\/pattern: 'pattern' is not supported under 'not' and 'if'/],
    [
      { properties: { a: { if: { items: { type: 'string' } }, else: false } } },
      /^schema at \/properties\/a\/if\/items/,
    ],
    [{ not: {} }, /^schema at \/: nothing is valid/],
    [{ type: 'string', minLength: 2, not: { const: 'abc' } }, /to leave out "abc"/],
    [{ dependentRequired: { a: ['b', 3] } }, /^schema at \/dependentRequired: wanted names/],
    [{ allOf: [{ contains: { const: 1 } }, { contains: { const: 2 } }] }, /two different ones at once/],
    [{ type: 'dict' }, /^schema at \/type: got "dict", wanted one of object/],
    [{ $ref: 'https://example.org/x.json' }, /there is no 'https:.*nothing is fetched/],
    [{ $ref: '#/$defs/a~1b' }, /there is no '#\/\$defs\/a~1b'/],
    [{ type: 'string', pattern: '(?=a)b' }, /^schema at \/pattern: .*character 1: looking ahead/],
    [{ type: 'string', pattern: 'a', minLength: 3 }, /pattern together with minLength/],
    [{ type: 'array', uniqueItems: true }, /uniqueItems is supported of a single item/],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, /two alternatives of oneOf/],
    [{ type: 'string', minLength: -1 }, /got -1, wanted a whole number/],
    [{ type: 'object', required: 'a' }, /got "a", wanted an array of strings/],
    [{ allOf: [{ type: 'string' }, { type: 'null' }] }, /nothing is valid under it/],
    [{ type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, /nothing that ends is valid/],
    [{ allOf: [{ $ref: '#' }] }, /go round/],
    ['string', /got "string", wanted a schema/],
    [null, /got null, wanted a schema/],
  ])('%j', (schema, message) => {
    expect(() => jsonSchemaGrammar(schema)).toThrow(GrammarError);
    expect(() => jsonSchemaGrammar(schema)).toThrow(message);
  });

  const conditions = (depth: number): unknown => {
    let schema: Record<string, unknown> = {};
    for (let i = 0; i < depth; i++) {
      schema = { if: { properties: { t: { const: `k${i}` } }, required: ['t'] }, else: schema };
    }
    return schema;
  };
  const nested = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
    let schema: unknown = { type: 'string' };
    for (let i = 0; i < depth; i++) schema = wrap(schema);
    return schema;
  };
  test.each<[name: string, schema: () => unknown]>([
    ['60,000 levels', () => nested(60_000, inner => ({ items: inner }))],
    [
      'a hundred thousand properties',
      () => ({ properties: Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`p${i}`, {}])) }),
    ],
    ['a large enum', () => ({ enum: Array.from({ length: 1e6 }, (_, i) => i) })],
    ['a long constant', () => ({ const: 'x'.repeat(5e6) })],
    ['60,000 groups in a pattern', () => ({ type: 'string', pattern: '('.repeat(60_000) })],
    ['groups in a pattern', () => ({ type: 'string', pattern: `${'('.repeat(4000)}a${')'.repeat(4000)}` })],
    ['conditions in conditions', () => conditions(30)],
    ['negations of negations', () => nested(90, inner => ({ not: { properties: { a: inner, b: inner } } }))],
    [
      'dependencies',
      () => ({ dependentRequired: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`a${i}`, [`b${i}`]])) }),
    ],
    [
      'products of alternatives',
      () => ({
        allOf: Array.from({ length: 9 }, (_, i) => ({
          anyOf: Array.from({ length: 9 }, (_, j) => ({ properties: { [`p${i}`]: { const: j } } })),
        })),
      }),
    ],
    [
      'references that double',
      () => ({
        $ref: '#/$defs/a0',
        $defs: Object.fromEntries(
          Array.from({ length: 60 }, (_, i) => [
            `a${i}`,
            { allOf: [{ $ref: `#/$defs/a${i + 1}` }, { $ref: `#/$defs/a${i + 1}` }] },
          ]),
        ),
      }),
    ],
  ])('a bomb of %s: in 100 ms', (_, make) => {
    const schema = make();
    const time = processorTime();
    expect(() => jsonSchemaGrammar(schema)).toThrow(GrammarError);
    expect(time()).toBeLessThan(100);
  });

  test('exponential patterns are followed in linear time', () => {
    const schema = { enum: [`${'a'.repeat(5000)}!`, 'aa'], pattern: '^(a+)+$' };
    const time = processorTime();
    expect(accepts(jsonSchemaGrammar(schema), '"aa"')).toBe(true);
    expect(time()).toBeLessThan(1000);
  });
});

describe('parts', () => {
  test('numbers of a range are all in it, and those with few digits are all there', () => {
    const bound = fc.integer({ min: -3000, max: 3000 }).map(n => n / 100);
    fc.assert(
      fc.property(bound, bound, fc.integer({ min: -4000, max: 4000 }), fc.constantFrom(0, 1, 2), (a, b, n, places) => {
        const [minimum, maximum] = a < b ? [a, b] : [b, a];
        const texts = numbersIn({ minimum, maximum }, false);
        const text = (n / 10 ** places).toFixed(places);
        const x = Number(text);
        if (Object.is(x, -0) || text.startsWith('-0.0')) return;
        expect(texts !== null && accepts(`root ::= ${texts}`, text)).toBe(x >= minimum && x <= maximum);
      }),
      { numRuns: 1000 },
    );
  });

  test('patterns mean what they mean in JavaScript', () => {
    const patterns = [
      'a+b?',
      '^a|b$',
      '^(a|bc)*$',
      '[^ab]',
      '^\\d{2,3}$',
      'x{2}',
      '^.$',
      '\\w\\s\\W',
      '^[\\d-]+$',
      '(?:ab)+?c',
      '^\\u0061\\x62$',
      '^$',
      '',
      '^[^]$'.replace('[^]', '[\\s\\S]'),
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...patterns),
        fc.array(fc.constantFrom(...'abcx 12-\n_é'), { maxLength: 5 }),
        (pattern, units) => {
          const text = units.join('');
          const grammar = `root ::= ${regexGrammar(pattern, 'pattern', { whole: false, write: classText })}`;
          expect(accepts(grammar, text)).toBe(new RegExp(pattern, 'u').test(text));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('any JSON object is one, and nothing else', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), object => {
        expect(accepts(jsonObjectGrammar, JSON.stringify(object))).toBe(
          !/\d{16}|e[+-]?\d{3}|\\ud[89a-f]/i.test(JSON.stringify(object)),
        );
      }),
    );
    for (const text of ['', '[]', '1', '{"a"}', '{"a":1,}', "{'a':1}", '{"a":01}', '{"a":"\n"}'])
      expect(accepts(jsonObjectGrammar, text)).toBe(false);
  });

  test('formats look as they should', () => {
    const shapes: Record<string, RegExp> = {
      date: /^\d{4}-\d\d-\d\d$/,
      'date-time': /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/,
      uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      ipv4: /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.|$)){4}$/,
      email: /^[^@\s]+@[^@\s]+\.[^@\s]+$/,
    };
    for (const [format, shape] of Object.entries(shapes))
      for (let seed = 0; seed < 20; seed++) {
        const value = JSON.parse(say(jsonSchemaGrammar({ type: 'string', format }), 1.5, seed)!) as string;
        expect(value).toMatch(shape);
        if (format.startsWith('date'))
          expect(new Date(value).toISOString().slice(0, 7)).toBe(new Date(value).toISOString().slice(0, 7));
      }
  });
});
