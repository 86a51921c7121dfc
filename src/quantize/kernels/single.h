// Single precision as ../reference/single.ts has it, one number or a vector of them; nothing here may be contracted or reordered.
#pragma once
#include "simd.h"

/** The nearest whole number for |value| < 2²², ties to even; beyond, what those bits then are. */
INLINE int nearest_whole(float value) {
  const float sum = value + 12582912.0f;
  return (load<int32_t>(&sum) & 0x7fffff) - 0x400000;
}
INLINE i32v nearest_whole(f32v value) { return ((i32v)(value + 12582912.0f) & 0x7fffff) - 0x400000; }

/** Toward zero; −2³¹ for what is no integer of 32 bits. */
INLINE int truncated(float value) {
  return value > -2147483904.0f && value < 2147483648.0f ? (int)value : (int)0x80000000;
}
/** Ties away from zero, then as `truncated`. */
INLINE int round_away(float value) {
  const int whole = truncated(value);
  if (whole == (int)0x80000000) return whole;
  const float rest = value - (float)whole;
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/** The same for |value| < 2²²: what is added is the largest float below ½, which carries just those past a half to the next whole. */
INLINE i32v round_away(f32v value) {
  const i32v half = ((i32v)value & splat32((int)0x80000000)) | splat32(0x3effffff);
  return __builtin_convertvector(value + (f32v)half, i32v);
}

INLINE int clamped(int value, int low, int high) { return value < low ? low : value > high ? high : value; }
INLINE i32v clamped(i32v value, int low, int high) {
  const i32v least = splat32(low), most = splat32(high);
  value = value < least ? least : value;
  return value > most ? most : value;
}

INLINE float size_of(float value) { return __builtin_fabsf(value); }
INLINE float root(float value) { return __builtin_sqrtf(value); }
INLINE f32v root(f32v a) {
#if defined(__AVX512F__)
  return (f32v)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (f32v)_mm256_sqrt_ps((__m256)a);
#elif defined(__x86_64__)
  return (f32v)_mm_sqrt_ps((__m128)a);
#elif defined(__wasm__)
  return (f32v)wasm_f32x4_sqrt((v128_t)a);
#else
  for (int i = 0; i < LANES; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

/** IEEE half, ties to even, infinite from 65520 on. */
INLINE uint16_t half_of(float value) {
  const uint32_t bits = load<uint32_t>(&value), sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (size < 0x38800000) {  // below 2⁻¹⁴: adding ½ rounds to multiples of 2⁻²⁴
    const float sum = load<float>(&size) + 0.5f;
    return (uint16_t)(sign | (load<uint32_t>(&sum) - 0x3f000000));
  }
  return (uint16_t)(sign | ((size + 0xfff + ((size >> 13) & 1) - 0x38000000) >> 13));
}
INLINE float of_half(uint16_t half) {
  const uint32_t bits = ((uint32_t)(half & 0x7fff) << 13), sign = (uint32_t)(half & 0x8000) << 16;
  if (bits >= 0x0f800000) {
    const uint32_t special = sign | 0x7f800000 | (bits & 0x7fffff);
    return load<float>(&special);
  }
  const float scaled = load<float>(&bits) * 0x1p112f;
  const uint32_t signed_bits = load<uint32_t>(&scaled) | sign;
  return load<float>(&signed_bits);
}
INLINE void put_half(uint8_t* p, float value) { store(p, half_of(value)); }

/** The low bytes of the lanes. */
INLINE void store_bytes(uint8_t* p, i32v a) {
#if defined(__AVX2__) && !defined(__AVX512F__)  // compilers take lane after lane
  const __m256i low = _mm256_and_si256((__m256i)a, _mm256_set1_epi32(255));
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64((__m128i_u*)p, _mm_packus_epi16(words, words));
#else
  store(p, __builtin_convertvector(a, VectorOf<uint8_t, LANES>));
#endif
}

/** The value farthest from zero, the first of equals; 0 if there is none but zeros. */
INLINE float farthest(const float* x, int count) {
  float most = 0, value = 0;
  for (int i = 0; i < count; i++)
    if (size_of(x[i]) > most) {
      most = size_of(x[i]);
      value = x[i];
    }
  return value;
}
/** The largest size; order does not matter to it. `count` is a multiple of 16. */
INLINE float largest_size(const float* x, int count) {
  f32v most = {};
  for (int i = 0; i < count; i += LANES) most = raise_to(most, absolute(load<f32v>(x + i)));
  return largest_lane(most);
}
/** Σ x², added in order. */
INLINE float sum_of_squares(const float* x, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; i++) sum += x[i] * x[i];
  return sum;
}
