// Vectors as wide as the machine's, and the few operations on them that C++ does not spell: all that the kernels ask of an
// instruction set. Each simd-*.h gives the same names; lanes are counted in 32 bits.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
constexpr int lanes = LANES;

template <class T, int count>
using VectorOf __attribute__((vector_size(sizeof(T) * count))) = T;

typedef int8_t i8v __attribute__((vector_size(4 * LANES)));
typedef uint8_t u8v __attribute__((vector_size(4 * LANES)));
typedef int16_t i16v __attribute__((vector_size(4 * LANES)));
typedef int32_t i32v __attribute__((vector_size(4 * LANES)));
typedef uint32_t u32v __attribute__((vector_size(4 * LANES)));
typedef float f32v __attribute__((vector_size(4 * LANES)));
typedef double f64v __attribute__((vector_size(4 * LANES)));
/** As many 16-bit numbers as there are lanes. */
typedef uint16_t u16h __attribute__((vector_size(2 * LANES)));

/** What lies at any address, aligned or not. */
template <class T>
INLINE T load(const void* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}
template <class T>
INLINE void store(void* p, T value) {
  __builtin_memcpy(p, &value, sizeof value);
}

/** body<0>() … body<N − 1>(). */
template <int N, int I = 0, class Body>
INLINE void unroll(Body&& body) {
  if constexpr (I < N) {
    body.template operator()<I>();
    unroll<N, I + 1>(body);
  }
}

/** Reads a byte for nothing but that its cache line comes. */
INLINE void touch(const void* p) { __asm__ volatile("" : : "r"(*(const uint8_t*)p)); }

/** What a dot product takes for its weights; activations are signed bytes. */
enum class Dot {
  any_bytes,     // dot4_add: all unsigned bytes
  signed_bytes,  // dot4_add: signed bytes
  seven_bits,    // dot4_add: 0 … 127
  pairs,         // dot2: 0 … 127, giving sums of two products in 16 bits
};

#if defined(__wasm__)
#include "simd-wasm.h"
#elif defined(__x86_64__)
#include "simd-x86.h"
#elif defined(__aarch64__)
#include "simd-neon.h"
#else
#error "The kernels know x86-64, AArch64 and WebAssembly."
#endif

/** Minus nothing, because plus nothing would have to make +0 of −0. */
INLINE f32v splat(float value) { return value - f32v{}; }
INLINE i32v splat32(int value) { return i32v{} + value; }
INLINE u8v splat8(int value) { return u8v{} + (uint8_t)value; }
INLINE f32v to_float(i32v a) { return __builtin_convertvector(a, f32v); }
/** yes where the mask is all ones, no where it is 0. */
INLINE f32v select(i32v mask, f32v yes, f32v no) { return (f32v)(((i32v)yes & mask) | ((i32v)no & ~mask)); }
INLINE f32v absolute(f32v a) { return (f32v)((u32v)a & 0x7fffffffu); }
/** The lanes joined to one, upper half to lower half. (As a loop over an array GCC keeps them in memory, and each step waits for the last.) */
template <class V, class Join>
INLINE auto join_lanes(V a, Join join) {
#if LANES == 16
  const auto eight = join(__builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7), __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15));
#elif LANES == 8
  const auto eight = a;
#endif
#if LANES == 4
  const auto four = a;
#else
  const auto four = join(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
#endif
  const auto two = join(four, __builtin_shufflevector(four, four, 2, 3, 0, 1));
  return join(two, __builtin_shufflevector(two, two, 1, 0, 3, 2))[0];
}
/** The sum of the lanes, halves added to halves. */
template <class V>
INLINE auto add_lanes(V a) {
  return join_lanes(a, [](auto x, auto y) { return x + y; });
}
/** The largest of the lanes; anything if one is NaN. */
INLINE float largest_lane(f32v a) {
  return join_lanes(a, [](auto x, auto y) { return x < y ? y : x; });
}
