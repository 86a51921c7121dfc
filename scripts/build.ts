// Builds what is stale: the kernels (C++ to WebAssembly, and to machine code where a compiler is), the library (dist/), the page (dist/web).
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';

interface Step {
  name: string;
  /** Files whose bytes decide whether the step must run again. */
  inputs: string[];
  output: string;
  command: string;
  args: string[];
  /** It says itself why there is nothing, and all else goes on. */
  optional?: boolean;
}

const steps: Step[] = [
  {
    name: 'kernels',
    inputs: [
      'src/backends/kernels/**/*.{cpp,h}',
      'src/backends/formats-tables.ts',
      'scripts/{build-kernels,tables-header}.ts',
    ],
    output: 'dist/kernels/kernels.wasm',
    command: 'node',
    args: ['scripts/build-kernels.ts'],
  },
  {
    name: 'native kernels',
    inputs: [
      'src/backends/{kernels,native}/**/*.{cpp,h}',
      'src/backends/native/load.ts',
      'src/backends/formats-tables.ts',
      'scripts/{build-native,native-flags,tables-header}.ts',
    ],
    output: 'dist/native/maverick-plain.node',
    command: 'node',
    args: ['scripts/build-native.ts'],
    optional: true,
  },
  {
    name: 'quantizing kernels',
    inputs: [
      'src/quantize/kernels/**/*.{cpp,h}',
      'src/backends/kernels/simd*.h',
      'src/backends/formats-tables.ts',
      'scripts/{build-kernels,tables-header}.ts',
    ],
    output: 'dist/kernels/quantize.wasm',
    command: 'node',
    args: ['scripts/build-kernels.ts', 'quantize'],
  },
  {
    name: 'native quantizing kernels',
    inputs: [
      'src/quantize/kernels/**/*.{cpp,h}',
      'src/quantize/native/*.cpp',
      'src/backends/kernels/simd*.h',
      'src/backends/native/{load.ts,processor.h}',
      'src/backends/formats-tables.ts',
      'scripts/{build-native,tables-header}.ts',
    ],
    output: 'dist/native/quantize-plain.node',
    command: 'node',
    args: ['scripts/build-native.ts', '--quantize'],
    optional: true,
  },
  {
    name: 'library',
    inputs: ['src/**/*.ts', 'tsconfig*.json'],
    output: 'dist/index.js',
    command: 'tsc',
    args: ['-p', 'tsconfig.build.json'],
  },
  {
    name: 'page',
    inputs: ['src/web/**/*', 'src/server/wire.ts', 'vite.config.ts'],
    output: 'dist/web/index.html',
    command: 'vite',
    args: ['build', '--logLevel', 'warn'],
  },
];

for (const step of steps) {
  const hash = createHash('sha256');
  const inputs = [...new Set([...step.inputs, 'package-lock.json'].flatMap(pattern => globSync(pattern)))].sort();
  for (const path of inputs) if (/\.[a-z0-9]+$/i.test(path)) hash.update(path).update('\0').update(readFileSync(path));
  const digest = hash.digest('hex');
  const stamp = `dist/.stamps/${step.name.replaceAll(' ', '-')}`;
  if (existsSync(step.output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) continue;
  const start = performance.now();
  console.log(`Building the ${step.name} …`);
  const { status } = spawnSync(step.command, step.args, { stdio: 'inherit' });
  if (status !== 0) {
    console.error(`Building the ${step.name} failed: ${step.command} ${step.args.join(' ')}`);
    process.exit(status ?? 1);
  }
  if (step.optional && !existsSync(step.output)) continue;
  mkdirSync('dist/.stamps', { recursive: true });
  writeFileSync(stamp, digest);
  console.log(`  built in ${((performance.now() - start) / 1000).toFixed(1)} s.`);
}
