// Where a checkpoint's bytes come from: a file, memory, or anything that can be read by range.
import { type FileHandle, open, stat } from 'node:fs/promises';
import { CheckpointError } from './checkpoint.ts';

/** A run of bytes that is read by range. */
export interface Source extends AsyncDisposable {
  /** The path or address, for messages. */
  readonly path: string;
  /** Bytes it held when it was opened. */
  readonly size: number;
  /**
   * Fills `into`, which may lie in shared memory, with the bytes from `offset` on, and returns how many there were: fewer than
   * asked for only where the source now ends.
   * @throws CheckpointError when the bytes cannot be read, or the source is closed.
   */
  read(offset: number, into: Uint8Array): Promise<number>;
  /** Of a file on disk: its size, and when it was last changed. */
  readonly version?: string | undefined;
  /** Of a file on disk. @throws CheckpointError when it is not as it was when it was opened. */
  checkUnchanged?(): Promise<void>;
}

/** Gets at the bytes at a path. */
export type OpenSource = (path: string) => Promise<Source>;

/**
 * Where bytes come from that are no files of this machine, said in a way that crosses threads: a module, by its address, that exports
 * `openSource(data)`, which gives an `OpenSource`.
 */
export interface SourceModule {
  readonly module: string;
  readonly data: unknown;
}

/** What a source module opens with; files where there is none. */
export async function openerOf(sources: SourceModule | undefined): Promise<OpenSource> {
  if (!sources) return openFile;
  const loaded = (await import(sources.module)) as { openSource(data: unknown): OpenSource };
  return loaded.openSource(sources.data);
}

/**
 * Opens a regular file.
 * @throws CheckpointError when there is none, or it cannot be read; pipes, devices and directories are refused before they could block.
 */
export async function openFile(path: string): Promise<Source> {
  let file: FileHandle | undefined;
  try {
    const before = await stat(path); // before opening: to open a pipe is to wait for its writer
    if (before.isDirectory()) throw new CheckpointError(path, 'is a directory; name the checkpoint file in it.');
    if (!before.isFile())
      throw new CheckpointError(path, 'is a pipe or a device; a checkpoint must be a regular file.');
    file = await open(path);
    const { size, mtimeMs } = await file.stat();
    return new FileSource(path, size, mtimeMs, file);
  } catch (error) {
    await file?.close();
    throw error instanceof CheckpointError ? error : new CheckpointError(path, reason(error), { cause: error });
  }
}

class FileSource implements Source {
  readonly path: string;
  readonly size: number;
  readonly #modifiedMs: number;
  readonly #file: FileHandle;

  constructor(path: string, size: number, modifiedMs: number, file: FileHandle) {
    this.path = path;
    this.size = size;
    this.#modifiedMs = modifiedMs;
    this.#file = file;
  }

  async read(offset: number, into: Uint8Array): Promise<number> {
    let done = 0;
    try {
      while (done < into.length) {
        const length = Math.min(into.length - done, 2 ** 30); // one read takes less than 2 GiB
        const { bytesRead } = await this.#file.read(into, done, length, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw new CheckpointError(this.path, reason(error), { cause: error });
    }
    return done;
  }

  get version(): string {
    return `${this.size} ${this.#modifiedMs}`;
  }

  async checkUnchanged(): Promise<void> {
    const { size, mtimeMs } = await this.#file.stat().catch(error => {
      throw new CheckpointError(this.path, reason(error), { cause: error });
    });
    if (size !== this.size || mtimeMs !== this.#modifiedMs)
      throw new CheckpointError(this.path, 'was changed while it was in use; leave it alone, and open it again.');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Bytes in memory, which are not copied. */
export function memorySource(path: string, bytes: Uint8Array): Source {
  return {
    path,
    size: bytes.length,
    async read(offset, into) {
      const found = bytes.subarray(offset, offset + into.length);
      into.set(found);
      return found.length;
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** What the system's error means for the one who named the file. */
function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist; check the path.';
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read; change its permissions.';
  if (code === 'EMFILE' || code === 'ENFILE')
    return 'cannot be opened, too many files are open; raise the limit (ulimit -n).';
  if (code === 'EBADF') return 'was closed; open the checkpoint again.';
  return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
}
