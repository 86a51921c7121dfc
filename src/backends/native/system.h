// What the addon asks of the operating system: ranges of addresses, and threads.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#endif

/// Ranges begin and grow in steps of this: a huge page.
constexpr size_t step_bytes = 2 << 20;
/// Kernels keep tiles on the stack.
constexpr size_t thread_stack_bytes = 4 << 20;

/// Addresses for `bytes` bytes that take no room yet and must not be touched; null if the system grants none.
static inline char* reserve_range(size_t bytes) {
#if defined(_WIN32)
  return (char*)VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_READWRITE);
#else
#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0
#endif
  // A step more, so that the range can begin at a whole one; what is left over on both sides is given back.
  char* const all = (char*)mmap(nullptr, bytes + step_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  const size_t before = -(uintptr_t)all & (step_bytes - 1);
  if (before > 0) munmap(all, before);
  munmap(all + before + bytes, step_bytes - before);
#if defined(MADV_HUGEPAGE)
  madvise(all + before, bytes, MADV_HUGEPAGE); // weights are read from end to end: fewer translations to look up
#endif
  return all + before;
#endif
}

/// Makes reserved bytes usable; their pages take room when they are touched. Both a multiple of 4096. False: none are left.
static inline bool commit_range(char* start, size_t bytes) {
#if defined(_WIN32)
  return VirtualAlloc(start, bytes, MEM_COMMIT, PAGE_READWRITE) != nullptr;
#else
  return mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
#endif
}

/// The bytes hold anything from now on, and their pages go back to the system.
static inline void discard_range(char* start, size_t bytes) {
#if defined(_WIN32)
  VirtualAlloc(start, bytes, MEM_RESET, PAGE_READWRITE);
#elif defined(__APPLE__)
  madvise(start, bytes, MADV_FREE);
#else
  madvise(start, bytes, MADV_DONTNEED);
#endif
}

static inline void release_range(char* start, [[maybe_unused]] size_t bytes) {
#if defined(_WIN32)
  VirtualFree(start, 0, MEM_RELEASE);
#else
  munmap(start, bytes);
#endif
}

#if defined(_WIN32)
typedef HANDLE SystemThread;
typedef DWORD ThreadResult;
#define THREAD_CALL WINAPI
#else
typedef pthread_t SystemThread;
typedef void* ThreadResult;
#define THREAD_CALL
#endif

static inline bool start_thread(SystemThread* thread, ThreadResult(THREAD_CALL* body)(void*), void* argument) {
#if defined(_WIN32)
  *thread = CreateThread(nullptr, thread_stack_bytes, body, argument, STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr);
  return *thread != nullptr;
#else
  // Signals are for the threads that Node knows.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, thread_stack_bytes);
  const bool started = pthread_create(thread, &attributes, body, argument) == 0;
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
#endif
}

static inline void join_thread(SystemThread thread) {
#if defined(_WIN32)
  WaitForSingleObject(thread, INFINITE);
  CloseHandle(thread);
#else
  pthread_join(thread, nullptr);
#endif
}
