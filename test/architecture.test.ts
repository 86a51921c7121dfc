// Keeps the rules of ARCHITECTURE.md true: who imports whom, no cycles, a purpose on every first line, files of one thing.
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';

const files = globSync('src/**/*.{ts,tsx,cpp,h}').filter(f => !f.includes('generated'));
const code = files.filter(f => /\.tsx?$/.test(f));
const isTest = (f: string): boolean => /\.(test|cases)\.tsx?$/.test(f);
const source = new Map(files.map(f => [f, readFileSync(f, 'utf8')]));

/** Imports of a file: relative ones as paths from the root, others as written. Type-only imports are marked. */
function importsOf(file: string): { target: string; typeOnly: boolean }[] {
  const found: { target: string; typeOnly: boolean }[] = [];
  const text = source.get(file)!;
  const statement = /^\s*(import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?['"]([^'"]+)['"]/gm;
  for (const [, , type, specifier] of text.matchAll(statement))
    found.push({ target: resolve(file, specifier!), typeOnly: type !== undefined });
  for (const [, specifier] of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g))
    found.push({ target: resolve(file, specifier!), typeOnly: false });
  return found;
}
const resolve = (file: string, specifier: string): string =>
  specifier.startsWith('.') ? normalize(join(dirname(file), specifier)) : specifier;
const roomOf = (path: string): string => path.split('/')[1] ?? '';

/** What each room may import beside itself: path prefixes. */
const allowed: Record<string, string[]> = {
  // Plain lists: how vocabularies write bytes, and the names of Llama 4's special tokens.
  checkpoint: ['src/tokenizer/byte-unicode.ts', 'src/tokenizer/llama4-specials.ts'],
  licence: [],
  tokenizer: [],
  backends: ['src/checkpoint/dtype.ts'],
  model: ['src/checkpoint/', 'src/backends/backend.ts'],
  engine: ['src/checkpoint/', 'src/backends/', 'src/model/'],
  eval: ['src/checkpoint/checkpoint.ts', 'src/engine/', 'src/tokenizer/', 'src/model/observe.ts'],
  calibrate: ['src/checkpoint/', 'src/backends/backend.ts', 'src/model/', 'src/engine/'],
  quantize: [
    'src/checkpoint/',
    'src/backends/reference/',
    'src/backends/native/load.ts',
    'src/backends/formats-tables.ts',
  ],
  hub: ['src/checkpoint/', 'src/backends/reference/'],
  plan: [
    'src/checkpoint/',
    'src/backends/backend.ts',
    'src/backends/reference/',
    'src/model/',
    'src/engine/memory-plan.ts',
    'src/engine/sampler.ts',
    'src/engine/log-softmax.ts',
    'src/hub/random-model.ts',
  ],
  server: ['src/engine/types.ts', 'src/engine/chat-types.ts', 'src/tokenizer/tokenizer.ts'],
  'ai-sdk': ['src/server/', 'src/engine/chat-types.ts'],
  web: ['src/server/wire.ts'],
  cli: ['src/'],
  'index.ts': ['src/'],
};

describe('architecture', () => {
  test('every room imports only what it may', () => {
    const wrong: string[] = [];
    for (const file of code.filter(f => !isTest(f))) {
      const room = roomOf(file);
      const rules = [...(allowed[room] ?? []), `src/${room}/`];
      if (/^src\/engine\/chat/.test(file)) rules.push('src/tokenizer/');
      for (const { target } of importsOf(file))
        if (target.startsWith('src/') && !rules.some(rule => target.startsWith(rule)))
          wrong.push(`${file} → ${target}`);
    }
    expect(wrong).toEqual([]);
  });

  test('every room is in the table', () => {
    expect([...new Set(code.map(roomOf))].filter(room => !(room in allowed))).toEqual([]);
  });

  test('no import cycles', () => {
    const graph = new Map(
      code.map(f => [
        f,
        importsOf(f)
          .filter(i => !i.typeOnly && i.target.startsWith('src/'))
          .map(i => i.target),
      ]),
    );
    const done = new Set<string>();
    const visit = (file: string, path: string[]): void => {
      if (path.includes(file)) throw new Error(`cycle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
      if (done.has(file)) return;
      for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of graph.keys()) visit(file, []);
  });

  test('every file says its purpose on its first line', () => {
    expect(files.filter(f => !/^\/[/*]/.test(source.get(f)!))).toEqual([]);
  });

  test('files stay under 500 lines or so', () => {
    const long = files
      .filter(f => !isTest(f) && !/tables/.test(f))
      .map(f => [f, source.get(f)!.split('\n').length] as const);
    expect(long.filter(([, lines]) => lines > 520)).toEqual([]);
  });

  test('the forward pass is short and names no backend, format, adapter rank or guard', () => {
    const text = source.get('src/model/llama4.ts')!;
    expect(text.split('\n').length).toBeLessThan(250);
    expect(text).not.toMatch(/\b(wasm|native|webgpu|reference|Q\d|F16|guard|lora)\b/i);
  });

  test('node: modules only where there is a machine', () => {
    const free = ['model', 'web'];
    const wrong = code
      .filter(f => !isTest(f) && free.includes(roomOf(f)))
      .filter(f => importsOf(f).some(i => i.target.startsWith('node:')));
    expect(wrong).toEqual([]);
  });

  test('no vague file names', () => {
    expect(files.filter(f => /(^|\/)(utils?|common|core|helpers?|misc)(\/|\.)/.test(f))).toEqual([]);
  });

  test('relative imports exist', () => {
    const missing = code.flatMap(f =>
      importsOf(f)
        .filter(i => i.target.startsWith('src/') && !existsSync(i.target))
        .map(i => `${f} → ${i.target}`),
    );
    expect(missing).toEqual([]);
  });

  test('exports of the package resolve after a build', () => {
    const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      exports: Record<string, string | Record<string, string>>;
    };
    const targets = Object.values(exports).flatMap(e => (typeof e === 'string' ? [e] : Object.values(e)));
    expect(targets.filter(t => !existsSync(t))).toEqual([]);
  });

  test('no machine paths or left-over marks', () => {
    const marks = /\b(TODO|FIXME|XXX|HACK)\b|(^|[^A-Za-z0-9_.])\/(work|farm|root)\//m;
    expect(files.filter(f => marks.test(source.get(f)!))).toEqual([]);
  });
});
