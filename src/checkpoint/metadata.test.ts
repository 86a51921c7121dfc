// Metadata by type: the value, the fallback, or an error that says which key is what and should be what.
import { expect, test } from 'vitest';
import { CheckpointError, type MetadataValue } from './checkpoint.ts';
import { Metadata } from './metadata.ts';

const metadata = new Metadata({
  path: 'model.gguf',
  metadata: new Map<string, MetadataValue>([
    ['name', 'Scout'],
    ['count', 48],
    ['epsilon', 1e-5],
    ['nan', Number.NaN],
    ['big', 2n ** 60n],
    ['on', true],
    ['heads', [40, 40]],
    ['tokens', ['a', 'b']],
    ['mixed', ['a', 1]],
    ['flags', [true, false]],
  ]),
});

test('values of the type asked for', () => {
  expect(metadata.has('name')).toBe(true);
  expect(metadata.has('nothing')).toBe(false);
  expect(metadata.string('name')).toBe('Scout');
  expect(metadata.number('epsilon')).toBe(1e-5);
  expect(metadata.integer('count', 1, 48)).toBe(48);
  expect(metadata.boolean('on')).toBe(true);
  expect(metadata.numbers('heads')).toEqual([40, 40]);
  expect(metadata.strings('tokens')).toEqual(['a', 'b']);
  expect(metadata.booleans('flags')).toEqual([true, false]);
});

test('the fallback where the key is missing, also undefined and null', () => {
  expect(metadata.string('nothing', 'x')).toBe('x');
  expect(metadata.number('nothing', undefined)).toBeUndefined();
  expect(metadata.integer('nothing', 0, 9, null)).toBeNull();
  expect(metadata.boolean('nothing', false)).toBe(false);
  expect(metadata.strings('nothing', [])).toEqual([]);
});

test.each<[string, () => unknown, string]>([
  ['missing', () => metadata.string('nothing'), 'metadata nothing is missing; it must be a text.'],
  ['a number as text', () => metadata.string('count'), 'metadata count is 48; it must be a text.'],
  ['a text as number', () => metadata.number('name'), 'metadata name is the text "Scout"; it must be a finite number.'],
  ['a wrong type in spite of a fallback', () => metadata.number('name', 1), 'metadata name is the text "Scout"'],
  ['not a number', () => metadata.number('nan'), 'metadata nan is NaN; it must be a finite number.'],
  ['too large for a number', () => metadata.number('big'), 'metadata big is 1152921504606846976'],
  [
    'a fraction',
    () => metadata.integer('epsilon', 0, 1),
    'metadata epsilon is 0.00001; it must be a whole number from 0 to 1.',
  ],
  [
    'out of range',
    () => metadata.integer('count', 1, 47),
    'metadata count is 48; it must be a whole number from 1 to 47.',
  ],
  ['a number as truth', () => metadata.boolean('count'), 'metadata count is 48; it must be true or false.'],
  [
    'an array as number',
    () => metadata.number('heads'),
    'metadata heads is an array of 2; it must be a finite number.',
  ],
  ['no array', () => metadata.numbers('count'), 'metadata count is 48; it must be an array whose elements'],
  ['a wrong element', () => metadata.strings('mixed'), 'metadata mixed[1] is 1; it must be a text.'],
])('%s', (_name, get, message) => {
  expect(get).toThrow(CheckpointError);
  expect(get).toThrow(`model.gguf: ${message}`);
});
