// Recipes: which tensors become what, line by line, for those whom no named mix suits.
import { type DType, formats } from '../checkpoint/dtype.ts';
import { QuantizeError } from './errors.ts';
import { type MixName, mixes, mixNamed } from './mixes.ts';

/** One line: tensors whose names match become this format, or what this mix makes of them. */
export interface RecipeLine {
  readonly glob: string;
  readonly matches: (name: string) => boolean;
  readonly becomes: { readonly dtype: DType } | { readonly mix: MixName };
}

/** The first line that matches a tensor decides. */
export type Recipe = readonly RecipeLine[];

/** Every name that may stand after --type or in a recipe. */
export const typeNames: readonly string[] = [...new Set([...Object.keys(mixes), ...formatNames()])];

function formatNames(): string[] {
  return Object.keys(formats).filter(name => name !== 'I32');
}

/**
 * Reads a recipe: lines of a glob and a type, such as `blk.*.ffn_down_exps.weight  Q6_K`. `*` stands for any text, `?` for one
 * character, `{a,b}` for either; `#` begins a comment. A type is a format, which the tensor then has, or else the name of a mix.
 * @param path for messages
 * @throws QuantizeError naming the line
 */
export function parseRecipe(path: string, text: string): Recipe {
  const lines: RecipeLine[] = [];
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/#.*/, '').trim();
    if (line === '') continue;
    const words = line.split(/\s+/);
    const fail = (message: string): never => {
      throw new QuantizeError(`${path}, line ${index + 1}: ${message}`);
    };
    if (words.length !== 2)
      fail(`got ${JSON.stringify(line)}, wanted a glob and a type, such as: blk.*.attn_v.weight  Q6_K`);
    const [glob, type] = words as [string, string];
    const globs = expanded(glob);
    if (globs.length > mostAlternatives) fail(`its braces stand for more than ${mostAlternatives} globs; write fewer.`);
    const matches = (name: string): boolean => globs.some(one => matchesGlob(one, name));
    lines.push({ glob, matches, becomes: becoming(type) ?? fail(unknownType(type)) });
  }
  if (lines.length === 0) throw new QuantizeError(`${path} holds no line; wanted at least: * Q4_K_M`);
  return lines;
}

/** What a type in a recipe means: formats first, so that Q4_K there is the format and not the mix. */
function becoming(type: string): RecipeLine['becomes'] | undefined {
  const name = type.toUpperCase();
  if (formatNames().includes(name)) return { dtype: name as DType };
  const mix = mixNamed(type);
  return mix && { mix };
}

export const unknownType = (type: string): string =>
  `type ${JSON.stringify(type)} is unknown; known are ${typeNames.join(', ')}.`;

const mostAlternatives = 256;

/** The globs that one with braces stands for: a{b,c} is ab and ac. A brace with no partner is itself. */
function expanded(glob: string): string[] {
  let globs = [''];
  let rest = glob;
  for (
    let match = /\{([^{}]*)\}/.exec(rest);
    match && globs.length <= mostAlternatives;
    match = /\{([^{}]*)\}/.exec(rest)
  ) {
    const before = rest.slice(0, match.index);
    const choices = match[1]!.split(',');
    globs = globs.flatMap(start => choices.map(choice => start + before + choice));
    rest = rest.slice(match.index + match[0].length);
  }
  return globs.map(start => start + rest);
}

/** Whether `*` (any text) and `?` (one character) make the glob this name; in time of glob times name at most. */
function matchesGlob(glob: string, name: string): boolean {
  let [g, n] = [0, 0];
  let [star, from] = [-1, 0]; // the last star, and what of the name is given to those after it
  while (n < name.length) {
    if (glob[g] === '*') {
      star = g++;
      from = n;
    } else if (g < glob.length && (glob[g] === '?' || glob[g] === name[n])) {
      g++;
      n++;
    } else if (star >= 0) {
      g = star + 1;
      n = ++from;
    } else return false;
  }
  while (glob[g] === '*') g++;
  return g === glob.length;
}
