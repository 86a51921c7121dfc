// Which files of a repository make one model: quantizations, and GGUF files split into parts.
import { HubError } from './errors.ts';

/** A GGUF model in a repository or in the library: one file, or all parts of a split one. */
export interface GgufFile {
  /** The first part's path. */
  readonly path: string;
  /** All parts' paths, in order. */
  readonly parts: readonly string[];
  /** Parts the name speaks of; larger than `parts.length` where some are missing. */
  readonly expectedParts: number;
  /** As the file name says, e.g. `Q4_K_M`, `UD-Q2_K_XL`; null where it does not. */
  readonly quantization: string | null;
}

const splitName = /^(?<stem>.+)-(?<part>\d{5})-of-(?<count>\d{5})\.gguf$/i;
const quantizationName = /(?:^|[-._])((?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32))$/i;

/** What a file name says of the model's quantization. */
export function quantizationOf(path: string): string | null {
  const stem = splitName.exec(path)?.groups?.stem ?? path.replace(/\.gguf$/i, '');
  return quantizationName.exec(stem.slice(stem.lastIndexOf('/') + 1))?.[1]?.toUpperCase() ?? null;
}

/** The GGUF language models among these paths; parts of vision encoders (mmproj) and importance matrices are none. */
export function ggufFiles(paths: Iterable<string>): GgufFile[] {
  const single: GgufFile[] = [];
  const split = new Map<string, { count: number; parts: string[] }>();
  for (const path of [...paths].sort()) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (!/\.gguf$/i.test(name) || /^mmproj|imatrix/i.test(name)) continue;
    const { stem, count } = splitName.exec(path)?.groups ?? {};
    if (stem === undefined) {
      single.push({ path, parts: [path], expectedParts: 1, quantization: quantizationOf(path) });
      continue;
    }
    const key = `${stem}-of-${count}`;
    const set = split.get(key) ?? { count: Number(count), parts: [] };
    split.set(key, set);
    set.parts.push(path);
  }
  const sets = [...split.values()].map(({ count, parts }) => ({
    path: parts[0]!,
    parts,
    expectedParts: count,
    quantization: quantizationOf(parts[0]!),
  }));
  return [...single, ...sets].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Taken in this order when nothing is asked for: good answers at a small size first. */
const usual = [
  'Q4_K_M',
  'UD-Q4_K_XL',
  'Q4_K_S',
  'Q4_0',
  'Q4_1',
  'IQ4_NL',
  'IQ4_XS',
  'Q5_K_M',
  'Q5_K_S',
  'Q6_K',
  'Q8_0',
  'Q3_K_M',
  'Q2_K',
];

/**
 * The files to fetch.
 * @param file a path, one part of a split file, a quantization's name, or null for the usual choice.
 * @throws HubError of kind `missing` that lists what there is.
 */
export function chooseFiles(what: string, paths: readonly string[], file: string | null): GgufFile {
  const models = ggufFiles(paths);
  const chosen = file === null ? usualOf(models) : named(models, paths, file);
  if (!chosen) {
    const there = models.map(model => model.quantization ?? model.path).join(', ');
    throw new HubError(
      'missing',
      file === null
        ? `${what} holds no GGUF file that could be chosen${there ? ` (it has ${there}; name one after a colon)` : ', and no safetensors. Look for a repository whose name ends in -GGUF'}.`
        : `${what} has no file or quantization '${file}'. It has: ${there || 'no GGUF files'}.`,
    );
  }
  if (chosen.parts.length !== chosen.expectedParts)
    throw new HubError(
      'missing',
      `${what}: ${chosen.path} comes in ${chosen.expectedParts} parts, and only ${chosen.parts.length} are there.`,
    );
  return chosen;
}

function usualOf(models: readonly GgufFile[]): GgufFile | undefined {
  if (models.length === 1) return models[0];
  for (const name of usual) {
    const found = models.find(model => model.quantization === name);
    if (found) return found;
  }
  return undefined;
}

function named(models: readonly GgufFile[], paths: readonly string[], file: string): GgufFile | undefined {
  const wanted = file.toLowerCase();
  const base = (path: string) => path.slice(path.lastIndexOf('/') + 1);
  return (
    models.find(model => model.parts.includes(file)) ??
    models.find(model => model.quantization?.toLowerCase() === wanted) ??
    models.find(model => model.parts.some(part => base(part).toLowerCase() === wanted)) ??
    (paths.includes(file)
      ? { path: file, parts: [file], expectedParts: 1, quantization: quantizationOf(file) }
      : undefined)
  );
}
