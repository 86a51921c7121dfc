// Compiles src/backends/kernels (freestanding C++) to dist/kernels/kernels.wasm with Clang from npm. Silent unless it fails.

import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { commands, Exit, runLLVM, type Tree } from '@yowasp/clang';
import { tablesHeader } from './tables-header.ts';

// Optimising Clang itself costs a build this short more than it gives back. (`--liftoff-only` alone implies the others only at start.)
for (const flag of ['--liftoff-only', '--no-wasm-tier-up', '--no-wasm-dynamic-tiering']) setFlagsFromString(flag);

const root = new URL('../', import.meta.url);
const sources = new URL('src/backends/kernels/', root);
const output = new URL('dist/kernels/kernels.wasm', root);

const compilerFlags = [
  '--target=wasm64',
  '-std=c++20',
  '-O2', // -O3 makes nothing faster and takes a quarter more time
  '-ffreestanding',
  '-nostdlib',
  '-nostdinc++',
  '-fno-exceptions',
  '-fno-rtti',
  '-fno-math-errno',
  '-ffp-contract=off',
  '-fvisibility=hidden',
  '-msimd128',
  '-mrelaxed-simd',
  '-matomics',
  '-mbulk-memory',
  '-mnontrapping-fptoint',
  '-msign-ext',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-Wno-psabi',
];
const linkerFlags = [
  '-mwasm64',
  '--no-entry',
  '--shared-memory',
  '--import-memory',
  '--max-memory=17179869184',
  '--export=__stack_pointer',
  '--export=__heap_base',
  '--strip-debug',
  // Every thread brings its own stack, so the linker's is only used while an instance is made.
  '-z',
  'stack-size=65536',
];

/** Runs one tool in its own file system and returns that file system; what it prints is kept for the case that it fails. */
async function tool(name: 'clang' | 'wasm-ld', args: string[], files: Tree): Promise<Tree> {
  const printed: Uint8Array[] = [];
  const keep = (bytes: Uint8Array | null) => {
    if (bytes) printed.push(bytes.slice());
  };
  try {
    return (await commands[name](args, files, { stdout: keep, stderr: keep, decodeASCII: false })) ?? {};
  } catch (error) {
    if (!(error instanceof Exit)) throw error;
    writeSync(2, Buffer.concat(printed).toString().replaceAll('kernels/', 'src/backends/kernels/'));
    process.exit(1);
  }
}

/** Units that take long to compile, longest first; the others follow. The order makes the build shorter and nothing else. */
const longest = [
  'formats-256.cpp',
  'attention.cpp',
  'formats-32.cpp',
  'formats-lookup.cpp',
  'add-rows.cpp',
  'matmul.cpp',
];

/** What a thread is asked for: a unit's object file, or, without a unit, the program linked of all object files. */
interface Job {
  unit?: string;
  files: Record<string, string | Uint8Array>;
}

/** One tool run after the other in a thread, since loading the toolchain takes as long as compiling a unit. */
class Toolchain {
  readonly #worker = new Worker(new URL(import.meta.url));

  constructor() {
    this.#worker.once('exit', code => code !== 0 && process.exit(code));
  }

  async run(job: Job): Promise<Uint8Array> {
    this.#worker.postMessage(job);
    return ((await once(this.#worker, 'message')) as [Uint8Array])[0];
  }

  stop(): void {
    this.#worker.unref();
  }
}

async function work({ unit, files }: Job): Promise<Uint8Array> {
  await runLLVM(undefined, {}, { fetchProgress: () => {} }); // loads the toolchain, which would report that on the console
  if (unit) {
    const args = [...compilerFlags, '-c', `kernels/${unit}`, '-o', 'unit.o'];
    return (await tool('clang', args, { kernels: files }))['unit.o'] as Uint8Array;
  }
  const names = Object.keys(files).sort(); // the same sources make the same bytes
  return (await tool('wasm-ld', [...linkerFlags, ...names, '-o', 'kernels.wasm'], files))['kernels.wasm'] as Uint8Array;
}

async function build(): Promise<void> {
  const files: Record<string, string> = { 'formats-tables.h': await tablesHeader() };
  for (const name of readdirSync(sources))
    if (/\.(cpp|h)$/.test(name)) files[name] = readFileSync(new URL(name, sources), 'utf8');

  const rank = (unit: string): number => (longest.includes(unit) ? longest.indexOf(unit) : longest.length);
  const units = Object.keys(files).filter(name => name.endsWith('.cpp'));
  units.sort((a, b) => rank(a) - rank(b));
  const objects: Record<string, Uint8Array> = {};
  const toolchains = Array.from({ length: Math.min(4, availableParallelism()) }, () => new Toolchain());
  await Promise.all(
    toolchains.map(async toolchain => {
      for (let unit = units.shift(); unit !== undefined; unit = units.shift())
        objects[unit.replace(/cpp$/, 'o')] = await toolchain.run({ unit, files });
    }),
  );
  const linked = await toolchains[0]!.run({ files: objects });
  for (const toolchain of toolchains) toolchain.stop();

  // Written aside and renamed, so that a reader never meets half a file.
  mkdirSync(new URL('./', output), { recursive: true });
  const aside = new URL(`kernels.wasm.${process.pid}`, output);
  writeFileSync(aside, linked);
  renameSync(aside, output);
}

if (isMainThread) await build();
else parentPort!.on('message', async (job: Job) => parentPort!.postMessage(await work(job)));
