// 128-bit vectors, and the few operations on them that C++ does not spell: all that the kernels ask of an instruction set.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define INLINE inline __attribute__((always_inline))

typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int16_t i16x4 __attribute__((vector_size(8)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));

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

INLINE u8x16 splat8(int value) { return (u8x16)wasm_i8x16_splat((int8_t)value); }
INLINE i32x4 splat32(int value) { return i32x4{value, value, value, value}; }
INLINE f32x4 splat(float value) { return f32x4{value, value, value, value}; }
/** Reads a byte for nothing but that its cache line comes: WebAssembly has no prefetch instruction. */
INLINE void touch(const void* p) { __asm__ volatile("" : : "r"(*(const uint8_t*)p)); }
/** Four bytes of memory, four times. */
INLINE i8x16 load32_splat(const void* p) { return (i8x16)wasm_v128_load32_splat(p); }
/** Four bytes of memory in the lowest lane. */
INLINE u32x4 load32_low(const void* p) { return (u32x4)wasm_v128_load32_zero(p); }

// The relaxed dot products multiply signed bytes `a` by `b`, which MUST be 0 … 127: x86 reads it as unsigned, others as signed.
/** Sums of two products, 16 bits each. */
INLINE i16x8 dot2(i8x16 a, u8x16 b) { return (i16x8)wasm_i16x8_relaxed_dot_i8x16_i7x16((v128_t)a, (v128_t)b); }
/** sum + sums of four products. */
INLINE i32x4 dot4_add(i8x16 a, u8x16 b, i32x4 sum) {
  return (i32x4)wasm_i32x4_relaxed_dot_i8x16_i7x16_add((v128_t)a, (v128_t)b, (v128_t)sum);
}
/** Sums of two products of 16-bit numbers. */
INLINE i32x4 dot2(i16x8 a, i16x8 b) { return (i32x4)wasm_i32x4_dot_i16x8((v128_t)a, (v128_t)b); }
/** Sums of neighbours. */
INLINE i32x4 add_pairs(i16x8 a) {
  __asm__("" : "+r"(a)); // else LLVM makes dot4_add of it where `a` is a dot2, which costs an addition more
  return (i32x4)wasm_i32x4_extadd_pairwise_i16x8((v128_t)a);
}
/** a · b + c; rounded once or twice, but always the same way on one machine. */
INLINE f32x4 madd(f32x4 a, f32x4 b, f32x4 c) { return (f32x4)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c); }
/** c − a · b, likewise. */
INLINE f32x4 nmadd(f32x4 a, f32x4 b, f32x4 c) { return (f32x4)wasm_f32x4_relaxed_nmadd((v128_t)a, (v128_t)b, (v128_t)c); }
/** −1 where a < 0, else 0. */
INLINE i8x16 negative(i8x16 a) {
  i8x16 zero = {};
  __asm__("" : "+r"(zero)); // else LLVM makes a shift of it, which x86 does not have for bytes
  return a < zero;
}
INLINE u8x16 magnitude(i8x16 a) { return (u8x16)wasm_i8x16_abs((v128_t)a); }
/** table[index], indices 0 … 15. */
INLINE u8x16 lookup(u8x16 table, u8x16 index) {
  return (u8x16)wasm_i8x16_relaxed_swizzle((v128_t)table, (v128_t)index);
}

INLINE bool any(u8x16 a) { return wasm_v128_any_true((v128_t)a); }
INLINE f32x4 to_float(i32x4 a) { return __builtin_convertvector(a, f32x4); }
INLINE i16x8 widen_low(i8x16 a) { return (i16x8)wasm_i16x8_extend_low_i8x16((v128_t)a); }
INLINE i16x8 widen_high(i8x16 a) { return (i16x8)wasm_i16x8_extend_high_i8x16((v128_t)a); }
INLINE i32x4 widen_low(i16x8 a) { return (i32x4)wasm_i32x4_extend_low_i16x8((v128_t)a); }
INLINE i32x4 widen_high(i16x8 a) { return (i32x4)wasm_i32x4_extend_high_i16x8((v128_t)a); }
/** The nearest whole numbers, ties to even. */
INLINE f32x4 nearest(f32x4 a) { return (f32x4)wasm_f32x4_nearest((v128_t)a); }
/** The same as integers; |a| < 2³¹. */
INLINE i32x4 round_to_int(f32x4 a) { return (i32x4)wasm_i32x4_relaxed_trunc_f32x4((v128_t)nearest(a)); }
INLINE f32x4 absolute(f32x4 a) { return (f32x4)wasm_f32x4_abs((v128_t)a); }
/** The larger; NaN where either is. */
INLINE f32x4 larger(f32x4 a, f32x4 b) { return (f32x4)wasm_f32x4_max((v128_t)a, (v128_t)b); }
/** b where a < b, else a: one instruction on most processors, unlike `larger`. */
INLINE f32x4 raise_to(f32x4 a, f32x4 b) { return (f32x4)wasm_f32x4_pmax((v128_t)a, (v128_t)b); }
/** b where b < a, else a. */
INLINE f32x4 lower_to(f32x4 a, f32x4 b) { return (f32x4)wasm_f32x4_pmin((v128_t)a, (v128_t)b); }
