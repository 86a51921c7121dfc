// What goes wrong in quantizing for a reason the user can do something about.

/** Says what cannot be quantized, why, and what to do. */
export class QuantizeError extends Error {
  override readonly name = 'QuantizeError';
}

/** What a failed write means for who named the file. */
export function writeFailure(path: string, error: unknown): QuantizeError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const what =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'the disk is full; free room and run the same command again: it goes on where it stopped.'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'may not be written; choose another place or change its permissions.'
        : code === 'ENOENT'
          ? 'its folder does not exist; make it first.'
          : code === 'EISDIR'
            ? 'is a directory; name a file.'
            : code === 'EFBIG'
              ? 'is larger than this file system takes; use --split-max-size.'
              : `cannot be written: ${error instanceof Error ? error.message : String(error)}`;
  return new QuantizeError(`${path}: ${what}`, { cause: error });
}
