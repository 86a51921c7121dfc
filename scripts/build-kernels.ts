// Compiles freestanding C++ to WebAssembly with Clang from npm: src/backends/kernels to dist/kernels/kernels.wasm, or with the argument
// `quantize` src/quantize/kernels to dist/kernels/quantize.wasm. Silent unless it fails.

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
const quantize = process.argv[2] === 'quantize';
/** The folder of the units; its headers, and those of the backends' kernels, may be included. */
const folder = quantize ? 'src/quantize/kernels' : 'src/backends/kernels';
const output = new URL(`dist/kernels/${quantize ? 'quantize' : 'kernels'}.wasm`, root);

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
  // Where threads share a memory each brings its own stack, and the linker's is only used while an instance is made.
  '-z',
  `stack-size=${quantize ? 1 << 20 : 1 << 16}`,
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
    writeSync(2, Buffer.concat(printed));
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
  files: Files;
}
type Files = Record<string, string | Uint8Array>;

/** Files by path as the toolchain wants them. */
function treeOf(files: Files): Tree {
  const tree: Tree = {};
  for (const [path, content] of Object.entries(files)) {
    const parts = path.split('/');
    let at: Tree = tree;
    for (const part of parts.slice(0, -1)) {
      at[part] ??= {};
      at = at[part] as Tree;
    }
    at[parts.at(-1)!] = content;
  }
  return tree;
}

/** One tool run after the other in a thread, since loading the toolchain takes as long as compiling a unit. */
class Toolchain {
  readonly #worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });

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
    const args = [...compilerFlags, '-Igenerated', '-Isrc/backends/kernels', '-c', `${folder}/${unit}`, '-o', 'unit.o'];
    return (await tool('clang', args, treeOf(files)))['unit.o'] as Uint8Array;
  }
  const names = Object.keys(files).sort(); // the same sources make the same bytes
  return (await tool('wasm-ld', [...linkerFlags, ...names, '-o', 'kernels.wasm'], files))['kernels.wasm'] as Uint8Array;
}

async function build(): Promise<void> {
  const files: Files = { 'generated/formats-tables.h': await tablesHeader() };
  for (const from of new Set(['src/backends/kernels', folder]))
    for (const name of readdirSync(new URL(from, root)))
      if (name.endsWith('.h') || (from === folder && name.endsWith('.cpp')))
        files[`${from}/${name}`] = readFileSync(new URL(`${from}/${name}`, root), 'utf8');

  const rank = (unit: string): number => (longest.includes(unit) ? longest.indexOf(unit) : longest.length);
  const units = Object.keys(files)
    .filter(path => path.endsWith('.cpp'))
    .map(path => path.slice(folder.length + 1));
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
  const aside = new URL(`${output.pathname}.${process.pid}`, output);
  writeFileSync(aside, linked);
  renameSync(aside, output);
}

if (isMainThread) await build();
else parentPort!.on('message', async (job: Job) => parentPort!.postMessage(await work(job)));
