// What kernels build of vectors on any machine: numbers of lanes, tails, sums across lanes, the exponential.
#pragma once
#include "simd.h"

/** Vector registers of the machine: what a kernel may hold in its inner loop. */
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int vector_registers = 32;
#else
constexpr int vector_registers = 16;
#endif

typedef float f32x4 __attribute__((vector_size(16)));
/** Half as many floats as there are lanes: as many as f64v has doubles. */
typedef float f32h __attribute__((vector_size(2 * LANES)));

/** {from, from + 1, …}. */
INLINE i32v count_up(int from) {
  i32v lanes_of = {};
  for (int i = 0; i < LANES; i++) lanes_of[i] = i;
  return lanes_of + from;
}

/** The first `count` < LANES numbers at p, the others 0: for tails, which the lanes of whole vectors must not differ from. */
INLINE f32v load_some(const float* p, int count) {
  float some[LANES] = {};
  for (int i = 0; i < count; i++) some[i] = p[i];
  return load<f32v>(some);
}
INLINE void store_some(float* p, f32v a, int count) {
  float some[LANES];
  store(some, a);
  for (int i = 0; i < count; i++) p[i] = some[i];
}

/** Lane i is the sum of lanes i, i + 4, i + 8 …, halves first. */
INLINE f32x4 fold(f32v a) {
#if LANES == 16
  const auto half = __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15);
  return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif LANES == 8
  return __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
#else
  return a;
#endif
}
/** {Σa, Σb, Σc, Σd}. */
INLINE f32x4 add_across(f32v a, f32v b, f32v c, f32v d) {
  const f32x4 p = fold(a), q = fold(b), r = fold(c), s = fold(d);
  const f32x4 pq = __builtin_shufflevector(p, q, 0, 4, 1, 5) + __builtin_shufflevector(p, q, 2, 6, 3, 7);
  const f32x4 rs = __builtin_shufflevector(r, s, 0, 4, 1, 5) + __builtin_shufflevector(r, s, 2, 6, 3, 7);
  return __builtin_shufflevector(pq, rs, 0, 1, 4, 5) + __builtin_shufflevector(pq, rs, 2, 3, 6, 7);
}

/**
 * eˣ with a relative error below 3e-7: Cody–Waite reduction and the minimax polynomial of Cephes `expf` (S. L. Moshier).
 * Exactly 1 at 0; below −86.9 it is 0 (subnormal numbers are slow), above 88.7 infinite; NaN stays NaN.
 */
INLINE f32v exp(f32v x) {
  const f32v low = splat(-86.9f), high = splat(88.72283f);
  const f32v bounded = lower_to(raise_to(x, low), high);
  const f32v n = nearest(bounded * splat(1.44269504088896341f));
  f32v r = madd(n, splat(-0.693359375f), bounded);
  r = madd(n, splat(2.12194440e-4f), r);
  f32v p = splat(1.9875691500e-4f);
  p = madd(p, r, splat(1.3981999507e-3f));
  p = madd(p, r, splat(8.3334519073e-3f));
  p = madd(p, r, splat(4.1665795894e-2f));
  p = madd(p, r, splat(1.6666665459e-1f));
  p = madd(p, r, splat(5.0000001201e-1f));
  p = madd(p, r * r, r) + splat(1.0f);
  // p · 2ⁿ: p is so near 1 that neither end leaves the exponents of normal numbers.
  const i32v bits = (i32v)p + (round_to_int(n) << 23);
  return select((i32v)(x > high), splat(__builtin_inff()), (f32v)(bits & ~(i32v)(x < low)));
}

/** 1 / (1 + e⁻ˣ). */
INLINE f32v logistic(f32v x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }
