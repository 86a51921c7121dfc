// Makes small pages huge, once where nothing computes and once beside a program that never ends, and prints which part of the time it took
// of a processor.
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

/// The part of the time that the thread computed until all pages were huge; less than 0 where the system makes none.
static double share_of(bool computing) {
  const size_t bytes = pages * step_bytes;
  char* const base = reserve_range(bytes);
  commit_range(base, bytes);
  madvise(base, bytes, MADV_NOHUGEPAGE);
  memset(base, 1, bytes);
  static Populator made[2];
  Populator& p = made[computing];
  p.small_from = base;
  if (computing) p.begin_program();
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
  const double quiet = share_of(false), beside = share_of(true);
  printf("{\"quiet\": %.6f, \"beside\": %.6f}\n", quiet, beside);
}
#else
int main() { printf("{\"quiet\": -1, \"beside\": -1}\n"); }
#endif
