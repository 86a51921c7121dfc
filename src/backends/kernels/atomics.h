// What threads ask of the machine: atomic numbers, waiting, sleeping and waking.
#pragma once
#include <stdint.h>

#if defined(__wasm__)
#elif defined(__linux__)
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <errno.h>
#include <sched.h>
extern "C" int __ulock_wait(uint32_t operation, void* address, uint64_t value, uint32_t microseconds);
extern "C" int __ulock_wake(uint32_t operation, void* address, uint64_t value);
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#error "No way to sleep on a number is known for this system."
#endif

static inline int atomic_load(const int32_t& x) { return __atomic_load_n(&x, __ATOMIC_SEQ_CST); }
static inline void atomic_store(int32_t& x, int value) { __atomic_store_n(&x, value, __ATOMIC_SEQ_CST); }
/// These give what was there before.
static inline int atomic_add(int32_t& x, int value) { return __atomic_fetch_add(&x, value, __ATOMIC_SEQ_CST); }
static inline int atomic_or(int32_t& x, int bits) { return __atomic_fetch_or(&x, bits, __ATOMIC_SEQ_CST); }

/// The same for counters that order nothing else.
static inline int count(int32_t& x, int value) { return __atomic_fetch_add(&x, value, __ATOMIC_RELAXED); }
static inline int64_t count(int64_t& x, int64_t value) { return __atomic_fetch_add(&x, value, __ATOMIC_RELAXED); }

/// Between two looks at a number that another thread is to change: leaves the core to its other thread.
static inline void pause_between_looks() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory"); // `yield` is over at once on most
#endif
}
/// Lets another thread have this core, if one wants it.
static inline void give_way() {
#if defined(_WIN32)
  SwitchToThread();
#elif !defined(__wasm__)
  sched_yield();
#endif
}
#if defined(__wasm__)
constexpr int looks = 20000, looks_giving_way = 0;
#else
constexpr int looks = 2000, looks_giving_way = 500;
#endif
/// Whether `ready` comes true within a while: first tens of microseconds, longer than most commands of a decode step differ between
/// threads; then, giving way, `patience` times a quarter of a millisecond. A thread that sleeps is woken late, and often on the core of
/// the thread that wakes it, where the two then take turns for milliseconds.
template <class Ready>
static inline bool soon(int patience, Ready ready) {
  for (int look = 0; look < looks; look++) {
    if (ready()) return true;
    pause_between_looks();
  }
  for (int look = 0; look < patience * looks_giving_way; look++) {
    if (ready()) return true;
    give_way();
  }
  return false;
}

/// Sleeps while x is `expected`, at most `nanoseconds`; −1 is for ever. True: the time is over. May return earlier, at a signal too.
static inline bool sleep_while(int32_t& x, int expected, int64_t nanoseconds) {
#if defined(__wasm__)
  return __builtin_wasm_memory_atomic_wait32(&x, expected, nanoseconds) == 2;
#elif defined(__linux__)
  const timespec time = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
  return syscall(SYS_futex, &x, FUTEX_WAIT_PRIVATE, expected, nanoseconds < 0 ? nullptr : &time, nullptr, 0) != 0 && errno == ETIMEDOUT;
#elif defined(__APPLE__)
  const uint32_t compare_and_wait = 1, without_errno = 0x1000000;
  const uint32_t microseconds = nanoseconds < 0 ? 0 : (uint32_t)(nanoseconds / 1000);
  return __ulock_wait(compare_and_wait | without_errno, &x, (uint32_t)expected, microseconds) == -ETIMEDOUT;
#else
  return !WaitOnAddress(&x, &expected, sizeof x, nanoseconds < 0 ? INFINITE : (DWORD)(nanoseconds / 1000000));
#endif
}
/// Wakes all who sleep at x.
static inline void wake(int32_t& x) {
#if defined(__wasm__)
  __builtin_wasm_memory_atomic_notify(&x, 0xffffffffu);
#elif defined(__linux__)
  syscall(SYS_futex, &x, FUTEX_WAKE_PRIVATE, 0x7fffffff, nullptr, nullptr, 0);
#elif defined(__APPLE__)
  const uint32_t compare_and_wait = 1, all = 0x100, without_errno = 0x1000000;
  __ulock_wake(compare_and_wait | all | without_errno, &x, 0);
#else
  WakeByAddressAll(&x);
#endif
}
