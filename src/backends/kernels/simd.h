// 128-bit vectors: the few operations that plain vector arithmetic does not spell, one implementation an instruction set.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define INLINE inline __attribute__((always_inline))

typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));

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
/** The nearest integers, ties to even; |a| < 2³¹. */
INLINE i32x4 round_to_int(f32x4 a) { return (i32x4)wasm_i32x4_relaxed_trunc_f32x4(wasm_f32x4_nearest((v128_t)a)); }
INLINE f32x4 absolute(f32x4 a) { return (f32x4)wasm_f32x4_abs((v128_t)a); }
/** The larger; NaN where either is. */
INLINE f32x4 larger(f32x4 a, f32x4 b) { return (f32x4)wasm_f32x4_max((v128_t)a, (v128_t)b); }

/**
 * Vectors that inner loops use. They are in memory, and not constants, on purpose: V8 makes a constant anew, with three
 * instructions, wherever it is used, but keeps a value that was read once in a register.
 */
struct Constants {
  u8x16 low_nibbles, low_pairs, third_pairs, third_bits, fifth_bits, bit_of_byte, first_two_bytes, last_two_bytes, iq4_values;
  i32x4 half_bits;
  f32x4 half_bias, half_bias_back, four;
};
extern Constants constants;

/** Some bits of each byte, moved `right` (or left, if negative) to the place of `mask`, which no neighbour's bits reach. */
template <int right>
INLINE u8x16 bits_of(u8x16 a, u8x16 mask) {
  return (u8x16)(right >= 0 ? (u16x8)a >> (right & 15) : (u16x8)a << (-right & 15)) & mask;
}
INLINE u8x16 low_nibbles(u8x16 a, const Constants& c) { return a & c.low_nibbles; }
INLINE u8x16 high_nibbles(u8x16 a, const Constants& c) { return bits_of<4>(a, c.low_nibbles); }

/** The F16 in the upper half of each lane, exactly; the lower halves do not matter. */
INLINE f32x4 high_half_to_float(u32x4 a) {
  // Exponent and fraction move to their place; the product corrects the exponent's bias and makes subnormals right.
  const i32x4 bits = ((i32x4)a >> 3) & splat32((int)0x8fffe000);
  const f32x4 value = (f32x4)bits * splat(0x1p112f);
  const i32x4 special = absolute(value) >= splat(65536.0f); // exponent 31: infinity or NaN
  return (f32x4)((i32x4)value | (special & splat32(0x7f800000)));
}

/** The same for scales, quicker: NaN becomes an infinity. */
INLINE f32x4 high_scale(u32x4 a, const Constants& c) {
  // Twice the bias makes exponent 31, and nothing else, overflow.
  return (f32x4)(((i32x4)a >> 3) & c.half_bits) * c.half_bias * c.half_bias * c.half_bias_back;
}
/** The F16 in the lower half of each lane. */
INLINE f32x4 low_scale(u32x4 a, const Constants& c) { return high_scale(a << 16, c); }

/** Rows to columns of a 4 × 4 matrix of 32-bit lanes. */
INLINE void transpose(u32x4& a, u32x4& b, u32x4& c, u32x4& d) {
  const u64x2 ab0 = (u64x2)__builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = (u64x2)__builtin_shufflevector(a, b, 2, 6, 3, 7);
  const u64x2 cd0 = (u64x2)__builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = (u64x2)__builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = (u32x4)__builtin_shufflevector(ab0, cd0, 0, 2);
  b = (u32x4)__builtin_shufflevector(ab0, cd0, 1, 3);
  c = (u32x4)__builtin_shufflevector(ab1, cd1, 0, 2);
  d = (u32x4)__builtin_shufflevector(ab1, cd1, 1, 3);
}

/** The sum of each vector's four lanes: {Σa, Σb, Σc, Σd}. */
INLINE i32x4 add_across(i32x4 a, i32x4 b, i32x4 c, i32x4 d) {
  const i32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const i32x4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const u64x2 x = (u64x2)ab, y = (u64x2)cd;
  return (i32x4)__builtin_shufflevector(x, y, 0, 2) + (i32x4)__builtin_shufflevector(x, y, 1, 3);
}
/** {Σa, Σb, Σc, Σd} of 16-bit lanes of size up to `largest`: they are widened as late as that allows. */
template <int largest>
INLINE i32x4 add_across(i16x8 a, i16x8 b, i16x8 c, i16x8 d) {
  static_assert(largest <= 32767);
  if constexpr (2 * largest > 32767) return add_across(add_pairs(a), add_pairs(b), add_pairs(c), add_pairs(d));
  const i16x8 ab = (i16x8)__builtin_shufflevector((i32x4)a, (i32x4)b, 0, 4, 1, 5) +
                   (i16x8)__builtin_shufflevector((i32x4)a, (i32x4)b, 2, 6, 3, 7);
  const i16x8 cd = (i16x8)__builtin_shufflevector((i32x4)c, (i32x4)d, 0, 4, 1, 5) +
                   (i16x8)__builtin_shufflevector((i32x4)c, (i32x4)d, 2, 6, 3, 7);
  if constexpr (4 * largest > 32767) {
    const u64x2 x = (u64x2)add_pairs(ab), y = (u64x2)add_pairs(cd);
    return (i32x4)__builtin_shufflevector(x, y, 0, 2) + (i32x4)__builtin_shufflevector(x, y, 1, 3);
  } else {
    const u64x2 x = (u64x2)ab, y = (u64x2)cd;
    return add_pairs((i16x8)__builtin_shufflevector(x, y, 0, 2) + (i16x8)__builtin_shufflevector(x, y, 1, 3));
  }
}

/** f<0>() … f<N − 1>(), so that shifts are constants. */
template <int N, int I = 0, class Body>
INLINE void unroll(Body&& body) {
  if constexpr (I < N) {
    body.template operator()<I>();
    unroll<N, I + 1>(body);
  }
}
