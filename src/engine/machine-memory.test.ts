// What is free on a machine and in its containers, from the files in which Linux says so.
import { expect, test } from 'vitest';
import { availableMemory } from './machine-memory.ts';

const GiB = 2 ** 30;
const meminfo = { '/proc/meminfo': 'MemTotal: 99 kB\nMemAvailable:   25165824 kB\n' }; // 24 GiB
const from = (files: Record<string, string>): number => availableMemory(path => files[path], 64 * GiB);

test('without containers: what the machine has available', () => {
  expect(from(meminfo)).toBe(24 * GiB);
  expect(from({ ...meminfo, '/proc/self/cgroup': '0::/\n' })).toBe(24 * GiB);
  expect(from({})).toBe(64 * GiB);
});

test('cgroup v2: the tightest of the groups above, files that can be dropped not counted', () => {
  const files = {
    ...meminfo,
    '/proc/self/cgroup': '0::/pod/app\n',
    '/sys/fs/cgroup/pod/app/memory.max': 'max\n',
    '/sys/fs/cgroup/pod/app/memory.high': 'max\n',
    '/sys/fs/cgroup/pod/app/memory.current': `${GiB}\n`,
    '/sys/fs/cgroup/pod/memory.max': `${8 * GiB}\n`,
    '/sys/fs/cgroup/pod/memory.current': `${3 * GiB}\n`,
    '/sys/fs/cgroup/pod/memory.stat': `anon 5\ninactive_file ${GiB}\nactive_file 7\n`,
  };
  expect(from({ ...files, '/sys/fs/cgroup/pod/memory.high': 'max\n' })).toBe(6 * GiB);
  expect(from({ ...files, '/sys/fs/cgroup/pod/memory.high': `${4 * GiB}\n` })).toBe(2 * GiB);
});

test('cgroup v2 as seen from inside a container, whose own group is the root', () => {
  const files = {
    ...meminfo,
    '/proc/self/cgroup': '0::/docker/0123\n',
    '/sys/fs/cgroup/memory.max': `${2 * GiB}\n`,
    '/sys/fs/cgroup/memory.high': 'max\n',
    '/sys/fs/cgroup/memory.current': `${3 * GiB}\n`,
  };
  expect(from(files)).toBe(0);
});

test('cgroup v1', () => {
  const files = {
    ...meminfo,
    '/proc/self/cgroup': '12:cpu,cpuacct:/x\n5:memory:/app\n0::/\n',
    '/sys/fs/cgroup/memory/app/memory.limit_in_bytes': `${4 * GiB}\n`,
    '/sys/fs/cgroup/memory/app/memory.usage_in_bytes': `${2 * GiB}\n`,
    '/sys/fs/cgroup/memory/app/memory.stat': `inactive_file 3\ntotal_inactive_file ${GiB}\n`,
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    '/sys/fs/cgroup/memory/memory.usage_in_bytes': `${9 * GiB}\n`,
  };
  expect(from(files)).toBe(3 * GiB);
});

test('this machine says something', () => {
  expect(availableMemory()).toBeGreaterThan(2 ** 20);
});
