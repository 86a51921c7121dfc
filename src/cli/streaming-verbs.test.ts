// --memory and --stats: a model larger than what it may take answers the same, says so once, and tells what reading cost.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { memoryFor, type SmallModels, writeSmallModels } from '../engine/small-models.cases.ts';
import { maverick } from './fake-terminal.cases.ts';

let models: SmallModels;
beforeAll(async () => {
  models = await writeSmallModels();
});
afterAll(() => models[Symbol.dispose]());

test('generate within a budget: the same text, a note, a table, and a record for the next run', async () => {
  const args = ['generate', models.llama4, 'hello', '-n', '6', '--threads', '1'];
  const environment = { XDG_CACHE_HOME: join(models.folder, 'cache') };
  const resident = await maverick([...args, '--stats'], { environment });
  expect(resident.stderr).toContain('All experts are in memory');
  const memory = String(await memoryFor(models.llama4, 3, false, 4));
  const streamed = await maverick([...args, '--memory', memory, '--stats'], { environment });
  expect([streamed.code, streamed.stdout]).toEqual([0, resident.stdout]);
  expect(streamed.stderr.match(/3 of 8 experts \(.*B\) are in memory at once/g)).toHaveLength(1);
  expect(streamed.stderr).toMatch(/experts in memory +[1-3] of 8/);
  expect(streamed.stderr).toMatch(/LAYER +WANTED +IN MEMORY +READ +WAITED\n.* 1 .*\n.* 3 /s);
  expect(readdirSync(join(models.folder, 'cache/open-maverick/experts'))).toHaveLength(1);
  const again = await maverick([...args, '--memory', memory], { environment });
  expect(again.stdout).toBe(resident.stdout);
  expect(again.stderr).not.toContain('LAYER');
});

test('a budget that is none, or too small, is told', async () => {
  const wrong = await maverick(['generate', models.llama4, 'hello', '--memory', 'much']);
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('Wanted: bytes, as in 20G or 512M.')]);
  const small = await maverick(['generate', models.llama4, 'hello', '--memory', '1M']);
  expect([small.code, small.stderr]).toEqual([
    1,
    expect.stringMatching(/even with its experts on disk it takes .*--memory/s),
  ]);
});
