// Four floats at a time for the operations that are not matrix products: loads, fused multiply-add, exp, half precision.
#pragma once
#include <stdint.h>

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int16_t i16x4 __attribute__((vector_size(8)));
typedef double f64x2 __attribute__((vector_size(16)));

typedef f32x4 f32x4_unaligned __attribute__((aligned(4), may_alias));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef i16x8 i16x8_unaligned __attribute__((aligned(2), may_alias));
typedef i16x4 i16x4_unaligned __attribute__((aligned(2), may_alias));

static inline f32x4 load4(const float* p) { return *(const f32x4_unaligned*)p; }
static inline void store4(float* p, f32x4 v) { *(f32x4_unaligned*)p = v; }
static inline f32x4 splat4(float x) { return f32x4{x, x, x, x}; }

/// a·b + c. Fused where the processor can; the same on every path of one machine, which is all that bit-identity needs.
static inline f32x4 madd4(f32x4 a, f32x4 b, f32x4 c) {
#if defined(__wasm_relaxed_simd__)
  return __builtin_wasm_relaxed_madd_f32x4(a, b, c);
#else
  return __builtin_elementwise_fma(a, b, c);
#endif
}

static inline f32x4 select4(i32x4 mask, f32x4 yes, f32x4 no) { return (f32x4)(((i32x4)yes & mask) | ((i32x4)no & ~mask)); }

/// b where a < b, else a: one instruction on most processors.
static inline f32x4 max4(f32x4 a, f32x4 b) {
#if defined(__wasm_simd128__)
  return __builtin_wasm_pmax_f32x4(a, b);
#else
  return select4((i32x4)(a < b), b, a);
#endif
}

/// b where b < a, else a.
static inline f32x4 min4(f32x4 a, f32x4 b) {
#if defined(__wasm_simd128__)
  return __builtin_wasm_pmin_f32x4(a, b);
#else
  return select4((i32x4)(b < a), b, a);
#endif
}

static inline float sum4(f32x4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }

/// eˣ with a relative error below 3e-7: Cody–Waite reduction and the minimax polynomial of Cephes `expf` (S. L. Moshier).
/// Exactly 1 at 0; below −86.9 it is 0, above 88.7 infinite.
static inline f32x4 exp4(f32x4 x) {
  const f32x4 low = splat4(-86.9f), high = splat4(88.72283f);
  const f32x4 bounded = min4(max4(x, low), high);
  const f32x4 n = __builtin_elementwise_roundeven(bounded * splat4(1.44269504088896341f));
  f32x4 r = madd4(n, splat4(-0.693359375f), bounded);
  r = madd4(n, splat4(2.12194440e-4f), r);
  f32x4 p = splat4(1.9875691500e-4f);
  p = madd4(p, r, splat4(1.3981999507e-3f));
  p = madd4(p, r, splat4(8.3334519073e-3f));
  p = madd4(p, r, splat4(4.1665795894e-2f));
  p = madd4(p, r, splat4(1.6666665459e-1f));
  p = madd4(p, r, splat4(5.0000001201e-1f));
  p = madd4(p, r * r, r) + splat4(1.0f);
  // Two factors, because 2¹²⁸ is no float but eˣ with n = 128 may be one.
  const f32x4 half = (f32x4)((__builtin_convertvector(n, i32x4) + 126) << 23);
  p = p * half * splat4(2.0f);
  p = select4((i32x4)(x < low), splat4(0.0f), p);
  p = select4((i32x4)(x > high), splat4(__builtin_inff()), p);
  return select4((i32x4)(x != x), x, p);
}

/// 1 / (1 + e⁻ˣ).
static inline f32x4 sigmoid4(f32x4 x) { return splat4(1.0f) / (splat4(1.0f) + exp4(-x)); }

/// The upper half of each lane is ignored, but for the sign, which it must repeat.
static inline f32x4 widen_lanes(i32x4 halves) {
  return (f32x4)((halves << 13) & (int32_t)0x8fffe000) * splat4(0x1p112f);
}

/// Four IEEE halves as floats. Exact for finite values; the bits of infinities and NaN give finite numbers, so that memory that
/// was never written cannot poison a sum in which it has weight 0.
static inline f32x4 widen4(const uint16_t* p) {
  return widen_lanes(__builtin_convertvector(*(const i16x4_unaligned*)p, i32x4));
}

/// Eight of them.
static inline void widen8(const uint16_t* p, f32x4* low, f32x4* high) {
  const i16x8 halves = *(const i16x8_unaligned*)p;
  *low = widen_lanes(__builtin_convertvector(__builtin_shufflevector(halves, halves, 0, 1, 2, 3), i32x4));
  *high = widen_lanes(__builtin_convertvector(__builtin_shufflevector(halves, halves, 4, 5, 6, 7), i32x4));
}

/// Rounds to the nearest half, ties to even; what is larger than 65504 becomes that.
static inline u32x4 narrow4(f32x4 x) {
  const u32x4 sign = ((u32x4)x >> 16) & 0x8000u;
  const f32x4 size = min4((f32x4)((u32x4)x & 0x7fffffffu), splat4(65504.0f));
  const u32x4 bits = (u32x4)size;
  const u32x4 normal = ((bits + 0xfffu + ((bits >> 13) & 1u)) >> 13) - (112u << 10);
  // Adding 0.5 rounds to multiples of 2⁻²⁴, the spacing of subnormal halves.
  const u32x4 tiny = (u32x4)(size + splat4(0.5f)) - 0x3f000000u;
  const u32x4 isTiny = (u32x4)(size < splat4(0x1p-14f));
  return ((tiny & isTiny) | (normal & ~isTiny)) | sign;
}
