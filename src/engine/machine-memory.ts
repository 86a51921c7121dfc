// How much memory this process may take: what the machine has free, within the limits of the container it runs in.
import { readFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';

/** A file's text, or undefined where there is none. */
export type ReadText = (path: string) => string | undefined;

const readText: ReadText = path => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/**
 * Bytes that can be taken beside what this process has already. Files that the system keeps in memory give way and count as free; on
 * a system that does not say how much that is, all memory does.
 * Source: Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst (Linux).
 */
export function availableMemory(
  read: ReadText = readText,
  machine: number = process.platform === 'darwin' ? totalmem() : freemem(),
): number {
  const meminfo = read('/proc/meminfo');
  const available = meminfo && /^MemAvailable:\s+(\d+) kB/m.exec(meminfo);
  return Math.min(available ? Number(available[1]) * 1024 : machine, ...groupsOf(read).map(free => Math.max(0, free)));
}

/** What each control group on the way from this process to the root has left, if it is limited. */
function groupsOf(read: ReadText): number[] {
  const left: number[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const second = controllers === '';
    if (!second && !controllers!.split(',').includes('memory')) continue;
    const root = second ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    // Inside a container the path may be the host's, and the container's own group is the root that is seen.
    for (let at = path.replace(/\/$/, ''); ; at = at.slice(0, at.lastIndexOf('/'))) {
      const free = second ? freeOfSecond(read, root + at) : freeOfFirst(read, root + at);
      if (free !== undefined) left.push(free);
      if (at === '') break;
    }
  }
  return left;
}

function freeOfSecond(read: ReadText, folder: string): number | undefined {
  const limits = ['memory.max', 'memory.high'].map(name => number(read(`${folder}/${name}`)));
  const used = number(read(`${folder}/memory.current`));
  return freeOf(Math.min(...limits), used, read(`${folder}/memory.stat`), /^inactive_file (\d+)/m);
}

function freeOfFirst(read: ReadText, folder: string): number | undefined {
  const limit = number(read(`${folder}/memory.limit_in_bytes`));
  const used = number(read(`${folder}/memory.usage_in_bytes`));
  return freeOf(limit, used, read(`${folder}/memory.stat`), /^total_inactive_file (\d+)/m);
}

function freeOf(limit: number, used: number, stat: string | undefined, files: RegExp): number | undefined {
  if (limit === Infinity || used === Infinity) return undefined;
  return limit - used + Number(files.exec(stat ?? '')?.[1] ?? 0);
}

/** A limit as the kernel writes it; none is `max` or absurdly large. */
function number(text: string | undefined): number {
  const value = Number(text?.trim() || Number.NaN);
  return value < 2 ** 60 ? value : Infinity;
}
