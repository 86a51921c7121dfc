// What derived files owe: which metadata speak of Llama 4 and which do not, and what follows from it.
import { describe, expect, test } from 'vitest';
import { derivedTerms, licenceOf } from './derived.ts';
import { llama4Terms, termsOfLicence } from './llama4.ts';

const of = (entries: Record<string, unknown>) => new Map(Object.entries(entries));

describe('which licence', () => {
  test.each<[string, Record<string, unknown>]>([
    ['its id', { 'general.license': 'llama4' }],
    ['other, and a name', { 'general.license': 'other', 'general.license.name': 'llama4' }],
    ['its title', { 'general.license.name': 'Llama 4 Community License' }],
    ["the model's name", { 'general.name': 'Llama-4-Maverick-17B-128E-Instruct' }],
    ["the model's name with the maker's", { 'general.name': 'Meta Llama 4 Scout' }],
    ['other, and the name', { 'general.license': 'other', 'general.name': 'Llama 4 Scout 17B 16E' }],
    ['what it is based on', { 'general.base_model.count': 1, 'general.base_model.0.name': 'Llama 4 Scout 17B 16E' }],
    [
      'where that lies',
      {
        'general.name': 'My Tune',
        'general.base_model.count': 1,
        'general.base_model.0.repo_url': 'https://huggingface.co/meta-llama/Llama-4-Scout-17B-16E',
      },
    ],
  ])('Llama 4 by %s', (_, entries) => {
    expect(licenceOf(of(entries))).toBe(llama4Terms);
  });

  test.each<[string, Record<string, unknown>]>([
    ['nothing is said', {}],
    ['only the architecture says so: random weights have it too', { 'general.architecture': 'llama4' }],
    ['another licence is stated', { 'general.license': 'apache-2.0', 'general.name': 'llama4-like' }],
    ['another generation', { 'general.name': 'Llama 40B' }],
    ['a version between', { 'general.license': 'llama4.5' }],
    ['Llama 3', { 'general.license': 'llama3.1', 'general.name': 'Llama 3.1 8B' }],
    ['metadata are no text', { 'general.license': 4, 'general.name': ['Llama 4'], 'general.base_model.count': 1e9 }],
  ])('none where %s', (_, entries) => {
    expect(licenceOf(of(entries))).toBeNull();
    expect(derivedTerms(of(entries), 'x.gguf')).toBeNull();
  });

  test('no name is no licence', () => expect(termsOfLicence(null)).toBeNull());
});

describe('a derived file', () => {
  const source = of({ 'general.license': 'llama4', 'general.name': 'Maverick Tuned' });

  test('carries licence, notice, attribution and a name that begins with Llama', () => {
    const derived = derivedTerms(source, 'out/Llama-tuned-Q4_K_M.gguf')!;
    expect(Object.fromEntries(derived.metadata)).toEqual({
      'general.name': 'Llama Maverick Tuned',
      'general.license': 'llama4',
      'general.license.name': 'Llama 4 Community License',
      'general.license.link': llama4Terms.link,
      'maverick.notice': llama4Terms.notice,
      'maverick.attribution': 'Built with Llama',
    });
    expect(derived.notice.text).toContain('Copyright © Meta Platforms, Inc. All Rights Reserved.');
    expect(derived.warnings).toEqual([]);
  });

  test.each([
    ['out/tuned-Q4_K_M.gguf', 'Llama-tuned-Q4_K_M.gguf'],
    ['C:\\out\\Meta-Llama-4-Q4_0.gguf', 'Llama-4-Q4_0.gguf'],
  ])('is warned about a name that does not: %s', (path, better) => {
    expect(derivedTerms(source, path)!.warnings).toEqual([expect.stringContaining(better)]);
  });

  test('deriving twice changes nothing more', () => {
    const once = derivedTerms(source, 'Llama-x.gguf')!.metadata;
    expect(derivedTerms(once, 'Llama-x.gguf')!.metadata).toEqual(once);
  });

  test('without a name takes that of the file', () => {
    const derived = derivedTerms(of({ 'general.license': 'llama4' }), 'a/scout.gguf')!;
    expect(derived.metadata.get('general.name')).toBe('Llama-scout.gguf');
  });
});
