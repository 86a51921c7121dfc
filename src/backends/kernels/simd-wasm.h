// WebAssembly with SIMD and relaxed SIMD: 128 bits.
#pragma once
#include <wasm_simd128.h>

// The relaxed dot products multiply signed bytes by bytes that MUST be 0 … 127: x86 reads them as unsigned, others as signed. Of
// their two lowerings the host measures which is the faster, so both are compiled: see `choose_dot`.
constexpr Dot dot_forms[2] = {Dot::pairs, Dot::seven_bits};

/** WebAssembly has no such instruction. */
INLINE void prefetch(const void* p) { touch(p); }
/** A read stands in for it, which must not go past the end of all memory. */
constexpr bool can_prefetch = false;
INLINE void prefetch_once(const void*) {}
/** AVX2 can, see there. */
constexpr bool can_turn_signs = false;
INLINE i8v turn_signs(i8v x, i8v) { return x; }
INLINE u8v magnitude(i8v a) { return (u8v)a; }
/** An address of 64 bits is compared with the end of memory before it is read from: three instructions more. */
constexpr bool reads_are_checked = true;
/** Keeps the order in which the source reads and adds, for which there are registers. */
template <class V>
INLINE V in_register(V a) {
  __asm__ volatile("" : "+r"(a));
  return a;
}
INLINE i8v load32_splat(const void* p) { return (i8v)wasm_v128_load32_splat(p); }
/** a · b + c; rounded once or twice, but always the same way on one machine. */
INLINE f32v madd(f32v a, f32v b, f32v c) { return (f32v)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c); }
/** c − a · b, likewise. */
INLINE f32v nmadd(f32v a, f32v b, f32v c) { return (f32v)wasm_f32x4_relaxed_nmadd((v128_t)a, (v128_t)b, (v128_t)c); }
/** The nearest whole numbers, ties to even. */
INLINE f32v nearest(f32v a) { return (f32v)wasm_f32x4_nearest((v128_t)a); }
/** The same as integers; |a| < 2³¹. */
INLINE i32v round_to_int(f32v a) { return (i32v)wasm_i32x4_relaxed_trunc_f32x4((v128_t)nearest(a)); }
/** b where a < b, else a. */
INLINE f32v raise_to(f32v a, f32v b) { return (f32v)wasm_f32x4_pmax((v128_t)a, (v128_t)b); }
/** b where b < a, else a. */
INLINE f32v lower_to(f32v a, f32v b) { return (f32v)wasm_f32x4_pmin((v128_t)a, (v128_t)b); }
/** As many 16-bit numbers as there are lanes, in the upper halves of the lanes above zeros. */
INLINE u32v load_upper(const void* p) {
  return (u32v)wasm_i16x8_shuffle(wasm_i16x8_const_splat(0), wasm_v128_load64_zero(p), 0, 8, 1, 9, 2, 10, 3, 11);
}
/** As many signed bytes as there are lanes. */
INLINE i32v load_bytes(const void* p) {
  return (i32v)wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(p)));
}
#include "simd-halves.h"
/** table[index], indices 0 … 15. */
INLINE u8v lookup(const uint8_t* table, u8v index) {
  return (u8v)wasm_i8x16_relaxed_swizzle((v128_t)load<u8v>(table), (v128_t)index);
}
INLINE u32v gather(const uint32_t* table, u32v index) {
  return u32v{table[index[0]], table[index[1]], table[index[2]], table[index[3]]};
}
/** Sums of neighbours. */
INLINE i32v add_pairs(i16v a) {
  __asm__("" : "+r"(a)); // else LLVM makes dot4_add of it where `a` is a dot2, which costs an addition more
  return (i32v)wasm_i32x4_extadd_pairwise_i16x8((v128_t)a);
}
/** Sums of two products, 16 bits each. */
INLINE i16v dot2(i8v x, u8v w) { return (i16v)wasm_i16x8_relaxed_dot_i8x16_i7x16((v128_t)x, (v128_t)w); }
/** Sums of two products of words. */
INLINE i32v dot_words(i16v x, i16v w) { return (i32v)wasm_i32x4_dot_i16x8((v128_t)x, (v128_t)w); }
/** sum + sums of four products. */
INLINE i32v dot4_add(i8v x, u8v w, i32v sum) {
  return (i32v)wasm_i32x4_relaxed_dot_i8x16_i7x16_add((v128_t)x, (v128_t)w, (v128_t)sum);
}
