// Text and files that a verb reads.
import { readFile } from 'node:fs/promises';
import { UsageError } from './failures.ts';
import type { Terminal } from './terminal.ts';

/** All of standard input as text. A final newline, which shells add, stays. */
export async function readStandardInput(terminal: Terminal): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of terminal.stdin) {
    terminal.signal.throwIfAborted();
    chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
  }
  return decodeText(Buffer.concat(chunks), 'standard input');
}

/** @throws when the file cannot be read or is no UTF-8 text. */
export async function readTextFile(path: string): Promise<string> {
  return decodeText(await readNamed(path), path);
}

/** Token ids: an array, or an object with `tokens` and perhaps `rows`. */
export async function readTokenFile(path: string): Promise<{ tokens: number[]; rows: number[] | null }> {
  let content: unknown;
  try {
    content = JSON.parse((await readNamed(path)).toString('utf8'));
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new Error(`${path}: this is no JSON (${cause.message}).`, { cause });
    throw cause;
  }
  const object = typeof content === 'object' && content !== null ? content : {};
  const tokens = Array.isArray(content) ? content : 'tokens' in object ? object.tokens : undefined;
  const rows = !Array.isArray(content) && 'rows' in object ? object.rows : null;
  if (!isIds(tokens) || tokens.length === 0)
    throw new Error(
      `${path}: wanted a JSON array of token ids, or an object whose "tokens" is one; got ${shorten(tokens ?? content)}.`,
    );
  if (rows !== null && !isIds(rows))
    throw new Error(`${path}: "rows" must be an array of positions; got ${shorten(rows)}.`);
  return { tokens, rows };
}

export const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(id => Number.isSafeInteger(id) && id >= 0);

const shorten = (value: unknown): string => `${JSON.stringify(value)}`.slice(0, 60);

async function readNamed(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : '';
    if (code === 'ENOENT') throw new UsageError(`${path}: there is no such file.`, { cause });
    if (code === 'EISDIR') throw new UsageError(`${path}: this is a folder; wanted a file.`, { cause });
    throw cause;
  }
}

function decodeText(bytes: Buffer, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new Error(`${name}: this is no UTF-8 text.`, { cause });
  }
}
