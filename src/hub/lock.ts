// One process at a time: a lock file that tells its owner, and goes stale when the owner is gone.
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const heartbeatMs = 5_000;
const staleMs = 60_000;

export interface Lock extends AsyncDisposable {
  /** False when another process took the lock over: this one was asleep for longer than a minute. */
  held(): Promise<boolean>;
}

/** Waits until the lock is free, or its owner dead or silent for a minute, and takes it. */
export async function acquireLock(
  path: string,
  options: { signal?: AbortSignal; onWait?: () => void } = {},
): Promise<Lock> {
  await mkdir(dirname(path), { recursive: true });
  const mine = JSON.stringify({ id: randomUUID(), pid: process.pid, host: hostname() });
  for (let waited = false; ; waited = true) {
    options.signal?.throwIfAborted();
    try {
      await writeFile(path, mine, { flag: 'wx' });
      break;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const theirs = await readFile(path, 'utf8').catch(() => null);
    if (theirs !== null && (await isStale(path, theirs))) {
      await takeAway(path, theirs);
      continue;
    }
    if (!waited) options.onWait?.();
    await sleep(200, undefined, { signal: options.signal });
  }
  const held = async () => (await readFile(path, 'utf8').catch(() => null)) === mine;
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined); // `held` tells who owns it
  }, heartbeatMs);
  heartbeat.unref();
  return {
    held,
    [Symbol.asyncDispose]: async () => {
      clearInterval(heartbeat);
      if (await held()) await rm(path, { force: true });
    },
  };
}

async function isStale(path: string, content: string): Promise<boolean> {
  const age = await stat(path).then(
    found => Date.now() - found.mtimeMs,
    () => 0,
  );
  if (age > staleMs) return true;
  try {
    const owner: unknown = JSON.parse(content);
    if (typeof owner !== 'object' || owner === null || !('pid' in owner) || !('host' in owner)) return false;
    if (owner.host !== hostname() || typeof owner.pid !== 'number') return false;
    process.kill(owner.pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH'; // half-written content is no proof
  }
}

/** Removes a stale lock by renaming, and puts it back when someone was quicker and it is a new one. */
async function takeAway(path: string, stale: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return; // someone else took it away
  }
  const found = await readFile(aside, 'utf8').catch(() => null);
  if (found !== stale && found !== null) await writeFile(path, found, { flag: 'wx' }).catch(() => undefined);
  await rm(aside, { force: true });
}
