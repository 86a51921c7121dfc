// AArch64: NEON with dot products, with i8mm (bytes of mixed signs), or alone.
#pragma once
#include <arm_neon.h>

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr Dot dot_forms[2] = {Dot::any_bytes, Dot::any_bytes};
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) { return (i32v)vusdotq_s32((int32x4_t)sum, (uint8x16_t)w, (int8x16_t)x); }
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr Dot dot_forms[2] = {Dot::signed_bytes, Dot::signed_bytes};
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) { return (i32v)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)x); }
#else
constexpr Dot dot_forms[2] = {Dot::pairs, Dot::pairs};
#endif

INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
/** WebAssembly's are, see there. */
constexpr bool reads_are_checked = false;
/** For what is used once and soon. */
constexpr bool can_prefetch = true;
INLINE void prefetch_once(const void* p) { __builtin_prefetch(p, 0, 0); }
/** AVX2 can, see there. */
constexpr bool can_turn_signs = false;
INLINE i8v turn_signs(i8v x, i8v) { return x; }
INLINE u8v magnitude(i8v a) { return (u8v)a; }
template <class V>
INLINE V in_register(V a) {
  return a;
}
INLINE i8v load32_splat(const void* p) { return (i8v)vdupq_n_s32(load<int32_t>(p)); }
INLINE f32v madd(f32v a, f32v b, f32v c) { return (f32v)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE f32v nmadd(f32v a, f32v b, f32v c) { return (f32v)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE f32v nearest(f32v a) { return (f32v)vrndnq_f32((float32x4_t)a); }
INLINE i32v round_to_int(f32v a) { return (i32v)vcvtnq_s32_f32((float32x4_t)a); }
INLINE f32v raise_to(f32v a, f32v b) { return (f32v)vbslq_f32(vcltq_f32((float32x4_t)a, (float32x4_t)b), (float32x4_t)b, (float32x4_t)a); }
INLINE f32v lower_to(f32v a, f32v b) { return (f32v)vbslq_f32(vcltq_f32((float32x4_t)b, (float32x4_t)a), (float32x4_t)b, (float32x4_t)a); }
INLINE f32v load_halves(const void* p) { return (f32v)vcvt_f32_f16(vreinterpret_f16_u16((uint16x4_t)load<u16h>(p))); }
INLINE void store_halves(void* p, f32v a) { store(p, (u16h)vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)a))); }
INLINE u32v load_upper(const void* p) { return (u32v)vshll_n_u16((uint16x4_t)load<u16h>(p), 16); }
INLINE i32v load_bytes(const void* p) { return (i32v)vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(load<uint32_t>(p))))); }
INLINE u8v lookup(const uint8_t* table, u8v index) { return (u8v)vqtbl1q_u8(vld1q_u8(table), (uint8x16_t)index); }
INLINE u32v gather(const uint32_t* table, u32v index) {
  return u32v{table[index[0]], table[index[1]], table[index[2]], table[index[3]]};
}
INLINE i32v add_pairs(i16v a) { return (i32v)vpaddlq_s16((int16x8_t)a); }
INLINE i32v dot_words(i16v x, i16v w) {
  const int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)x), vget_low_s16((int16x8_t)w));
  return (i32v)vpaddq_s32(low, vmull_high_s16((int16x8_t)x, (int16x8_t)w));
}
INLINE i16v dot2(i8v x, u8v w) {
  const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)x), vget_low_s8((int8x16_t)w));
  const int16x8_t high = vmull_high_s8((int8x16_t)x, (int8x16_t)w);
  return (i16v)vpaddq_s16(low, high);
}
#if !defined(__ARM_FEATURE_DOTPROD)
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) { return sum + add_pairs(dot2(x, w)); }
#endif
