// A thread that makes fresh memory ready before others come to fill it, and chooses the size of its pages.
#pragma once
#include "../kernels/atomics.h"
#include "system.h"

#if defined(__linux__)
#include <time.h>

#if !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23
#endif
#if !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25
#endif

/// Huge pages are what computing wants. But a virtual machine's host takes free huge pages back, and to get one anew takes it longer
/// than the same bytes in small pages, of which a system has many that were not taken. So huge pages are tried; where they
/// come slowly, small ones follow, and are made huge when there is no more to do. Beside programs that mostly compute, where the size of
/// pages hardly shows, that is done a small part of the time only; beside those that mostly read it is done at once: they are slower for
/// some seconds and faster for good (LOG.md).
struct Populator {
  static constexpr double slow_seconds = 0.8e-3;  // for a huge page; small ones take about this
  static constexpr int tried = 4;                 // huge pages in a row that must be slow
  static constexpr int64_t rest = 100'000'000;    // nanoseconds without work before small pages are made huge
  static constexpr int share = 16;                // of the time that making pages huge may take while others compute
  static constexpr int refusals = 8;              // in a row, after which the system does it in its own time

  SystemThread thread;
  bool started;
  int32_t told;       // counts what is new: the thread sleeps on it
  int32_t leaving;
  char* next;         // [next, end) is still to be made ready
  char* end;
  char* small_from;   // where small pages begin, or null
  bool advised;       // from there on pages may be huge again
  int64_t pause;      // nanoseconds to the next page to be made huge
  int refused;        // pages in a row
  int32_t computing;  // a program runs
  int32_t reading;    // the last one did few products with what it read
  int32_t programs;   // counts those begun

  /// Bytes that will be written soon. What does not go on where others ended is left to whoever touches it, while there is work.
  void expect(char* from, char* to) {
    char* const now = __atomic_load_n(&end, __ATOMIC_ACQUIRE);
    const bool goes_on = from >= now && from - now < (ptrdiff_t)step_bytes;
    if (!goes_on && __atomic_load_n(&next, __ATOMIC_ACQUIRE) < now) return;
    if (!started && !(started = start_thread(&thread, run, this))) return;
    if (!goes_on) __atomic_store_n(&next, from, __ATOMIC_RELEASE);
    __atomic_store_n(&end, to, __ATOMIC_RELEASE);
    tell();
  }

  /// Told by who computes.
  void begin_program() {
    __atomic_store_n(&computing, 1, __ATOMIC_RELAXED);
    count(programs, 1);
  }
  void end_program(bool mostly_read) {
    __atomic_store_n(&computing, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&reading, mostly_read, __ATOMIC_RELAXED);
  }

  void stop() {
    if (!started) return;
    atomic_store(leaving, 1);
    tell();
    join_thread(thread);
    started = false;
  }

 private:
  void tell() {
    atomic_add(told, 1);
    wake(told);
  }

  static double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
  }

  static char* whole_up_to(char* p) { return (char*)((uintptr_t)p & ~(uintptr_t)(step_bytes - 1)); }

  static ThreadResult run(void* self) {
    Populator& p = *(Populator*)self;
    int slow = 0;
    char* small_to = nullptr; // pages are small up to here by advice
    while (!atomic_load(p.leaving)) {
      const int seen = atomic_load(p.told);
      char *const from = __atomic_load_n(&p.next, __ATOMIC_ACQUIRE), *const end = __atomic_load_n(&p.end, __ATOMIC_ACQUIRE);
      if (from >= end) {
        if (sleep_while(p.told, seen, p.small_from ? p.pause : -1)) p.collapse_next(end);
        continue;
      }
      p.pause = rest;
      char* const step = whole_up_to(from) + step_bytes;
      char* const to = step < end ? step : end;
      char* const page = (char*)((uintptr_t)from & ~(uintptr_t)4095);
      if (p.small_from && !p.advised && small_to != end) {
        madvise(page, (size_t)(end - page), MADV_NOHUGEPAGE);
        small_to = end;
      }
      const double start = now();
      if (madvise(page, (size_t)(to - page + 4095) & ~(size_t)4095, MADV_POPULATE_WRITE) != 0) break; // an older system: who writes waits
      if (!p.small_from || p.advised) {
        const bool whole = to - page == (ptrdiff_t)step_bytes;
        slow = !whole ? slow : now() - start > slow_seconds ? slow + 1 : 0;
        if (slow == tried) {
          if (!p.small_from) p.small_from = to;
          p.advised = false;
          small_to = nullptr;
          slow = 0;
        }
      }
      __atomic_store_n(&p.next, to, __ATOMIC_RELEASE);
    }
    return {};
  }

  /// Makes the next small pages below `to` a huge one: a copy, while others read and write.
  void collapse_next(char* to) {
    if (!advised) {
      madvise(small_from, (size_t)(to - small_from), MADV_HUGEPAGE);
      small_from = whole_up_to(small_from + step_bytes - 1);
      advised = true;
    }
    const double start = now();
    const int before = __atomic_load_n(&programs, __ATOMIC_RELAXED);
    const bool any = small_from + step_bytes <= to;
    refused = any && madvise(small_from, step_bytes, MADV_COLLAPSE) == 0 ? 0 : refused + 1;
    if (!any || refused == refusals) {
      small_from = nullptr;
      advised = false;
      refused = 0;
      return;
    }
    small_from += step_bytes;
    const bool computed = __atomic_load_n(&computing, __ATOMIC_RELAXED) || __atomic_load_n(&programs, __ATOMIC_RELAXED) != before;
    pause = computed && !__atomic_load_n(&reading, __ATOMIC_RELAXED) ? (int64_t)((now() - start) * (share - 1) * 1e9) : 0;
  }
};

#else
/// Elsewhere whoever touches memory first waits for it.
struct Populator {
  void expect(char*, char*) {}
  void begin_program() {}
  void end_program(bool) {}
  void stop() {}
};
#endif
