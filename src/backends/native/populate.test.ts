// Pages are made huge behind a load without taking the processor from who computes much. Needs Linux and a C++ compiler.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const source = fileURLToPath(new URL('populate.test.cpp', import.meta.url));

test('small pages become huge at once where nothing runs or a program mostly reads, and with a sixteenth of a processor beside one that computes', context => {
  const folder = mkdtempSync(join(tmpdir(), 'populate-'));
  try {
    const program = join(folder, 'populate');
    const compiled = spawnSync(process.env.CXX ?? 'c++', ['-std=c++20', '-O1', '-pthread', source, '-o', program]);
    if (compiled.error) context.skip('there is no C++ compiler');
    expect(compiled.stderr.toString()).toBe('');
    const measured = (): { quiet: number; computed: number; read: number } =>
      JSON.parse(spawnSync(program, { encoding: 'utf8' }).stdout);
    const refused = (times: ReturnType<typeof measured>): boolean => Object.values(times).includes(-1);
    // A system short of huge pages refuses one now and then.
    let times = measured();
    for (let turn = 0; turn < 2 && refused(times); turn++) times = measured();
    if (refused(times)) context.skip('this system makes no pages huge, or too few now');
    const { quiet, computed, read } = times;
    expect(computed).toBeGreaterThan(0);
    expect(computed).toBeLessThan(0.1); // a sixteenth
    expect(quiet).toBeGreaterThan(2 * computed);
    expect(read).toBeGreaterThan(2 * computed);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
