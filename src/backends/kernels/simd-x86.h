// x86-64: AVX-512 with or without VNNI, AVX2 with or without AVX-VNNI, and the baseline of every x86-64 processor (SSE2).
#pragma once
#include <immintrin.h>

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr Dot dot_forms[2] = {Dot::any_bytes, Dot::any_bytes};
#else
constexpr Dot dot_forms[2] = {Dot::pairs, Dot::pairs};
#endif

/** Keeps the compiler from reading a number again for each use, and from adding in an order for which there are no registers. */
template <class V>
INLINE V in_register(V a) {
  __asm__("" : "+v"(a));
  return a;
}
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr bool can_turn_signs = true;
#else
constexpr bool can_turn_signs = false;
INLINE i8v turn_signs(i8v x, i8v) { return x; }
INLINE u8v magnitude(i8v a) { return (u8v)a; }
#endif
INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
/** WebAssembly's are, see there. */
constexpr bool reads_are_checked = false;
/** For what is used once and soon. */
constexpr bool can_prefetch = true;
INLINE void prefetch_once(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_NTA); }

#if defined(__AVX512F__)
INLINE i8v load32_splat(const void* p) { return (i8v)_mm512_set1_epi32(load<int32_t>(p)); }
INLINE f32v madd(f32v a, f32v b, f32v c) { return (f32v)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE f32v nmadd(f32v a, f32v b, f32v c) { return (f32v)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE f32v nearest(f32v a) { return (f32v)_mm512_roundscale_ps((__m512)a, 0); }
INLINE i32v round_to_int(f32v a) { return (i32v)_mm512_cvtps_epi32((__m512)a); }
INLINE f32v raise_to(f32v a, f32v b) { return (f32v)_mm512_max_ps((__m512)b, (__m512)a); }
INLINE f32v lower_to(f32v a, f32v b) { return (f32v)_mm512_min_ps((__m512)b, (__m512)a); }
INLINE f32v load_halves(const void* p) { return (f32v)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
INLINE u32v load_upper(const void* p) { return (u32v)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)) << 16; }
INLINE i32v load_bytes(const void* p) { return (i32v)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)); }
INLINE void store_halves(void* p, f32v a) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)a, 0)); }
INLINE u8v lookup(const uint8_t* table, u8v index) {
  return (u8v)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table)), (__m512i)index);
}
INLINE u32v gather(const uint32_t* table, u32v index) { return (u32v)_mm512_i32gather_epi32((__m512i)index, table, 4); }
INLINE i32v dot_words(i16v x, i16v w) { return (i32v)_mm512_madd_epi16((__m512i)x, (__m512i)w); }
INLINE i32v add_pairs(i16v a) { return (i32v)_mm512_madd_epi16((__m512i)a, _mm512_set1_epi16(1)); }
INLINE i16v dot2(i8v x, u8v w) { return (i16v)_mm512_maddubs_epi16((__m512i)w, (__m512i)x); }
#if defined(__AVX512VNNI__)
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) { return (i32v)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }
#endif

