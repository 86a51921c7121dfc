// Messages typed or piped: lines, with \ and """ for several, pasted ones kept together, and what Ctrl-C means when.
import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import { note, styled, type Terminal } from './terminal.ts';

/** Lines that come faster than this were pasted. */
const pasteMs = 12;

export class MessageReader implements Disposable {
  readonly interactive: boolean;
  readonly #terminal: Terminal;
  readonly #lines: Interface;
  readonly #waiting: { readonly text: string; readonly shown: boolean }[] = [];
  #wake: (() => void) | null = null;
  #ended = false;
  #interrupt: (() => void) | null = null;
  #warned = false;
  /** What is typed while an answer streams is kept for the next message, and not shown within the answer. */
  #muted = false;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.interactive = terminal.stdin.isTTY === true && terminal.stdout.isTTY === true;
    this.#lines = createInterface({
      input: terminal.stdin,
      ...(this.interactive && { output: this.#echo(), historySize: 500, removeHistoryDuplicates: true }),
      terminal: this.interactive,
      crlfDelay: Number.POSITIVE_INFINITY,
    });
    this.#lines.on('line', line => {
      this.#warned = false;
      this.#waiting.push({ text: line, shown: !this.#muted });
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
    this.#muted = true;
    return {
      [Symbol.dispose]: () => {
        this.#interrupt = null;
        this.#muted = false;
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
      if (this.interactive && !block && !goesOn && !isCommand(message)) message.push(...(await this.#pasted()));
      if (!block && !goesOn) break;
    }
    return unquoted(message.join('\n'));
  }

  async #line(prompt: string): Promise<string | null> {
    if (prompt !== '' && this.interactive && this.#waiting.length === 0 && !this.#ended) {
      this.#lines.setPrompt(this.#prompt(prompt));
      this.#lines.prompt();
    }
    while (this.#waiting.length === 0 && !this.#ended)
      await new Promise<void>(resolve => {
        this.#wake = resolve;
      });
    const line = this.#waiting.shift();
    if (line === undefined) return null;
    if (this.interactive && !line.shown) this.#terminal.stdout.write(`${this.#prompt(prompt)}${line.text}\n`);
    return line.text;
  }

  /** What else was pasted with the line just read; a last line without its end is the user's to finish. */
  async #pasted(): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      await new Promise(resolve => setTimeout(resolve, pasteMs));
      if (this.#waiting.length > 0) lines.push(...this.#waiting.splice(0).map(({ text }) => text));
      else if (this.#lines.line !== '' && !this.#ended) {
        const last = await this.#line('');
        if (last === null) return lines;
        lines.push(last);
      } else return lines;
    }
  }

  #prompt(text: string): string {
    return styled(this.#terminal.stdout, ['bold', 'cyan'], text);
  }

  #echo(): Writable {
    const { stdout } = this.#terminal;
    const write = (chunk: Buffer, _: string, done: () => void) => {
      if (!this.#muted) stdout.write(chunk);
      done();
    };
    return Object.defineProperty(new Writable({ write }), 'columns', { get: () => stdout.columns });
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

/** A command is done with its line: what was typed or pasted after it is the next message. A path or a comment is no command. */
const isCommand = (message: readonly string[]): boolean =>
  message.length === 1 && /^\/(?:[a-z]+|\?)(?:\s|$)/.test(message[0]!);

/** What stands between three quotes at the beginning and the end, or the text itself. */
function unquoted(text: string): string {
  return /^\s*"""\n?([\s\S]*?)\n?"""\s*$/.exec(text)?.[1] ?? text;
}
