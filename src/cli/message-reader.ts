// Messages typed or piped: lines, with \ and """ for several, pasted ones kept together, and what Ctrl-C means when.
import { createInterface, type Interface } from 'node:readline';
import { note, styled, type Terminal } from './terminal.ts';

/** Lines that come faster than this were pasted. */
const pasteMs = 12;

export class MessageReader implements Disposable {
  readonly interactive: boolean;
  readonly #terminal: Terminal;
  readonly #lines: Interface;
  readonly #waiting: string[] = [];
  #wake: (() => void) | null = null;
  #ended = false;
  #interrupt: (() => void) | null = null;
  #warned = false;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.interactive = terminal.stdin.isTTY === true && terminal.stdout.isTTY === true;
    this.#lines = createInterface({
      input: terminal.stdin,
      ...(this.interactive && { output: terminal.stdout, historySize: 500, removeHistoryDuplicates: true }),
      terminal: this.interactive,
      crlfDelay: Number.POSITIVE_INFINITY,
    });
    this.#lines.on('line', line => {
      this.#warned = false;
      this.#waiting.push(line);
      this.#wake?.();
    });
    this.#lines.on('close', () => {
      this.#ended = true;
      this.#wake?.();
    });
    this.#lines.on('SIGINT', () => this.#interrupted());
    terminal.signal.addEventListener('abort', () => this.#lines.close(), { once: true });
  }

  /** Sends Ctrl-C to `stop` until the result is disposed. */
  onInterrupt(stop: () => void): Disposable {
    this.#interrupt = stop;
    return {
      [Symbol.dispose]: () => {
        this.#interrupt = null;
      },
    };
  }

  /** The next message, or null when the user leaves or the input ends. */
  async next(): Promise<string | null> {
    const message: string[] = [];
    let block = false;
    for (;;) {
      const line = await this.#line(message.length === 0 ? '> ' : '… ');
      if (line === null) {
        if (block) message.push('"""'); // the input ends, and with it the message
        return message.length > 0 ? unquoted(message.join('\n')) : null;
      }
      const quotes = line.split('"""').length - 1;
      if (quotes % 2 === 1) block = !block;
      const goesOn = !block && line.endsWith('\\');
      message.push(goesOn ? line.slice(0, -1) : line);
      if (this.interactive && !block && !goesOn) message.push(...(await this.#pasted()));
      if (!block && !goesOn) break;
    }
    return unquoted(message.join('\n'));
  }

  async #line(prompt: string): Promise<string | null> {
    if (this.interactive && this.#waiting.length === 0 && !this.#ended) {
      this.#lines.setPrompt(styled(this.#terminal.stdout, ['bold', 'cyan'], prompt));
      this.#lines.prompt();
    }
    while (this.#waiting.length === 0 && !this.#ended)
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    return this.#waiting.shift() ?? null;
  }

  /** What else was pasted with the line just read. */
  async #pasted(): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      await new Promise(resolve => setTimeout(resolve, pasteMs));
      if (this.#waiting.length === 0) return lines;
      lines.push(...this.#waiting.splice(0));
    }
  }

  #interrupted(): void {
    if (this.#interrupt) {
      this.#interrupt();
      return;
    }
    if (this.#warned) {
      this.#terminal.stdout.write('\n');
      this.#lines.close();
      return;
    }
    this.#warned = true;
    this.#terminal.stdout.write('\n');
    note(this.#terminal, 'Ctrl-C again leaves; so does Ctrl-D.');
    this.#lines.write(null, { ctrl: true, name: 'u' });
    this.#lines.prompt();
  }

  [Symbol.dispose](): void {
    this.#lines.close();
  }
}

/** What stands between three quotes at the beginning and the end, or the text itself. */
function unquoted(text: string): string {
  return /^\s*"""\n?([\s\S]*?)\n?"""\s*$/.exec(text)?.[1] ?? text;
}
