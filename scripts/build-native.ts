// Compiles src/backends/kernels and the addon around them with the machine's C++ compiler: dist/native/maverick-<variant>.node; with
// --quantize src/quantize/kernels and theirs: quantize-<variant>.node.
// Usage: node scripts/build-native.ts [--quantize] [--all] [output folder]. It makes the best variant for this processor and `plain`, or
// all of this architecture. Without a compiler it says so in one line, and WebAssembly is used.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { variants } from '../src/backends/native/load.ts';
import { instructionFlags } from './native-flags.ts';
import { tablesHeader } from './tables-header.ts';

const commonFlags = [
  '-std=c++20',
  '-O3', // small loops over registers must be unrolled
  '-fPIC',
  '-fno-exceptions',
  '-fno-rtti',
  '-fno-strict-aliasing',
  '-fno-math-errno',
  '-ffp-contract=off',
  '-fno-threadsafe-statics',
  '-fvisibility=hidden',
  '-Wall',
  '-Wextra',
  '-Wno-psabi',
  '-Wno-attributes',
  '-Wno-unknown-pragmas',
  '-Wno-ignored-attributes',
];
const linkerFlags: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ['-shared', '-Wl,--as-needed', '-Wl,-s', '-pthread'],
  darwin: ['-bundle', '-undefined', 'dynamic_lookup', '-Wl,-x'],
};

const root = fileURLToPath(new URL('..', import.meta.url));
const backends = join(root, 'src/backends');
const { values, positionals } = parseArgs({
  options: { all: { type: 'boolean' }, quantize: { type: 'boolean' } },
  allowPositionals: true,
});
const name = values.quantize ? 'quantize' : 'maverick';
const room = values.quantize ? join(root, 'src/quantize') : backends;
const output = positionals[0] ?? join(root, 'dist/native');

/** Runs a program; resolves to what it printed when it failed, or undefined. */
async function failureOf(command: string, args: readonly string[]): Promise<string | undefined> {
  const program = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [program.stdout, program.stderr]) stream.on('data', data => (printed += data));
  try {
    const [code] = await once(program, 'close');
    return code === 0 ? undefined : printed || `it ended with code ${code}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The first C++20 compiler that there is. */
async function findCompiler(folder: string): Promise<string> {
  const source = join(folder, 'try.cpp');
  writeFileSync(source, 'template <class T> concept Any = true; static_assert(Any<int> && __cplusplus > 201703L);\n');
  const named = process.env.CXX;
  let failure = '';
  for (const compiler of named ? [named] : ['c++', 'g++', 'clang++']) {
    const printed = await failureOf(compiler, ['-std=c++20', '-fsyntax-only', source]);
    if (printed === undefined) return compiler;
    failure ||= printed;
  }
  throw new Error(named ? `CXX is ${named}: ${firstLine(failure)}` : `no C++20 compiler: ${firstLine(failure)}`);
}

const firstLine = (text: string): string => text.trim().split('\n')[0]!;
const errorLine = (text: string): string => text.split('\n').find(line => /error/i.test(line)) ?? firstLine(text);

/** The best variant that this processor runs, and the one that all run. */
async function fitting(folder: string, compiler: string, known: readonly string[]): Promise<readonly string[]> {
  const source = join(folder, 'probe.cpp');
  writeFileSync(source, '#include "processor.h"\nint main() { return processor_supports_variant() ? 0 : 1; }\n');
  for (const variant of known) {
    const probe = join(folder, `probe-${variant}`);
    const flags = ['-std=c++20', `-DVARIANT_${variant}`, `-I${join(backends, 'native')}`];
    const printed = await failureOf(compiler, [...flags, source, '-o', probe]);
    if (printed !== undefined) throw new Error(`${compiler}: ${errorLine(printed)}`);
    if ((await failureOf(probe, [])) === undefined) return [...new Set([variant, 'plain'])];
  }
  return ['plain'];
}

/** Does every job, as many at once as there are processors; the first failure ends it. */
async function inParallel(jobs: (() => Promise<void>)[]): Promise<void> {
  const workers = Array.from({ length: availableParallelism() }, async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) {
      try {
        await job();
      } catch (error) {
        jobs.length = 0;
        throw error;
      }
    }
  });
  await Promise.all(workers);
}

async function build(folder: string): Promise<void> {
  const linking = linkerFlags[process.platform];
  const known = variants[process.arch];
  if (!linking || !known) throw new Error(`they are not made for ${process.platform} on ${process.arch} yet`);
  const compiler = await findCompiler(folder);
  const wanted = values.all ? known : await fitting(folder, compiler, known);
  writeFileSync(join(folder, 'formats-tables.h'), await tablesHeader());
  const headers = join(dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json')), 'include');
  const include = [`-I${folder}`, `-I${join(backends, 'kernels')}`, '-isystem', headers];
  const units = readdirSync(join(room, 'kernels')).filter(unit => unit.endsWith('.cpp'));

  const jobs: (() => Promise<void>)[] = [];
  const compile = (variant: string, source: string, flags: readonly string[]): void => {
    const object = join(folder, `${variant}-${basename(source, '.cpp')}.o`);
    jobs.push(async () => {
      const printed = await failureOf(compiler, [...commonFlags, ...flags, ...include, '-c', source, '-o', object]);
      if (printed !== undefined) throw new Error(`${compiler}: ${errorLine(printed)}`);
      // What runs while a file is loaded runs before the addon is asked whether this processor knows its instructions.
      if (/\.init_array|\.ctors|__mod_init_func/.test(readFileSync(object, 'latin1')))
        throw new Error(
          `${basename(source)} has a global whose value is computed when it is loaded; make it constinit`,
        );
    });
  };
  for (const variant of wanted) {
    for (const unit of units) compile(variant, join(room, 'kernels', unit), instructionFlags[variant]!);
    compile(variant, join(room, 'native/addon.cpp'), [`-DVARIANT_${variant}`]);
  }
  await inParallel(jobs);

  mkdirSync(output, { recursive: true });
  await inParallel(
    wanted.map(variant => async () => {
      const objects = [...units, 'addon.cpp'].map(unit => join(folder, `${variant}-${basename(unit, '.cpp')}.o`));
      // Written aside and renamed, so that a reader never meets half a file, nor one that it has open changes.
      const aside = join(output, `${name}-${variant}.node.${process.pid}`);
      const printed = await failureOf(compiler, [...linking, ...objects, '-o', aside]);
      if (printed !== undefined) throw new Error(`${compiler}: ${errorLine(printed)}`);
      renameSync(aside, join(output, `${name}-${variant}.node`));
    }),
  );
}

const folder = mkdtempSync(join(tmpdir(), 'maverick-native-'));
try {
  await build(folder);
} catch (error) {
  // Kernels of older sources would be worse than none.
  if (existsSync(output))
    for (const file of readdirSync(output))
      if (file.startsWith(`${name}-`) && file.endsWith('.node')) rmSync(join(output, file));
  console.log(
    `No native ${values.quantize ? 'quantizing ' : ''}kernels (${(error as Error).message}); WebAssembly is used. To get them: install a C++20 compiler and run npm run build.`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
