// What models in folders are called.
import { expect, test } from 'vitest';
import { modelNameOf } from './folder.ts';

test.each([
  ['/models/Llama-4-Scout-17B-16E-Instruct/', 'Llama-4-Scout-17B-16E-Instruct'],
  ['/models/Llama-4-Scout-17B-16E-Instruct/original', 'Llama-4-Scout-17B-16E-Instruct'],
  ['/cache/hub/models--meta-llama--Llama-4-Scout-17B-16E/snapshots/0a1b2c', 'Llama-4-Scout-17B-16E'],
  ['/cache/hub/models--meta-llama--Llama-4-Scout-17B-16E/snapshots/0a1b2c/original', 'Llama-4-Scout-17B-16E'],
  ['/cache/hub/models--tiny/snapshots/0a1b2c', '0a1b2c'],
  ['/original', 'original'],
  ['model.gguf', 'model.gguf'],
])('%s is %s', (path, name) => {
  expect(modelNameOf(path)).toBe(name);
});
