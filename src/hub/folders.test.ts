// Safetensors that other programs pulled into the cache: listed, found by name, and said to be incomplete where shards are missing.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findModel, listModels } from './library.ts';
import { hubSettings } from './settings.ts';

let home: string;
const settings = () => hubSettings({ HF_HOME: home });
async function snapshot(repo: string, files: Record<string, unknown>): Promise<string> {
  const root = join(home, 'hub', `models--${repo.replace('/', '--')}`);
  const folder = join(root, 'snapshots', '0a1b2c');
  await mkdir(folder, { recursive: true });
  await mkdir(join(root, 'refs'), { recursive: true });
  await writeFile(join(root, 'refs', 'main'), '0a1b2c');
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), JSON.stringify(content));
  return folder;
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'maverick-cache-'));
});
afterAll(() => rm(home, { recursive: true }));

test('models that run here, whole or not; others are passed over', async () => {
  const config = { model_type: 'llama4' };
  const scout = await snapshot('meta-llama/Llama-4-Scout', { 'config.json': config, 'model.safetensors': 'weights' });
  const index = { weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } };
  const part = { 'config.json': config, 'model.safetensors.index.json': index, 'model-1.safetensors': 1 };
  await snapshot('meta-llama/Llama-4-Maverick', part);
  await snapshot('some/bert', { 'config.json': { model_type: 'bert' }, 'model.safetensors': 1 });
  await snapshot('some/damaged', { 'config.json': config, 'model.safetensors.index.json': 7 });
  await snapshot('some/adapter', { 'config.json': config });
  const models = await listModels(settings());
  expect(models.map(({ name, complete, bytes }) => [name, complete, bytes])).toEqual([
    ['hf:meta-llama/Llama-4-Maverick', false, 1],
    ['hf:meta-llama/Llama-4-Scout', true, 9],
  ]);
  expect((await findModel('hf:meta-llama/Llama-4-Scout', settings())).path).toBe(scout);
  await expect(findModel('hf:meta-llama/Llama-4-Maverick', settings())).rejects.toThrow(/shards are missing in/);
});
