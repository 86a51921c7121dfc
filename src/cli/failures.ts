// How the program ends: 0 done, 1 failed, 2 wrong usage, 130 interrupted; and what it says then.
import { CommanderError } from 'commander';
import { styled, type Terminal } from './terminal.ts';
import { wrapWords } from './word-wrap.ts';

export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** The command line cannot be understood; says what to write instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Writes one clear paragraph (with --debug also the stack) and gives the exit code. */
export function explain(error: unknown, terminal: Terminal, debug: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage; // commander has written its own
  if (terminal.signal.aborted) return exitCodes.interrupted;
  const message = messageOf(error);
  const { stderr } = terminal;
  const lines = stderr.isTTY ? wrapWords(`error: ${message}`, stderr.columns ?? 80) : `error: ${message}`;
  stderr.write(`${styled(stderr, ['bold', 'red'], 'error:')}${lines.slice('error:'.length)}\n`);
  if (debug && error instanceof Error) terminal.stderr.write(`${stacks(error)}\n`);
  return error instanceof UsageError ? exitCodes.usage : exitCodes.failed;
}

/** What an error says, with the library's options spelled as the command line has them. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : String(error);
  return message
    .replace(/^contextTokens: /, '--context: ')
    .replace('open the engine with more contextTokens', 'make room with --context');
}

function stacks(error: Error): string {
  const own = error.stack ?? String(error);
  return error.cause instanceof Error ? `${own}\ncaused by ${stacks(error.cause)}` : own;
}
