// Writes all of some bytes into the cache, and says what to do where there is no room for them.
import type { FileHandle } from 'node:fs/promises';
import { HubError } from './errors.ts';

/** @param position null appends. @throws HubError of kind `disk` */
export async function writeAll(
  out: FileHandle,
  bytes: Uint8Array,
  position: number | null,
  what: string,
): Promise<void> {
  try {
    for (let written = 0; written < bytes.length; ) {
      const at = position === null ? null : position + written;
      written += (await out.write(bytes, written, bytes.length - written, at)).bytesWritten;
    }
  } catch (cause) {
    const reason =
      cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC' ? 'the disk is full' : String(cause);
    throw new HubError(
      'disk',
      `${what}: writing to the cache failed: ${reason}. Free some space or set HF_HOME to another disk; what has arrived is kept.`,
      { cause },
    );
  }
}
