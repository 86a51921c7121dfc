// For tests: runs a command line in this process, with streams that remember what was written.
import { PassThrough, Readable, Writable } from 'node:stream';
import { run } from './program.ts';
import type { Terminal } from './terminal.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

class Memory extends Writable {
  text = '';
  onText: ((text: string) => void) | undefined;
  readonly isTTY: boolean;
  readonly columns = 100;
  constructor(isTTY: boolean) {
    super({ decodeStrings: true });
    this.isTTY = isTTY;
  }
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString('utf8');
    this.onText?.(chunk.toString('utf8'));
    done();
  }
}

export interface RunOptions {
  readonly input?: string | Buffer;
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Told what is written to standard output. */
  readonly onOutput?: (text: string) => void;
}

/** Streams are no terminals. The library is empty unless `environment` names one. */
export async function maverick(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const stdout = new Memory(false);
  const stderr = new Memory(false);
  stdout.onText = options.onOutput;
  const input = options.input ?? '';
  const terminal: Terminal = {
    stdin: Readable.from(input.length > 0 ? [Buffer.from(input)] : []),
    stdout,
    stderr,
    environment: { HF_HOME: '/nonexistent/huggingface', HF_HUB_OFFLINE: '1', ...options.environment },
    signal: options.signal ?? new AbortController().signal,
  };
  const code = await run(args, terminal);
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** A terminal that a test types into. */
export function typing(): {
  terminal: Terminal;
  type(text: string): void;
  stdout: Memory;
  stderr: Memory;
  interrupt: AbortController;
} {
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => stdin });
  const stdout = new Memory(true);
  const stderr = new Memory(false);
  const interrupt = new AbortController();
  const terminal: Terminal = { stdin, stdout, stderr, environment: {}, signal: interrupt.signal };
  return { terminal, stdout, stderr, interrupt, type: text => void stdin.write(text) };
}
