// Compiles src/backends/kernels (freestanding C++) to dist/kernels/kernels.wasm with Clang from npm. Silent unless it fails.

import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { commands, Exit, runLLVM, type Tree } from '@yowasp/clang';

const root = new URL('../', import.meta.url);
const sources = new URL('src/backends/kernels/', root);
const output = new URL('dist/kernels/kernels.wasm', root);

const compilerFlags = [
  '--target=wasm64',
  '-std=c++20',
  '-O3',
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

/** C++ text of every table of formats-tables.ts that is an array of integers or a typed array, with the type that holds it. */
async function tablesHeader(): Promise<string> {
  const url = new URL('src/backends/formats-tables.ts', root);
  const lines = ['// Generated from src/backends/formats-tables.ts.', '#pragma once', '#include <stdint.h>'];
  if (existsSync(url)) {
    for (const [name, table] of Object.entries((await import(url.href)) as Record<string, unknown>)) {
      if (!Array.isArray(table) && !ArrayBuffer.isView(table)) continue;
      const values = Array.from(table as unknown as ArrayLike<number>);
      if (!values.every(Number.isInteger)) continue;
      const snake = name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
      lines.push(`static const ${cType(table, values)} ${snake}[${values.length}] = {${values.join(', ')}};`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function cType(table: unknown, values: number[]): string {
  if (table instanceof Int8Array) return 'int8_t';
  if (table instanceof Uint8Array) return 'uint8_t';
  if (table instanceof Uint16Array) return 'uint16_t';
  if (table instanceof Uint32Array) return 'uint32_t';
  const signed = values.some(value => value < 0);
  const most = Math.max(...values.map(value => (value < 0 ? -2 * value - 1 : value)));
  const bits = signed ? (most < 256 ? 8 : 32) : most < 256 ? 8 : most < 65536 ? 16 : 32;
  return `${signed ? '' : 'u'}int${bits}_t`;
}

/** Compiles one unit to an object file. */
async function compile(unit: string, folder: Record<string, string>): Promise<Uint8Array> {
  await runLLVM(undefined, {}, { fetchProgress: () => {} }); // loads the toolchain, which would report that on the console
  const args = [...compilerFlags, '-c', `kernels/${unit}`, '-o', 'unit.o'];
  return (await tool('clang', args, { kernels: folder }))['unit.o'] as Uint8Array;
}

async function build(): Promise<void> {
  const folder: Record<string, string> = { 'formats-tables.h': await tablesHeader() };
  for (const name of readdirSync(sources))
    if (/\.(cpp|h)$/.test(name)) folder[name] = readFileSync(new URL(name, sources), 'utf8');

  // The largest unit takes most of the time, so the small ones are compiled beside it.
  const units = Object.keys(folder).filter(name => name.endsWith('.cpp'));
  units.sort((a, b) => folder[b]!.length - folder[a]!.length);
  const objects: Record<string, Uint8Array> = {};
  const compileNext = async (): Promise<void> => {
    for (let unit = units.shift(); unit !== undefined; unit = units.shift()) {
      const worker = new Worker(new URL(import.meta.url), { workerData: { unit, folder } });
      worker.once('exit', code => code !== 0 && process.exit(code));
      const [object] = (await once(worker, 'message')) as [Uint8Array];
      objects[unit.replace(/cpp$/, 'o')] = object;
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, compileNext));

  await runLLVM(undefined, {}, { fetchProgress: () => {} });
  const names = Object.keys(objects).sort(); // the same sources make the same bytes
  const linked = await tool('wasm-ld', [...linkerFlags, ...names, '-o', 'kernels.wasm'], objects);

  // Written aside and renamed, so that a reader never meets half a file.
  mkdirSync(new URL('./', output), { recursive: true });
  const aside = new URL(`kernels.wasm.${process.pid}`, output);
  writeFileSync(aside, linked['kernels.wasm'] as Uint8Array);
  renameSync(aside, output);
}

if (isMainThread) await build();
else parentPort!.postMessage(await compile(workerData.unit, workerData.folder));
