// A file of which only pieces are here: its bytes in their places, and a log beside it of which pieces are there and what they hash to.
// The log is lines that are appended: a process that ends anywhere leaves at worst a broken last line, which counts for nothing.
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeAll } from './write-all.ts';

/** Bytes of a piece: few enough to wait for, enough for a request of its own. */
export const PIECE_BYTES = 4 * 2 ** 20;

/** Where the log of a file that is not whole lies. */
export const logPath = (data: string): string => `${data}.pieces`;

const header = (pieceBytes: number, bytes: number): string =>
  `maverick pieces 1 of ${pieceBytes} bytes, file of ${bytes}\n`;

export class PieceFile implements AsyncDisposable {
  readonly bytes: number;
  readonly pieceBytes: number;
  readonly #what: string;
  readonly #data: FileHandle;
  readonly #log: FileHandle;
  /** Hashes of the pieces that are here; null where a download that knew no pieces left them. */
  readonly #hashes: Map<number, string | null>;
  /** Pieces whose bytes were found right since this was opened. */
  readonly #sound = new Set<number>();

  private constructor(what: string, files: { data: FileHandle; log: FileHandle }, bytes: number, log: Log) {
    this.#what = what;
    this.#data = files.data;
    this.#log = files.log;
    this.bytes = bytes;
    this.pieceBytes = log.pieceBytes;
    this.#hashes = log.hashes;
  }

  /**
   * Opens the pieces at `path`, or begins with none. What an ordinary download left there, the beginning of the file, is taken over.
   * @param what for messages: hf:owner/repo:file
   * @param bytes of the whole file
   * @param pieceBytes of a piece, where there is no log yet
   */
  static async open(what: string, path: string, bytes: number, pieceBytes = PIECE_BYTES): Promise<PieceFile> {
    await mkdir(dirname(path), { recursive: true });
    let log = await readLog(path, bytes);
    if (!log) {
      if (await hasLog(path)) await removePieces(path); // of another file, or of another program: its bytes lie who knows where
      const left = await stat(path).then(
        found => found.size,
        () => 0,
      );
      const whole = Array.from({ length: left > bytes ? 0 : Math.floor(left / pieceBytes) }, (_, index) => index);
      log = { pieceBytes, hashes: new Map(whole.map(index => [index, null])) };
      const temporary = `${logPath(path)}.writing`;
      await writeFile(temporary, header(pieceBytes, bytes) + whole.map(index => `\n${index} ?\n`).join(''));
      await rename(temporary, logPath(path));
    }
    await open(path, 'a').then(file => file.close());
    const data = await open(path, 'r+'); // unlike 'a', writes where it is told
    try {
      return new PieceFile(what, { data, log: await open(logPath(path), 'a') }, bytes, log);
    } catch (error) {
      await data.close();
      throw error;
    }
  }

  get count(): number {
    return Math.ceil(this.bytes / this.pieceBytes);
  }

  /** Whether a piece is here, as far as the log tells. */
  has(index: number): boolean {
    return this.#hashes.has(index);
  }

  lengthOf(index: number): number {
    return Math.min(this.pieceBytes, this.bytes - index * this.pieceBytes);
  }

  /**
   * Fills `into` from byte `from` of a piece on. The first time all of the piece is read and must hash to what was noted.
   * @returns false where the piece is not here, or its bytes have changed: it counts as missing then
   */
  async read(index: number, from: number, into: Uint8Array): Promise<boolean> {
    const noted = this.#hashes.get(index);
    if (noted === undefined) return false;
    if (this.#sound.has(index)) return this.#readAt(index * this.pieceBytes + from, into);
    const whole = new Uint8Array(this.lengthOf(index));
    const hash = (await this.#readAt(index * this.pieceBytes, whole)) ? hashOf(whole) : null;
    if (hash === null || (noted !== null && hash !== noted)) {
      this.#hashes.delete(index);
      await this.#note(index, '-');
      return false;
    }
    if (noted === null) {
      this.#hashes.set(index, hash);
      await this.#note(index, hash);
    }
    this.#sound.add(index);
    into.set(whole.subarray(from, from + into.length));
    return true;
  }

  async #readAt(at: number, into: Uint8Array): Promise<boolean> {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await this.#data.read(into, done, into.length - done, at + done);
      if (bytesRead === 0) return false;
      done += bytesRead;
    }
    return true;
  }

  /** Puts a whole piece in its place; it is noted when it is there. */
  async write(index: number, piece: Uint8Array): Promise<void> {
    await writeAll(this.#data, piece, index * this.pieceBytes, this.#what);
    const hash = hashOf(piece);
    await this.#note(index, hash);
    this.#hashes.set(index, hash);
    this.#sound.add(index);
  }

  async #note(index: number, hash: string): Promise<void> {
    // Begins with a line break, so that a line that was cut before does not spoil it. Short appends are whole or not at all.
    await writeAll(this.#log, Buffer.from(`\n${index} ${hash}\n`), null, this.#what);
  }

  /** All that was written reaches the disk. */
  async sync(): Promise<void> {
    await this.#data.sync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#data.close(), this.#log.close()]);
  }
}

/** Bytes here of a file that is not whole: by its log, or where it has none by its length. */
export async function presentBytes(path: string, bytes: number): Promise<number> {
  const log = await readLog(path, bytes);
  if (!log) {
    const length = await stat(path).then(
      found => found.size,
      () => 0,
    );
    return (await hasLog(path)) ? 0 : Math.min(bytes, length);
  }
  let present = 0;
  for (const index of log.hashes.keys()) present += Math.min(log.pieceBytes, bytes - index * log.pieceBytes);
  return present;
}

export const hasLog = (path: string): Promise<boolean> =>
  stat(logPath(path)).then(
    () => true,
    () => false,
  );

/** Forgets a file that is not whole, its log first: bytes without a log are hashed before they count. */
export async function removePieces(path: string): Promise<void> {
  await rm(logPath(path), { force: true });
  await rm(path, { force: true });
}

interface Log {
  readonly pieceBytes: number;
  readonly hashes: Map<number, string | null>;
}

/** What the log says; null where there is none, or one of another file. */
async function readLog(path: string, bytes: number): Promise<Log | null> {
  const text = await readFile(logPath(path), 'utf8').catch(() => null);
  const pieceBytes = Number(/^maverick pieces 1 of (\d{1,12}) bytes/.exec(text ?? '')?.[1] ?? 0);
  if (text === null || pieceBytes < 1 || !text.startsWith(header(pieceBytes, bytes))) return null;
  const hashes = new Map<number, string | null>();
  for (const [, number, hash] of text.matchAll(/^(\d+) ([0-9a-f]{64}|\?|-)$/gm)) {
    const index = Number(number);
    if (index * pieceBytes >= bytes) continue;
    if (hash === '-') hashes.delete(index);
    else hashes.set(index, hash === '?' ? null : hash!);
  }
  return { pieceBytes, hashes };
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
