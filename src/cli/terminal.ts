// What a verb talks to: three streams, the environment, and whether the user has interrupted. Tests hand in their own.
import type { Readable, Writable } from 'node:stream';
import { styleText } from 'node:util';
import { bytesText, durationText } from './quantities.ts';
import { wrapWords } from './word-wrap.ts';

export interface Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Colours where the stream shows them: a terminal, and NO_COLOR unset. */
export const styled = (stream: Writable, style: Parameters<typeof styleText>[0], text: string): string =>
  styleText(style, text, { stream });

export const print = (terminal: Terminal, text: string): void => void terminal.stdout.write(`${text}\n`);

/** Something the user should know that is no result. */
export function note({ stderr }: Terminal, text: string): void {
  const lines = stderr.isTTY ? wrapWords(text, stderr.columns ?? 80) : text;
  stderr.write(`${styled(stderr, 'dim', lines)}\n`);
}

/** Two columns of words, the second aligned. */
export function columns(rows: readonly (readonly [string, string])[], indent = ''): string {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${indent}${name.padEnd(width)}  ${value}`.trimEnd()).join('\n');
}

/** Rows of cells; columns that hold numbers are right-aligned by `right`. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]!.length))) ?? [];
  const cell = (text: string, column: number) =>
    right.includes(column) ? text.padStart(widths[column]!) : text.padEnd(widths[column]!);
  return rows.map(row => row.map(cell).join('  ').trimEnd()).join('\n');
}

export interface ProgressBar extends Disposable {
  /** @param detail replaces the amounts at the line's end. */
  update(done: number, total: number, detail?: string): void;
}

/** A bar on stderr that is redrawn at most ten times a second and removed at the end; nothing where stderr is no terminal. */
export function progressBar(terminal: Terminal, label: string): ProgressBar {
  const { stderr } = terminal;
  if (!stderr.isTTY) return { update() {}, [Symbol.dispose]() {} };
  const start = performance.now();
  let first: number | null = null;
  let drawn = 0;
  return {
    update(done, total, detail) {
      const now = performance.now();
      first ??= done; // what a resumed download began with says nothing about speed
      if (now - drawn < 100 && done < total) return;
      drawn = now;
      const seconds = (now - start) / 1000;
      const speed = seconds > 0.3 ? (done - first) / seconds : 0;
      const rest = speed > 0 && done < total ? ` · ${durationText(((total - done) / speed) * 1000)} left` : '';
      const amounts =
        detail ?? `${bytesText(done)} of ${bytesText(total)}${speed > 0 ? ` · ${bytesText(speed)}/s` : ''}${rest}`;
      const width = (stderr.columns ?? 80) - 1;
      const share = total > 0 ? Math.min(1, done / total) : 0;
      const room = Math.max(0, Math.min(30, width - label.length - amounts.length - 10));
      const filled = Math.round(room * share);
      const bar = `${'█'.repeat(filled)}${'░'.repeat(room - filled)}`;
      const line = `${label} ${bar} ${String(Math.floor(share * 100)).padStart(3)} % ${amounts}`.slice(0, width);
      stderr.write(`\r\x1b[2K${line}`);
    },
    [Symbol.dispose]() {
      if (drawn > 0) stderr.write('\r\x1b[2K');
    },
  };
}
