// What threads ask of the machine: atomic numbers, sleeping and waking.
#pragma once
#include <stdint.h>

static inline int atomic_load(const int32_t& x) { return __atomic_load_n(&x, __ATOMIC_SEQ_CST); }
static inline void atomic_store(int32_t& x, int value) { __atomic_store_n(&x, value, __ATOMIC_SEQ_CST); }
/// These give what was there before.
static inline int atomic_add(int32_t& x, int value) { return __atomic_fetch_add(&x, value, __ATOMIC_SEQ_CST); }
static inline int atomic_or(int32_t& x, int bits) { return __atomic_fetch_or(&x, bits, __ATOMIC_SEQ_CST); }

/// The same for counters that order nothing else.
static inline int count(int32_t& x, int value) { return __atomic_fetch_add(&x, value, __ATOMIC_RELAXED); }
static inline int64_t count(int64_t& x, int64_t value) { return __atomic_fetch_add(&x, value, __ATOMIC_RELAXED); }

/// Sleeps while x is `expected`, at most `nanoseconds`; −1 is for ever.
static inline void sleep_while(int32_t& x, int expected, int64_t nanoseconds) {
  __builtin_wasm_memory_atomic_wait32(&x, expected, nanoseconds);
}
/// Wakes all who sleep at x.
static inline void wake(int32_t& x) { __builtin_wasm_memory_atomic_notify(&x, 0xffffffffu); }
