// Makes small pages huge where nothing runs, and beside programs that never end: one that computes, one that mostly reads. Prints which
// part of the time it took of a processor.
#include "populate.h"

#include <stdio.h>
#include <string.h>

#if defined(__linux__)
static const int pages = 32;

static double seconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static double processor_seconds(SystemThread thread) {
  clockid_t clock;
  timespec time;
  pthread_getcpuclockid(thread, &clock);
  clock_gettime(clock, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static size_t huge_bytes() {
  FILE* const file = fopen("/proc/self/smaps_rollup", "r");
  char line[256];
  size_t kilobytes = 0;
  while (file && fgets(line, sizeof line, file)) sscanf(line, "AnonHugePages: %zu", &kilobytes);
  if (file) fclose(file);
  return kilobytes << 10;
}

enum Beside { nothing, computing, reading };

/// The part of the time that the thread computed until all pages were huge; less than 0 where the system makes none.
static double share_of(Beside what) {
  const size_t bytes = pages * step_bytes;
  char* const base = reserve_range(bytes);
  commit_range(base, bytes);
  madvise(base, bytes, MADV_NOHUGEPAGE);
  memset(base, 1, bytes);
  static Populator made[3];
  Populator& p = made[what];
  p.small_from = base;
  p.end_program(what == reading);
  if (what != nothing) p.begin_program();
  p.expect(base, base + bytes);
  while (__atomic_load_n(&p.small_from, __ATOMIC_SEQ_CST) == base) usleep(100); // it rests first
  const double start = seconds(), before = processor_seconds(p.thread);
  while (__atomic_load_n(&p.small_from, __ATOMIC_SEQ_CST)) usleep(100);
  const double share = (processor_seconds(p.thread) - before) / (seconds() - start);
  const bool all = huge_bytes() >= bytes;
  p.stop();
  release_range(base, bytes);
  return all ? share : -1;
}

int main() {
  const double quiet = share_of(nothing), computed = share_of(computing), read = share_of(reading);
  printf("{\"quiet\": %.6f, \"computed\": %.6f, \"read\": %.6f}\n", quiet, computed, read);
}
#else
int main() { printf("{\"quiet\": -1, \"computed\": -1, \"read\": -1}\n"); }
#endif
