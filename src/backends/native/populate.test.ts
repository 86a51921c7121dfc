// Pages are made huge behind a load without taking the processor from who computes. Needs Linux and a C++ compiler.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const source = fileURLToPath(new URL('populate.test.cpp', import.meta.url));

test('small pages become huge at once where nothing computes, and with a sixteenth of a processor beside a program', context => {
  const folder = mkdtempSync(join(tmpdir(), 'populate-'));
  try {
    const program = join(folder, 'populate');
    const compiled = spawnSync(process.env.CXX ?? 'c++', ['-std=c++20', '-O1', '-pthread', source, '-o', program]);
    if (compiled.error) context.skip('there is no C++ compiler');
    expect(compiled.stderr.toString()).toBe('');
    const measured = (): { quiet: number; beside: number } =>
      JSON.parse(spawnSync(program, { encoding: 'utf8' }).stdout);
    // A system short of huge pages refuses one now and then.
    let { quiet, beside } = measured();
    for (let turn = 0; turn < 2 && (quiet === -1 || beside === -1); turn++) ({ quiet, beside } = measured());
    if (quiet === -1 || beside === -1) context.skip('this system makes no pages huge, or too few now');
    expect(beside).toBeGreaterThan(0);
    expect(beside).toBeLessThan(0.1); // a sixteenth
    expect(quiet).toBeGreaterThan(2 * beside);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
