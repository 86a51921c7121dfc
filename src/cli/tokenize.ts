// maverick tokenize: text to token ids and back, by the vocabulary of a model or of a tokenizer file.
import { open, readFile, stat } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { UsageError } from './failures.ts';
import { isIds, readStandardInput } from './input.ts';
import { modelPath } from './model-argument.ts';
import { amount } from './quantities.ts';
import { note, print, type Terminal, table } from './terminal.ts';

interface Flags {
  decode?: boolean;
  special?: boolean;
  json?: boolean;
}

export const addTokenize = (program: Command, terminal: Terminal): Command =>
  program
    .command('tokenize')
    .summary('turn text into tokens, or tokens into text')
    .description(
      'Shows the tokens of TEXT, without a beginning-of-text token. The text of special tokens is ordinary text unless --special is given.',
    )
    .argument(
      '<model>',
      "a GGUF file or model folder, Meta's tokenizer.model, a tokenizer.json, or a name as for other commands",
    )
    .argument('[text]', 'the text, or with --decode the ids (standard input when not given)')
    .option('--decode', 'turn ids into text; they are given as numbers with spaces or commas, or as a JSON array')
    .option('--special', 'recognise special tokens in the text; with --decode: show them')
    .option('--json', 'print a JSON array of ids; with --decode: a JSON string')
    .addHelpText('after', `\n${examples}`)
    .action((model: string, text: string | undefined, flags: Flags) => tokenize(model, text, flags, terminal));

const examples = `Examples:
  maverick tokenize smollm2 "Hello, world"
  maverick tokenize tokenizer.model --json < article.txt
  maverick tokenize smollm2 --decode "[19556, 28, 905]"`;

async function tokenize(name: string, given: string | undefined, flags: Flags, terminal: Terminal): Promise<void> {
  const tokenizer = await tokenizerAt(await modelPath(name, terminal));
  const text = given ?? (await readStandardInput(terminal));
  if (flags.decode) {
    const decoded = tokenizer.decode(readIds(text, tokenizer), { special: flags.special ? 'show' : 'skip' });
    if (flags.json) print(terminal, JSON.stringify(decoded));
    else terminal.stdout.write(terminal.stdout.isTTY ? `${decoded}\n` : decoded);
    return;
  }
  const ids = tokenizer.encode(text, { special: flags.special ? 'parse' : 'text' });
  if (flags.json) print(terminal, JSON.stringify(ids));
  else {
    const shown = (id: number) => tokenText(tokenizer, id);
    if (ids.length > 0)
      print(
        terminal,
        table(
          ids.map(id => [String(id), shown(id)]),
          [0],
        ),
      );
    note(terminal, `${amount(ids.length, 'token')}, ${amount(text.length, 'character')}`);
  }
}

function readIds(text: string, { vocabSize }: Tokenizer): number[] {
  let ids: unknown;
  try {
    ids = JSON.parse(
      text.trim().startsWith('[')
        ? text
        : `[${text
            .trim()
            .split(/[\s,]+/)
            .join(',')}]`,
    );
  } catch {
    ids = null;
  }
  if (!isIds(ids))
    throw new UsageError(
      `--decode: wanted token ids, as in "1 2 3" or [1,2,3]; got ${JSON.stringify(text.slice(0, 60))}.`,
    );
  const outside = ids.find(id => id >= vocabSize);
  if (outside !== undefined)
    throw new UsageError(
      `--decode: there is no token ${outside}; the vocabulary has ${vocabSize} (0 to ${vocabSize - 1}).`,
    );
  return ids;
}

/** A checkpoint's own tokenizer, or a tokenizer file. */
async function tokenizerAt(path: string): Promise<Tokenizer> {
  if ((await stat(path)).isDirectory() || (await beginsWith(path, 'GGUF'))) {
    const [{ openCheckpoint }, { tokenizerFromGguf }] = await Promise.all([
      import('../checkpoint/open.ts'),
      import('../tokenizer/from-gguf.ts'),
    ]);
    await using checkpoint = await openCheckpoint(path);
    return tokenizerFromGguf(checkpoint.metadata);
  }
  const [{ openTokenizer }, { TokenizerError }] = await Promise.all([
    import('../tokenizer/open-tokenizer.ts'),
    import('../tokenizer/tokenizer-error.ts'),
  ]);
  try {
    return openTokenizer(await readFile(path), path);
  } catch (cause) {
    if (!(cause instanceof TokenizerError)) throw cause;
    throw new Error(
      `${cause.message.replace(/\.$/, '')}. Wanted: a GGUF file, Meta's tokenizer.model or a tokenizer.json, whole.`,
      { cause },
    );
  }
}

async function beginsWith(path: string, text: string): Promise<boolean> {
  const start = Buffer.alloc(text.length);
  await using file = await open(path);
  await file.read(start, 0, start.length, 0);
  return start.toString('latin1') === text;
}

/** A token's text in quotes, or where it is no whole text its bytes. */
export function tokenText(tokenizer: Tokenizer, token: number): string {
  const text = tokenizer.decode([token], { special: 'show' });
  if (!text.includes('\ufffd')) return JSON.stringify(text);
  return `<${[...tokenizer.bytes(token)].map(byte => byte.toString(16).padStart(2, '0')).join(' ')}>`;
}
