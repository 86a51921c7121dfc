// Names: settings from the environment, references, quantizations, the short list of models.
import { describe, expect, test } from 'vitest';
import { formats } from '../checkpoint/dtype.ts';
import { chooseFiles, ggufFiles, quantizationOf } from './choose.ts';
import { distance } from './library.ts';
import { namedModel, namedModels } from './models.ts';
import { parseReference } from './reference.ts';
import { hubSettings } from './settings.ts';

test('settings follow the variables all Hugging Face tools share', () => {
  expect(hubSettings({ HOME: '/home/me' })).toEqual({
    endpoint: 'https://huggingface.co',
    cache: '/home/me/.cache/huggingface/hub',
    token: null,
    offline: false,
  });
  expect(hubSettings({ HOME: '/h', XDG_CACHE_HOME: '/x' }).cache).toBe('/x/huggingface/hub');
  expect(hubSettings({ HF_HOME: '/a' }).cache).toBe('/a/hub');
  expect(hubSettings({ HF_HOME: '/a', HF_HUB_CACHE: '/b' }).cache).toBe('/b');
  expect(
    hubSettings({ HF_HOME: '/a', HF_TOKEN: ' t\n', HF_ENDPOINT: 'https://mirror.example/', HF_HUB_OFFLINE: 'YES' }),
  ).toMatchObject({
    token: 't',
    endpoint: 'https://mirror.example',
    offline: true,
  });
});

test('references', () => {
  expect(parseReference('hf:a/b')).toEqual({ repo: 'a/b', revision: 'main', file: null });
  expect(parseReference('hf:a/b.c-D@v1:x/y.gguf')).toEqual({ repo: 'a/b.c-D', revision: 'v1', file: 'x/y.gguf' });
  for (const bad of [
    'a/b',
    'hf:a',
    'hf:a/b/c',
    'hf:a/..',
    'hf:a/b:/etc/passwd',
    'hf:a/b:C:\\x',
    'hf:a/b@../x',
    'hf:a/b:x/../../y',
    'hf:a/b:',
  ])
    expect(() => parseReference(bad), bad).toThrow(/hf:owner|outside/);
});

test.each([
  ['SmolLM2-135M-Instruct-Q4_K_M.gguf', 'Q4_K_M'],
  ['SmolLM2-135M-Instruct.Q4_1.gguf', 'Q4_1'],
  ['UD-Q2_K_XL/Llama-4-UD-Q2_K_XL-00001-of-00003.gguf', 'UD-Q2_K_XL'],
  ['model-iq3_xxs.gguf', 'IQ3_XXS'],
  ['model-IQ2_XS.gguf', 'IQ2_XS'],
  ['Llama-4-UD-IQ1_M-00001-of-00002.gguf', 'UD-IQ1_M'],
  ['model-TQ1_0.gguf', 'TQ1_0'],
  ['model-MXFP4_MOE.gguf', 'MXFP4_MOE'],
  ['model-nvfp4.gguf', 'NVFP4'],
  ['model-f16.gguf', 'F16'],
  ['model.gguf', null],
  ['Qwen2.gguf', null],
])('the quantization of %s is %s', (path, quantization) => expect(quantizationOf(path)).toBe(quantization));

describe('choosing', () => {
  test('several quantizations: the usual one; none of the usual: an error that lists them', () => {
    expect(chooseFiles('hf:a/b', ['m-Q2_K.gguf', 'm-Q4_0.gguf', 'm-F16.gguf'], null).path).toBe('m-Q4_0.gguf');
    expect(chooseFiles('hf:a/b', ['m-F16.gguf'], null).path).toBe('m-F16.gguf');
    expect(() => chooseFiles('hf:a/b', ['m-F16.gguf', 'm-F32.gguf'], null)).toThrow(/F16, F32/);
  });
  test('parts of one model stay together, in order, and apart from others', () => {
    const files = ggufFiles([
      'b-00002-of-00002.gguf',
      'a-00001-of-00002.gguf',
      'b-00001-of-00002.gguf',
      'a-00002-of-00002.gguf',
      'a-00001-of-00001.gguf',
    ]);
    expect(files.map(file => [file.parts.length, file.expectedParts])).toEqual([
      [1, 1],
      [2, 2],
      [2, 2],
    ]);
    expect(files[2]!.parts).toEqual(['b-00001-of-00002.gguf', 'b-00002-of-00002.gguf']);
  });
  test('any file by its exact path', () =>
    expect(chooseFiles('hf:a/b', ['tokenizer.model'], 'tokenizer.model').parts).toEqual(['tokenizer.model']));
});

describe('named models', () => {
  test('name only formats that this engine reads', () => {
    const readable = Object.keys(formats);
    for (const { quantizations, quantization } of namedModels) {
      expect(quantizations.map(({ name }) => name)).toContain(quantization);
      for (const { name } of quantizations)
        expect(
          readable.some(format => name === format || name.startsWith(`${format}_`)),
          name,
        ).toBe(true);
    }
  });
  test('sizes are plausible: between 2 and 17 bits a weight', () => {
    for (const { parameters, quantizations } of namedModels)
      for (const { bytes } of quantizations) {
        expect((bytes * 8) / parameters).toBeGreaterThan(2);
        expect((bytes * 8) / parameters).toBeLessThan(17);
      }
  });
  test('a name with and without a quantization', () => {
    expect(namedModel('SmolLM2')!.references[0]).toEqual({
      repo: 'bartowski/SmolLM2-135M-Instruct-GGUF',
      revision: 'main',
      file: 'Q4_K_M',
    });
    expect(namedModel('smollm2:Q8_0')!.references[0]!.file).toBe('Q8_0');
    expect(namedModel('smollm3')).toBeNull();
  });
});

test('distance counts single letters', () => {
  expect([distance('', 'abc'), distance('smolm2', 'smollm2'), distance('kitten', 'sitting')]).toEqual([3, 1, 3]);
});
