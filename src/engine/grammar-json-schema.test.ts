// Structured output: whatever a model of random weights says under a schema's grammar is JSON and valid, as ajv judges it.
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
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
    expect(supported.length).toBeGreaterThanOrEqual(225);
    expect(supported.length + ownSchemas.length).toBeGreaterThanOrEqual(300);
  });

  test.each(ownSchemas.map(schema => [JSON.stringify(schema).slice(0, 100), schema] as const))('%s', (name, schema) => {
    expectValid(schema, name);
  });

  test.each(supported.filter(({ name }) => !endless.test(name)))('$name', ({ name, schema }) => {
    expectValid(schema, name);
  });

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

describe('refusals', () => {
  test.each<[schema: unknown, message: RegExp]>([
    [{ not: { type: 'string' } }, /^schema at \/not: 'not' is not supported/],
    [{ properties: { a: { if: true } } }, /^schema at \/properties\/a\/if/],
    [{ type: 'dict' }, /^schema at \/type: got "dict", wanted one of object/],
    [{ $ref: 'https://example.org/x.json' }, /there is no 'https:.*nothing is fetched/],
    [{ $ref: '#/$defs/a~1b' }, /there is no '#\/\$defs\/a~1b'/],
    [{ type: 'string', pattern: '(?=a)b' }, /^schema at \/pattern: .*character 1: looking ahead/],
    [{ type: 'string', pattern: 'a', minLength: 3 }, /pattern together with minLength/],
    [{ type: 'array', uniqueItems: true }, /uniqueItems is not supported/],
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
    const start = performance.now();
    expect(() => jsonSchemaGrammar(schema)).toThrow(GrammarError);
    expect(performance.now() - start).toBeLessThan(100);
  });

  test('exponential patterns are followed in linear time', () => {
    const schema = { enum: [`${'a'.repeat(5000)}!`, 'aa'], pattern: '^(a+)+$' };
    const start = performance.now();
    expect(accepts(jsonSchemaGrammar(schema), '"aa"')).toBe(true);
    expect(performance.now() - start).toBeLessThan(1000);
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