#elif defined(__AVX2__)
INLINE i8v load32_splat(const void* p) { return (i8v)_mm256_set1_epi32(load<int32_t>(p)); }
INLINE f32v madd(f32v a, f32v b, f32v c) { return (f32v)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE f32v nmadd(f32v a, f32v b, f32v c) { return (f32v)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE f32v nearest(f32v a) { return (f32v)_mm256_round_ps((__m256)a, 0); }
INLINE i32v round_to_int(f32v a) { return (i32v)_mm256_cvtps_epi32((__m256)a); }
INLINE f32v raise_to(f32v a, f32v b) { return (f32v)_mm256_max_ps((__m256)b, (__m256)a); }
INLINE f32v lower_to(f32v a, f32v b) { return (f32v)_mm256_min_ps((__m256)b, (__m256)a); }
INLINE f32v load_halves(const void* p) { return (f32v)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
INLINE u32v load_upper(const void* p) { return (u32v)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)) << 16; }
INLINE i32v load_bytes(const void* p) { return (i32v)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)); }
INLINE void store_halves(void* p, f32v a) { _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)a, 0)); }
INLINE u8v lookup(const uint8_t* table, u8v index) {
  return (u8v)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table)), (__m256i)index);
}
INLINE u32v gather(const uint32_t* table, u32v index) { return (u32v)_mm256_i32gather_epi32((const int*)table, (__m256i)index, 4); }
/** x where `by` is positive, −x where it is negative, else 0. */
INLINE i8v turn_signs(i8v x, i8v by) { return (i8v)_mm256_sign_epi8((__m256i)x, (__m256i)by); }
INLINE u8v magnitude(i8v a) { return (u8v)_mm256_abs_epi8((__m256i)a); }
INLINE i32v dot_words(i16v x, i16v w) { return (i32v)_mm256_madd_epi16((__m256i)x, (__m256i)w); }
INLINE i32v add_pairs(i16v a) { return (i32v)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi16(1)); }
INLINE i16v dot2(i8v x, u8v w) { return (i16v)_mm256_maddubs_epi16((__m256i)w, (__m256i)x); }
#if defined(__AVXVNNI__)
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) { return (i32v)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x); }
#endif

#else
INLINE i8v load32_splat(const void* p) { return (i8v)_mm_set1_epi32(load<int32_t>(p)); }
INLINE f32v madd(f32v a, f32v b, f32v c) { return a * b + c; }
INLINE f32v nmadd(f32v a, f32v b, f32v c) { return c - a * b; }
INLINE i32v round_to_int(f32v a) { return (i32v)_mm_cvtps_epi32((__m128)a); }
/** |a| < 2³¹ or the same number again: larger floats are whole already. */
INLINE f32v nearest(f32v a) {
  const i32v small = (f32v)((u32v)a & 0x7fffffffu) < 0x1p30f;
  const f32v rounded = __builtin_convertvector(round_to_int(a), f32v);
  return (f32v)(((i32v)rounded & small) | ((i32v)a & ~small));
}
INLINE f32v raise_to(f32v a, f32v b) { return (f32v)_mm_max_ps((__m128)b, (__m128)a); }
INLINE f32v lower_to(f32v a, f32v b) { return (f32v)_mm_min_ps((__m128)b, (__m128)a); }
INLINE u32v load_upper(const void* p) { return (u32v)_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i*)p)); }
INLINE i32v load_bytes(const void* p) {
  const __m128i bytes = _mm_cvtsi32_si128(load<int>(p)), twice = _mm_unpacklo_epi8(bytes, bytes);
  return (i32v)_mm_unpacklo_epi16(twice, twice) >> 24;
}
#include "simd-halves.h"
INLINE u8v lookup(const uint8_t* table, u8v index) {
  for (int i = 0; i < 16; i++) index[i] = table[index[i] & 15];
  return index;
}
INLINE u32v gather(const uint32_t* table, u32v index) {
  return u32v{table[index[0]], table[index[1]], table[index[2]], table[index[3]]};
}
INLINE i32v dot_words(i16v x, i16v w) { return (i32v)_mm_madd_epi16((__m128i)x, (__m128i)w); }
INLINE i32v add_pairs(i16v a) { return (i32v)_mm_madd_epi16((__m128i)a, _mm_set1_epi16(1)); }
/** Even and odd bytes are widened to words, multiplied and added: what one SSSE3 instruction does. */
INLINE i16v dot2(i8v x, u8v w) {
  const i16v x_even = (i16v)_mm_srai_epi16(_mm_slli_epi16((__m128i)x, 8), 8), x_odd = (i16v)_mm_srai_epi16((__m128i)x, 8);
  return x_even * ((i16v)w & 255) + x_odd * (i16v)_mm_srli_epi16((__m128i)w, 8);
}
#endif

#if !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) { return sum + add_pairs(dot2(x, w)); }
#endif
