// Compiles what benchmarks need in C++ and gives the program's path: measuring memory and counting instructions is no work for JavaScript.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A program of these sources, in a folder that goes when this process ends.
 * @param sources paths @param flags for the compiler
 * @throws Error with the compiler's words.
 */
export function compile(sources: readonly string[], flags: readonly string[] = []): string {
  const folder = mkdtempSync(join(tmpdir(), 'maverick-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'program');
  const compiler = process.env.CXX ?? 'c++';
  const args = ['-std=c++20', '-O3', '-Wno-psabi', ...flags, ...sources, '-pthread', '-o', program];
  const { status, stderr, error } = spawnSync(compiler, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${compiler} does not compile ${sources.join(' ')}:\n${stderr || error?.message}`);
  return program;
}
