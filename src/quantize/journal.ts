// The journal beside a file being made: which ranges are in it, each with its hash, so that a run that was ended goes on.
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { QuantizeError, writeFailure } from './errors.ts';

/** First line of a journal; the identity of the run follows. */
const title = 'maverick quantize 1';

/** The hashes of finished ranges by index, kept in a file that only grows. A line that was cut off counts for nothing. */
export class Journal implements AsyncDisposable {
  readonly done: Map<number, string>;
  readonly #file: FileHandle;
  readonly #path: string;

  private constructor(path: string, file: FileHandle, done: Map<number, string>) {
    this.#path = path;
    this.#file = file;
    this.done = done;
  }

  /**
   * Opens the journal at `path`, or begins one.
   * @throws QuantizeError where another run's lies there, or it cannot be written
   */
  static async open(path: string, identity: string): Promise<Journal> {
    const done = new Map<number, string>();
    const head = `${title} ${identity}\n`;
    const text = await readFile(path, 'latin1').catch(() => '');
    // Without a whole first line nothing was written yet.
    const begun = text.includes('\n');
    if (begun && !text.startsWith(head))
      throw new QuantizeError(
        `${path} is of another run, from another source or with other options. Repeat that run, or give --restart to begin anew.`,
      );
    let end = begun ? head.length : 0;
    for (const match of text.matchAll(/(\d+) ([0-9a-f]{8})\n/g))
      if (match.index === end) {
        done.set(Number(match[1]), match[2]!);
        end += match[0].length;
      }
    try {
      const file = await open(path, begun ? 'r+' : 'w');
      const journal = new Journal(path, file, done);
      journal.#end = end;
      await file.truncate(end);
      if (!begun) await journal.#append(head);
      return journal;
    } catch (error) {
      throw writeFailure(path, error);
    }
  }

  #end = 0;

  async #append(text: string): Promise<void> {
    const at = this.#end;
    this.#end += text.length;
    await this.#file.write(text, at, 'latin1');
  }

  /** Says that a range is in its file. */
  async add(index: number, hash: string): Promise<void> {
    try {
      await this.#append(`${index} ${hash}\n`);
    } catch (error) {
      throw writeFailure(this.#path, error);
    }
    this.done.set(index, hash);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}
